"""The inventory of a Linux machine: dmidecode, lsblk, smartctl, lscpu, lspci, the package managers, sysfs and /etc.
Linux alone."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
from pathlib import Path
from typing import Any

from haidang_agent.inventory import dmidecode, edid, packages, smart
from haidang_agent.inventory.privileged import DMI, kept
from haidang_agent.inventory.text import cleaned, given, moment, number, present
from haidang_agent.inventory.tools import read, read_bytes, run

_SYS = Path("/sys")
_SMART_AT_MOST = 24
_MAKERS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}


def machine() -> dict[str, Any]:
    """Makers, serials, chassis, processors, memory, graphics, addresses; for others than root without serials."""
    values = dmidecode.machine(kept("dmidecode") or run("dmidecode") or "")
    if "manufacturer" not in values and "model" not in values:
        # Without dmidecode, or without the right to read its table: sysfs has the names, to root also the serials.
        values = {**_from_sysfs(), **present(memory=values.get("memory"))}
    if "memory" not in values:
        kilobytes = re.search(r"MemTotal:\s+(\d+) kB", read("/proc/meminfo") or "")
        values.update({"memory": {"total_bytes": int(kilobytes[1]) * 1024}} if kilobytes else {})
    return present(
        **values,
        name=socket.gethostname(),
        machine_id=cleaned(read("/etc/machine-id")),
        processors=processors(run("lscpu", "-J") or "") or None,
        graphics=graphics(run("lspci", "-mm") or "") or None,
        macs=_macs() or None,
    )


def _from_sysfs() -> dict[str, Any]:
    bios = present(
        vendor=given(_dmi("bios_vendor")),
        version=given(_dmi("bios_version")),
        date=given(_dmi("bios_date")),
    )
    values = present(
        manufacturer=given(_dmi("sys_vendor")),
        model=given(_dmi("product_name")) or cleaned((read("/proc/device-tree/model") or "").strip("\0")),
        serial=given(_dmi("product_serial")),
        uuid=dmidecode.uuid(_dmi("product_uuid")),
        sku=given(_dmi("product_sku")),
        asset_tag=given(_dmi("chassis_asset_tag")),
        bios=bios,
        board=present(
            manufacturer=given(_dmi("board_vendor")),
            model=given(_dmi("board_name")),
            serial=given(_dmi("board_serial")),
        ),
    )
    chassis = dmidecode.CHASSIS_NUMBERS.get(number(_dmi("chassis_type")) or 0, "other")
    return {**values, "chassis": dmidecode.kind(values, bios, chassis)}


def _dmi(name: str) -> str | None:
    return read(DMI / name) or kept(f"dmi-{name}")


def processors(text: str) -> list[dict[str, Any]]:
    """Out of `lscpu -J`: sockets of one kind, as one entry each."""
    fields: dict[str, str] = {}

    def gather(rows: Any) -> None:
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and isinstance(row.get("field"), str):
                fields.setdefault(row["field"].rstrip(":"), str(row.get("data") or ""))
                gather(row.get("children"))

    try:
        document = json.loads(text)
    except ValueError:
        return []
    gather(document.get("lscpu") if isinstance(document, dict) else None)
    name = cleaned(re.sub(r"\((?:R|TM)\)", " ", fields.get("Model name", ""), flags=re.IGNORECASE))
    if name is None:
        return []
    cores, per_core = number(fields.get("Core(s) per socket")), number(fields.get("Thread(s) per core"))
    fastest = re.match(r"\d+", fields.get("CPU max MHz", ""))
    one = present(
        name=name,
        manufacturer=_MAKERS.get(fields.get("Vendor ID", ""), fields.get("Vendor ID")),
        cores=cores, threads=cores * per_core if cores and per_core else None,
        speed_hertz=int(fastest[0]) * 1_000_000 if fastest else None,
    )  # fmt: skip
    return [one] * min(16, number(fields.get("Socket(s)")) or 1)


def graphics(text: str) -> list[dict[str, Any]]:
    """Out of `lspci -mm`."""
    found = []
    for line in text.splitlines():
        columns = re.findall(r'"([^"]*)"', line)
        if len(columns) >= 3 and re.match(r"(VGA compatible|3D|Display) controller", columns[0]):
            found.append({"name": f"{columns[1]} {columns[2]}".strip()})
    return found


def _macs() -> list[str]:
    """Addresses of ports that are hardware: `permaddr` is the one burnt in, which a bond or bridge does not change."""
    links = _json_list(run("ip", "-j", "-d", "link") or "")
    found = {
        str(link.get("permaddr") or link.get("address"))
        for link in links
        if isinstance(link.get("ifname"), str) and (_SYS / "class/net" / link["ifname"] / "device").exists()
    }
    return sorted(found - {"None", "00:00:00:00:00:00"})


def _json_list(text: str) -> list[dict[str, Any]]:
    try:
        document = json.loads(text)
    except ValueError:
        return []
    return [each for each in document if isinstance(each, dict)] if isinstance(document, list) else []


def block_devices() -> list[dict[str, Any]]:
    """The tree of `lsblk`."""
    columns = "NAME,TYPE,SIZE,MODEL,SERIAL,REV,ROTA,TRAN,RM,FSTYPE"
    # PATH came with util-linux 2.33, all places where a device is mounted with 2.37: MOUNTPOINT is one of them.
    for newer in ("PATH,MOUNTPOINTS", "PATH,MOUNTPOINT", "MOUNTPOINT"):
        if text := run("lsblk", "-b", "-J", "-o", f"{columns},{newer}"):
            return lsblk(text)
    return []


def lsblk(text: str) -> list[dict[str, Any]]:
    """Its devices; empty for what is no JSON of it."""
    try:
        document = json.loads(text)
    except ValueError:
        return []
    found = document.get("blockdevices") if isinstance(document, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def disks() -> dict[str, Any]:
    """Disks with what SMART says of them, and mounted volumes."""
    devices = block_devices()
    found: list[dict[str, Any]] = []
    for device in devices:
        # Removable sticks, optical drives, loops and RAM are no part of the machine.
        if device.get("type") != "disk" or device.get("rm") in (True, "1") or not number(device.get("size")):
            continue
        if str(device.get("name", "")).startswith(("zram", "ram", "loop", "fd")):
            continue
        found.append(_disk(device, with_smart=len(found) < _SMART_AT_MOST))
    return {"disks": found, "volumes": volumes()}


def _disk(device: dict[str, Any], *, with_smart: bool) -> dict[str, Any]:
    path = str(device.get("path") or f"/dev/{device.get('name')}")
    text = kept(f"smart-{device.get('name')}") or run("smartctl", "-i", "-H", "-A", path, seconds=30)
    told = smart.disk(text or "") if with_smart else {}
    rotating = device.get("rota") in (True, "1")
    medium = "nvme" if device.get("tran") == "nvme" else ("hdd" if rotating else "ssd")
    return present(
        name=cleaned(device.get("name")),
        model=given(device.get("model")) or told.get("model"),
        serial=given(device.get("serial")) or told.get("serial"),
        firmware=given(device.get("rev")) or told.get("firmware"),
        size_bytes=number(device.get("size")),
        medium=told.get("medium") or medium,
        **{
            name: told[name]
            for name in ("healthy", "wear_ratio", "reallocated_sectors", "pending_sectors")
            if name in told
        },
    )


def volumes() -> list[dict[str, Any]]:
    """File systems on disks, once each, with the share that is free in steps of a twentieth."""
    found: dict[str, dict[str, Any]] = {}
    for line in (read("/proc/self/mounts") or "").splitlines():
        device, mount, filesystem = [*line.split(), "", "", ""][:3]
        if not device.startswith("/dev/") or device in found or filesystem in ("squashfs", "iso9660"):
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mount)
        try:
            state = os.statvfs(mount)
        except OSError:
            continue
        if state.f_blocks:
            free = int(state.f_bavail / state.f_blocks * 20) / 20
            size = state.f_blocks * state.f_frsize
            found[device] = {"mount": mount, "filesystem": filesystem, "size_bytes": size, "free_ratio": free}
    return list(found.values())


def system() -> dict[str, Any]:
    """The distribution, its release, and its updates."""
    release = os_release(
        read("/etc/os-release") or read("/usr/lib/os-release") or "", read("/etc/debian_version") or ""
    )
    return present(
        **release, family="linux", kernel=platform.release(), architecture=platform.machine(), installed=_installed(),
        updates=_updates(str(release.get("id", ""))),
    )  # fmt: skip


def os_release(text: str, debian_version: str = "") -> dict[str, Any]:
    """id, name, version, release of os-release(5); Debian's point release out of /etc/debian_version."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        found = re.match(r"\s*([A-Z_]+)=(.*)", line)
        if found:
            fields[found[1]] = re.sub(r"\\(.)", r"\1", found[2].strip().strip("\"'"))
    version = fields.get("VERSION_ID")
    point = cleaned(debian_version)
    if fields.get("ID") == "debian" and point and re.fullmatch(r"\d+\.\d+", point):
        version = point
    return present(
        id=cleaned(fields.get("ID")), name=cleaned(fields.get("NAME")), version=cleaned(version),
        release=cleaned(fields.get("VERSION")), full_name=cleaned(fields.get("PRETTY_NAME")),
    )  # fmt: skip


def _installed() -> int | None:
    """When the system was installed: the birth of its oldest traces that nothing makes anew."""
    for path in ("/var/log/installer", "/lost+found", "/etc/hostname", "/etc/machine-id"):
        text = run("stat", "-c", "%W", path, seconds=5)
        born = number(text) if text and text.strip() not in ("-", "0") else None
        if born:
            return born // 86400 * 86400
    return None


def _updates(distribution: str) -> dict[str, Any]:
    """Pending updates by the lists that are on the machine: nothing is asked of the network."""
    history = max((int(Path(path).stat().st_mtime) for path in _HISTORIES if Path(path).exists()), default=None)
    last = history // 86400 * 86400 if history else None
    pending = run("apt-get", "-s", "-qq", "-o", "Debug::NoLocking=true", "upgrade", seconds=120)
    if pending is not None:
        return {**apt_pending(pending), **present(last_installed=last)}
    cached = run("dnf", "-q", "-C", "check-update", seconds=120)
    if cached is None:
        cached = run("yum", "-q", "-C", "check-update", seconds=120)
    security = run("dnf", "-q", "-C", "updateinfo", "list", "--security", seconds=120)
    return present(
        pending=len(re.findall(r"(?m)^\S+\.\w+\s+\S+\s+\S+$", cached)) if cached is not None else None,
        security_pending=len(re.findall(r"(?m)^\S+\s+\S*[Ss]ec\S*\s+\S+", security)) if security is not None else None,
        last_installed=last,
    )


_HISTORIES = ("/var/log/dpkg.log", "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages")


def apt_pending(text: str) -> dict[str, Any]:
    """Out of a simulated `apt-get upgrade`: lines `Inst NAME [OLD] (NEW ORIGIN […])`."""
    lines = [line for line in text.splitlines() if line.startswith("Inst ")]
    return {"pending": len(lines), "security_pending": sum("security" in line.lower() for line in lines)}


def software() -> list[dict[str, Any]]:
    """Packages of every manager there is."""
    found = packages.dpkg(run(*packages.DPKG) or "")
    found += packages.rpm(run(*packages.RPM) or "")
    found += packages.snap(run(*packages.SNAP) or "")
    for listed in packages.flatpak(run(*packages.FLATPAK) or ""):
        application, branch, installation, _ = listed
        info = run("flatpak", "info", f"--{installation}", f"{application}//{branch}", seconds=20)
        found.append(packages.flatpak_application(listed, info or ""))
    return found


def displays() -> list[dict[str, Any]]:
    """Connected displays, by the EDIDs the kernel has read."""
    found = (edid.display(read_bytes(path) or b"") for path in sorted((_SYS / "class/drm").glob("*/edid")))
    return [display for display in found if display]


def printers() -> list[dict[str, Any]]:
    """CUPS' queues."""
    return lpstat(run("lpstat", "-v", seconds=10) or "")


def lpstat(text: str) -> list[dict[str, Any]]:
    """Out of `lpstat -v`; a password in a device's address stays here."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        queue = re.match(r"device for (.+?): (\S+)", line)
        if queue:
            found.append({"name": queue[1], "port": re.sub(r"//[^/@]*@", "//", queue[2])})
    return found


def logon(*, with_user: bool) -> dict[str, Any]:
    """The last day somebody was logged on, and, where the registry allows it, who."""
    text = run("last", "-w", "-n", "1", "--time-format", "iso", seconds=10) or ""
    found = re.match(r"(\S+)\s.*?(\d{4}-\d\d-\d\dT\S+)", text)
    if not found or found[1] in ("reboot", "wtmp", "shutdown"):
        return {}
    when = moment(found[2].replace("+00:00", "+0000"), "%Y-%m-%dT%H:%M:%S%z")
    return present(last=when // 86400 * 86400 if when else None, user=found[1] if with_user else None)
