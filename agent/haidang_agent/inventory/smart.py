"""The health of a disk, as `smartctl -i -H -A` prints it: its text is the same since 2005, its JSON since 2018."""

from __future__ import annotations

import re
from typing import Any

from haidang_agent.inventory.text import given, number, present

# Attributes whose normalised value is the share of life that is left, by what makers call them.
_LIFE_LEFT = ("SSD_Life_Left", "Media_Wearout_Indicator", "Percent_Lifetime_Remain", "Wear_Leveling_Count",
              "Percent_Life_Remaining", "Remaining_Lifetime_Perc")  # fmt: skip
_ATTRIBUTE = re.compile(r"\s*(\d+)\s+([\w/()-]+)\s+0x[0-9a-f]+\s+(\d+)\s+\d+\s+\d+\s+.*?\s(\d+)(?:\s+\(.*\))?\s*$")


def disk(text: str) -> dict[str, Any]:
    """model, serial, firmware, size_bytes, medium (`hdd`, `ssd`, `nvme`), healthy, wear_ratio (0 new, 1 worn out),
    reallocated_sectors, pending_sectors: those the disk tells."""
    fields: dict[str, str] = {}
    attributes: dict[str, tuple[int, int]] = {}
    for line in text.splitlines():
        title, colon, value = line.partition(":")
        if colon and value.strip():
            fields.setdefault(title.strip().lower(), value.strip())
        found = _ATTRIBUTE.match(line)
        if found:
            attributes[found[2]] = (int(found[3]), int(found[4]))
    old_form = (
        re.match(r"Device:\s+(.+?)\s+Version:\s+(\S+)", text[text.find("Device:") :]) if "Device:" in text else None
    )
    model = fields.get("device model") or fields.get("model number")
    product = " ".join(filter(None, (fields.get("vendor"), fields.get("product"))))
    return present(
        model=given(model or product or (old_form and old_form[1])),
        serial=given(fields.get("serial number")),
        firmware=given(fields.get("firmware version") or fields.get("revision") or (old_form and old_form[2])),
        size_bytes=_capacity(fields),
        medium=_medium(fields),
        healthy=_healthy(fields),
        wear_ratio=_wear(fields, attributes),
        reallocated_sectors=attributes.get("Reallocated_Sector_Ct", (0, None))[1],
        pending_sectors=attributes.get("Current_Pending_Sector", (0, None))[1],
    )


def _capacity(fields: dict[str, str]) -> int | None:
    if "cd" in fields.get("device type", "").lower():
        return None
    text = fields.get("user capacity") or fields.get("namespace 1 size/capacity") or fields.get("total nvm capacity")
    # `128 035 676 160 bytes`, `480,103,981,056 bytes [480 GB]`
    return number(text.partition("[")[0]) if text else None


def _medium(fields: dict[str, str]) -> str | None:
    if "nvme version" in fields or "total nvm capacity" in fields or "pci vendor/subsystem id" in fields:
        return "nvme"
    rotation = fields.get("rotation rate", "")
    if "solid state" in rotation.lower():
        return "ssd"
    return "hdd" if number(rotation) else None


def _healthy(fields: dict[str, str]) -> bool | None:
    verdict = fields.get("smart overall-health self-assessment test result") or fields.get("smart health status")
    return None if not verdict else verdict.upper().startswith(("PASSED", "OK"))


def _wear(fields: dict[str, str], attributes: dict[str, tuple[int, int]]) -> float | None:
    used = fields.get("percentage used") or fields.get("percentage used endurance indicator")
    if used:
        share = number(used)
        return min(1.0, share / 100) if share is not None else None
    for name in _LIFE_LEFT:
        left = attributes.get(name)
        if left and left[0] <= 100:
            return round(1 - left[0] / 100, 2)
    return None
