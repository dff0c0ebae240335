"""Configuration, schedule, echoes, transport and texts of the agent."""

from __future__ import annotations

import json
import socket
import string
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from haidang_agent import texts
from haidang_agent.config import SourceConfig, load_config
from haidang_agent.delivery.assignment import FILE, Assignments
from haidang_agent.identity.enrolment import normal_fingerprint
from haidang_agent.path import icmp
from haidang_agent.schedule.grid import Grid
from haidang_agent.schedule.runner import Runner
from haidang_agent.schedule.source import Findings
from haidang_agent.sources.itself import Itself
from haidang_agent.transport import Answer, Transport
from haidang_wire.errors import ConfigError, HaidangError
from haidang_wire.labels import is_identifier, to_identifier
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Center, agent_command, wait_for


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spool = 3", ["spool must be a table"]),
        ("[spool]\nmax_byts = 3", ["unknown key spool.max_byts", "max_bytes"]),
        ("[spool]\nmax_bytes = 'x'", ["spool.max_bytes must be a whole number"]),
        ("[spool]\nmax_bytes = 1", ["spool.max_bytes must be at least"]),
        ("[sources.host]\nenabled = 1", ["sources.host.enabled must be true or false"]),
        ("log_level = 'loud'", ["log_level must be"]),
        ("not toml", ["not valid TOML"]),
        ("[[sources.reachability.targets]]\nname = 'gateway'\naddress = 'x'", ["targets", "gateway"]),
    ],
)
def test_configuration_faults_name_file_and_key(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(file)
    for word in [str(file), *words]:
        assert word in str(error.value)


def test_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        "[sources.reachability]\nechoes = 2\n[[sources.reachability.targets]]\nname = 'Hà Nội'\naddress = '::1'"
    )
    reachability = load_config(file).sources.reachability
    assert (reachability.echoes, reachability.targets[0].name) == (2, "Hà Nội")


class Hanging:
    name = "hanging"

    def __init__(self) -> None:
        self.release = threading.Event()

    def collect(self) -> Findings:
        self.release.wait(30)
        return Findings()


class Raising:
    name = "raising"

    def collect(self) -> Findings:
        raise ZeroDivisionError


class Good:
    name = "good"

    def collect(self) -> Findings:
        return Findings()


def test_a_source_that_hangs_or_raises_delays_nobody_and_shows() -> None:
    runs: list[str] = []
    config = SourceConfig(interval_seconds=0.05, jitter_seconds=0.0, timeout_seconds=0.1)
    hanging = Hanging()
    runners = [Runner(s, config, "pc", lambda name, *_: runs.append(name)) for s in (hanging, Raising(), Good())]
    for runner in runners:
        runner.start()
    wait_for("the good one runs on", lambda: runs.count("good") > 5, 5)
    wait_for("the hanging one is overdue", lambda: runners[0].overdue, 5)
    itself = Itself()
    itself.runners = runners
    samples = {(s.metric, *s.labels.values()): s.value for s in itself.collect().samples}
    assert samples["haidang_agent_source_up", "hanging"] == 0
    assert samples["haidang_agent_source_failures_total", "hanging", "timeout"] == 1
    assert samples["haidang_agent_source_up", "raising"] == 0
    assert samples["haidang_agent_source_failures_total", "raising", "error"] >= 1
    assert samples["haidang_agent_source_up", "good"] == 1
    for runner in runners:
        runner.stop()
    hanging.release.set()
    for runner in runners:
        runner.join(5)


@given(st.text(max_size=30))
def test_any_name_becomes_an_identifier(text: str) -> None:
    assert is_identifier(to_identifier(text))


@given(st.text(max_size=30), st.floats(min_value=0, max_value=1e9))
def test_what_is_due_is_so_at_its_own_place_of_each_interval(name: str, now: float) -> None:
    grid = Grid(15.0, name)
    due = grid.after(now)
    assert -0.001 < due - now < 15.001
    assert grid.after(due + 0.001) == pytest.approx(due + 15)
    assert Grid(15.0, name).after(now) == due  # after a restart, too


def test_vietnamese_names_fold() -> None:
    assert to_identifier("Sở Y tế Đắk Lắk") == "so-y-te-dak-lak"


def test_echoes_on_loopback() -> None:
    try:
        icmp.open_socket(socket.AF_INET).close()
    except OSError:
        pytest.skip("this user may not send echo requests")
    answers = icmp.echo({"four": "127.0.0.1", "nobody": "does-not-exist.invalid"}, count=3, timeout=1)
    assert len(answers["four"]) == 3
    assert all(0 < seconds < 0.5 for seconds in answers["four"])
    assert answers["nobody"] == []


def test_every_text_has_both_languages_with_the_same_fields() -> None:
    def fields(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key, (english, vietnamese) in texts._TEXTS.items():
        assert fields(english) == fields(vietnamese), key
        assert english
        assert vietnamese


@pytest.mark.parametrize("url", ["http://x", "https://", "https://x:port", "https://x/path", "x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(HaidangError):
        Transport(url, ca_file=None)


def test_fingerprints_in_any_writing() -> None:
    plain = "ab" * 32
    assert normal_fingerprint(f"SHA256:{':'.join(['AB'] * 32)}") == plain
    with pytest.raises(HaidangError):
        normal_fingerprint("ab")


def test_once_prints_the_report_and_nothing_else() -> None:
    done = agent_command("once", "--source", "host", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["source"] == "host"
    names = {sample["metric"] for sample in document["samples"]}
    assert {"haidang_host_cpu_seconds_total", "haidang_host_memory_size_bytes", "haidang_host_uptime_seconds"} <= names
    assert set(document["samples"][0]) == {"metric", "labels", "value"}
    assert agent_command("once", "--source", "none").returncode == 1


class ConnectProxy(threading.Thread):
    """A real CONNECT proxy of a few lines: what the environment names must be used."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.asked: list[str] = []

    def run(self) -> None:
        while True:
            client, _ = self.listener.accept()
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            target = head.split()[1].decode()
            self.asked.append(target)
            host, _, port = target.rpartition(":")
            server = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_the_proxy_of_the_environment_is_used(center: Center, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = center.enrol(tmp_path / "agent")
    proxy = ConnectProxy()
    proxy.start()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")

    def ask() -> Any:
        transport = Transport(center.url, ca_file=folder / "ca.pem", identity_file=folder / "identity.pem")
        answer = transport.request("GET", "/v1/assignment")
        transport.close()
        return answer.json()

    assert ask() == {
        "agent": "may-1", "site": "ttdl", "devices": [], "paths": [], "services": [], "last_user": False
    }  # fmt: skip
    assert proxy.asked == [f"127.0.0.1:{center.port}"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ask()
    assert len(proxy.asked) == 1


def test_the_run_command_says_what_is_missing(tmp_path: Path) -> None:
    started = time.monotonic()
    done = agent_command("run", "--state-dir", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "not enrolled" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 20


class Answers:
    """In the place of a transport: what the collector answers to GET /v1/assignment."""

    def __init__(self, status: int, document: object) -> None:
        self.answer = Answer(status, {}, json.dumps(document).encode(), None)
        self.asked = 0

    def request(self, method: str, path: str) -> Answer:
        assert (method, path) == ("GET", "/v1/assignment")
        self.asked += 1
        return self.answer


DEVICE = {"id": "sw", "address": "10.0.0.1", "credential": "core", "of_a_later_version": [1]}


def test_an_assignment_is_fetched_when_it_changes_and_kept(tmp_path: Path) -> None:
    collector: Any = Answers(200, {"agent": "a", "site": "s", "devices": [DEVICE]})
    mine, changes = Assignments(tmp_path), []
    mine.listeners.append(lambda: changes.append(mine.current))
    mine.follow("", collector)
    assert (collector.asked, changes) == (0, [])
    for _ in range(3):
        mine.follow("v1", collector)
    assert collector.asked == 1
    (device,) = mine.current.devices
    assert (device.id, device.port, device.credential) == ("sw", 161, "core")
    again = Assignments(tmp_path)  # after a restart without the center
    assert again.current == mine.current
    again.follow("v1", collector)
    assert collector.asked == 1
    again.follow("", collector)
    assert again.current.devices == ()
    assert len(changes) == 1


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"devices": 7}, {"devices": ["x"]}, {"devices": [{"id": "a"}]}, {"devices": [{**DEVICE, "port": "161"}]},
        {"devices": [{**DEVICE, "trap_addresses": "10.0.0.2"}]}, {"devices": [{**DEVICE, "address": 1}]},
        {"devices": [], "paths": 7}, {"devices": [], "paths": [{"target": "a"}]}, {"devices": [], "paths": ["x"]},
        {"devices": [], "paths": [{"target": "a", "address": "10.0.0.1", "stamp_port": "862"}]},
    ],
)  # fmt: skip
def test_a_wrong_assignment_leaves_the_one_in_force(tmp_path: Path, document: object) -> None:
    mine = Assignments(tmp_path)
    good: Any = Answers(200, {"devices": [DEVICE]})
    mine.follow("v1", good)
    bad: Any = Answers(200, document)
    with pytest.raises(HaidangError):
        mine.follow("v2", bad)
    refusing: Any = Answers(503, {"detail": "busy"})
    with pytest.raises(HaidangError, match="busy"):
        mine.follow("v2", refusing)
    assert [device.id for device in mine.current.devices] == ["sw"]


@given(st.binary(max_size=300))
def test_any_kept_assignment_is_used_or_none(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "kept"
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(raw)
    assert isinstance(Assignments(folder).current.devices, tuple)
