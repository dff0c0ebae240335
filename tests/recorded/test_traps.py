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
from haidang_agent.snmp.flood import Gate, Summary
from haidang_agent.snmp.notifications import TRAP_OID, Notification, understand
from haidang_agent.source import Findings
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
community = "trapsecret"
[v3]
version = "3"
user = "reporter"
auth = "sha256"
auth_password = "authsecret"
privacy = "aes128"
privacy_password = "privsecret"
[plain3]
version = "3"
user = "md5"
auth = "md5"
auth_password = "authsecret"
"""


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
        wait_for("both are polled", lambda: {"snmp:sw-1", "snmp:sw-2"} <= {name for name, _ in self.delivered})
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


def said(probe: Probe, kind: str, device: str = "sw-1") -> Event:
    found: list[Event] = wait_for(
        f"a {kind} of {device}", lambda: [event for event in probe.events(device) if event.kind == kind], 15
    )
    return found[0]


PORT = ("1.3.6.1.2.1.2.2.1.1.1", "i", "1")


@pytest.mark.parametrize(
    ("program", "options"),
    [
        ("snmptrap", ("-v2c", "-c", "switch")),
        ("snmpinform", ("-v2c", "-c", "switch")),
        ("snmptrap", (*V3, "-e", "0x80001f8804aabbccdd")),
        ("snmpinform", V3),
        ("snmpinform", ("-v3", "-u", "md5", "-l", "authNoPriv", "-a", "MD5", "-A", "authsecret")),
    ],
)
def test_a_link_down_is_an_event_of_a_port_and_starts_a_poll(
    probe: Probe, program: str, options: tuple[str, ...]
) -> None:
    before = probe.polls()
    done = probe.send(program, *options, "--", "", LINK_DOWN, *PORT)
    assert done.returncode == 0, done.stderr  # an inform that is not acknowledged fails
    event = said(probe, "link_down")
    assert event.body["device"] == "sw-1"
    assert event.body["interface"] == "ge1"
    assert abs(event.at - time.time()) < 30
    wait_for("the device is polled again", lambda: probe.polls() > before, 15)
    assert not any(secret in str(probe.delivered) for secret in ("authsecret", "privsecret"))


def test_version_1_and_vendor_traps(probe: Probe) -> None:
    apc = ("1.3.6.1.4.1.318", "127.0.0.1", "6", "5", "")
    assert probe.send("snmptrap", "-v1", "-c", "trapsecret", "--", *apc).returncode == 0
    event = said(probe, "ups_on_battery")
    assert event.body["trap"] == "1.3.6.1.4.1.318.0.5"
    assert "trapsecret" not in str(event)  # a converted trap brings its community along
    probe.send("snmptrap", "-v1", "-c", "switch", "--", "1.3.6.1.4.1.9", "127.0.0.1", "2", "0", "", *PORT)
    assert said(probe, "link_down").body["interface"] == "ge1"
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
        wait_for("and polled again", lambda: probe.polls("sw-1") > before, 20)


def test_a_device_may_have_had_other_engine_ids(probe: Probe) -> None:
    """Keys are made for each; a third takes the place of the first."""
    for number, kind in enumerate((LINK_DOWN, LINK_UP, COLD_START, LINK_DOWN)):
        engine = f"0x80001f8804aabbcc{number % 3:02x}"
        assert probe.send("snmptrap", *V3, "-e", engine, "--", "", kind, *PORT).returncode == 0
        wait_for("it is accepted", lambda n=number: probe.counts["accepted"] == n + 1, 15)
    assert probe.counts["refused"] == 0


def test_traps_over_ipv6(simulator: Simulator, tmp_path: Path) -> None:
    with Probe(tmp_path, simulator.port, address="::") as probe:
        probe.send("snmptrap", "-v2c", "-c", "switch", "--", "", LINK_DOWN, *PORT)  # mapped: ::ffff:127.0.0.1
        assert said(probe, "link_down").body["interface"] == "ge1"


@pytest.mark.parametrize(
    "options",
    [
        ("-v2c", "-c", "wrong"),
        ("-v3", "-u", "nobody", "-l", "noAuthNoPriv", "-e", "0x80001f8804aabbccdd"),
        ("-v3", "-u", "reporter", "-l", "noAuthNoPriv", "-e", "0x80001f8804aabbccdd"),  # the name without the password
        ("-v3", "-u", "md5", "-l", "authNoPriv", "-a", "MD5", "-A", "wrongsecret", "-e", "0x80001f8804aabbccdd"),
    ],
)
def test_without_the_credential_nothing_is_heard(probe: Probe, options: tuple[str, ...]) -> None:
    probe.send("snmptrap", *options, "--", "", LINK_DOWN, *PORT)
    wait_for("it is refused", lambda: probe.counts["refused"] == 1, 15)
    assert probe.counts["accepted"] == 0
    assert probe.events() == []


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
