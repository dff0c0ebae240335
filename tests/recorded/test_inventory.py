"""Recorded workstations: every one read to the values it means, and nothing that raises whatever comes.

The expected values are another program's reading. Where its value and the text differ, the text wins; each rule
below says why it is allowed to.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.inventory import antivirus, dmidecode, edid, linux, linux_security, packages, smart, windows
from haidang_agent.inventory.text import cleaned, decode, given, moment, number, size_bytes
from haidang_agent.inventory.windows_text import Row, properties, registry, sections
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from tests.conftest import ROOT, unavailable

FOLDER = Path(os.environ.get("HAIDANG_FIXTURES", ROOT.parent / "shared/fixtures")) / "inventory"
_EXPECTED = FOLDER / "EXPECTED.json"
EXPECTED: dict[str, dict[str, Any]] = json.loads(_EXPECTED.read_text("utf-8")) if _EXPECTED.exists() else {}


def test_the_recordings_are_there() -> None:
    if not EXPECTED:
        unavailable(f"{FOLDER} holds no recordings")


def of(topic: str) -> Any:
    """A test for each name of a topic whose recording is here."""
    names = sorted(EXPECTED.get(topic, {}))
    if not names:
        return pytest.mark.skip(reason=f"{FOLDER} holds no recordings of {topic}")
    return pytest.mark.parametrize("name", names)


def text_of(*places: str) -> str:
    file = FOLDER.joinpath(*places)
    if not file.exists():
        pytest.skip(f"{file.name} is expected and was not recorded")
    return decode(file.read_bytes())


def classes_of(folder: str, name: str) -> dict[str, list[Row]]:
    found = {}
    for file in FOLDER.glob(f"{folder}/{name}-*.wmi"):
        found[file.stem.removeprefix(f"{name}-")] = properties(decode(file.read_bytes()))
    if not found:
        pytest.skip(f"{name} is expected and was not recorded")
    return found


def same(ours: object, expected: object) -> bool:
    """Equal, or left out by us for being no value (`To be filled by O.E.M.` is the other program's too)."""
    theirs = cleaned(expected)
    return ours == theirs or (ours is None and given(theirs) is None)


@of("dmidecode")
def test_firmware(name: str) -> None:
    expected = EXPECTED["dmidecode"][name]
    found = dmidecode.machine(text_of("dmidecode", name.replace("/", "_")))
    bios, board = found["bios"], found["board"]
    if expected.get("bios"):
        ours = {
            "SMANUFACTURER": found.get("manufacturer"), "SMODEL": found.get("model"), "SSN": found.get("serial"),
            "SKUNUMBER": found.get("sku"), "ASSETTAG": found.get("asset_tag"), "BMANUFACTURER": bios.get("vendor"),
            "BVERSION": bios.get("version"), "BDATE": bios.get("date"), "MMANUFACTURER": board.get("manufacturer"),
            "MMODEL": board.get("model"), "MSN": board.get("serial"),
        }  # fmt: skip
        different = {key: (value, expected["bios"].get(key)) for key, value in ours.items()}
        assert not {key: pair for key, pair in different.items() if not same(*pair)}
    hardware = expected.get("hardware")
    if not hardware:
        return
    uuid = hardware.get("UUID")
    # No identity: what is shared by many machines, and one that is no UUID (a hexadecimal too many).
    assert found.get("uuid") in ((uuid or "").lower(), None)
    if uuid and re.fullmatch(r"[0-9A-Fa-f-]{36}", uuid) and len(set(uuid)) > 4:
        assert found["uuid"] == uuid.lower()
    if hardware.get("CHASSIS_TYPE") in ("Notebook", "Laptop", "Portable"):
        assert found["chassis"] in ("laptop", "vm")


@of("dmidecode")
def test_memory(name: str) -> None:
    expected = EXPECTED["dmidecode"][name].get("memory") or []
    memory = dmidecode.machine(text_of("dmidecode", name.replace("/", "_"))).get("memory")
    if not expected:
        return  # no value was expected of it; what is read was checked by eye
    assert memory is not None
    assert memory["slots"] == len(expected)
    modules = [module for module in expected if module.get("CAPACITY")]
    assert [module["size_bytes"] for module in memory["modules"]] == [int(m["CAPACITY"]) << 20 for m in modules]
    for ours, theirs in zip(memory["modules"], modules, strict=True):
        assert same(ours.get("serial"), theirs.get("SERIALNUMBER"))
        assert same(ours.get("part"), theirs.get("MODEL"))
        speed = ours["speed_hertz"] // 1_000_000 if "speed_hertz" in ours else None
        assert same(str(speed) if speed else None, theirs.get("SPEED"))
        # Theirs says nothing of a socket's name or a type's where SMBIOS was too old to be trusted with it.
        assert ours.get("type") in (theirs.get("TYPE"), None) or theirs.get("TYPE") is None
        assert theirs.get("CAPTION") in (ours.get("slot"), None)


@of("edid")
def test_display(name: str) -> None:
    expected, found = EXPECTED["edid"][name], edid.display((FOLDER / "edid" / name.replace("/", "_")).read_bytes())
    assert found is not None
    week, year = (int(part) for part in expected["DESCRIPTION"].split("/"))
    assert found["made"] == (f"{year}-W{week:02d}" if week else str(year))
    # Without a name it is called by its product code here, by nothing there.
    assert cleaned(expected["CAPTION"]) in (found["model"], None)
    # Theirs puts the number in another form, or both serials together, maker by maker.
    serial, alternative = cleaned(expected["SERIAL"]), expected.get("ALTSERIAL")
    ours = found.get("serial")
    if ours is None:
        assert serial in ("00000000", "01010101")
    elif serial and serial.isdecimal() and re.fullmatch("[0-9a-f]{8}", ours):
        assert int(ours, 16) == int(serial) or ours == serial
    else:
        assert ours in (serial, alternative)


@of("windows-cpu")
def test_windows_processors(name: str) -> None:
    found = windows.machine(classes_of("windows-cpu", name))["processors"]
    assert len(found) == len(EXPECTED["windows-cpu"][name])
    speeds = sorted(processor["speed_hertz"] // 1_000_000 for processor in found)
    # Ours is MaxClockSpeed; theirs the speed in the processor's name, where it stands there.
    expected = sorted(int(processor["SPEED"]) for processor in EXPECTED["windows-cpu"][name])
    assert speeds == pytest.approx(expected, rel=0.1)
    for processor in found:
        assert processor["manufacturer"] in {each["MANUFACTURER"] for each in EXPECTED["windows-cpu"][name]}


@of("windows-memory")
def test_windows_memory(name: str) -> None:
    found = windows.memory(classes_of("windows-memory", name))
    assert found is not None
    expected = [module for module in EXPECTED["windows-memory"][name] if module.get("CAPACITY")]
    assert [module["size_bytes"] >> 20 for module in found["modules"]] == [int(m["CAPACITY"]) for m in expected]
    assert [module.get("speed_hertz", 0) // 1_000_000 for module in found["modules"]] == [
        int(number(module.get("SPEED")) or 0) for module in expected
    ]
    assert found["slots"] >= len(found["modules"])


@of("windows-storages")
def test_windows_disks(name: str) -> None:
    found = windows.disks(classes_of("windows-storages", name))["disks"]
    # Optical drives are no disks here.
    expected = [disk for disk in EXPECTED["windows-storages"][name] if "CD-ROM" not in disk["NAME"]]
    ours = {(disk["name"], disk.get("model"), disk.get("firmware")): disk for disk in found}
    for disk in expected:
        mine = ours.pop((disk["NAME"], disk["MODEL"], disk["FIRMWARE"]))
        assert mine["size_bytes"] // 1_000_000 == disk["DISKSIZE"]
        assert same(mine.get("serial"), disk.get("SERIAL"))
    assert not ours


@of("windows-software")
def test_windows_software(name: str) -> None:
    exported = registry(text_of("windows-software", f"{name}-Uninstall.reg"))
    found = windows.software({}, [exported])
    ours = {package["name"]: package for package in found}
    for package in EXPECTED["windows-software"][name]:
        # What has no name but a GUID or a component's key is nothing people know; the edition in a name
        # of SQL Server was looked up in another key.
        key = package["GUID"]
        if cleaned(package["NAME"]) == key or "Edition" in package["NAME"]:
            continue
        mine = ours[cleaned(package["NAME"]) or ""]
        versions = {each.get("version") for each in found if each["name"] == mine["name"]}
        assert cleaned(package.get("VERSION")) in versions
        assert cleaned(package.get("PUBLISHER")) in {
            each.get("publisher") for each in found if each["name"] == mine["name"]
        }


@of("windows-hotfixes")
def test_windows_hotfixes(name: str) -> None:
    classes = classes_of("windows-hotfixes", name)
    found = {fix["name"]: fix.get("installed") for fix in windows.software(classes, [])}
    for fix in EXPECTED["windows-hotfixes"][name]:
        assert found[fix["NAME"]] == moment(fix["INSTALLDATE"], "%d/%m/%Y")


def day(seconds: int | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d/%m/%Y") if seconds else None


@of("linux-packaging")
def test_linux_packages(name: str) -> None:
    if name == "flatpak":
        found = []
        for listed in packages.flatpak(text_of("linux-packaging", "flatpak")):
            application, branch, installation, _ = listed
            found.append(
                packages.flatpak_application(
                    listed, text_of("linux-packaging", f"flatpak_{application}_{branch}_{installation}")
                )
            )
    elif name in ("rpm", "deb", "snap"):
        reader = {"rpm": packages.rpm, "deb": packages.dpkg, "snap": packages.snap}[name]
        found = reader(text_of("linux-packaging", {"deb": "dpkg"}.get(name, name)))
    else:
        pytest.skip(f"{name} is a package manager of other systems than those supported")
    expected = EXPECTED["linux-packaging"][name]
    ours = {(p["name"], p["version"], p.get("architecture") or "") for p in found}
    theirs = {(p["NAME"], p["VERSION"], p.get("ARCH") or "") for p in expected}
    assert theirs <= ours
    if name == "rpm":
        dates = {(p["name"], p["version"]): p["installed"] for p in found}
        for package in expected:  # a date is of some time zone
            noon = (moment(package["INSTALLDATE"], "%d/%m/%Y") or 0) + 43200
            assert abs(dates[package["NAME"], package["VERSION"]] - noon) < 2 * 43200 + 43200
        assert {p.get("publisher") for p in found} >= {p["PUBLISHER"] for p in expected if p.get("PUBLISHER")}
    if name == "deb":  # dpkg counts in kibibytes
        sizes = {(p["name"], p.get("architecture")): p.get("size_bytes") for p in found}
        assert all(sizes[p["NAME"], p["ARCH"]] == int(p["FILESIZE"]) for p in expected if p["FILESIZE"] != "0")


@of("os-release")
def test_distribution(name: str) -> None:
    point = text_of("linux-distro", f"debian_version-{name}") if name.startswith("debian") else ""
    found = linux.os_release(text_of("linux-distro", f"os-release-{name}"), point)
    expected = EXPECTED["os-release"][name]
    assert found["full_name"] == expected["FULL_NAME"]
    assert found["name"] == expected["NAME"]
    # Theirs knows CentOS' point release from another file.
    assert expected["VERSION"].startswith(found["version"])


@of("linux-antivirus-defender")
def test_defender_on_linux(name: str) -> None:
    found, expected = (
        antivirus.defender(text_of("linux-antivirus", f"{name}.json")),
        EXPECTED["linux-antivirus-defender"][name],
    )
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert (found["name"], found["version"]) == (expected["NAME"], expected["VERSION"])
    assert (found["on"], found["up_to_date"]) == (bool(expected["ENABLED"]), bool(expected["UPTODATE"]))
    assert datetime.fromtimestamp(found["signatures"], UTC).strftime("%Y-%m-%d") == expected["BASE_CREATION"]


READERS: dict[str, Callable[[str], object]] = {
    "dmidecode": dmidecode.machine,
    "windows-cpu": lambda text: windows.machine({"Win32_Processor": properties(text)}),
    "windows-memory": lambda text: windows.memory({"Win32_PhysicalMemory": properties(text)}),
    "windows-storages": lambda text: windows.disks({"Win32_DiskDrive": properties(text), "Win32_LogicalDisk": properties(text), "MSFT_PhysicalDisk": properties(text)}),
    "windows-hotfixes": lambda text: windows.software({"Win32_QuickFixEngineering": properties(text)}, []),
    "windows-software": lambda text: windows.software({}, [registry(text)]),
    "windows-wmi-other": lambda text: everything_of_windows(sections(f"== Win32_OperatingSystem\n{text}")),
    "linux-packaging": lambda text: (packages.dpkg(text), packages.rpm(text), packages.snap(text), packages.flatpak(text)),
    "linux-smartctl": smart.disk,
    "linux-distro": linux.os_release,
    "linux-antivirus": lambda text: [reader(text) for _, reader in antivirus.TOOLS],
}  # fmt: skip


def everything_of_windows(classes: dict[str, list[Row]]) -> list[object]:
    readers = (windows.machine, windows.disks, windows.system, windows.security, windows.displays, windows.printers)
    return [*(reader(classes) for reader in readers), windows.logon(classes, with_user=True)]


def test_nothing_raises_on_what_is_cut_off_foreign_or_mixed() -> None:
    """Every recording, cut at any place, with bytes changed, read as every kind of text."""
    chance = random.Random(7)
    files = [file for topic in READERS for file in sorted((FOLDER / topic).glob("*")) if file.is_file()]
    if not files:
        pytest.skip(f"{FOLDER} holds no recordings")
    for file in files:
        data = file.read_bytes()[:60_000]
        own = READERS[file.parent.name]
        for reader in (own, chance.choice(list(READERS.values()))):
            for _ in range(4):
                cut = data[chance.randrange(len(data) + 1) :][: chance.randrange(len(data) + 1)]
                broken = bytearray(cut)
                for _ in range(min(20, len(broken))):
                    broken[chance.randrange(len(broken))] = chance.randrange(256)
                reader(decode(bytes(broken)))
                reader(decode(cut))
    for file in sorted((FOLDER / "edid").glob("*")):
        data = bytearray(file.read_bytes())
        for _ in range(20):
            data[chance.randrange(len(data))] = chance.randrange(256)
            edid.display(bytes(data[: chance.randrange(len(data) + 1)]))


@settings(max_examples=150, deadline=None)
@generated(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-16-le")))
def test_nothing_raises_on_anything(data: bytes) -> None:
    text = decode(data)
    for reader in READERS.values():
        reader(text)
    for lines in (
        linux.processors,
        linux.graphics,
        linux.lsblk,
        linux.lpstat,
        linux.apt_pending,
        linux_security.listeners,
    ):
        lines(text)
    linux_security.encryption(linux.lsblk(text))
    linux_security.administrators(text, text)
    edid.display(data)
    size_bytes(text)
    everything_of_windows(sections(text))


# Of our own making: what a plain clone's tests stand on, and what the recordings lack.


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Màn hình Đông Á".encode(), "Màn hình Đông Á"),
        ("Tủ điện".encode("utf-16"), "Tủ điện"),
        ("Mémoire physique".encode("cp1252"), "Mémoire physique"),
        ("Name=Bàn phím\r\n".encode("utf-16-le"), "Name=Bàn phím\r\n"),
        ("cắt".encode()[:-1], "c"),
    ],
)
def test_text_in_any_encoding(data: bytes, text: str) -> None:
    assert decode(data).startswith(text)


@pytest.mark.parametrize(
    "text",
    [
        "To be filled by O.E.M.",
        "Not Specified",
        "0000000",
        "System Serial Number",
        "SerNum01",
        "None",
        "..",
        "XXXXXXXXXX",
    ],
)
def test_what_nobody_filled_in_is_no_value(text: str) -> None:
    assert given(text) is None


def test_values_that_look_odd_and_are_given() -> None:
    assert [given(text) for text in ("C83T54J", "..CN701638BM00EW.", "None Ltd", "0x750174F7", "Máy chủ 01")] == [
        "C83T54J", "..CN701638BM00EW.", "None Ltd", "0x750174F7", "Máy chủ 01",
    ]  # fmt: skip


SMART = """smartctl 7.3 2022-02-28 r5338 [x86_64-linux-6.1.0-28-amd64] (local build)

=== START OF INFORMATION SECTION ===
Device Model:     Samsung SSD 860 EVO 500GB
Serial Number:    S3Z2NB0K123456A
User Capacity:    500,107,862,016 bytes [500 GB]
Rotation Rate:    Solid State Device
=== START OF READ SMART DATA SECTION ===
SMART overall-health self-assessment test result: FAILED!
ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH TYPE      UPDATED  WHEN_FAILED RAW_VALUE
  5 Reallocated_Sector_Ct   0x0033   099   099   010    Pre-fail  Always       -       12
177 Wear_Leveling_Count     0x0013   083   083   000    Pre-fail  Always       -       217
"""
NVME = """Model Number:                       KXG50ZNV512G NVMe TOSHIBA 512GB
Serial Number:                      X7GS10M5T2TP
Total NVM Capacity:                 512,110,190,592 [512 GB]
SMART overall-health self-assessment test result: PASSED
Percentage Used:                    7%
"""


def test_the_health_of_disks() -> None:
    found = smart.disk(SMART)
    assert (found["healthy"], found["wear_ratio"], found["reallocated_sectors"]) == (False, 0.17, 12)
    assert (found["medium"], found["size_bytes"], found["serial"]) == ("ssd", 500107862016, "S3Z2NB0K123456A")
    found = smart.disk(NVME)
    assert (found["healthy"], found["wear_ratio"], found["medium"]) == (True, 0.07, "nvme")
    assert found["size_bytes"] == 512110190592


WINDOWS = """== Win32_ComputerSystem
Manufacturer=LENOVO
Model=20TBS57S00
Name=MAY-TINH-01
SystemFamily=ThinkPad E14 Gen 2
PCSystemType=2

== Win32_ComputerSystemProduct
UUID=4C4C4544-0033-4D10-8034-B3C04F4E3332
IdentifyingNumber=PF2ABCDE

== Win32_OperatingSystem
Caption=Microsoft Windows 10 Pro
Version=10.0.19045
BuildNumber=19045
InstallDate=20230110083000.000000+420
ProductType=1

== Registry
DisplayVersion=22H2
EditionID=Professional
UBR=5131
MachineGuid=1f0c9d3e-6a0f-4b7e-9d4e-0a1b2c3d4e5f
UEFISecureBootEnabled=1
fDenyTSConnections=0

== AntiVirusProduct
displayName=Windows Defender
productState=397568

displayName=Bkav Pro
productState=393472

== MSFT_MpComputerStatus
AntivirusSignatureLastUpdated=20261120010203.000000+000
AMProductVersion=4.18.2301.6

== MSFT_NetFirewallProfile
Name=Domain
Enabled=1

Name=Public
Enabled=0

== Win32_EncryptableVolume
DriveLetter=C:
ProtectionStatus=1
EncryptionMethod=6

== Win32_Tpm
SpecVersion=2.0, 0, 1.38

== Administrators
Count=3

== Updates
Pending=4
SecurityPending=2

== Logon
Name=UBND\\nguyễn.văn.a
LastLogon=20261124083000.000000+420
"""


def test_a_windows_workstation() -> None:
    classes = sections(WINDOWS)
    machine, security, system = windows.machine(classes), windows.security(classes), windows.system(classes)
    assert (machine["serial"], machine["chassis"], machine["family"]) == ("PF2ABCDE", "laptop", "ThinkPad E14 Gen 2")
    assert machine["machine_id"].startswith("1f0c9d3e")
    assert (system["name"], system["release"], system["build"]) == ("Windows 10 Pro", "22H2", "19045.5131")
    assert system["updates"] == {"pending": 4, "security_pending": 2}
    assert day(system["installed"]) == "10/01/2023"
    assert [(product["name"], product["on"], product["up_to_date"]) for product in security["antivirus"]] == [
        ("Windows Defender", True, True),
        ("Bkav Pro", False, True),
    ]
    assert security["encryption"] == [{"volume": "C:", "encrypted": True, "method": "XTS-AES-128"}]
    assert (security["firewall"], security["secure_boot"], security["remote_desktop"]) == (False, True, True)
    assert (security["tpm"], security["administrators"]) == ({"present": True, "version": "2.0"}, 3)
    assert windows.logon(classes, with_user=False) == {"last": moment("2026-11-24", "%Y-%m-%d")}
    assert windows.logon(classes, with_user=True)["user"] == "UBND\\nguyễn.văn.a"


UNINSTALL = r"""Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\{1}]
"DisplayName"="Phần mềm \"Một cửa\""
"DisplayVersion"="2.1"
"Publisher"="Sở TT&TT"
"InstallDate"="20240229"

[HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall\UniKey]
"DisplayName"=hex(2):55,00,6e,00,69,00,4b,00,\
  65,00,79,00,00,00
"DisplayVersion"="4.6"
"NoRemove"=dword:00000001

[HKEY_USERS\S-1-5-21-1\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\Zalo]
"DisplayName"="Zalo"
"Comment"="two
lines"
"DisplayVersion"="24.1"

[-HKEY_LOCAL_MACHINE\SOFTWARE\Gone]
"DisplayName"="Gone"
"""


def test_uninstall_keys_of_both_widths_and_of_users() -> None:
    found = {
        package["name"]: package for package in windows.software({}, [registry(decode(UNINSTALL.encode("utf-16")))])
    }
    assert set(found) == {'Phần mềm "Một cửa"', "UniKey", "Zalo"}
    assert (found["UniKey"]["architecture"], found["UniKey"]["version"]) == ("32", "4.6")
    assert found["Zalo"]["scope"] == "user"
    assert day(found['Phần mềm "Một cửa"']["installed"]) == "29/02/2024"


def test_encryption_is_of_what_lies_below() -> None:
    tree = {
        "blockdevices": [
            {"name": "sda", "type": "disk", "children": [
                {"name": "sda1", "type": "part", "mountpoint": "/boot"},
                {"name": "sda2", "type": "part", "children": [
                    {"name": "root", "type": "crypt", "mountpoint": "/"},
                ]},
                {"name": "sda3", "type": "part", "mountpoint": "/home"},
            ]},
            {"name": "loop0", "type": "loop", "mountpoint": "/snap/core/1"},
        ]
    }  # fmt: skip
    found = {each["volume"]: each["encrypted"] for each in linux_security.encryption(linux.lsblk(json.dumps(tree)))}
    assert found == {"/": True, "/home": False}


def test_who_may_become_root_and_what_listens() -> None:
    group, passwd = "root:x:0:\nsudo:x:27:lan, minh\nadm:x:4:x\n", "root:x:0:0::/root:/bin/sh\nminh:x:1000:1000::/:\n"
    assert linux_security.administrators(group, passwd) == {"root", "lan", "minh"}
    listening = "LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\nLISTEN 0 5 127.0.0.1:5900 0.0.0.0:*\nLISTEN 0 5 [::]:3389 [::]:*\n"
    assert linux_security.listeners(listening) == {22, 3389}


def test_a_queues_password_stays() -> None:
    assert linux.lpstat("device for Văn-thư: ipp://admin:mat-khau@10.1.2.3/ipp\n") == [
        {"name": "Văn-thư", "port": "ipp://10.1.2.3/ipp"}
    ]
