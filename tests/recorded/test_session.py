"""Sessions and polls against a device that loses, delays, garbles and cuts answers."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from haidang_agent.config import SnmpConfig
from haidang_agent.delivery.assignment import FILE, Assignments
from haidang_agent.snmp.credentials import Credential, load_credentials
from haidang_agent.snmp.device import Memory
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.poll import poll
from haidang_agent.snmp.profile import load_profiles
from haidang_agent.snmp.session import Manner, Session
from haidang_agent.sources.snmp import Snmp
from haidang_wire.assignment import AssignedDevice, Assignment, assignment_json
from haidang_wire.errors import ConfigError

from tests.conftest import BIN, ROOT, Processes, free_port, require, wait_for
from tests.recorded.snmp import Simulator

OWN = ROOT / "tests/recorded/own"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    work = tmp_path_factory.mktemp("snmpsim")
    processes = Processes(work)
    try:
        yield Simulator(OWN, work, processes)
    finally:
        processes.stop()


class Path_(threading.Thread):
    """A path to a device on which `treat` decides what becomes of each answer: the datagrams to hand on."""

    def __init__(self, port: int, treat: Callable[[int, bytes], list[bytes]]) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._device, self._treat, self.answers = port, treat, 0
        self.start()

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
            onward.connect(("127.0.0.1", self._device))
            onward.settimeout(5)
            while True:
                try:
                    question, asker = self.socket.recvfrom(65536)
                    onward.send(question)
                    answer = onward.recv(65536)
                except OSError:
                    return
                self.answers += 1
                for datagram in self._treat(self.answers, answer):
                    self.socket.sendto(datagram, asker)


def ask(port: int, manner: Manner | None = None, **changes: Any) -> Poll:
    arguments: dict[str, Any] = {"timeout_seconds": 0.3, "retries": 2, **changes}
    session = Session("127.0.0.1", port, Credential(community="switch"), manner=manner, **arguments)
    return asyncio.run(poll("sw", session, load_profiles()))


def assigned(folder: Path, *devices: AssignedDevice) -> Assignments:
    kept = {"version": "1", "assignment": assignment_json(Assignment(devices))}
    (folder / FILE).write_text(json.dumps(kept))
    return Assignments(folder)


def values(found: Poll, metric: str) -> dict[str, float]:
    return {
        "/".join(value for key, value in labels if key != "device"): number
        for (name, labels), number in found.samples.items()
        if name == f"haidang_{metric}"
    }


def check(found: Poll) -> None:
    assert values(found, "interface_up") == {"ge1": 1, "xe1 (2)": 0, "xe1 (3)": 0}
    assert values(found, "interface_admin_up") == {"ge1": 1, "xe1 (2)": 1, "xe1 (3)": 0}
    assert values(found, "interface_speed_bytes_per_second") == {
        "ge1": 1e9 / 8,
        "xe1 (2)": 1e10 / 8,
        "xe1 (3)": 1e8 / 8,
    }
    # 64-bit counters where there are some.
    assert values(found, "interface_receive_bytes_total") == {
        "ge1": 10000000001,
        "xe1 (2)": 20000000002,
        "xe1 (3)": 3000,
    }
    assert values(found, "optical_receive_power_dbm") == {"ge1/": pytest.approx(-18.5)}
    assert values(found, "optical_temperature_celsius") == {"ge1/": pytest.approx(41.5)}
    assert values(found, "device_temperature_celsius") == {"Chassis Temperature": 38}  # the broken one is not read
    facts = {fact.kind: fact.body for fact in found.facts}
    assert facts["device"]["location"] == "UBND huyện An Bình"
    assert (facts["device"]["model"], facts["device"]["serial"]) == ("Model X", "SN-0001")
    assert facts["neighbours"]["neighbours"] == [
        {
            "protocol": "lldp", "interface": "ge1", "system": "core-1", "chassis": "00:11:22:33:44:55",
            "port": "xe-0/0/1", "port_description": "lên trung tâm",
        }
    ]  # fmt: skip


def test_a_device_nobody_described_is_read_by_the_standard_tables(simulator: Simulator) -> None:
    found = ask(simulator.port, timeout_seconds=5)
    assert (found.profile, found.notes) == ("generic", [])
    assert values(found, "device_uptime_seconds") == {"": 86400}
    check(found)


def test_a_third_of_the_answers_lost(simulator: Simulator) -> None:
    path = Path_(simulator.port, lambda number, answer: [] if number % 3 == 0 else [answer])
    found = ask(path.port)
    assert found.notes == []
    check(found)


def test_garbage_and_truncated_answers_before_the_right_one(simulator: Simulator) -> None:
    path = Path_(
        simulator.port,
        lambda number, answer: (
            [b"\x30\xff garbage", answer[: len(answer) // 2], answer] if number % 4 == 0 else [answer]
        ),
    )
    check(ask(path.port, retries=6))


def test_answers_twice_and_out_of_turn(simulator: Simulator) -> None:
    before: list[bytes] = []

    def treat(number: int, answer: bytes) -> list[bytes]:
        old = before[-1:]
        before.append(answer)
        return [*old, answer, answer]

    check(ask(Path_(simulator.port, treat).port, retries=6))


def test_a_path_that_takes_no_large_packets_is_remembered(simulator: Simulator) -> None:
    path = Path_(simulator.port, lambda _, answer: [] if len(answer) > 500 else [answer])
    manner = Manner()
    check(ask(path.port, manner, retries=0))
    assert manner.step > 0
    answers = path.answers
    check(ask(path.port, manner, retries=0))
    assert path.answers - answers < answers


def test_a_device_that_dies_half_way_gives_what_was_read(simulator: Simulator) -> None:
    path = Path_(simulator.port, lambda number, answer: [answer] if number < 12 else [])
    found = ask(path.port, timeout_seconds=0.1, retries=1)
    assert values(found, "device_up") == {"": 1}
    assert values(found, "device_poll_complete") == {"": 0}
    assert "answer" in found.notes[0]
    assert len(found.notes) <= 3  # and it is not asked on for every table


def test_a_device_that_never_answers_is_down() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        found = ask(silent.getsockname()[1], timeout_seconds=0.05)
    assert values(found, "device_up") == {"": 0}
    assert "does not answer" in found.notes[0]


def test_a_device_that_goes_in_circles_is_left(simulator: Simulator) -> None:
    """Every answer to a bulk request is the first one of its kind again."""
    from pyasn1.codec.ber import decoder, encoder
    from pysnmp.proto import api

    protocol = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
    names: list[Any] = []

    def circle(number: int, answer: bytes) -> list[bytes]:
        message, _ = decoder.decode(answer, asn1Spec=protocol.Message())
        pdu = protocol.apiMessage.get_pdu(message)
        bindings = protocol.apiPDU.get_varbinds(pdu)
        if len(bindings) > 5 and not str(bindings[0][0]).startswith("1.3.6.1.2.1.1."):
            protocol.apiPDU.set_varbinds(pdu, [bindings[0]] * len(bindings))
            names.append(bindings[0][0])
        return [encoder.encode(message)]

    found = ask(Path_(simulator.port, circle).port, timeout_seconds=2)
    assert names
    assert any("does not increase" in note for note in found.notes)


def test_version_1_has_no_bulk(simulator: Simulator) -> None:
    session = Session("127.0.0.1", simulator.port, Credential(version="1", community="switch"), timeout_seconds=5)
    found = asyncio.run(poll("sw", session, load_profiles()))
    assert values(found, "interface_up") == {"ge1": 1, "xe1 (2)": 0, "xe1 (3)": 0}
    assert values(found, "optical_receive_power_dbm") == {"ge1/": pytest.approx(-18.5)}


def test_the_source_reports_each_device_by_itself(simulator: Simulator, tmp_path: Path) -> None:
    secrets = tmp_path / "snmp.toml"
    secrets.write_text('[core]\ncommunity = "switch"\n')
    secrets.chmod(0o600)
    assignments = assigned(
        tmp_path,
        AssignedDevice("sw-1", "127.0.0.1", simulator.port, "core"),
        AssignedDevice("sw-2", "127.0.0.1", free_port(), "core"),
        AssignedDevice("sw-3", "127.0.0.1", simulator.port, "unknown"),
        AssignedDevice("sw-4", "127.0.0.1", simulator.port, "core", "no-such-profile"),
    )
    source = Snmp(SnmpConfig(credentials_file=str(secrets), answer_seconds=0.5, retries=0), assignments, tmp_path)
    samples = source.collect().samples
    up = [(s.labels["device"], s.value) for s in samples if s.metric == "haidang_device_up"]
    assert sorted(up) == [("sw-1", 1), ("sw-2", 0), ("sw-3", 0), ("sw-4", 0)]
    assert "switch" not in json.dumps([s.labels for s in samples])


def test_devices_that_are_gone_hold_nobody_up(simulator: Simulator, tmp_path: Path) -> None:
    secrets = tmp_path / "snmp.toml"
    secrets.write_text('[core]\ncommunity = "switch"\n')
    secrets.chmod(0o600)
    gone = [AssignedDevice(f"gone-{number}", "127.0.0.1", free_port(), "core") for number in range(30)]
    assignments = assigned(tmp_path, *gone, AssignedDevice("sw", "127.0.0.1", simulator.port, "core"))
    config = SnmpConfig(credentials_file=str(secrets), answer_seconds=1.0, retries=1, at_once=1)
    started = time.monotonic()
    samples = Snmp(config, assignments, tmp_path).collect().samples
    assert time.monotonic() - started < 30  # one after the other they would take a minute
    assert sum(each.labels["device"] == "sw" for each in samples) > 20


def test_a_poll_that_takes_too_long_gives_what_it_has(simulator: Simulator) -> None:
    def slowly(number: int, answer: bytes) -> list[bytes]:
        time.sleep(0.05)
        return [answer]

    session = Session(
        "127.0.0.1", Path_(simulator.port, slowly).port, Credential(community="switch"), limit_seconds=1.0
    )
    found = asyncio.run(poll("sw", session, load_profiles()))
    assert values(found, "device_up") == {"": 1}
    assert values(found, "device_poll_complete") == {"": 0}
    assert any("took longer than 1 seconds" in note for note in found.notes)


def test_discovery_proposes_what_answers(simulator: Simulator, tmp_path: Path) -> None:
    secrets, config = tmp_path / "snmp.toml", tmp_path / "agent.toml"
    secrets.write_text('[wrong]\ncommunity = "nobody"\n[core]\ncommunity = "switch"\n')
    secrets.chmod(0o600)
    config.write_text(f'[sources.snmp]\ncredentials_file = "{secrets}"\nanswer_seconds = 0.5\n')
    command = [str(BIN / "haidang-agent"), "discover", "--config", str(config), "--port", str(simulator.port)]
    done = subprocess.run([*command, "127.0.0.0/29"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (proposed,) = yaml.safe_load(done.stdout)["devices"]
    assert proposed.pop("agent")
    address = {"address": "127.0.0.1", "port": simulator.port}
    assert proposed == {"id": "sw-an-binh", "site": "SITE", "credential": "core", **address}
    for network, wanted in (("10.0.0.0/8", "more than 4096"), ("here", "is no network")):
        done = subprocess.run([*command, network], capture_output=True, text=True)
        assert done.returncode == 1
        assert wanted in done.stderr


@pytest.mark.parametrize(
    ("text", "mode", "wanted"),
    [
        ('[a]\ncommunity = "x"\n', 0o644, "others can read it"),
        ('[a]\nversion = "4"\n', 0o600, "a.version must be"),
        ('[a]\nversion = "3"\nuser = "u"\nauth = "sha256"\nauth_password = "short"\n', 0o600, "at least 8"),
        ('[a]\nversion = "3"\nuser = "u"\nprivacy = "des"\nprivacy_password = "longenough"\n', 0o600, "needs auth"),
        ('[a]\ncomunity = "topsecret"\n', 0o600, "unknown key a.comunity"),
        ("[a]\ncommunity = 12345\n", 0o600, "a.community must be text"),
    ],
)
def test_bad_credentials_are_explained_without_being_told(tmp_path: Path, text: str, mode: int, wanted: str) -> None:
    file = tmp_path / "snmp.toml"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError) as error:
        load_credentials(file)
    assert wanted in str(error.value)
    assert "topsecret" not in str(error.value)
    assert "12345" not in str(error.value)


V3 = [
    ("", ""), ("md5", ""), ("sha", "des"), ("sha", "aes128"), ("sha224", "aes128"), ("sha256", "aes128"),
    ("sha384", "aes192"), ("sha512", "aes256"),
]  # fmt: skip


def test_version_3_against_net_snmp(tmp_path: Path, processes: Processes) -> None:
    """Every level and algorithm, read from a real agent."""
    port = free_port()
    lines = [f"agentaddress udp:127.0.0.1:{port}", "rocommunity public 127.0.0.1"]
    credentials = []
    for number, (auth, privacy) in enumerate(V3):
        user = f"user{number}"
        names = {"sha224": "SHA-224", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
        ciphers = {"des": "DES", "aes128": "AES", "aes192": "AES-192", "aes256": "AES-256"}
        words = [f"createUser {user}"]
        if auth:
            words.append(f'{names.get(auth, auth.upper())} "authpassword"')
        if privacy:
            words.append(f'{ciphers[privacy]} "privpassword"')
        lines += [" ".join(words), f"rouser {user} {'priv' if privacy else 'auth' if auth else 'noauth'}"]
        credentials.append(
            Credential(
                version="3", user=user, auth=auth, auth_password="authpassword" if auth else "",
                privacy=privacy, privacy_password="privpassword" if privacy else "",
            )
        )  # fmt: skip
    config = tmp_path / "snmpd.conf"
    config.write_text("\n".join(lines) + "\n")
    # `-C -c`: our file alone; its state goes into the folder of the test.
    command = [require("snmpd"), "-f", "-Lo", "-C", "-c", str(config), "-p", str(tmp_path / "pid")]
    processes.start("snmpd", *command, env={"SNMP_PERSISTENT_DIR": str(tmp_path / "state"), "MIBS": ""})

    memory = Memory()

    def read(credential: Credential) -> Poll:
        session = Session("127.0.0.1", port, credential, timeout_seconds=1, retries=1)
        return asyncio.run(poll("this", session, load_profiles(), memory=memory))

    wait_for("snmpd answers", lambda: values(read(Credential(community="public")), "device_up") == {"": 1}, 20)
    for credential in credentials:
        found = read(credential)
        assert values(found, "device_up") == {"": 1}, (credential, found.notes)
        assert values(found, "interface_up")["lo"] == 1, credential
        # Its engine, for its traps: only where nobody else can say so.
        assert (memory.engine is not None and memory.engine.boots == 1) is bool(credential.auth)
    wrong = read(Credential(version="3", user="user3", auth="sha", auth_password="wrongpassword"))
    assert values(wrong, "device_up") == {"": 0}
    assert "wrongpassword" not in " ".join(wrong.notes)
    # By hand, for people and for programs.
    done = subprocess.run(
        [str(BIN / "haidang-agent"), "device", "127.0.0.1", "--port", str(port), "--name", "this"],
        capture_output=True,
        text=True,
    )
    assert "net-snmp" in done.stdout.lower() or "linux" in done.stdout.lower(), done.stderr
    assert "lo " in done.stdout
    done = subprocess.run(
        [str(BIN / "haidang-agent"), "device", "127.0.0.1", "--port", str(port), "--json"],
        capture_output=True,
        text=True,
    )
    report = json.loads(done.stdout)
    assert report["source"] == "snmp:127.0.0.1"
    assert {"metric": "haidang_device_up", "labels": {"device": "127.0.0.1"}, "value": 1} in report["samples"]
