"""Agent and collector mean the same by a fact or an event: what sources write has no field that its type has not."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

import msgspec
import pytest
from haidang_agent.inventory.__main__ import linux
from haidang_agent.inventory.windows import disks, machine, security, software, system
from haidang_collector.intake.documents import BadDocument, event_body, fact_body
from haidang_wire import documents
from haidang_wire.documents import DeviceEvent
from haidang_wire.kinds import EVENTS, FACTS, WITH_TABLES
from haidang_wire.metrics import CATALOGUE
from haidang_wire.sources import INVENTORY, LAN, SOURCES, TRAPS

from tests.fuzz.mutate import CORPUS


def strangers(body: Any, kind: Any, where: str = "") -> list[str]:
    """The fields of a body that its type does not name, at any depth."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    if dataclasses.is_dataclass(kind):
        known = typing.get_type_hints(kind, vars(documents))
        found = [f"{where}.{name}" for name in body if name not in known]
        return found + [
            each
            for name, value in body.items()
            if name in known
            for each in strangers(value, known[name], f"{where}.{name}")
        ]
    if typing.get_origin(kind) is list:
        return [each for value in body for each in strangers(value, typing.get_args(kind)[0], f"{where}[]")]
    if typing.get_origin(kind) is dict:
        return [each for value in body.values() for each in strangers(value, typing.get_args(kind)[1], f"{where}{{}}")]
    return []


def check(kind: str, body: Any) -> None:
    assert strangers(body, FACTS[kind].body) == []
    assert fact_body(kind, msgspec.Raw(json.dumps(body).encode())) == without_nothing(body)


def check_event(kind: str, body: Any) -> None:
    assert strangers(body, EVENTS[kind].body if kind in EVENTS else DeviceEvent) == []
    assert event_body(TRAPS, kind, msgspec.Raw(json.dumps(body).encode())) == without_nothing(body)


def without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nothing(each) for name, each in value.items() if each is not None}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


def test_each_kind_is_said_by_a_source_and_each_source_says_known_kinds() -> None:
    assert {kind for each in SOURCES.values() for kind in each.facts} == FACTS.keys()
    assert {kind for each in SOURCES.values() for kind in each.events} == EVENTS.keys()
    assert {kind for metric in CATALOGUE.values() for kind in metric.sources} - {"collector"} <= SOURCES.keys()
    assert {LAN: {"network"}, INVENTORY: set(SOURCES[INVENTORY].facts)} == WITH_TABLES


def test_recorded_reports_of_every_source() -> None:
    kinds = set()
    for report in json.loads(CORPUS.read_text(encoding="utf-8")):
        source = report["source"].partition(":")[0]
        for fact in report["facts"]:
            check(fact["kind"], fact["body"])
            assert fact["kind"] in SOURCES[source].facts
            kinds.add(fact["kind"])
        for event in report["events"]:
            check_event(event["kind"], event["body"])
            assert event["kind"] in SOURCES[source].events or source == TRAPS
            kinds.add(event["kind"])
    assert {"device", "neighbours", "machine", "software", "link_down", "dying_gasp", "path_down"} <= kinds


def test_the_inventory_of_this_machine() -> None:
    found = linux(with_user=True)
    assert found.keys() == set(SOURCES[INVENTORY].facts)
    for kind, body in found.items():
        check(kind, body)


@pytest.mark.parametrize("kind", ["machine", "disks", "system", "security", "software"])
def test_what_windows_tells(kind: str) -> None:
    classes: dict[str, list[dict[str, str]]] = {
        "Win32_ComputerSystem": [{"Name": "MAY-1", "Manufacturer": "Dell", "Model": "OptiPlex 7090", "PartOfDomain": "True", "Domain": "x"}],
        "Win32_ComputerSystemProduct": [{"UUID": "4C4C4544-0042-3510-8054-B4C04F4D5A32"}],
        "Win32_BIOS": [{"SerialNumber": "ABC1234", "Manufacturer": "Dell", "SMBIOSBIOSVersion": "1.2", "ReleaseDate": "20210519000000.000000+000"}],
        "Win32_Processor": [{"Name": "Intel(R) Core(TM) i5", "NumberOfCores": "4", "NumberOfLogicalProcessors": "8", "MaxClockSpeed": "3000", "Architecture": "9"}],
        "Win32_PhysicalMemory": [{"Capacity": "8589934592", "DeviceLocator": "DIMM1", "SMBIOSMemoryType": "26", "Speed": "3200"}],
        "Win32_VideoController": [{"Name": "Intel UHD", "AdapterRAM": "1073741824", "PNPDeviceID": "PCI\\VEN"}],
        "Win32_DiskDrive": [{"DeviceID": "\\\\.\\PHYSICALDRIVE0", "Size": "256060514304", "Status": "OK"}],
        "Win32_LogicalDisk": [{"DeviceID": "C:", "DriveType": "3", "Size": "1000", "FreeSpace": "300", "FileSystem": "NTFS"}],
        "Win32_OperatingSystem": [{"Caption": "Microsoft Windows 10 Pro", "Version": "10.0.19045", "BuildNumber": "19045", "ProductType": "1", "InstallDate": "20210519083000.000000+420"}],
        "Win32_QuickFixEngineering": [{"HotFixID": "KB5001", "InstalledOn": "5/19/2023"}],
        "AntiVirusProduct": [{"displayName": "Windows Defender", "productState": "397568"}],
        "Win32_EncryptableVolume": [{"DriveLetter": "C:", "ProtectionStatus": "1", "EncryptionMethod": "7"}],
        "Win32_Tpm": [{"SpecVersion": "2.0, 0, 1.38"}],
        "Registry": [{"EditionID": "Professional", "DisplayVersion": "22H2", "UBR": "3803", "fDenyTSConnections": "1"}],
        "Store": [{"Name": "Zalo", "Version": "1.0", "Publisher": "CN=VNG"}],
    }  # fmt: skip
    uninstall = {
        "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\UniKey": {
            "DisplayName": "UniKey",
            "DisplayVersion": "4.3",
            "InstallDate": "20230102",
        }
    }
    bodies = {
        "machine": lambda: machine(classes), "disks": lambda: disks(classes), "system": lambda: system(classes),
        "security": lambda: security(classes), "software": lambda: {"packages": software(classes, [uninstall])},
    }  # fmt: skip
    body = bodies[kind]()
    assert body
    check(kind, body)


def test_a_large_body_reads_like_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is decoded in pieces: what it holds, and what is wrong with it, are the same."""
    bodies: list[tuple[str, Any]] = [
        (fact["kind"], fact["body"])
        for report in json.loads(CORPUS.read_text(encoding="utf-8"))
        for fact in report["facts"]
    ]
    bodies += [
        ("software", {"packages": [{"name": f"gói {n}", "version": None} for n in range(1201)]}),
        ("machine", {"macs": [f"mac {n}" for n in range(501)], "processors": None, "memory": {"modules": [{}] * 3}}),
        ("neighbours", {}), ("disks", {"disks": None, "volumes": []}), ("machine", {"macs": "x"}),
        ("software", {"packages": [{"name": "a"}] * 700 + [{"name": 3}]}), ("software", {"packages": {}}),
        ("software", []), ("software", None), ("route", {"hops": ["a", 1]}), ("software", {"packages": [None]}),
    ]  # fmt: skip

    def read() -> list[Any]:
        found: list[Any] = []
        for kind, body in bodies:
            try:
                found.append(fact_body(kind, msgspec.Raw(json.dumps(body).encode())))
            except BadDocument:
                found.append(BadDocument)
        return found

    whole = read()
    assert BadDocument in whole
    monkeypatch.setattr("haidang_collector.intake.documents._LARGE_BYTES", 0)
    assert read() == whole
