"""What one of many brings out (a port, a path, a neighbour, a part, a device) costs no other its figures."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.config import PathsConfig, ReachabilityConfig, SnmpConfig, Target
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.eeprom import Optics
from haidang_agent.inventory import __main__ as inventory
from haidang_agent.inventory import linux, linux_security
from haidang_agent.path import icmp
from haidang_agent.path import prober as probing
from haidang_agent.snmp.found import Poll
from haidang_agent.sources import lan, transceivers
from haidang_agent.sources import snmp as sources_snmp
from haidang_agent.sources.paths import Paths
from haidang_agent.sources.reachability import Reachability
from haidang_agent.sources.snmp import Snmp
from haidang_wire.assignment import AssignedDevice, AssignedPath, Assignment


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    real = icmp.open_socket

    def open_socket(family: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family)

    monkeypatch.setattr(icmp, "open_socket", open_socket)
    monkeypatch.setattr(probing.icmp, "open_socket", open_socket)


@pytest.mark.usefixtures("no_ipv6")
def test_a_path_of_a_family_that_this_machine_does_not_speak(tmp_path: Path) -> None:
    assignments = Assignments(tmp_path)
    assignments.current = Assignment(paths=(AssignedPath("six", "::1"), AssignedPath("four", "127.0.0.1")))
    found = Paths(PathsConfig(enabled=True, probe_seconds=0.1), assignments).collect()
    reachable = {each.labels["target"]: each.value for each in found.samples if each.metric == "haidang_path_reachable"}
    assert reachable == {"four": 1}


@pytest.mark.usefixtures("no_ipv6")
def test_a_target_of_a_family_that_this_machine_does_not_speak() -> None:
    targets = (Target("six", "::1"), Target("four", "127.0.0.1"))
    found = Reachability(ReachabilityConfig(gateway=False, targets=targets, answer_seconds=1.0)).collect()
    assert {s.labels["target"]: s.value for s in found.samples if s.metric == "haidang_path_up"} == {
        "six": 0,
        "four": 1,
    }


def test_a_module_that_nobody_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(dump: bytes, page: object) -> Optics:
        if dump == b"odd":
            raise OverflowError("an odd module")
        return Optics(vendor="good")

    monkeypatch.setattr(transceivers, "_ports", lambda: ["good", "odd"])
    monkeypatch.setattr(transceivers, "decode", decode)
    source = transceivers.Transceivers("sw", ethtool="sh")
    monkeypatch.setattr(source, "_ask", lambda interface, page=None: interface.encode())
    (fact,) = source.collect().facts
    assert list(fact.body["modules"]) == ["good"]


ODD_NEIGHBOURS: list[Any] = [
    {"lladdr": "10.1.2.3", "dst": "10.0.0.9", "state": ["REACHABLE"]},  # of a tunnel
    {"lladdr": "fe80::1", "dst": "fe80::2", "state": ["REACHABLE"]},
    {"lladdr": "", "dst": "10.0.0.9"}, {"lladdr": 5, "dst": 6}, {"lladdr": "zz:00:00:00:00:01", "dst": "10.0.0.9"},
    {"dst": "10.0.0.9", "state": None}, "x", None, 5, [],
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_NEIGHBOURS)
def test_a_neighbour_that_is_odd(odd: Any) -> None:
    good = {"lladdr": "02:00:00:00:00:01", "dst": "10.0.0.1", "state": ["STALE"]}
    assert lan.neighbours([odd, good]) == {"02:00:00:00:00:01": "10.0.0.1"}


@pytest.mark.parametrize("odd", [{"family": "inet"}, {"family": "inet", "local": "x", "prefixlen": 99}, None, 5])
def test_an_address_that_is_odd(odd: Any) -> None:
    good = {"family": "inet", "local": "10.0.0.1", "prefixlen": 24}
    table = [{"flags": ["UP", "BROADCAST"], "addr_info": [odd, good]}, None, {"flags": None}]
    assert [str(each) for each in lan.networks(table, 4096)] == ["10.0.0.0/24"]


def test_a_part_of_the_inventory_that_can_t_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def displays() -> list[dict[str, Any]]:
        raise IndexError("a display that nobody thought of")

    monkeypatch.setattr(linux, "displays", displays)
    found = inventory.linux(with_user=False)
    assert {"machine", "disks", "system", "software", "security", "printers", "logon"} == found.keys()
    assert capsys.readouterr().err == "displays: IndexError: a display that nobody thought of\n"


def test_a_device_that_brings_out_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def poll(name: str, *arguments: Any, **options: Any) -> Poll:
        if name == "odd":
            raise TypeError("a value nobody thought of")
        found = Poll(name)
        found.add("device_up", 1)
        return found

    monkeypatch.setattr(sources_snmp, "poll", poll)
    secrets = tmp_path / "snmp.toml"
    secrets.write_text('[c]\ncommunity = "x"\n')
    secrets.chmod(0o600)
    assignments = Assignments(tmp_path)
    devices = tuple(AssignedDevice(name, "127.0.0.1", 1, "c") for name in ("odd", "good"))
    assignments.current = Assignment(devices=devices)
    source = Snmp(SnmpConfig(credentials_file=str(secrets)), assignments, tmp_path)
    found = [each for each in source.collect().samples if each.metric == "haidang_device_up"]
    assert [(each.labels["device"], each.value) for each in found] == [("good", 1)]
    assert source.failures["error"] == 1


@pytest.mark.parametrize("known", ["PATH,MOUNTPOINTS", "PATH,MOUNTPOINT", "MOUNTPOINT", ""])
def test_block_devices_are_told_by_an_old_lsblk_too(monkeypatch: pytest.MonkeyPatch, known: str) -> None:
    """It refuses columns that came later. A newer one names all places where a device is mounted."""
    mounts = '"mountpoints": ["/srv/bound", "/"]' if "MOUNTPOINTS" in known else '"mountpoint": "/"'

    def run(*command: str) -> str | None:
        is_known = known and not set(command[-1].split(",")) & ({"PATH", "MOUNTPOINTS"} - set(known.split(",")))
        return f'{{"blockdevices": [{{"name": "sda", "type": "disk", {mounts}}}]}}' if is_known else None

    monkeypatch.setattr(linux, "run", run)
    found = [volume["volume"] for volume in linux_security.encryption(linux.block_devices())]
    assert found == ([] if not known else ["/srv/bound", "/"] if "MOUNTPOINTS" in known else ["/"])
