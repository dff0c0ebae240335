"""Traps and informs of net-snmp's own senders, of version 1, 2c and 3, good ones and others."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.config import SnmpConfig, TrapsConfig
from haidang_agent.schedule.source import Findings
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.device import Polled
from haidang_agent.snmp.flood import Gate, Summary
from haidang_agent.snmp.notifications import TRAP_OID, Notification, understand
from haidang_agent.snmp.traps import _begins_with
from haidang_agent.sources import snmp as sources_snmp
from haidang_agent.sources.snmp import Snmp
from haidang_wire.assignment import AssignedDevice
from haidang_wire.report import Event
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import free_port, require, wait_for
from tests.recorded.snmp import Simulator
from tests.recorded.test_session import OWN, Processes, assigned

LINK_DOWN, LINK_UP, COLD_START = (f"1.3.6.1.6.3.1.1.5.{number}" for number in (3, 4, 1))
V3 = ("-v3", "-u", "reporter", "-l", "authPriv", "-a", "SHA-256", "-A", "authsecret", "-x", "AES", "-X", "privsecret")
SECRETS = """
[core]
community = "switch"
[other]
version = "1"
community = "trapsecret"
[core1]
version = "1"
community = "switch"
[v3]
version = "3"
user = "reporter"
auth = "sha256"
auth_password = "authsecret"
privacy = "aes128"
privacy_password = "privsecret"
[v3same]
version = "3"
user = "reporter"
auth = "sha256"
auth_password = "othersecret"
privacy = "aes128"
privacy_password = "otherprivate"
[open3]
version = "3"
user = "open"
[plain3]
version = "3"
user = "md5"
auth = "md5"
auth_password = "authsecret"
"""


# Devices by their credentials, at addresses of their own. They are not there: polls say so.
OTHERS = {
    "other": "127.0.0.11", "v3": "127.0.0.13", "v3same": "127.0.0.14", "plain3": "127.0.0.15", "open3": "127.0.0.16",
    "core1": "127.0.0.17",
}  # fmt: skip
TWIN = "127.0.0.18"  # one more with the credential of sw-v3
SAME3 = (
    "-v3",
    "-u",
    "reporter",
    "-l",
    "authPriv",
    "-a",
    "SHA-256",
    "-A",
    "othersecret",
    "-x",
    "AES",
    "-X",
    "otherprivate",
)
PLAIN3 = ("-v3", "-u", "md5", "-l", "authNoPriv", "-a", "MD5", "-A", "authsecret")
ENGINE = ("-e", "0x80001f8804aabbccdd")


def of(name: str) -> str:
    return f"--clientaddr={OTHERS[name]}"


class Probe:
    """The source, running in a thread; what it delivers, by report."""

    def __init__(self, folder: Path, port: int, **traps: Any) -> None:
        secrets = folder / "snmp.toml"
        secrets.write_text(SECRETS)
        secrets.chmod(0o600)
        self.port = free_port()
        devices = (
            AssignedDevice("sw-1", "127.0.0.1", port, "core"),
            AssignedDevice("sw-2", "127.0.0.2", port, "core", trap_addresses=("127.0.0.3",)),
            AssignedDevice("sw-twin", TWIN, port, "v3"),
            *(AssignedDevice(f"sw-{name}", address, port, name) for name, address in OTHERS.items()),
        )
        config = SnmpConfig(
            credentials_file=str(secrets), interval_seconds=600.0,
            traps=TrapsConfig(**{"address": "0.0.0.0", "port": self.port, **traps}),
        )  # fmt: skip
        self.source = Snmp(config, assigned(folder, *devices), folder)
        self.delivered: list[tuple[str, Findings]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        def deliver(name: str, taken: float, interval: float, findings: Findings) -> None:
            self.delivered.append((name, findings))

        self._task = self._loop.create_task(self.source.run(deliver))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.run_until_complete(asyncio.sleep(0.05))
            self._loop.close()

    def __enter__(self) -> Probe:
        self._thread.start()
        wait_for("both are polled", lambda: {"snmp:sw-1", "snmp:sw-2"} <= {name for name, _ in self.delivered}, 90)
        wait_for("the port is open", self._listens)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(20)

    def _listens(self) -> bool:
        return any(f":{self.port:04X} " in Path(f"/proc/net/{name}").read_text() for name in ("udp", "udp6"))

    def events(self, device: str = "sw-1") -> list[Event]:
        return [event for name, found in self.delivered if name == f"traps:{device}" for event in found.events]

    def polls(self, device: str = "sw-1") -> int:
        return sum(name == f"snmp:{device}" for name, _ in self.delivered)

    def forget(self) -> None:
        """What devices said to other tests."""
        assert self.source._listener is not None
        assert self.source._listener._receiver is not None
        self.source._listener._receiver.keep(())

    @property
    def counts(self) -> dict[str, int]:
        listener = self.source._listener
        assert listener is not None
        return listener.counts

    def send(self, program: str, *arguments: str, to: str = "127.0.0.1") -> subprocess.CompletedProcess[str]:
        *options, rest = self._split(arguments)
        return subprocess.run(
            [require(program), *options[0], f"{to}:{self.port}", *rest],
            env={**os.environ, "MIBS": "", "SNMP_PERSISTENT_DIR": "/nonexistent"}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def _split(self, arguments: tuple[str, ...]) -> tuple[list[str], list[str]]:
        at = arguments.index("--")
        return list(arguments[:at]), list(arguments[at + 1 :])


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    work = tmp_path_factory.mktemp("snmpsim")
    processes = Processes(work)
    try:
        yield Simulator(OWN, work, processes)
    finally:
        processes.stop()


@pytest.fixture
def probe(simulator: Simulator, tmp_path: Path) -> Iterator[Probe]:
    with Probe(tmp_path, simulator.port) as running:
        yield running


@pytest.fixture(scope="module")
def listening(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    """One for many tests, each of which looks at what it changes."""
    with Probe(tmp_path_factory.mktemp("listening"), simulator.port) as running:
        yield running


class Counted:
    """What a test adds to the counts."""

    def __init__(self, probe: Probe) -> None:
        self._probe, self._before = probe, dict(probe.counts)

    def __getitem__(self, outcome: str) -> int:
        return self._probe.counts[outcome] - self._before[outcome]

    def all(self) -> int:
        return sum(self[outcome] for outcome in self._before)


def said(probe: Probe, kind: str, device: str = "sw-1") -> Event:
    found: list[Event] = wait_for(
        f"a {kind} of {device}", lambda: [event for event in probe.events(device) if event.kind == kind], 15
    )
    return found[0]


PORT = ("1.3.6.1.2.1.2.2.1.1.1", "i", "1")
GASP = ("1.3.6.1.2.1.158.1.6.1.4.1", "u", "257")  # an event that no other test makes


@pytest.mark.parametrize(
    ("device", "program", "options"),
    [
        ("sw-1", "snmptrap", ("-v2c", "-c", "switch")),
        ("sw-1", "snmpinform", ("-v2c", "-c", "switch")),
        ("sw-v3", "snmptrap", (of("v3"), *V3, *ENGINE)),
        ("sw-v3", "snmpinform", (of("v3"), *V3)),
        ("sw-v3same", "snmptrap", (of("v3same"), *SAME3, *ENGINE)),
        ("sw-v3same", "snmpinform", (of("v3same"), *SAME3)),
        ("sw-plain3", "snmpinform", (of("plain3"), *PLAIN3)),
        ("sw-open3", "snmptrap", (of("open3"), "-v3", "-u", "open", "-l", "noAuthNoPriv", *ENGINE)),
    ],
)
def test_a_link_down_is_an_event_of_a_port_and_starts_a_poll(
    probe: Probe, device: str, program: str, options: tuple[str, ...]
) -> None:
    wait_for("it is polled", lambda: probe.polls(device), 30)
    before = probe.polls(device)
    done = probe.send(program, *options, "--", "", LINK_DOWN, *PORT)
    assert done.returncode == 0, done.stderr  # an inform that is not acknowledged fails
    event = said(probe, "link_down", device)
    assert event.body["device"] == device
    assert event.body["interface"] == ("ge1" if device == "sw-1" else "ifIndex 1")
    assert abs(event.at - time.time()) < 30
    assert probe.counts["accepted"] == 1
    wait_for("the device is polled again", lambda: probe.polls(device) > before, 30)
    assert not any(secret in str(probe.delivered) for secret in ("authsecret", "privsecret"))


def test_version_1_and_vendor_traps(probe: Probe) -> None:
    apc = ("1.3.6.1.4.1.318", "127.0.0.1", "6", "5", "")
    assert probe.send("snmptrap", of("other"), "-v1", "-c", "trapsecret", "--", *apc).returncode == 0
    event = said(probe, "ups_on_battery", "sw-other")
    assert event.body["trap"] == "1.3.6.1.4.1.318.0.5"
    assert "trapsecret" not in str(event)  # a converted trap brings its community along
    generic = ("1.3.6.1.4.1.9", OTHERS["core1"], "2", "0", "", *PORT)
    probe.send("snmptrap", of("core1"), "-v1", "-c", "switch", "--", *generic)
    assert said(probe, "link_down", "sw-core1").body["interface"] == "ifIndex 1"
    probe.send("snmptrap", "-v2c", "-c", "switch", "--", "", "1.3.6.1.4.1.99999.0.7")
    assert said(probe, "snmp_trap").body["trap"] == "1.3.6.1.4.1.99999.0.7"


def test_a_defect_one_device_brings_out_is_its_own(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sources_snmp.poll

    async def broken(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "sw-1" and broken_now:
            raise TypeError("a value nobody thought of")
        return await real(name, *arguments, **options)

    broken_now: list[bool] = []
    monkeypatch.setattr(sources_snmp, "poll", broken)
    with Probe(tmp_path, simulator.port) as probe:
        broken_now.append(True)
        polls = probe.polls("sw-2")
        for address in ("127.0.0.1", "127.0.0.2"):
            probe.send("snmptrap", "-v2c", "-c", "switch", f"--clientaddr={address}", "--", "", LINK_DOWN, *PORT)
        wait_for("the other is polled", lambda: probe.polls("sw-2") > polls, 20)
        wait_for("the defect is counted", lambda: probe.source.failures["error"] == 1, 20)
        broken_now.clear()
        before = probe.polls("sw-1")
        probe.send("snmptrap", "-v2c", "-c", "switch", "--", "", LINK_UP, *PORT)
        wait_for("and polled again", lambda: probe.polls("sw-1") > before, 60)


def trap_of(
    probe: Probe, engine: str, clock: str, outcome: str, name: str = "v3", options: tuple[str, ...] = V3
) -> None:
    counted = Counted(probe)
    probe.send("snmptrap", of(name), *options, "-e", engine, "-Z", clock, "--", "", LINK_DOWN, *PORT)
    wait_for("it is counted", counted.all, 15)
    assert counted[outcome] == 1


def test_an_engine_is_a_devices_own_once_it_is_polled(probe: Probe) -> None:
    """The first that is heard is believed. One in its place (the device was replaced) is polled for, and then believed;
    what was recorded of the one before is not."""
    before, after = "0x80001f8804aabbcc01", "0x80001f8804aabbcc02"
    trap_of(probe, before, "5,1000", "accepted")
    polls = probe.polls("sw-v3")
    trap_of(probe, after, "1,200", "refused")
    wait_for("the device is polled", lambda: probe.polls("sw-v3") > polls, 30)
    memory = probe.source._watched["sw-v3"].memory
    memory.engine = Polled(bytes.fromhex(after[2:]), 1, 205, time.monotonic())
    trap_of(probe, after, "1,206", "accepted")
    trap_of(probe, before, "5,1000", "refused")
    trap_of(probe, before, "6,1", "refused")
    trap_of(probe, after, "1,20", "refused")  # older than what was polled
    memory.engine = Polled(bytes.fromhex(after[2:]), 1, 3, time.monotonic())  # it began anew and does not count
    trap_of(probe, after, "1,5", "accepted")


def test_traps_over_ipv6(simulator: Simulator, tmp_path: Path) -> None:
    with Probe(tmp_path, simulator.port, address="::") as probe:
        probe.send("snmptrap", "-v2c", "-c", "switch", "--", "", LINK_DOWN, *PORT)  # mapped: ::ffff:127.0.0.1
        assert said(probe, "link_down").body["interface"] == "ge1"


@pytest.mark.parametrize(
    "options",
    [
        ("-v2c", "-c", "wrong"),
        ("-v2c", "-c", "trapsecret"),  # another device's
        ("-v2c", "-c", "switc"),
        ("-v2c", "-c", "switchswitch"),
        ("-v2c", "-c", ""),
        (*V3, *ENGINE),
        (of("other"), "-v2c", "-c", "trapsecret"),  # a later version than its own
        (of("other"), "-v2c", "-c", "switch"),
        (of("core1"), "-v2c", "-c", "switch"),
        (of("v3"), "-v2c", "-c", "switch"),  # weaker versions
        (of("v3"), "-v2c", "-c", "reporter"),
        (of("v3"), "-v3", "-u", "nobody", "-l", "noAuthNoPriv", *ENGINE),
        (of("v3"), "-v3", "-u", "reporter", "-l", "noAuthNoPriv", *ENGINE),  # the name without the passwords
        (of("v3"), *V3[:4], "authNoPriv", *V3[5:9], *ENGINE),  # without privacy
        (of("v3"), *V3[:8], "wrongsecret", *V3[9:], *ENGINE),
        (of("v3"), *V3[:12], "wrongsecret", *ENGINE),
        (of("v3"), *SAME3, *ENGINE),  # the same user's passwords of another device
        (of("v3same"), *V3, *ENGINE),
        (of("v3"), *PLAIN3, *ENGINE),  # another device's user
        (of("v3"), "-v3", "-u", "open", "-l", "noAuthNoPriv", *ENGINE),
        (of("plain3"), *PLAIN3[:-1], "wrongsecret", *ENGINE),
        (of("plain3"), *PLAIN3[:4], "noAuthNoPriv", *ENGINE),
        (of("open3"), "-v2c", "-c", "open"),
    ],
)
def test_without_its_own_credential_a_device_is_not_heard(listening: Probe, options: tuple[str, ...]) -> None:
    counted = Counted(listening)
    listening.send("snmptrap", *options, "--", "", COLD_START, *GASP)
    wait_for("it is refused", lambda: counted["refused"] + counted["malformed"] == 1, 15)
    assert counted.all() == 1
    assert "dying_gasp" not in str(listening.delivered)


@pytest.mark.parametrize(
    "options", [("-v1", "-c", "switch"), (of("v3"), "-v1", "-c", "switch"), (of("other"), "-v1", "-c", "switch")]
)
def test_a_version_1_trap_needs_a_device_of_version_1(listening: Probe, options: tuple[str, ...]) -> None:
    counted = Counted(listening)
    listening.send("snmptrap", *options, "--", "1.3.6.1.4.1.9", "127.0.0.1", "2", "0", "", *PORT)
    wait_for("it is refused", lambda: counted["refused"] == 1, 15)
    assert counted.all() == 1


def test_keys_of_devices_that_share_a_name_and_an_engine_are_each_ones_own(probe: Probe) -> None:
    """One that says it is the other's engine takes nothing from it, in either order, and its clock moves no other's."""
    for number, (name, options) in enumerate([("v3same", SAME3), ("v3", V3), ("v3same", SAME3), ("v3", V3)]):
        clock = ("-Z", "2000000000,100") if name == "v3same" else ("-Z", f"5,{100 + number}")
        kind = (LINK_DOWN, LINK_UP)[number // 2]
        assert probe.send("snmptrap", of(name), *options, *ENGINE, *clock, "--", "", kind, *PORT).returncode == 0
        wait_for("it is accepted", lambda n=number: probe.counts["accepted"] == n + 1, 15)
    assert probe.counts["refused"] == 0


@pytest.mark.parametrize("clock", ["4,100000", "5,800", "5,1", "2147483647,1000"])
def test_what_is_of_an_earlier_time_is_not_believed(listening: Probe, clock: str) -> None:
    listening.forget()
    counted, engine = Counted(listening), f"0x80001f8804{os.urandom(6).hex()}"
    for sent, (now, accepted) in enumerate((("5,1000", 1), ("5,1001", 2), (clock, 2), ("5,950", 3), ("6,1", 4))):
        listening.send("snmptrap", of("v3"), *V3, "-e", engine, "-Z", now, "--", "", LINK_DOWN, *PORT)
        wait_for("it is counted", lambda n=sent: counted.all() == n + 1, 15)
        assert counted["accepted"] == accepted
    assert counted["refused"] == 1


def recorded(probe: Probe, program: str, *options: str) -> list[bytes]:
    """The datagrams of a sender, as somebody on the way has them; it gets no answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        subprocess.run(
            [require(program), *options, target, "", LINK_DOWN, *PORT],
            env={**os.environ, "MIBS": "", "SNMP_PERSISTENT_DIR": "/nonexistent"}, capture_output=True, timeout=60,
        )  # fmt: skip
        return [listener.recv(65535)]


def replay(probe: Probe, datagram: bytes, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((address, 0))
        sender.sendto(datagram, ("127.0.0.1", probe.port))


def test_what_was_recorded_is_believed_once(simulator: Simulator, tmp_path: Path) -> None:
    with Probe(tmp_path, simulator.port) as probe:
        (datagram,) = recorded(probe, "snmptrap", *V3, *ENGINE, "-Z", "7,5000")
        replay(probe, datagram, OTHERS["v3same"])  # from another device's address it is nothing
        wait_for("it is refused", lambda: probe.counts["refused"] == 1, 15)
        replay(probe, datagram, OTHERS["v3"])
        wait_for("it is accepted", lambda: probe.counts["accepted"] == 1, 15)
        for number in range(3):
            replay(probe, datagram, OTHERS["v3"])
            wait_for("it is counted", lambda n=number: probe.counts["repeated"] == n + 1, 15)
        for at in range(0, len(datagram), 7):  # and changed it is another's
            changed = bytearray(datagram)
            changed[at] ^= 1
            replay(probe, bytes(changed), OTHERS["v3"])
        wait_for("all are counted", lambda: sum(probe.counts.values()) >= 5 + len(range(0, len(datagram), 7)), 15)
        assert probe.counts["accepted"] == 1
        probe.send("snmptrap", of("v3"), *V3, *ENGINE, "-Z", "8,9000", "--", "", LINK_UP, *PORT)
        wait_for("the next is accepted", lambda: probe.counts["accepted"] == 2, 15)
        (newest,) = recorded(probe, "snmptrap", *V3, *ENGINE, "-Z", "8,9010")
        replay(probe, newest, OTHERS["v3"])
        wait_for("it is accepted", lambda: probe.counts["accepted"] == 3, 15)
    with Probe(tmp_path, simulator.port) as again:  # nor after a restart, however soon
        for number, old in enumerate((datagram, newest)):
            replay(again, old, OTHERS["v3"])
            wait_for("it is refused", lambda n=number: again.counts["refused"] == n + 1, 15)
        assert again.counts["accepted"] == 0
        again.send("snmptrap", of("v3"), *V3, *ENGINE, "-Z", "8,9100", "--", "", LINK_UP, *PORT)
        wait_for("the next is accepted", lambda: again.counts["accepted"] == 1, 15)


def test_what_was_recorded_of_one_device_is_none_of_another(probe: Probe) -> None:
    """They have one credential: a trap, before and after its device has said it, and an inform."""
    mine, theirs = ("-e", "0x80001f8804aaaaaaaa"), ("-e", "0x80001f8804bbbbbbbb")
    trap_of(probe, mine[1], "5,1000", "accepted")
    (early,) = recorded(probe, "snmptrap", *V3, *theirs, "-Z", "7,5000")
    (late,) = recorded(probe, "snmptrap", *V3, *theirs, "-Z", "7,5001")
    for address, datagram, outcome in (
        (OTHERS["v3"], early, "refused"),
        (TWIN, early, "accepted"),
        (OTHERS["v3"], early, "refused"),
        (OTHERS["v3"], late, "refused"),
        (TWIN, late, "accepted"),
        (TWIN, early, "repeated"),
    ):
        counted = Counted(probe)
        replay(probe, datagram, address)
        wait_for("it is counted", counted.all, 15)
        assert counted[outcome] == 1, (address, outcome)
    inform = relayed_inform(probe, TWIN)
    said(probe, "link_up", "sw-twin")
    counted = Counted(probe)
    replay(probe, inform, OTHERS["v3"])
    wait_for("it is counted", counted.all, 15)
    assert counted["repeated"] == 1
    assert "link_up" not in str(probe.events("sw-v3"))


def relayed_inform(probe: Probe, address: str) -> bytes:
    """An inform of a device as somebody on the way has it, who hands on what is said in both directions."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.1", 0))
        far.bind((address, 0))
        for each in (near, far):
            each.settimeout(10)
        target = f"127.0.0.1:{near.getsockname()[1]}"
        with subprocess.Popen(
            [require("snmpinform"), *V3, target, "", LINK_UP, *PORT],
            env={**os.environ, "MIBS": "", "SNMP_PERSISTENT_DIR": "/nonexistent"},
        ) as sender:
            for _ in range(2):  # a question after the engine, then the inform
                datagram, whose = near.recvfrom(65535)
                far.sendto(datagram, ("127.0.0.1", probe.port))
                near.sendto(far.recv(65535), whose)
            assert sender.wait(20) == 0
        return datagram


@pytest.mark.parametrize("version", ["1", "2c", "3"])
def test_nobody_speaks_for_another_device_in_a_trap(listening: Probe, version: str) -> None:
    """A version 1 trap names an agent-addr, a later one may name snmpTrapAddress: it is its sender's all the same."""
    listening.forget()
    counted, about = Counted(listening), OTHERS["plain3"]
    if version == "1":
        device = "sw-other"
        words = (of("other"), "-v1", "-c", "trapsecret", "--", "1.3.6.1.4.1.9", about, "0", "0", "", *PORT)
    else:
        device = "sw-1" if version == "2c" else "sw-v3"
        own = ("-v2c", "-c", "switch") if version == "2c" else (of("v3"), *V3, "-e", "0x80001f880400000001")
        words = (*own, "--", "", COLD_START, *PORT, "1.3.6.1.6.3.18.1.3.0", "a", about)
    listening.send("snmptrap", *words)
    assert said(listening, "cold_start", device).body["device"] == device
    assert counted["accepted"] == counted.all() == 1
    assert not listening.events("sw-plain3")
    assert about not in str(listening.events(device))


def test_a_trap_of_our_own_engine_is_none(listening: Probe) -> None:
    """Who sends a trap is the engine in it; ours sends none."""
    counted, listener = Counted(listening), listening.source._listener
    assert listener is not None
    assert listener._receiver is not None
    ours = f"0x{listener._receiver._engine_id.hex()}"
    listening.send("snmptrap", of("v3"), *V3, "-e", ours, "-Z", "1,1", "--", "", LINK_DOWN, *PORT)
    wait_for("it is refused", lambda: counted["refused"] == 1, 15)
    assert counted.all() == 1


def test_what_is_not_the_devices_costs_it_nothing(simulator: Simulator, tmp_path: Path) -> None:
    """A flood in its name leaves it its share."""
    with Probe(tmp_path, simulator.port, a_second=20.0) as probe:
        (forged,) = recorded(probe, "snmptrap", "-v2c", "-c", "wrong")
        for _ in range(500):
            replay(probe, forged, "127.0.0.1")
        wait_for("they are counted", lambda: probe.counts["refused"] > 100, 15)
        assert probe.counts["too_many"] == 0
        probe.send("snmptrap", "-v2c", "-c", "switch", "--", "", LINK_DOWN, *PORT)
        said(probe, "link_down")


@given(st.binary(max_size=60), st.sampled_from(["1", "2c", "3"]))
def test_any_octets_begin_with_a_version_and_community_or_not(data: bytes, version: str) -> None:
    assert _begins_with(data, Credential(version=version, community="switch")) in (True, False)


@pytest.mark.parametrize(
    ("datagram", "good"),
    [
        ("30 0d 02 01 01 04 06 737769746368 a0 00", True),
        ("30 81 0d 02 01 01 04 06 737769746368 a0 00", True),
        ("30 82 000f 02 02 0001 04 81 06 737769746368 a0 00", True),
        ("30 80 02 01 01 04 06 737769746368 00 00", False),  # of no bound
        ("30 0d 02 01 00 04 06 737769746368 a0 00", False),
        ("30 0d 02 01 01 24 06 737769746368 a0 00", False),  # constructed
        ("30 0d 02 01 01 04 05 7377697463 a0 00", False),
        ("30 ff 02 01 01 04 06 737769746368", False),
        ("30 0d 02 01 01 04 06 7377", False),
        ("", False),
    ],
)
def test_how_messages_begin(datagram: str, good: bool) -> None:
    assert _begins_with(bytes.fromhex(datagram.replace(" ", "")), Credential(community="switch")) is good


def test_what_is_heard_is_kept_at_once(simulator: Simulator, tmp_path: Path) -> None:
    """A process that is killed hears nothing again."""
    with Probe(tmp_path, simulator.port) as probe:
        trap_of(probe, ENGINE[1], "7,5000", "accepted")
        kept = tmp_path / "snmp-engine.json"
        wait_for("it is on disk", lambda: ENGINE[1][2:] in kept.read_text(), 30)


def test_a_device_speaks_from_its_addresses_and_nobody_else_for_it(probe: Probe) -> None:
    trap = ("-v2c", "-c", "switch", "--", "", COLD_START)
    for source, device in (("127.0.0.2", "sw-2"), ("127.0.0.3", "sw-2")):
        probe.delivered.clear()
        probe.send("snmptrap", f"--clientaddr={source}", *trap)
        said(probe, "cold_start", device)
        probe.source._listener._summary._repeating.clear()  # type: ignore[union-attr]
    probe.send("snmptrap", "--clientaddr=127.0.0.9", *trap)
    wait_for("the stranger is counted", lambda: probe.counts["unknown_sender"] == 1, 15)


def test_garbage_is_counted_and_harmful_to_nobody(probe: Probe) -> None:
    random_ = random.Random(3)
    good = bytes.fromhex("302902010104067377697463 68a71c".replace(" ", ""))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(60):
            size = random_.randrange(1, 200)
            datagram = good[: number % 15] + random_.randbytes(size)
            sender.sendto(datagram, ("127.0.0.1", probe.port))
    wait_for("all are counted", lambda: sum(probe.counts.values()) >= 60, 20)
    assert probe.counts["accepted"] == 0
    probe.send("snmptrap", "-v2c", "-c", "switch", "--", "", LINK_UP, *PORT)
    assert said(probe, "link_up").body["interface"] == "ge1"


def test_a_flood_is_bounded_counted_and_summarised(simulator: Simulator, tmp_path: Path) -> None:
    """Ten thousand a second for two seconds from one device: few events, and the other is heard."""
    with Probe(tmp_path, simulator.port, a_second=40.0) as probe:
        captured = _capture(lambda port: _send_one(port))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            started, sent = time.monotonic(), 0
            while time.monotonic() - started < 2:
                for _ in range(100):
                    sender.sendto(captured, ("127.0.0.1", probe.port))
                    sent += 1
                time.sleep(max(0.0, started + sent / 10_000 - time.monotonic()))
        probe.send("snmptrap", "-v2c", "-c", "switch", "--clientaddr=127.0.0.2", "--", "", COLD_START)
        said(probe, "cold_start", "sw-2")
        assert said(probe, "traps_dropped").body["count"] == 1
        wait_for("the rest is one event that counts", lambda: _counted(probe) > sent / 20, 20)
        assert len(probe.events()) < 20
        assert probe.counts["too_many"] > probe.counts["accepted"]
        kinds = {
            sample.labels["kind"] for name, found in probe.delivered if name == "traps:sw-1" for sample in found.samples
        }
        assert kinds == {"link_down", "traps_dropped"}
        assert probe.polls() < 6  # polls that traps ask for are seconds apart


def _counted(probe: Probe) -> int:
    return sum(event.body["count"] for event in probe.events() if event.kind == "traps_dropped")


def _send_one(port: int) -> None:
    trap = [require("snmptrap"), "-v2c", "-c", "switch", f"127.0.0.1:{port}", "", LINK_DOWN, *PORT]
    subprocess.run(trap, env={**os.environ, "MIBS": ""}, check=True)


def _capture(send: Callable[[int], None]) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        send(listener.getsockname()[1])
        return listener.recv(65536)


def test_the_gate_gives_each_device_a_share() -> None:
    gate = Gate(100)
    raving = sum(gate.admits("a") for _ in range(1000))
    assert raving == 50  # twice a quarter of a hundred at once
    assert all(gate.admits("b") for _ in range(40))


def test_what_repeats_is_bounded() -> None:
    summary = Summary()
    kept = [summary.add("sw", Notification("link_down", "1.2", f"ge{number}")) for number in range(1200)]
    assert sum(kept) == 1000
    assert len(summary.take()["sw"]) == 1000
    assert summary.take() == {}


OAM = "1.3.6.1.2.1.158.1.6.1.4.1.1"


@pytest.mark.parametrize(
    ("bindings", "kind", "interface"),
    [
        ([(TRAP_OID, "1.3.6.1.2.1.158.0.2"), (OAM, 257)], "dying_gasp", ""),
        ([(TRAP_OID, "1.3.6.1.2.1.158.0.2"), (OAM, 256)], "ethernet_oam", ""),
        ([(TRAP_OID, LINK_DOWN), ("1.3.6.1.2.1.31.1.1.1.1.7", b"ge7")], "link_down", "ge7"),
        ([(TRAP_OID, LINK_DOWN), ("1.3.6.1.2.1.2.2.1.8.7", 2)], "link_down", "ifIndex 7"),
        ([(TRAP_OID, LINK_DOWN), ("1.3.6.1.2.1.2.2.1.8.3", 2)], "link_down", "ge3"),
        ([(TRAP_OID, "1.3.6.1.4.1.9.9.117.2.0.4"), ("1.3.6.1.2.1.47.1.1.1.1.2.12", b"PSU")], "entities_changed", ""),
        ([(TRAP_OID, "1.3.6.1.4.1.9.9.91.2.0.1"), ("1.3.6.1.2.1.47.1.1.1.1.2.40", b"Rx")], "sensor_threshold", "ge4"),
        ([], "snmp_trap", ""),
    ],
)
def test_what_notifications_mean(bindings: list[tuple[str, Any]], kind: str, interface: str) -> None:
    found = understand(bindings, {"3": "ge3"}, {"40": "ge4"})
    assert (found.kind, found.interface) == (kind, interface)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([TRAP_OID, "1.3.6.1.2.1.2.2.1.2.7", OAM, "1.3.6.1.2.1.47.1.1.1.1.2.x", "1.3", ""]),
            st.one_of(st.none(), st.binary(max_size=300), st.text(max_size=300), st.integers(), st.floats()),
        ),
        max_size=40,
    )
)
def test_any_bindings_are_a_notification(bindings: list[tuple[str, Any]]) -> None:
    found = understand(bindings, {}, {})
    assert len(found.values) <= 20
    assert all(len(value) <= 200 for value in found.values.values())
