"""Antivirus products on Linux, as their own tools describe themselves. Linux alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from haidang_agent.inventory.text import cleaned, moment, number, present

Product = dict[str, Any]


def defender(text: str) -> Product | None:
    """Microsoft Defender: `mdatp health --output json`."""
    try:
        health = json.loads(text)
    except ValueError:
        return None
    if not isinstance(health, dict) or "healthy" not in health:
        return None
    protection = health.get("realTimeProtectionEnabled")
    if isinstance(protection, dict):
        protection = protection.get("value")
    status = health.get("definitionsStatus")
    if isinstance(status, dict):
        status = status.get("$type")
    updated = number(health.get("definitionsUpdated"))
    # It can be installed and only look on, beside another product.
    passive = health.get("passiveModeEnabled")
    passive = passive.get("value") if isinstance(passive, dict) else passive
    return present(
        name="Microsoft Defender", on=protection is True and passive is not True,
        up_to_date=status == "upToDate" if isinstance(status, str) else None,
        signatures=updated // 1000 if updated else None, version=cleaned(health.get("appVersion")),
    )  # fmt: skip


def bitdefender(text: str) -> Product | None:
    """Bitdefender Endpoint Security: `bduitool get ps`."""
    fields = _fields(text)
    if "engines version" not in fields:
        return None
    updated = re.match(
        r"(\d{4}-\d\d-\d\d) at (\d\d:\d\d:\d\d) GMT([+-]\d{1,2})", fields.get("last security content update", "")
    )
    when = f"{updated[1]} {updated[2]} {int(updated[3]):+03d}00" if updated else ""
    return present(
        name="Bitdefender",
        on=fields.get("- antimalware status", "").lower() == "on",
        up_to_date=fields.get("new security content available", "").lower() == "no",
        signatures=moment(when, "%Y-%m-%d %H:%M:%S %z"),
        version=cleaned(fields.get("product version")),
    )


def sentinel_one(text: str) -> Product | None:
    """SentinelOne: `sentinelctl version; sentinelctl engines status; sentinelctl control status`."""
    version, state = re.search(r"(?m)^Agent version:\s+(\S+)", text), re.search(r"(?m)^Agent state\s+(\w+)", text)
    if not version and not state:
        return None
    return present(
        name="SentinelOne", on=bool(state and state[1].lower() == "enabled"), version=version[1] if version else None
    )


def cortex(text: str) -> Product | None:
    """Cortex XDR: `cytool runtime query`."""
    states = re.findall(r"(?m)^\s*(pmd|clad|dypd)\s+\S+\s+\S+\s+(\w+)", text)
    return present(name="Cortex XDR", on=dict(states).get("pmd", "").lower() == "running") if states else None


def clamav(text: str) -> Product | None:
    """ClamAV: `clamdscan --version` or `clamscan --version`, `ClamAV 1.0.7/27459/Tue Nov 12 09:29:35 2024`."""
    found = re.match(r"ClamAV ([\d.]+\S*?)(?:/(\d+)/(.+))?\s*$", text.strip())
    if not found:
        return None
    return present(
        name="ClamAV", version=found[1], signatures=moment(found[3], "%a %b %d %H:%M:%S %Y") if found[3] else None
    )


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


# (command, what reads it)
TOOLS: tuple[tuple[tuple[tuple[str, ...], ...], Callable[[str], Product | None]], ...] = (
    ((("mdatp", "health", "--output", "json"),), defender),
    ((("/opt/bitdefender-security-tools/bin/bduitool", "get", "ps"),), bitdefender),
    (
        (
            ("sentinelctl", "version"),
            ("sentinelctl", "engines", "status"),
            ("sentinelctl", "control", "status"),
        ),
        sentinel_one,
    ),
    ((("/opt/traps/bin/cytool", "runtime", "query"),), cortex),
    ((("clamdscan", "--version"),), clamav),
    ((("clamscan", "--version"),), clamav),
)
