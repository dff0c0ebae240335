"""Whoever got hold of the collector's key, of the line or of a proxy answers an agent whatever it likes: the agent goes
on measuring, keeps what it measured, and delivers it once it is answered well."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.config import UplinkConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.delivery.spool import Spool
from haidang_agent.delivery.uplink import Uplink
from haidang_agent.identity import enrolment as identities
from haidang_agent.schedule.source import Findings
from haidang_agent.transport import NetworkError, Transport
from haidang_collector.identity.authority import Authority, new_key_and_request
from haidang_wire.report import Event

from tests.conftest import BIN, Center, Processes, wait_for

pytestmark = pytest.mark.system
Send = Callable[[bytes], None]
CONFIG = UplinkConfig(timeout_seconds=1.0, backoff_max_seconds=1.0)


class Hostile:
    """An HTTPS server with the CA's own keys. `answer(path, body, send)` says what it likes; after `times` requests of
    that path it is a good collector."""

    def __init__(self, folder: Path) -> None:
        (folder / "ca").mkdir()
        authority = Authority(folder / "ca")
        authority.ensure_server(("127.0.0.1", "localhost"))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.server_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.state = folder / "agent"
        self.state.mkdir(mode=0o700)
        key, request = new_key_and_request("may-1")
        issued = authority.issue_client(request, "agent", "may-1", 30)
        (self.state / "identity.pem").write_bytes(key + issued.pem.encode())
        (self.state / "ca.pem").write_text(authority.pem)
        identity = identities.Identity(self.state, self.url, "may-1", "ttdl", issued.begins, issued.ends)
        document = {name: value for name, value in asdict(identity).items() if name != "state_dir"}
        (self.state / "enrolment.json").write_text(json.dumps(document))
        self.answer: Callable[[str, bytes, Send], None] | None = None
        self.path, self.times = "/v1/reports", 0
        self.assignment = ""
        self.delivered: dict[tuple[int, int], dict[str, Any]] = {}
        self.order: list[list[dict[str, Any]]] = []
        self.attacked = threading.Event()
        self._over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def attack(self, answer: Callable[[str, bytes, Send], None], path: str = "/v1/reports", times: int = 1) -> None:
        self.answer, self.path, self.times = answer, path, times
        self.attacked.clear()

    def close(self) -> None:
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), self._context.wrap_socket(client, server_side=True) as wrapped:
            file = wrapped.makefile("rb")
            while line := file.readline():
                path, length = line.split()[1].decode(), 0
                while (header := file.readline()) not in (b"\r\n", b""):
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                body = file.read(length)
                if self.times and path == self.path and self.answer:
                    self.times -= 1
                    self.attacked.set()
                    self.answer(path, body, wrapped.sendall)
                    return
                wrapped.sendall(http("404 No") if path == "/v1/time" else ok(self._good(path, body)))

    def _good(self, path: str, body: bytes) -> Any:
        if path != "/v1/reports":
            return {"agent": "may-1", "site": "ttdl", "devices": [], "paths": []}
        reports = [each["report"] for each in json.loads(gzip.decompress(body))["reports"]]
        self.order.append(reports)
        for report in reports:
            known = self.delivered.setdefault((report["epoch"], report["sequence"]), report)
            assert known == report
        return {"received": time.time(), "accepted": len(reports), "refused": [], "assignment": self.assignment}


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def ok(document: Any, **headers: str) -> bytes:
    return http("200 OK", document if isinstance(document, bytes) else json.dumps(document).encode(), **headers)


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Hostile]:
    server = Hostile(tmp_path)
    yield server
    server.close()


class Agent:
    """The agent's half that talks: spool and uplink, as the service has them."""

    def __init__(self, hostile: Hostile, config: UplinkConfig = CONFIG) -> None:
        self.spool = Spool(hostile.state / "spool.db", 10**8, 30 * 86400.0)
        self.assignments = Assignments(hostile.state)
        self.uplink = Uplink(identities.load(hostile.state), self.spool, self.assignments, config)
        self.put = 0

    def say(self, source: str = "host", *, event: str = "") -> None:
        self.put += 1
        self.spool.put("may-1", source, time.time(), 15.0, Findings(events=[Event(event, 1.0)] if event else []))
        self.uplink.wake(at_once=True)


@pytest.fixture
def agent(hostile: Hostile) -> Iterator[Agent]:
    running = Agent(hostile)
    running.uplink.start()
    yield running
    running.uplink.stop(1.0)


def deep(levels: int = 100_000) -> bytes:
    return b"[" * levels + b"]" * levels


RECEIPT = {"received": 1e9, "accepted": 1, "refused": [], "assignment": ""}
RECEIPTS: dict[str, Any] = {
    "no JSON": b"<html>",
    "nothing": b"",
    "null": None,
    "a list": [RECEIPT],
    "a text": "received",
    "nested": deep(),
    "nested inside": b'{"received": 1, "refused": ' + deep() + b"}",
    "received not a number": b'{"received": NaN, "refused": []}',
    "received infinite": b'{"received": 1e999, "refused": []}',
    "received beyond floats": b'{"received": 1' + b"0" * 400 + b', "refused": []}',
    "received a text": {**RECEIPT, "received": "soon"},
    "received an object": {**RECEIPT, "received": {}},
    "refused null": {**RECEIPT, "refused": None},
    "refused a number": {**RECEIPT, "refused": 1},
    "refused texts": {**RECEIPT, "refused": ["x"]},
    "refused without detail": {**RECEIPT, "refused": [{"epoch": 1, "sequence": 1}]},
    "refused lists": {**RECEIPT, "refused": [{"epoch": [], "sequence": {}, "detail": ""}]},
    "not UTF-8": b'{"received": "\xff"}',
    "large": b'{"received": 1, "refused": [' + b"[]," * 1_000_000 + b"[]]}",
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_receipt_that_is_none(hostile: Hostile, agent: Agent, name: str) -> None:
    document = RECEIPTS[name]
    hostile.attack(lambda path, body, send: send(ok(document)))
    agent.say()
    assert hostile.attacked.wait(20)
    agent.say()
    wait_for("everything is delivered", lambda: len(hostile.delivered) == 2, 30)
    assert agent.uplink.is_alive()
    assert agent.uplink.state.failures["collector"] + agent.uplink.state.failures["network"] == 1
    assert "\n" not in agent.uplink.state.last_error
    wait_for("and nothing waits", lambda: agent.spool.state().reports == 0, 20)


def test_a_receipt_may_speak_of_its_delivery_alone(
    hostile: Hostile, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    """It refuses thousands that it was not given, with texts that are not for a terminal."""
    refused = [{"epoch": 7, "sequence": n, "detail": "\x1b[2J\nCRITICAL forged"} for n in range(2000)]

    def answer(path: str, body: bytes, send: Send) -> None:
        report = json.loads(gzip.decompress(body))["reports"][0]["report"]
        own = {"epoch": report["epoch"], "sequence": report["sequence"], "detail": "\x1b[2J\nCRITICAL forged"}
        send(ok({**RECEIPT, "received": time.time(), "refused": [*refused, own]}))

    hostile.attack(answer)
    agent.say()
    assert hostile.attacked.wait(20)
    wait_for("its own is forgotten", lambda: agent.spool.state().dropped["refused"] == 1, 20)
    said = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert len(said) == 1
    assert said[0].isprintable()


def drip(seconds: float, pieces: Iterator[bytes]) -> Callable[[str, bytes, Send], None]:
    def answer(path: str, body: bytes, send: Send) -> None:
        for piece in pieces:
            send(piece)
            time.sleep(seconds)

    return answer


def forever(piece: bytes, first: bytes = b"") -> Iterator[bytes]:
    yield first
    while True:
        yield piece


ANSWERS: dict[str, Callable[[], Callable[[str, bytes, Send], None]]] = {
    "closed at once": lambda: lambda path, body, send: None,
    "garbage": lambda: lambda path, body, send: send(os.urandom(5000)),
    "headers without end": lambda: drip(0, forever(b"X-A: b\r\n", b"HTTP/1.1 200 OK\r\n")),
    "a header without end": lambda: drip(0, forever(b"x" * 1000, b"HTTP/1.1 200 OK\r\nX-A: ")),
    "100 Continue without end": lambda: drip(0, forever(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "chunks without end": lambda: drip(
        0, forever(b"1\r\n \r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    ),
    "a byte now and then": lambda: drip(0.5, forever(b" ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")),
    "a header now and then": lambda: drip(0.5, forever(b"X-A: b\r\n", b"HTTP/1.1 200 OK\r\n")),
    "a length beyond all": lambda: (
        lambda path, body, send: send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}")
    ),
    "a length that is none": lambda: lambda path, body, send: send(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "no status": lambda: lambda path, body, send: send(b"HTTP/1.1 abc OK\r\n\r\n"),
    "another place": lambda: lambda path, body, send: send(http("307 Go", Location="https://127.0.0.1:1/")),
    "switching": lambda: lambda path, body, send: send(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n"),
    "no content": lambda: lambda path, body, send: send(http("204 No")),
    "a date that is none": lambda: (
        lambda path, body, send: send(http("503 Busy", Date="Mon, 01 Jan 99999999999999 00:00:00 GMT"))
    ),
    "a date beyond all": lambda: lambda path, body, send: send(http("503 Busy", Date="9 9 9 9 9 9 +99999999")),
    "too many requests": lambda: lambda path, body, send: send(http("429 Slow", Retry_After="1")),
    "retry not a number": lambda: lambda path, body, send: send(http("429 Slow", Retry_After="nan")),
    "retry for ever": lambda: lambda path, body, send: send(http("429 Slow", Retry_After="inf")),
    "retry before": lambda: lambda path, body, send: send(http("503 Busy", Retry_After="-1e999")),
    "a problem for a terminal": lambda: (
        lambda path, body, send: send(
            http("403 No", b'{"detail": "\\u001b[2J\\n\\u202eforged ' + b"x" * 100_000 + b'"}')
        )
    ),
    "a problem that is deep": lambda: lambda path, body, send: send(http("500 No", deep())),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none(hostile: Hostile, agent: Agent, name: str) -> None:
    """Nothing of it is lost, no answer takes longer than it may, and the next is heard."""
    hostile.attack(ANSWERS[name]())
    agent.say()
    assert hostile.attacked.wait(20)
    agent.say()
    # 8 s for a whole exchange at these settings, and a back-off of a second.
    wait_for("everything is delivered", lambda: len(hostile.delivered) == 2, 60)
    assert agent.uplink.is_alive()
    assert agent.spool.state().dropped == {"size": 0, "age": 0, "disk": 0, "refused": 0}


def test_who_asks_to_wait_is_waited_for(hostile: Hostile, agent: Agent) -> None:
    """429: the reports are kept, none is sent before the time, and the next after it."""
    hostile.attack(lambda path, body, send: send(http("429 Slow", b'{"detail": "quota"}', Retry_After="4")))
    agent.say()
    assert hostile.attacked.wait(20)
    refused = time.monotonic()
    wait_for("it says why", lambda: "quota" in agent.uplink.state.last_error, 10)
    for _ in range(5):
        agent.say(event="link_down")
    wait_for("everything is delivered", lambda: len(hostile.delivered) == 6, 40)
    assert time.monotonic() - refused > 3.9
    assert agent.spool.state().dropped["refused"] == 0


@pytest.mark.parametrize("name", ["null", "nested", "a list", "large", "not UTF-8"])
def test_a_clock_that_is_none(hostile: Hostile, agent: Agent, name: str) -> None:
    hostile.attack(lambda path, body, send: send(ok(RECEIPTS[name])), "/v1/time")
    agent.say()
    assert hostile.attacked.wait(20)
    wait_for("it is delivered", lambda: len(hostile.delivered) == 1, 30)
    assert agent.uplink.is_alive()


PATH = {"target": "a", "address": "10.0.0.1"}
ASSIGNMENTS: dict[str, Any] = {
    "nested": deep(),
    "many paths": {"devices": [], "paths": [{"target": f"t{n}", "address": "10.0.0.1"} for n in range(20_000)]},
    "large": b'{"devices": [' + b'"x",' * 2_000_000 + b'"x"]}',
    "surrogates": b'{"devices": [], "paths": [{"target": "\\ud800", "address": "10.0.0.1"}]}',
    "control characters": {"devices": [{"id": "a\x1b[2J", "address": "10.0.0.1"}]},
    "a port beyond all": {"devices": [], "paths": [{**PATH, "stamp_port": 70_000}]},
    "a port below all": {"devices": [{"id": "a", "address": "10.0.0.1", "port": -1}]},
    "a long text": {"devices": [], "paths": [{**PATH, "stamp_key": "x" * 100_000}]},
    "many addresses": {"devices": [{"id": "a", "address": "1.1.1.1", "trap_addresses": ["1.1.1.2"] * 10_000}]},
    "types": {"devices": {}, "paths": "x", "services": 1},
}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_an_assignment_that_is_none(hostile: Hostile, agent: Agent, name: str) -> None:
    document = ASSIGNMENTS[name]
    hostile.attack(lambda path, body, send: send(ok(document)), "/v1/assignment")
    hostile.assignment = "v1"
    agent.say()
    assert hostile.attacked.wait(20)
    hostile.assignment = "x" * 1000  # a version that is none either
    agent.say()
    wait_for("everything is delivered", lambda: len(hostile.delivered) == 2, 30)
    assert agent.uplink.is_alive()
    assert agent.assignments.current.paths == agent.assignments.current.devices == ()
    assert agent.uplink.state.failures["collector"] == 0
    hostile.assignment = ""
    agent.say()
    wait_for("and nothing waits", lambda: agent.spool.state().reports == 0, 20)


def test_a_listener_may_go_while_the_others_are_told(hostile: Hostile) -> None:
    """Sources come and go in their own threads: none is passed over."""
    mine = Assignments(hostile.state)
    told: list[str] = []

    def first() -> None:
        told.append("first")
        mine.listeners.remove(first)

    mine.listeners += [first, lambda: told.append("second"), lambda: told.append("third")]
    transport = Transport(
        hostile.url, ca_file=hostile.state / "ca.pem", identity_file=hostile.state / "identity.pem", timeout=5
    )
    mine.follow("v1", transport)
    assert told == ["first", "second", "third"]


def test_a_proxy_that_hands_on_a_byte_now_and_then(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the handshake, and where it answers for itself."""
    ways: dict[str, Callable[[socket.socket], None]] = {
        "the answer": lambda client: [client.sendall(b"H") or time.sleep(0.3) for _ in range(1000)],  # type: ignore
        "headers": lambda client: [client.sendall(b"X: y\r\n") or time.sleep(0.3) for _ in range(1000)],  # type: ignore
        "the handshake": lambda client: [
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n"),
            *(client.sendall(b"\x16") or time.sleep(0.3) for _ in range(1000)),  # type: ignore[func-returns-value]
        ],
        "nothing": lambda client: time.sleep(300),
        "an end": lambda client: None,
        "a refusal": lambda client: client.sendall(b"HTTP/1.1 407 \x1b[2J\r\n\r\n"),
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with contextlib.suppress(OSError):
                client.recv(4096)
                way(client)

        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        way = ways["nothing"]
        threading.Thread(target=accept, daemon=True).start()
        for each in ways.values():
            way = each
            transport = Transport(hostile.url, ca_file=hostile.state / "ca.pem", timeout=1)
            began = time.monotonic()
            with pytest.raises(NetworkError) as error:
                transport.request("GET", "/healthz")
            assert time.monotonic() - began < 30  # without an end: five minutes and more
            assert str(error.value).isprintable()


def test_a_name_with_many_addresses(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile DNS: thousands of addresses that don't answer are not all tried."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *a, **k: real("127.0.0.1", full.getsockname()[1], type=socket.SOCK_STREAM) * 5000,
        )
        transport = Transport(hostile.url, ca_file=hostile.state / "ca.pem", timeout=1)
        began = time.monotonic()
        with pytest.raises(NetworkError):
            transport.request("GET", "/healthz")
        assert time.monotonic() - began < 30
        for filler in fillers:
            filler.close()


# The goodbye


def goodbye(hostile: Hostile) -> bool:
    return any(event["kind"] == "agent_stopped" for reports in hostile.order for r in reports for event in r["events"])


@pytest.mark.parametrize("way", ["back-off", "hanging answer"])
def test_the_goodbye_is_said_whatever_is_under_way(hostile: Hostile, way: str) -> None:
    agent = Agent(hostile, UplinkConfig(timeout_seconds=60.0, backoff_max_seconds=600.0, batch_reports=5))
    for _ in range(30):  # an outage's: the goodbye is in the first delivery all the same
        agent.say()
    if way == "back-off":
        hostile.attack(lambda path, body, send: send(http("429 Slow", Retry_After="3000")))
    else:
        hostile.attack(lambda path, body, send: time.sleep(60), times=1)
    agent.uplink.start()
    assert hostile.attacked.wait(20)
    if way == "back-off":
        wait_for("it waits", lambda: agent.uplink.state.last_error, 10)
    agent.say("lifecycle", event="agent_stopped")
    began = time.monotonic()
    agent.uplink.stop(20.0)
    assert goodbye(hostile)
    assert time.monotonic() - began < 20
    assert "agent_stopped" in str(hostile.order[0][:5])
    assert len(hostile.delivered) == 31


def test_the_goodbye_is_tried_again_while_the_collector_starts(hostile: Hostile) -> None:
    agent = Agent(hostile)
    agent.uplink.start()
    agent.say("lifecycle", event="agent_stopped")
    hostile.attack(lambda path, body, send: None, times=3)  # goes away
    agent.uplink.stop(20.0)
    assert goodbye(hostile)


def test_a_workstation_that_is_switched_off_after_the_collectors_restart(
    center: Center, tmp_path: Path, processes: Processes
) -> None:
    folder = center.enrol(tmp_path / "agent")
    config = tmp_path / "agent.toml"
    config.write_text(
        "[sources.agent]\ninterval_seconds = 1\njitter_seconds = 0\n[sources.reachability]\nenabled = false\n"
        "[sources.inventory]\nenabled = false\n[uplink]\nbackoff_max_seconds = 600\n"
    )
    command = (str(BIN / "haidang-agent"), "run", "--state-dir", str(folder), "--config", str(config))
    running = processes.start("agent", *command)
    series = '{site="ttdl",agent="may-1"}'
    wait_for("it is up", lambda: center.metrics().get(f"haidang_agent_up{series}") == 1, 60)
    center.process.kill()
    center.process.wait()
    wait_for("it can't deliver", lambda: "refused" in processes.log("agent"), 30)
    time.sleep(8)  # its waits double
    center.start()
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    wait_for("it has said so", lambda: center.metrics().get(f"haidang_agent_stopped{series}") == 1, 10)


# What it costs


def test_answers_cost_little_memory(hostile: Hostile, processes: Processes, tmp_path: Path) -> None:
    """A real agent stays far below its unit's MemoryMax=192M."""
    config = tmp_path / "agent.toml"
    config.write_text(
        "[sources.agent]\ninterval_seconds = 1\njitter_seconds = 0\n[sources.inventory]\nenabled = false\n"
        "[uplink]\nbackoff_max_seconds = 1\n"
    )
    bombs = [b"[" + b"[]," * 80_000 + b"[]]", b"[" + b"{}," * 3_000_000 + b"{}]", deep(120_000)]

    def answer(path: str, body: bytes, send: Send) -> None:
        send(ok(bombs[hostile.times % 3]))

    hostile.attack(answer, times=6)
    command = (str(BIN / "haidang-agent"), "run", "--state-dir", str(hostile.state), "--config", str(config))
    running = processes.start("agent", *command)
    wait_for("it delivers after them", lambda: hostile.delivered, 90)
    hostile.assignment = "v1"
    hostile.attack(lambda path, body, send: send(ok(b"[" + b"[]," * 690_000 + b"[]]")), "/v1/assignment", times=3)
    wait_for("it asked", lambda: hostile.times == 0, 60)
    status = Path(f"/proc/{running.pid}/status").read_text()
    assert running.poll() is None
    highest = int(status.split("VmHWM:")[1].split()[0]) / 1024
    assert highest < 140, f"{highest:.0f} MB"
