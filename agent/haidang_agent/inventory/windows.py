"""The inventory of a Windows machine, out of the texts its own tools write. The script `windows.ps1` prints objects
of WMI classes as properties, `reg export` the keys of installed software."""

from __future__ import annotations

import re
from typing import Any

from haidang_agent.inventory import edid
from haidang_agent.inventory.dmidecode import CHASSIS_NUMBERS, kind, uuid
from haidang_agent.inventory.text import cleaned, given, moment, number, present
from haidang_agent.inventory.windows_text import Row

Classes = dict[str, list[Row]]
# SMBIOSMemoryType and MemoryType of Win32_PhysicalMemory (SMBIOS 7.18.2 and before).
_MEMORY = {
    "18": "DDR", "19": "DDR2", "20": "DDR", "21": "DDR2", "22": "DDR2", "24": "DDR3", "26": "DDR4", "27": "LPDDR",
    "28": "LPDDR2", "29": "LPDDR3", "30": "LPDDR4", "34": "DDR5", "35": "LPDDR5",
}  # fmt: skip
_FORMS = {"8": "DIMM", "12": "SODIMM", "13": "SRIMM"}
_MEDIA = {"3": "hdd", "4": "ssd"}  # MediaType of MSFT_PhysicalDisk
_NVME = "17"  # BusType
# EncryptionMethod of Win32_EncryptableVolume.
_METHODS = {
    "1": "AES-128 with diffuser", "2": "AES-256 with diffuser", "3": "AES-128", "4": "AES-256",
    "5": "hardware", "6": "XTS-AES-128", "7": "XTS-AES-256",
}  # fmt: skip
_ARCHITECTURES = {"0": "i686", "5": "arm", "9": "x86_64", "12": "aarch64"}  # Win32_Processor
_SERVERS = ("2", "3")  # ProductType of Win32_OperatingSystem: domain controller, server


def _first(classes: Classes, name: str) -> Row:
    return (classes.get(name) or [{}])[0]


def _true(value: str | None) -> bool | None:
    known = {"true": True, "1": True, "-1": True, "false": False, "0": False}
    return known.get((value or "").strip().lower())


def _time(value: str | None) -> int | None:
    """A time of WMI (`20160519083000.000000+420`, minutes from UTC) or as PowerShell prints it."""
    found = re.match(r"(\d{14})\.\d{6}([+-])(\d{3})", value or "")
    if found:
        minutes = int(found[3])
        return moment(f"{found[1]} {found[2]}{minutes // 60:02d}{minutes % 60:02d}", "%Y%m%d%H%M%S %z")
    return moment(value, "%Y%m%d%H%M%S.%f", "%Y%m%d", "%m/%d/%Y", "%Y-%m-%d") if value else None


def _megahertz(value: str | None) -> int | None:
    speed = number(value)
    return speed * 1_000_000 if speed else None


def machine(classes: Classes) -> dict[str, Any]:
    """Makers, serials, chassis, processors, memory, graphics, addresses."""
    system, product = _first(classes, "Win32_ComputerSystem"), _first(classes, "Win32_ComputerSystemProduct")
    bios, board = _first(classes, "Win32_BIOS"), _first(classes, "Win32_BaseBoard")
    enclosure = _first(classes, "Win32_SystemEnclosure")
    values = present(
        name=cleaned(system.get("DNSHostName") or system.get("Name")),
        manufacturer=given(system.get("Manufacturer") or product.get("Vendor")),
        model=given(system.get("Model") or product.get("Name")),
        # Lenovo's Model is a number; what people call the machine is its family or the product's version.
        family=given(system.get("SystemFamily")),
        serial=given(bios.get("SerialNumber")) or given(product.get("IdentifyingNumber")),
        uuid=uuid(product.get("UUID")),
        machine_id=given(_first(classes, "Registry").get("MachineGuid")),
        sku=given(system.get("SystemSKUNumber")),
        asset_tag=given(enclosure.get("SMBIOSAssetTag")),
        domain=cleaned(system.get("Domain")) if _true(system.get("PartOfDomain")) else None,
        bios=present(
            vendor=given(bios.get("Manufacturer")),
            version=given(bios.get("SMBIOSBIOSVersion")),
            date=_date(bios.get("ReleaseDate")),
        ),
        board=present(
            manufacturer=given(board.get("Manufacturer")),
            model=given(board.get("Product")),
            serial=given(board.get("SerialNumber")),
        ),
        processors=[_processor(row) for row in classes.get("Win32_Processor", [])] or None,
        memory=memory(classes),
        graphics=_graphics(classes) or None,
        macs=_macs(classes) or None,
    )
    chassis = CHASSIS_NUMBERS.get(number(enclosure.get("ChassisTypes")) or 0, "other")
    if chassis == "other":  # PCSystemType
        chassis = {"1": "desktop", "2": "laptop", "3": "desktop"}.get(system.get("PCSystemType", ""), "other")
    values["chassis"] = kind(values, bios, chassis)
    return values


def _date(value: str | None) -> str | None:
    when = re.match(r"(\d{4})(\d\d)(\d\d)", value or "")
    return "-".join(when.groups()) if when else None


def _processor(row: Row) -> dict[str, Any]:
    maker = given(row.get("Manufacturer"))
    return present(
        name=cleaned(re.sub(r"\((?:R|TM)\)|®|™", " ", row.get("Name", ""), flags=re.IGNORECASE)),
        manufacturer={"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(maker or "", maker),
        cores=number(row.get("NumberOfCores")),
        threads=number(row.get("NumberOfLogicalProcessors")),
        speed_hertz=_megahertz(row.get("MaxClockSpeed")),
    )


def memory(classes: Classes) -> dict[str, Any] | None:
    """Modules and slots."""
    modules = []
    for row in classes.get("Win32_PhysicalMemory", []):
        size = number(row.get("Capacity"))
        if size:
            modules.append(
                present(
                    slot=cleaned(row.get("DeviceLocator")), size_bytes=size,
                    type=_MEMORY.get(row.get("SMBIOSMemoryType") or row.get("MemoryType") or ""),
                    form=_FORMS.get(row.get("FormFactor", "")), speed_hertz=_megahertz(row.get("Speed")),
                    manufacturer=given(row.get("Manufacturer")), part=given(row.get("PartNumber")),
                    serial=given(row.get("SerialNumber")),
                )
            )  # fmt: skip
    # Use 3 is the system's own memory, beside caches and flash.
    arrays = [row for row in classes.get("Win32_PhysicalMemoryArray", []) if row.get("Use", "3") == "3"]
    slots = sum(number(row.get("MemoryDevices")) or 0 for row in arrays)
    if not modules:
        return None
    total = sum(module["size_bytes"] for module in modules)
    slots = max(slots, len(modules))
    return {"total_bytes": total, "slots": slots, "free_slots": slots - len(modules), "modules": modules}


def _graphics(classes: Classes) -> list[dict[str, Any]]:
    found = []
    for row in classes.get("Win32_VideoController", []):
        # A remote session's and a virtual one are no hardware.
        if cleaned(row.get("Name")) and not row.get("PNPDeviceID", "").upper().startswith(("SWD\\", "ROOT\\")):
            size = number(row.get("AdapterRAM"))
            found.append(present(name=cleaned(row["Name"]), memory_bytes=size or None))
    return found


def _macs(classes: Classes) -> list[str]:
    found = {
        row["MACAddress"].lower()
        for row in classes.get("Win32_NetworkAdapter", [])
        if row.get("MACAddress") and row.get("PNPDeviceID", "").upper().startswith(("PCI\\", "VMBUS\\", "SD\\"))
    }
    return sorted(found)


def disks(classes: Classes) -> dict[str, Any]:
    """Disks, by MSFT_PhysicalDisk where there is one (Windows 8 and later), and volumes."""
    failing = [
        (row.get("InstanceName", ""), _true(row.get("PredictFailure")))
        for row in classes.get("MSStorageDriver_FailurePredictStatus", [])
    ]
    wear = {row.get("DeviceId"): number(row.get("Wear")) for row in classes.get("StorageReliabilityCounter", [])}
    if classes.get("MSFT_PhysicalDisk"):
        found = [_physical_disk(row, wear.get(row.get("DeviceId"))) for row in classes["MSFT_PhysicalDisk"]]
    else:
        found = [_disk_drive(row, failing) for row in classes.get("Win32_DiskDrive", [])]
    volumes = []
    for row in classes.get("Win32_LogicalDisk", []):
        size, free = number(row.get("Size")), number(row.get("FreeSpace"))
        if row.get("DriveType") == "3" and size:
            volumes.append(
                present(
                    mount=cleaned(row.get("DeviceID")), filesystem=cleaned(row.get("FileSystem")), size_bytes=size,
                    free_ratio=coarse(free / size) if free is not None else None,
                )
            )  # fmt: skip
    return {"disks": found, "volumes": volumes}


def coarse(ratio: float) -> float:
    """A share that changes seldom: in twentieths, downward."""
    return int(ratio * 20) / 20


def _physical_disk(row: Row, wear: int | None) -> dict[str, Any]:
    health = row.get("HealthStatus", "")
    return present(
        name=f"PhysicalDisk{row.get('DeviceId', '')}",
        model=given(row.get("FriendlyName") or row.get("Model")),
        # For NVMe, SerialNumber is the namespace's EUI-64; the serial on its label is the adapter's, cut at its length.
        serial=given((row.get("AdapterSerialNumber") or "").partition(" ")[0]) or _serial(row.get("SerialNumber")),
        firmware=given(row.get("FirmwareVersion")),
        size_bytes=number(row.get("Size")),
        medium="nvme" if row.get("BusType") == _NVME else _MEDIA.get(row.get("MediaType", "")),
        healthy={"0": True, "1": False, "2": False}.get(health),  # healthy, warning, unhealthy
        wear_ratio=min(1.0, wear / 100) if wear is not None else None,
    )


def _disk_drive(row: Row, failing: list[tuple[str, bool | None]]) -> dict[str, Any]:
    place = row.get("PNPDeviceID", "").upper()
    verdicts = [bad for name, bad in failing if place and name.upper().startswith(place) and bad is not None]
    healthy = not verdicts[0] if verdicts else ({"OK": True, "Pred Fail": False}.get(row.get("Status", "")))
    return present(
        name=cleaned(row.get("DeviceID") or row.get("Name")),
        model=given(row.get("Model") or row.get("Caption")),
        serial=_serial(row.get("SerialNumber")),
        firmware=given(row.get("FirmwareRevision")),
        size_bytes=number(row.get("Size")),
        healthy=healthy,
    )


def _serial(value: str | None) -> str | None:
    """Old Windows gives the characters' codes, with each two in the other's place."""
    text = cleaned(value) or ""
    if re.fullmatch(r"(?:[2-7][0-9a-fA-F]){16,}", text):
        characters = bytes.fromhex(text).decode("ascii", "replace")
        swapped = "".join(characters[at : at + 2][::-1] for at in range(0, len(characters), 2)).strip()
        if swapped.isprintable() and re.fullmatch(r"[\w. -]+", swapped):
            return given(swapped)
    return given(text)


def system(classes: Classes) -> dict[str, Any]:
    """The system, its build, and its updates."""
    row, current = _first(classes, "Win32_OperatingSystem"), _first(classes, "Registry")
    processor, updates = _first(classes, "Win32_Processor"), _first(classes, "Updates")
    hotfixes = [_time(fix.get("InstalledOn")) for fix in classes.get("Win32_QuickFixEngineering", [])]
    build = cleaned(row.get("BuildNumber") or current.get("CurrentBuildNumber"))
    revision = cleaned(current.get("UBR"))
    return present(
        family="windows",
        name=_product(row.get("Caption") or current.get("ProductName")),
        edition=cleaned(current.get("EditionID")),
        version=cleaned(row.get("Version")),
        release=cleaned(current.get("DisplayVersion") or current.get("ReleaseId")),
        build=f"{build}.{revision}" if build and revision else build,
        server=row.get("ProductType") in _SERVERS if row.get("ProductType") else None,
        architecture=_ARCHITECTURES.get(processor.get("Architecture", "")),
        installed=_time(row.get("InstallDate")),
        updates=present(
            pending=number(updates.get("Pending")),
            security_pending=number(updates.get("SecurityPending")),
            last_installed=max((when for when in hotfixes if when is not None), default=None),
        ),
    )


def _product(value: str | None) -> str | None:
    return cleaned(re.sub(r"\((?:R|TM)\)|®|™", "", value or "").replace("Microsoft", ""))


def software(classes: Classes, exports: list[dict[str, Row]]) -> list[dict[str, Any]]:
    """What the uninstall keys of the registry list (64 and 32 bit, of the machine and of users), Store apps and
    hotfixes. `role` tells what is no program of its own: an `update` of one, or a `component` Windows hides."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for keys in exports:
        for path, values in keys.items():
            package = _uninstall(path, values)
            if package:
                found.setdefault((package["name"], package.get("version", ""), package["architecture"]), package)
    listed = list(found.values())
    listed += [
        present(
            name=cleaned(row["Name"]), version=cleaned(row.get("Version")), source="store",
            publisher=_common_name(row.get("Publisher")),
        )
        for row in classes.get("Store", [])
        if cleaned(row.get("Name"))
    ]  # fmt: skip
    listed += [
        present(name=row["HotFixID"], source="hotfix", installed=_time(row.get("InstalledOn")))
        for row in classes.get("Win32_QuickFixEngineering", [])
        if re.fullmatch(r"KB\d+", row.get("HotFixID", ""))
    ]
    return listed


def _uninstall(path: str, values: Row) -> dict[str, Any] | None:
    parent = path.rpartition("\\")
    if "uninstall" not in parent[0].lower().split("\\"):
        return None
    name = cleaned(values.get("DisplayName"))
    if name is None:
        return None
    update = values.get("ParentKeyName") or re.search("update|hotfix", values.get("ReleaseType", ""), re.IGNORECASE)
    hidden = values.get("SystemComponent") == "1"
    narrow = "\\wow6432node\\" in path.lower()
    return present(
        name=name, version=cleaned(values.get("DisplayVersion")), source="windows",
        publisher=cleaned(values.get("Publisher")),
        architecture="32" if narrow else "64",
        scope="user" if path.upper().startswith(("HKEY_USERS\\", "HKEY_CURRENT_USER\\")) else None,
        installed=moment(values.get("InstallDate"), "%Y%m%d"),
        role="update" if update else ("component" if hidden else None),
    )  # fmt: skip


def _common_name(publisher: str | None) -> str | None:
    found = re.search(r"(?:^|,\s*)CN=([^,]+)", publisher or "")
    return cleaned(found[1] if found else publisher)


def security(classes: Classes) -> dict[str, Any]:
    """Antivirus, firewall, encryption, secure boot, TPM, updates, administrators, remote desktop."""
    settings, tpm = _first(classes, "Registry"), _first(classes, "Win32_Tpm")
    profiles = [_true(row.get("Enabled")) for row in classes.get("MSFT_NetFirewallProfile", [])]
    administrators = number(_first(classes, "Administrators").get("Count"))
    denied = _true(settings.get("fDenyTSConnections"))
    return present(
        antivirus=_antivirus(classes),
        firewall=all(profiles) if profiles and None not in profiles else None,
        encryption=[
            present(
                volume=cleaned(row.get("DriveLetter")), encrypted=row["ProtectionStatus"] == "1",
                method=_METHODS.get(row.get("EncryptionMethod", "")),
            )
            for row in classes.get("Win32_EncryptableVolume", [])
            if row.get("DriveLetter") and row.get("ProtectionStatus") in ("0", "1")
        ] or None,
        secure_boot=_true(settings.get("UEFISecureBootEnabled")),
        tpm=present(
            present=bool(classes.get("Win32_Tpm")), version=cleaned(tpm.get("SpecVersion", "").partition(",")[0])
        ) if "Win32_Tpm" in classes else None,
        automatic_updates=not _true(settings.get("NoAutoUpdate")) if settings else None,
        administrators=administrators,
        remote_desktop=not denied if denied is not None else None,
    )  # fmt: skip


def _antivirus(classes: Classes) -> list[dict[str, Any]]:
    """The products the security center knows. productState, in hexadecimal: the second byte says whether it is on
    (10 or 11), the third whether its signatures are old (10)."""
    defender = _first(classes, "MSFT_MpComputerStatus")
    found = []
    for row in classes.get("AntiVirusProduct", []):
        state = number(row.get("productState"))
        name = cleaned(row.get("displayName"))
        if name is None or state is None:
            continue
        is_defender = "defender" in name.lower()
        found.append(
            present(
                name=name, on=(state >> 8 & 0xFF) in (0x10, 0x11), up_to_date=(state & 0xFF) != 0x10,
                signatures=_time(defender.get("AntivirusSignatureLastUpdated")) if is_defender else None,
                version=cleaned(defender.get("AMProductVersion")) if is_defender else None,
            )
        )  # fmt: skip
    if not found and defender:  # a server has no security center
        found.append(
            present(
                name="Microsoft Defender", on=_true(defender.get("AntivirusEnabled")),
                up_to_date=_fresh(defender.get("AntivirusSignatureAge")),
                signatures=_time(defender.get("AntivirusSignatureLastUpdated")),
                version=cleaned(defender.get("AMProductVersion")),
            )
        )  # fmt: skip
    return found


def _fresh(days: str | None) -> bool | None:
    age = number(days)
    return age <= 7 if age is not None else None


def displays(classes: Classes) -> list[dict[str, Any]]:
    """Connected displays, by their EDID."""
    found = (edid.display(row.get("Block", "").encode()) for row in classes.get("Edid", []))
    return [display for display in found if display]


def printers(classes: Classes) -> list[dict[str, Any]]:
    """Printers, but those that print into files."""
    return [
        present(name=cleaned(row.get("Name")), driver=cleaned(row.get("DriverName")), port=cleaned(row.get("PortName")))
        for row in classes.get("Win32_Printer", [])
        if cleaned(row.get("Name"))
        and not re.match(r"(?i)PORTPROMPT|SHRFAX|nul:|XPSPort|FILE:", row.get("PortName", ""))
    ]


def logon(classes: Classes, *, with_user: bool) -> dict[str, Any]:
    """When somebody was logged on last, and, where the registry allows it, who."""
    best: tuple[int, str] | None = None
    for row in classes.get("Logon", []):
        when = _time(row.get("LastLogon"))
        if when is not None and (best is None or when > best[0]):
            best = (when, row.get("Name", ""))
    if best is None:
        return {}
    return present(last=best[0] // 86400 * 86400, user=cleaned(best[1]) if with_user else None)
