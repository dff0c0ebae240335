"""What firmware says of the machine, as dmidecode prints it (SMBIOS, DMTF DSP0134)."""

from __future__ import annotations

import re
from typing import Any

from haidang_agent.inventory.text import cleaned, given, present, size_bytes

Section = dict[str, str]

# SMBIOS 7.4.1, chassis types, as people speak of them.
_CHASSIS = {
    "desktop": "desktop", "low profile desktop": "desktop", "pizza box": "desktop", "mini tower": "desktop",
    "tower": "desktop", "all in one": "desktop", "space-saving": "desktop", "lunch box": "desktop",
    "mini pc": "desktop", "stick pc": "desktop", "portable": "laptop", "laptop": "laptop", "notebook": "laptop",
    "hand held": "laptop",
    "sub notebook": "laptop", "convertible": "laptop", "detachable": "laptop", "tablet": "tablet",
    "main server chassis": "server", "rack mount chassis": "server", "blade": "server", "blade enclosing": "server",
    "multi-system": "server", "sealed-case pc": "desktop",
}  # fmt: skip
CHASSIS_NUMBERS = {
    3: "desktop", 4: "desktop", 5: "desktop", 6: "desktop", 7: "desktop", 8: "laptop", 9: "laptop", 10: "laptop",
    11: "laptop", 13: "desktop", 14: "laptop", 15: "desktop", 16: "desktop", 17: "server", 23: "server",
    24: "desktop", 25: "server", 28: "server", 29: "server", 30: "tablet", 31: "laptop", 32: "laptop", 35: "desktop",
    36: "desktop",
}  # fmt: skip
_VIRTUAL = re.compile(
    r"vmware|virtualbox|innotek|qemu|\bkvm\b|bochs|\bxen\b|hyper-v|virtual machine|parallels|amazon ec2|google compute"
    r"|openstack|\bnutanix\b|proxmox|bhyve",
    re.IGNORECASE,
)


def sections(text: str) -> dict[str, list[Section]]:
    """Structures by title, each as its fields; lists below a field are joined with `, `."""
    found: dict[str, list[Section]] = {}
    section: Section | None = None
    field, depth, titled = "", 0, False
    for raw in text.splitlines():
        line = raw.expandtabs(8).rstrip()
        words = line.strip()
        if words.lower().startswith("handle 0x"):
            section, field, depth, titled = {}, "", 0, False
        elif not words:
            section = None
        elif section is None or words.startswith("DMI type "):  # a line of its own before version 2.7
            continue
        elif not titled:
            found.setdefault(words, []).append(section)
            titled = True
        else:
            # The first field tells how deep fields stand: what is deeper belongs to the last of them.
            depth = depth or len(line) - len(words)
            name, colon, value = words.partition(":")
            if colon and len(line) - len(words) <= depth:
                field = name.strip()
                section.setdefault(field, value.strip())
            elif field:
                section[field] = ", ".join(each for each in (section[field], words) if each)
    return found


def _first(found: dict[str, list[Section]], *titles: str) -> Section:
    for title in titles:
        if found.get(title):
            return found[title][0]
    return {}


def machine(text: str) -> dict[str, Any]:
    """The machine's part of the inventory: makers, serials, chassis, memory."""
    found = sections(text)
    system, bios = _first(found, "System Information"), _first(found, "BIOS Information")
    board, chassis = _first(found, "Base Board Information"), _first(found, "Chassis Information")
    values = present(
        manufacturer=given(system.get("Manufacturer") or system.get("Vendor")),
        model=given(system.get("Product Name") or system.get("Product")),
        serial=given(system.get("Serial Number")) or given(chassis.get("Serial Number")),
        uuid=uuid(system.get("UUID")),
        sku=given(system.get("SKU Number")),
        asset_tag=given(chassis.get("Asset Tag")),
        bios=present(
            vendor=given(bios.get("Vendor")), version=given(bios.get("Version")), date=cleaned(bios.get("Release Date"))
        ),
        board=present(
            manufacturer=given(board.get("Manufacturer")),
            model=given(board.get("Product Name")),
            serial=given(board.get("Serial Number")),
        ),
        memory=_memory(found),
    )
    values["chassis"] = kind(values, bios, _CHASSIS.get((chassis.get("Type") or "").lower(), "other"))
    return values


def kind(values: dict[str, Any], bios: dict[str, Any], chassis: str) -> str:
    """desktop, laptop, tablet, server, vm or other: what hypervisors call themselves goes before the chassis."""
    maker, model = values.get("manufacturer", ""), values.get("model", "")
    virtual = _VIRTUAL.search(f"{maker} {model} {' '.join(str(value) for value in bios.values())}")
    return "vm" if virtual else chassis


def uuid(value: object) -> str | None:
    """The system's UUID; None for those many machines share."""
    text = (cleaned(value) or "").lower()
    digits = text.replace("-", "")
    if len(digits) != 32 or not re.fullmatch("[0-9a-f]+", digits) or len(set(digits)) < 3:
        return None
    return None if digits in _SHARED_UUIDS else text


# AMI's and others' own, left in as they came.
_SHARED_UUIDS = {
    "03000200040005000006000700080009", "00020003000400050006000700080009", "12345678123456781234567812345678",
    "12345678123412341234123456789012", "0123456789abcdef0123456789abcdef", "fefefefefefefefefefefefefefefefe",
}  # fmt: skip


def _memory(found: dict[str, list[Section]]) -> dict[str, Any] | None:
    # Type 17; machines of before SMBIOS 2.1 have type 6 alone.
    devices = found.get("Memory Device") or found.get("Memory Module Information") or []
    if not devices:
        return None
    modules, slots = [], 0
    # Flash for the firmware is no memory of the machine.
    for device in devices:
        if (device.get("Type") or "").lower() in ("flash", "rom"):
            continue
        slots += 1
        size = _module_bytes(device)
        if not size:
            continue
        speed = re.match(r"(\d+)\s*(?:MHz|MT/s)", device.get("Speed", ""))
        modules.append(
            present(
                slot=cleaned(device.get("Locator") or device.get("Socket Designation")),
                size_bytes=size,
                type=given(device.get("Type", "").replace("<OUT OF SPEC>", "")),
                form=given(device.get("Form Factor")),
                speed_hertz=int(speed[1]) * 1_000_000 if speed else None,
                manufacturer=given(_maker(device.get("Manufacturer", ""))),
                part=given(_characters(device.get("Part Number", "")).rstrip("- ")),
                serial=given(device.get("Serial Number")),
            )
        )
    total = sum(module["size_bytes"] for module in modules)
    return {"total_bytes": total, "slots": slots, "free_slots": slots - len(modules), "modules": modules}


def _characters(text: str) -> str:
    """Old BIOSes give a part number as the codes of its characters."""
    codes = re.fullmatch(r"0x((?:[0-9A-Fa-f]{2}){8,})", text)
    return bytes.fromhex(codes[1]).rstrip(b"\0").decode("ascii", "replace") if codes else text


def _maker(text: str) -> str:
    """The maker of a memory module by its code (JEDEC JEP106), of which modules tell the bank in two ways."""
    codes = re.fullmatch(r"(?:0x)?((?:[0-9A-Fa-f]{2}){2,})", text)
    if not codes:
        return text
    data = bytes.fromhex(codes[1])
    bank = len(data) - len(data.lstrip(b"\x7f"))
    if bank < len(data) and (bank or data[0] & 0x7F > 0x0F):
        return _MAKERS.get((bank, data[bank]), text)
    return _MAKERS.get((data[0] & 0x7F, data[1]), text)


# (bank, counted from 0, and code with its parity) of makers of memory.
_MAKERS = {
    (0, 0x2C): "Micron", (0, 0xAD): "Hynix", (0, 0xCE): "Samsung", (0, 0xC1): "Infineon", (1, 0x98): "Kingston",
    (1, 0x4F): "Transcend", (2, 0xFE): "Elpida", (2, 0x9E): "Corsair", (3, 0x0B): "Nanya", (3, 0x25): "KingMax",
    (4, 0x43): "Ramaxel", (4, 0xCB): "A-DATA", (4, 0xCD): "G.Skill", (4, 0xEF): "Team", (5, 0x51): "Qimonda",
    (5, 0x9B): "Crucial",
}  # fmt: skip


def _module_bytes(device: Section) -> int | None:
    # `Installed Size: 64 Mbyte (Double-bank Connection)` of type 6; `Size: 8 GB` of type 17.
    text = device.get("Size") or device.get("Installed Size") or ""
    return size_bytes(re.sub(r"([KMGT])byte.*", r"\1B", text)) if re.match(r"\s*\d", text) else None
