"""How safe a Linux machine is: antivirus, firewall, encryption, secure boot, TPM, updates, who may do what.
Linux alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from haidang_agent.inventory.antivirus import TOOLS
from haidang_agent.inventory.text import present
from haidang_agent.inventory.tools import read, read_bytes, run

_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_DESKTOP_SHARING = (3389, 5900)


def security(devices: list[dict[str, Any]]) -> dict[str, Any]:
    """`devices` is lsblk's tree."""
    listening = listeners(run("ss", "-Hltn", seconds=10) or "")
    return present(
        antivirus=_antivirus(),
        firewall=_firewall(),
        encryption=encryption(devices) or None,
        secure_boot=_secure_boot(),
        tpm=_tpm(),
        automatic_updates=_automatic_updates(),
        administrators=len(administrators(read("/etc/group") or "", read("/etc/passwd") or "")),
        remote_desktop=any(port in listening for port in _DESKTOP_SHARING),
        ssh=22 in listening,
    )


def _antivirus() -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for commands, reader in TOOLS:
        texts = [run(*command, seconds=20) for command in commands]
        product = reader("\n".join(filter(None, texts)))
        if product and product["name"] not in found:
            if product["name"] == "ClamAV":  # a scanner that is started by hand protects nobody
                product["on"] = _active("clamav-daemon.service", "clamd@scan.service", "clamav-clamonacc.service")
            found[product["name"]] = product
    return list(found.values())


def _active(*units: str) -> bool:
    states = (run("systemctl", "is-active", *units, seconds=10) or "").split()
    return "active" in states


def _firewall() -> bool | None:
    """Whether one of those that keep rules is in force; None where nothing tells."""
    ufw = re.search(r"(?m)^ENABLED=(\w+)", read("/etc/ufw/ufw.conf") or "")
    if ufw and ufw[1].lower() == "yes":
        return True
    states = run("systemctl", "is-active", "firewalld.service", "nftables.service", "iptables.service", seconds=10)
    if states is None:
        return False if ufw else None
    return "active" in states.split()


def encryption(devices: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each mounted volume, and whether a dm-crypt device lies anywhere below it."""
    found: dict[str, dict[str, Any]] = {}

    def walk(device: dict[str, Any], *, encrypted: bool) -> None:
        encrypted = encrypted or device.get("type") == "crypt"
        mounts = device.get("mountpoints") or [device.get("mountpoint")]
        for mount in mounts if isinstance(mounts, list) else []:
            if isinstance(mount, str) and mount.startswith("/") and not mount.startswith(("/snap/", "/boot")):
                found.setdefault(
                    mount, present(volume=mount, encrypted=encrypted, method="LUKS" if encrypted else None)
                )
        children = device.get("children")
        for child in children if isinstance(children, list) else []:
            if isinstance(child, dict):
                walk(child, encrypted=encrypted)

    for device in devices:
        if device.get("type") not in ("loop", "rom"):
            walk(device, encrypted=False)
    return list(found.values())


def _secure_boot() -> bool | None:
    # The variable's value stands behind four bytes of attributes (UEFI 8.2).
    value = read_bytes(_SECURE_BOOT)
    if value and len(value) >= 5:
        return value[4] == 1
    return False if Path("/sys/firmware").is_dir() and not Path("/sys/firmware/efi").is_dir() else None


def _tpm() -> dict[str, Any] | None:
    if not Path("/sys/class").is_dir():
        return None
    version = (read("/sys/class/tpm/tpm0/tpm_version_major") or "").strip()
    there = Path("/sys/class/tpm/tpm0").exists()
    return present(present=there, version={"1": "1.2", "2": "2.0"}.get(version) if there else None)


def _automatic_updates() -> bool | None:
    settings = "".join(read(path) or "" for path in sorted(Path("/etc/apt/apt.conf.d").glob("*")) if path.is_file())
    if settings:
        enabled = re.findall(r'(?m)^\s*APT::Periodic::Unattended-Upgrade\s+"(\w+)"', settings)
        return bool(enabled) and enabled[-1] not in ("0", "false")
    state = run("systemctl", "is-enabled", "dnf-automatic.timer", "dnf-automatic-install.timer", seconds=10)
    return None if state is None else "enabled" in state.split()


def administrators(group: str, passwd: str) -> set[str]:
    """Who may become root: members of sudo and wheel, and those whose user id is 0."""
    found = set()
    for line in group.splitlines():
        name, _, _, members = [*line.split(":"), "", "", "", ""][:4]
        if name in ("sudo", "wheel", "admin"):
            found |= {member.strip() for member in members.split(",") if member.strip()}
    for line in passwd.splitlines():
        name, _, user, *_ = [*line.split(":"), "", "", ""]
        if user == "0":
            found.add(name)
    return found


def listeners(text: str) -> set[int]:
    """TCP ports that are reachable from outside, out of `ss -Hltn`."""
    found = set()
    for line in text.splitlines():
        columns = line.split()
        if len(columns) < 4:
            continue
        address, _, port = columns[3].rpartition(":")
        if port.isdigit() and not address.strip("[]").startswith(("127.", "::1", "::ffff:127.")):
            found.add(int(port))
    return found
