"""What is old is never shown as current: collectors, agents, proxies and lines that are frozen, and clocks that are set
meanwhile. Each value shown here is when it was measured, in seconds since boot, which nobody sets: so each scrape
proves how old it is."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.delivery.collector_clock import CollectorClock
from haidang_agent.platform.system import boot_seconds
from haidang_wire.reference import reading_from
from haidang_wire.report import EXPIRY_INTERVALS

from tests.attacks.conftest import Machine, shows, stands
from tests.conftest import BIN, Center, Processes, agent_command, delivery, require, wait_for

pytestmark = pytest.mark.system

INTERVAL = 2.0
CURRENT = EXPIRY_INTERVALS * INTERVAL
# Longer than anything may be current.
HELD_UP = CURRENT + 4.0
# Uptimes are rounded to a tenth; a delivery is dated to milliseconds.
ROUNDED = 0.15
SETTINGS = (
    "[sources.agent]\ninterval_seconds = 2\njitter_seconds = 0\n"
    "[sources.host]\ninterval_seconds = 2\njitter_seconds = 0\n"
    "[sources.reachability]\nenabled = false\n[sources.inventory]\nenabled = false\n"
    "[uplink]\nbackoff_max_seconds = 1\ntimeout_seconds = {timeout}\n"
)


class Watcher:
    """Scrapes without end, from when it is told to, and notes what is not as it must be."""

    def __init__(self, center: Center) -> None:
        self.center = center
        self.shown: dict[str, float] = {}
        self.faults: list[str] = []
        self.scrapes = 0
        self.not_before = 0.0
        self._goes = threading.Event()
        self._rests = threading.Event()
        self._ends = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends:
            if not self._goes.is_set():
                self._rests.set()
                self._goes.wait(0.05)
                continue
            asked = boot_seconds()
            try:
                metrics = self.center.metrics()
            except OSError:
                continue
            self._look(metrics, max(asked, self.not_before))
            self.scrapes += 1

    def _look(self, metrics: dict[str, float], at: float) -> None:
        """What was shown then, or a little later."""
        for series, value in metrics.items():
            if not series.startswith("haidang_host_uptime_seconds{"):
                continue
            if at - value > CURRENT + ROUNDED:
                self.faults.append(f"{series}: of {at - value:.1f} s ago is shown as current")
            if value < self.shown.get(series, value) - ROUNDED:
                self.faults.append(f"{series}: goes back by {self.shown[series] - value:.1f} s")
            self.shown[series] = max(value, self.shown.get(series, value))

    def rest(self) -> None:
        """No scrape is under way when this returns: one would show what was current when it began."""
        self._rests.clear()
        self._goes.clear()
        assert self._rests.wait(60)

    def go(self) -> None:
        self._goes.set()

    def stop(self) -> None:
        self._ends = True
        self._thread.join(60)

    def newest(self, name: str) -> float:
        """When the newest value of an agent was measured that was shown, in seconds since boot."""
        return max((value for series, value in self.shown.items() if f'agent="{name}"' in series), default=0.0)


@pytest.fixture
def watcher(center: Center) -> Iterator[Watcher]:
    watcher = Watcher(center)
    watcher.go()
    yield watcher
    watcher.stop()
    assert watcher.scrapes > 3
    assert watcher.faults == []


class SetClock:
    """A wall clock that can be set, of one process and not of the machine."""

    def __init__(self, file: Path) -> None:
        libraries = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not libraries:
            require("faketime")
        self.file = file
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def set(self, seconds: int) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.rename(self.file)


class Agent:
    """A real one, over a proxy that can hold back what it sends."""

    def __init__(self, center: Center, folder: Path, processes: Processes, timeout: int = 3) -> None:
        self.proxy = Proxy(center.port)
        self.name = "may-1"
        self.clock = SetClock(folder / "faketime")
        token = center.command("token", "create", "--site", "ttdl")
        done = agent_command(
            "enrol", "--state-dir", str(folder / "agent"), "--collector", f"https://127.0.0.1:{self.proxy.port}",
            "--name", self.name, "--token", token,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        config = folder / "agent.toml"
        config.write_text(SETTINGS.format(timeout=timeout))
        self._command = ("run", "--state-dir", str(folder / "agent"), "--config", str(config))
        self._processes = processes
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        return self._processes.start("agent", str(BIN / "haidang-agent"), *self._command, env=self.clock.env)


class Proxy:
    """Passes bytes on, or keeps what clients send until it is let go; a client that closes is closed only then."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._target = port
        self.passes = threading.Event()
        self.passes.set()
        self.held = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # nobody is there now
                    client.close()
                    continue
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError), client, server:
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for each in readable:
                    data = each.recv(65536)
                    if each is client and not self.passes.is_set():
                        self.held += len(data)
                        self.passes.wait()
                    if not data:
                        return
                    (server if each is client else client).sendall(data)

    def close(self) -> None:
        self.passes.set()
        self._listener.close()


@pytest.fixture
def agents(center: Center, tmp_path: Path, processes: Processes) -> Iterator[Callable[..., Agent]]:
    made: list[Agent] = []

    def make(**options: Any) -> Agent:
        made.append(Agent(center, tmp_path, processes, **options))
        return made[-1]

    yield make
    for agent in made:
        agent.process.kill()
        agent.process.wait()
        agent.proxy.close()


class Played(Machine):
    """A machine of ours; `references` or not, as those before there were any."""

    def __init__(self, center: Center, name: str, *, references: bool) -> None:
        super().__init__(center, name)
        self.references = references
        self.known = CollectorClock()

    def learn(self, answer: dict[str, Any], asked: float) -> None:
        self.known.learn(reading_from(answer["clock"]), asked, boot_seconds())

    def body(self) -> bytes:
        """A delivery composed now, of a value measured now."""
        now = boot_seconds()
        sample = {"metric": "haidang_host_uptime_seconds", "labels": {}, "value": now}
        body = delivery(self.report(interval=INTERVAL, samples=[sample]))
        if not self.references:
            return body
        return json.dumps({**json.loads(body), "reference": self.known.reference(now)}).encode()

    def say(self) -> dict[str, Any]:
        """One that arrives at once."""
        asked = boot_seconds()
        status, receipt = self.post("/v1/reports", self.body())
        if status == 409:
            self.learn(receipt, asked)
            return self.say()
        assert (status, receipt["accepted"]) == (200, 1), receipt
        self.learn(receipt, asked)
        return receipt

    def connection(self) -> ssl.SSLSocket:
        """One of its own, that can be left alone."""
        plain = socket.create_connection(("127.0.0.1", self.center.port), timeout=60)
        return self.center.context(self.identity).wrap_socket(plain, server_hostname="127.0.0.1")

    def request(self) -> bytes:
        """A delivery composed now, with its head."""
        body = self.body()
        head = f"POST /v1/reports HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


def late(center: Center) -> float:
    return center.metrics()['haidang_collector_reports_total{outcome="late"}']


@contextlib.contextmanager
def frozen(process: subprocess.Popen[bytes], watcher: Watcher) -> Iterator[None]:
    """Stopped within; the first scrape after it waits already."""
    watcher.rest()
    process.send_signal(signal.SIGSTOP)
    try:
        yield
        watcher.go()
    finally:
        time.sleep(0.2)
        watcher.not_before = boot_seconds()  # whatever it shows next, it shows after this
        process.send_signal(signal.SIGCONT)


def pass_time(seconds: float) -> None:
    """What is to be held up for so long is."""
    until = boot_seconds() + seconds
    while (left := until - boot_seconds()) > 0:
        time.sleep(left)


def shown_since(watcher: Watcher, agent: str, seconds: float = 60.0) -> None:
    """A value is shown that is measured after now."""
    now = boot_seconds()
    wait_for("a value of now is shown", lambda: watcher.newest(agent) > now, seconds)


@pytest.mark.parametrize("set_by", [0, 3600, -3600])
def test_a_collector_that_was_frozen(
    center: Center, watcher: Watcher, agents: Callable[..., Agent], set_by: int
) -> None:
    agent = agents()
    shown_since(watcher, agent.name)
    before = late(center)
    with frozen(center.process, watcher):
        pass_time(2 * INTERVAL)  # a delivery waits in its socket
        agent.clock.set(set_by)
        pass_time(HELD_UP)
    shown_since(watcher, agent.name)
    wait_for(
        "what was measured meanwhile went the late way", lambda: late(center) >= before + HELD_UP / INTERVAL / 2, 60
    )
    agent.clock.set(0)
    shown_since(watcher, agent.name)


@pytest.mark.parametrize("references", [True, False])
def test_deliveries_that_waited_in_sockets(center: Center, watcher: Watcher, references: bool) -> None:
    """Several of one machine, each older than the one before, by the order in which they are read; a newer one
    between them. None is shown but the newest."""
    machine = Played(center, "played-1", references=references)
    for _ in range(2):
        machine.say()
    before = late(center)
    connections = [machine.connection() for _ in range(4)]
    with frozen(center.process, watcher):
        for connection in reversed(connections):
            connection.sendall(machine.request())
            pass_time(2.0)
        pass_time(HELD_UP)
    with machine.connection() as last:
        last.sendall(machine.request())
        for connection in connections:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            connection.close()
        assert last.recv(100).startswith(b"HTTP/1.1 200")
    assert late(center) >= before + len(connections)
    machine.say()
    machine.say()
    shown_since_said(watcher, machine)


def shown_since_said(watcher: Watcher, machine: Played) -> None:
    now = boot_seconds()

    def is_shown() -> bool:
        machine.say()
        return watcher.newest(machine.name) > now

    wait_for("what it says now is shown", is_shown, 60)


@pytest.mark.parametrize("references", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_delivery_whose_rest_comes_late(center: Center, watcher: Watcher, references: bool, share: float) -> None:
    """Whoever sends it was frozen in the middle: a part came at once."""
    machine = Played(center, "played-1", references=references)
    machine.say()
    before = late(center)
    with machine.connection() as connection:
        request = machine.request()
        cut = int(len(request) * share)
        connection.sendall(request[:cut])
        pass_time(HELD_UP)
        connection.sendall(request[cut:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert late(center) == before + 1
    shown_since_said(watcher, machine)


def test_a_first_delivery_is_not_taken_for_fresh_on_faith(center: Center, watcher: Watcher) -> None:
    for name, references in (("new-1", True), ("old-1", False)):
        machine = Played(center, name, references=references)
        if references:
            machine.learn(machine_time(machine), boot_seconds())
        before = late(center)
        with machine.connection() as connection:
            request = machine.request()
            pass_time(HELD_UP)
            connection.sendall(request)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert late(center) == before + 1
        shown_since_said(watcher, machine)


def machine_time(machine: Machine) -> dict[str, Any]:
    status, document = machine.center.get("/v1/time", machine.identity)
    assert status == 200
    answer: dict[str, Any] = json.loads(document)
    return answer


def test_a_reference_to_the_collector_before_is_asked_for_again(center: Center, watcher: Watcher) -> None:
    """Its delivery was composed before the collector was started again, and comes after it."""
    machine = Played(center, "played-1", references=True)
    machine.say()
    body = machine.body()
    machine.close()
    watcher.rest()
    center.process.terminate()
    center.process.wait(20)
    center.start()
    watcher.go()
    status, problem = machine.post("/v1/reports", body)
    assert (status, problem["title"], problem["field"]) == (409, "reference", "$.reference")
    assert center.get("/v1/time")[0] == 401
    assert machine.say()["accepted"] == 1


def test_a_new_start_costs_an_agent_one_small_question(
    center: Center, watcher: Watcher, agents: Callable[..., Agent]
) -> None:
    """It asks for the new clock before it delivers, so nothing is sent twice."""
    agent = agents(timeout=30)
    shown_since(watcher, agent.name)
    watcher.rest()
    center.process.terminate()
    center.process.wait(20)
    center.start()
    watcher.go()
    shown_since(watcher, agent.name)
    metrics = center.metrics()
    assert metrics['haidang_collector_requests_total{code="200",endpoint="/v1/time"}'] == 1
    assert 'haidang_collector_refused_requests_total{reason="reference"}' not in metrics


@pytest.mark.parametrize("timeout", [2, 60])
def test_a_proxy_that_holds_back(center: Center, watcher: Watcher, agents: Callable[..., Agent], timeout: int) -> None:
    """For longer than the agent waits, and for less: then it goes on with others, and this one comes after them."""
    agent = agents(timeout=timeout)
    shown_since(watcher, agent.name)
    for set_by in (0, 3600, -3600):
        agent.proxy.held = 0
        agent.proxy.passes.clear()
        wait_for("a delivery is held back", lambda: agent.proxy.held > 0, 20)
        agent.clock.set(set_by)
        pass_time(HELD_UP)
        agent.proxy.passes.set()
        shown_since(watcher, agent.name)
    assert late(center) >= 3


@pytest.mark.parametrize("set_by", [0, 3600, -3600])
def test_an_agent_that_was_frozen(center: Center, watcher: Watcher, agents: Callable[..., Agent], set_by: int) -> None:
    """Between two deliveries, and in the middle of one, which the proxy holds the rest of."""
    agent = agents()
    shown_since(watcher, agent.name)
    for middle in (False, True):
        if middle:
            agent.proxy.held = 0
            agent.proxy.passes.clear()
            wait_for("it is sending", lambda: agent.proxy.held > 0, 20)
        agent.process.send_signal(signal.SIGSTOP)
        agent.clock.set(set_by)
        pass_time(HELD_UP)
        agent.proxy.passes.set()
        pass_time(1.0)
        agent.process.send_signal(signal.SIGCONT)
        shown_since(watcher, agent.name)


def test_an_agent_that_is_frozen_at_any_moment(center: Center, watcher: Watcher, agents: Callable[..., Agent]) -> None:
    """In the middle of measuring, composing, encrypting, sending, waiting: wherever it happens to be."""
    agent = agents()
    shown_since(watcher, agent.name)
    for number in range(5):
        pass_time(0.37 * number)
        agent.process.send_signal(signal.SIGSTOP)
        pass_time(HELD_UP)
        agent.process.send_signal(signal.SIGCONT)
        shown_since(watcher, agent.name)


@pytest.mark.parametrize("set_by", [3000, -3000])
def test_a_collector_whose_clock_is_set_while_it_runs(
    center: Center, watcher: Watcher, agents: Callable[..., Agent], tmp_path: Path, set_by: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By nearly an hour, in either direction, and back again: nothing new is late for it, nothing old current, nothing
    is gone for good; also not after a new start."""
    clock = SetClock(tmp_path / "center-faketime")

    def start() -> None:
        watcher.rest()
        center.process.terminate()
        center.process.wait(20)
        with monkeypatch.context() as patched:
            for name, value in clock.env.items():
                patched.setenv(name, value)
            center.start()
        watcher.go()

    start()
    agent = agents()
    silent = Played(center, "silent-1", references=True)
    shown_since(watcher, agent.name)
    stamp = f'haidang_agent_last_report_timestamp_seconds{{site="ttdl",agent="{agent.name}"}}'
    for steps, now in ((1, set_by), (2, 0)):
        silent.say()
        clock.set(now)
        log = lambda steps=steps: center.processes.log("collector").count("clock was set by") == steps  # noqa: E731
        wait_for("the step is noticed", log, 10)
        shown_since(watcher, agent.name)
        assert abs(center.metrics()[stamp] - time.time() - now) < 10
        # What fell silent before is gone when it is old, not an hour later.
        gone = lambda: f'haidang_host_uptime_seconds{{site="ttdl",agent="{silent.name}"}}' not in center.metrics()  # noqa: E731
        wait_for("the silent one is gone", gone, 30)
    clock.set(set_by)
    pass_time(3.0)
    start()
    shown_since(watcher, agent.name)
    clock.set(-set_by)
    start()
    shown_since(watcher, agent.name)


def test_a_machine_that_asks_nonsense_costs_itself(center: Center, honest: Machine, attacker: Machine) -> None:
    """The new fields, with everything that JSON has."""
    body = delivery(attacker.report())
    huge = b"9" * 4000
    for nonsense in (b"1", b'""', b"[]", b"{}", b"null", b'{"clock":{},"seconds":[],"ago":"x"}',
                     b'{"clock":"","seconds":-1e308,"ago":1e308}', b'{"clock":"","seconds":' + huge + b',"ago":0}',
                     b'{"clock":"\\ud800","seconds":0,"ago":0}', b"[" * 5000, b'{"clock":"x","seconds":1e999,"ago":0}'):  # fmt: skip
        status, problem = attacker.post("/v1/reports", body[:-1] + b',"reference":' + nonsense + b"}")
        assert status == (200 if nonsense == b"null" else status), problem
        assert status in (200, 400, 409), problem
    identity = reading_from(machine_time(attacker)["clock"])
    for seconds, ago in ((1e308, 1e308), (-1.0, 1e9), (0.0, 1e300), (identity.seconds, -1e9)):
        reference = f'{{"clock":"{identity.clock}","seconds":{seconds!r},"ago":{ago!r}}}'.encode()
        status, problem = attacker.post(
            "/v1/reports", delivery(attacker.report())[:-1] + b',"reference":' + reference + b"}"
        )
        assert status == 409, problem
    assert not shows(center, attacker, -1)
    stands(center, honest)
