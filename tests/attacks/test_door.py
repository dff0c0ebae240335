"""At the door, before anyone is known: raw sockets against a real collector, while an honest agent is served."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.attacks.conftest import Machine, shows, stands
from tests.conftest import BIN, Center, Processes, delivery, wait_for

pytestmark = pytest.mark.system

# Short times, so that a test need not wait for long ones; the bounds of size and number are those that are shipped.
SHORT = """
[door]
handshake_seconds = 2
idle_seconds = 2
header_seconds = 2
body_seconds = 4
unread_seconds = 3
"""
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
DEADLINE = 30.0
MEGABYTE = 1_000_000
# Of one attack: far less than what is sent, more than what Python keeps for later.
MEMORY_BYTES = 60 * MEGABYTE


class FewFiles(Center):
    """A collector that may open 256 files."""

    def start(self) -> subprocess.Popen[bytes]:
        command = f"ulimit -n 256; exec {BIN / 'haidang-collector'} --config {self.config} serve"
        self.process = self.processes.start("collector", "sh", "-c", command)
        wait_for("collector is ready", lambda: self._ready(), 90)
        return self.process


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[Center, Machine]]:
    """A collector and an honest agent, for all attacks of this file that leave it as it was."""
    folder = Path(tempfile.mkdtemp())
    processes = Processes(folder)
    try:
        center = Center(folder, processes, extra=SHORT)
        yield center, Machine(center, "honest-1")
        assert "Traceback" not in processes.log("collector"), processes.log("collector")
    finally:
        processes.stop()
        shutil.rmtree(folder)


def dial(center: Center, source: str = "127.0.0.1", *, tls: bool = True, identity: Path | None = None) -> socket.socket:
    """A connection of an address, which may be any of 127.0.0.0/8."""
    plain = socket.create_connection(("127.0.0.1", center.port), 15, source_address=(source, 0))
    if not tls:
        return plain
    try:
        return center.context(identity).wrap_socket(plain, server_hostname="127.0.0.1")
    except OSError:
        plain.close()
        raise


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it; what it said before is read away."""
    connection.settimeout(0.05)
    try:
        while connection.recv(65536):
            pass
    except (TimeoutError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


def answer(connection: socket.socket) -> bytes:
    """All that is said until it is closed, or to the end of headers that are not."""
    connection.settimeout(DEADLINE)
    said = b""
    with contextlib.suppress(OSError):
        while data := connection.recv(65536):
            said += data
            if said.endswith(b"ok\n"):
                break
    return said


def ended(center: Center, reason: str) -> float:
    """How many were ended for this."""
    return center.metrics()[f'haidang_collector_connections_ended_total{{reason="{reason}"}}']


def memory(center: Center) -> int:
    process = psutil.Process(center.process.pid)
    return int(process.memory_info().rss)


_values = iter(range(1, 1_000_000))


def served(center: Center, honest: Machine) -> None:
    """An honest agent delivers on its kept connection and on a new one, and is shown."""
    for _ in range(2):
        value = float(next(_values))
        sample = {"metric": "haidang_host_processes", "labels": {}, "value": value}
        status, receipt = honest.deliver(honest.report(samples=[sample]))
        assert (status, receipt.get("accepted")) == (200, 1), receipt
        wait_for("the honest value is shown", lambda value=value: shows(center, honest, value), 10)  # type: ignore[misc]  # a default
        honest.close()
    assert center.process.poll() is None, center.processes.log("collector")


def flood(connection: socket.socket, piece: bytes, most: int) -> int:
    """Send this again and again until the other side ends it; how many bytes it took."""
    connection.settimeout(DEADLINE)
    sent = 0
    with contextlib.suppress(OSError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    return sent


ENDLESS = {
    "a value": (REQUEST + b"X-A: ", b"a" * 16384),
    "a name": (REQUEST, b"a" * 16384),
    "a request line": (b"GET /", b"a" * 16384),
    "many headers": (REQUEST, b"X-A: b\r\n" * 2000),
    "many large headers": (REQUEST, (b"X-A: " + b"b" * 1000 + b"\r\n") * 16),
    "a method": (b"", b"G" * 16384),
    "extensions of a chunk": (CHUNKED + b"5;", b"a" * 16384),
    "a value of an extension": (CHUNKED + b'5;a="', b"a" * 16384),
    "zeros of a chunk's length": (CHUNKED, b"0" * 16384),
    "a trailer": (CHUNKED + b"0\r\nX-A: ", b"a" * 16384),
    "many trailers": (CHUNKED + b"0\r\n", b"X-A: b\r\n" * 2000),
    "large trailers": (CHUNKED + b"0\r\n", (b"X-A: " + b"b" * 1000 + b"\r\n") * 16),
    "chunks of a byte": (CHUNKED, b"1;" + b"e" * 16384 + b"\r\na\r\n"),
    "a body without end": (b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n", b"a" * 16384),
    "a body for nobody": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n", b"a" * 16384),
    "empty lines": (b"", b"\r\n" * 8192),
}  # fmt: skip


@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_is_ended(door: tuple[Center, Machine], what: str) -> None:
    center, honest = door
    begins, piece = ENDLESS[what]
    before = memory(center)
    with dial(center) as connection:
        connection.sendall(begins)
        sent = flood(connection, piece, 200 * MEGABYTE)
        assert sent < 200 * MEGABYTE
    assert memory(center) < before + MEMORY_BYTES
    served(center, honest)


@pytest.mark.parametrize("what", ["a value", "a request line", "many headers", "many large headers", "a trailer"])
def test_headers_end_at_32_kilobytes(door: tuple[Center, Machine], what: str) -> None:
    """The answer says so, whether they come at once or byte by byte."""
    center, _ = door
    before = ended(center, "headers_too_large")
    begins, piece = ENDLESS[what]
    for step in (40_000, 1_000):
        with dial(center) as connection:
            text = (begins + piece * 3)[: 34_000 + len(begins)]
            with contextlib.suppress(OSError):
                for at in range(0, len(text), step):
                    connection.sendall(text[at : at + step])
            said = answer(connection)
        if what != "a trailer":  # there the application is asked already
            assert said.startswith(b"HTTP/1.1 431 "), said
    assert ended(center, "headers_too_large") == before + 2


def test_headers_below_the_bound_are_read(door: tuple[Center, Machine]) -> None:
    center, _ = door
    for lines in ((b"X-A: " + b"a" * 30_000,), tuple(b"X-%d: b" % number for number in range(98))):
        text = REQUEST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        for step in (len(text), 700):
            with dial(center) as connection:
                for at in range(0, len(text), step):
                    connection.sendall(text[at : at + step])
                assert answer(connection).startswith(b"HTTP/1.1 200 ")


HALVES = {
    "no TLS at all": (False, b""),
    "half a ClientHello": (False, bytes.fromhex("1603010200010001fc0303")),
    "nothing after TLS": (True, b""),
    "half a header": (True, REQUEST),
    "half a request line": (True, b"GE"),
    "an empty line": (True, b"\r\n"),
    "no body": (True, b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"),
    "half a body": (True, b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{"),
    "half a chunk": (True, CHUNKED + b"ff\r\naa"),
    "a body that is expected": (True, b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
    "half a body after the answer": (True, b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n{"),
    "half a request after one": (True, REQUEST + b"\r\n" + REQUEST),
}  # fmt: skip


@pytest.mark.parametrize("drip", [b"", b"a"], ids=["silent", "a byte now and then"])
@pytest.mark.parametrize("what", HALVES)
def test_what_is_never_finished_is_ended(door: tuple[Center, Machine], what: str, drip: bytes) -> None:
    center, honest = door
    tls, text = HALVES[what]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(dial(center, tls=tls)) for _ in range(5)]
        for connection in connections:
            connection.sendall(text)

        def all_closed() -> bool:
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(drip)
            return [is_closed(connection) for connection in connections].count(False) == 0

        wait_for(f"{what}: all are ended", all_closed, DEADLINE)
    served(center, honest)


def test_a_known_agent_that_stops_in_a_request_is_ended_too(door: tuple[Center, Machine]) -> None:
    center, honest = door
    texts = [text for tls, text in HALVES.values() if tls and text.startswith(b"POST /v1/r")] + [REQUEST]
    with contextlib.ExitStack() as stack:
        idle = stack.enter_context(dial(center, identity=honest.identity))
        connections = [stack.enter_context(dial(center, identity=honest.identity)) for _ in texts]
        for connection, text in zip(connections, texts, strict=True):
            connection.sendall(text)
        wait_for("all are ended", lambda: not [each for each in connections if not is_closed(each)], DEADLINE)
        assert not is_closed(idle)  # between its deliveries it may be silent for two minutes
    served(center, honest)


ODD = {
    "two lengths": b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    "chunks twice": CHUNKED[:-2] + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a length past 64 bits": b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    "a length below zero": b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    "a chunk past 64 bits": CHUNKED + b"fffffffffffffffff\r\n",
    "an upgrade": REQUEST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an upgrade to HTTP/2": REQUEST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP": bytes(range(256)) * 4,
    "no URL": b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL of nothing": b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    "a folded header": REQUEST + b"X-A: b\r\n c\r\n\r\n",
    "a space before the colon": REQUEST + b"Transfer-Encoding : chunked\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_what_is_no_request_of_ours_is_refused_and_closed(door: tuple[Center, Machine], what: str) -> None:
    center, honest = door
    with dial(center) as connection:
        connection.sendall(ODD[what])
        said = answer(connection)
        assert said.startswith(b"HTTP/1.1 400 "), said
        assert said.count(b"HTTP/1.1") == 1
    served(center, honest)


def test_older_http_is_answered_and_closed(door: tuple[Center, Machine]) -> None:
    center, _ = door
    for text in (b"GET /healthz HTTP/1.0\r\n\r\n", REQUEST + b"Connection: close\r\n\r\n"):
        with dial(center) as connection:
            connection.sendall(text)
            assert answer(connection).endswith(b"ok\n")
            wait_for("it is closed", lambda connection=connection: is_closed(connection), DEADLINE)  # type: ignore[misc]  # a default


def test_a_trailer_is_no_header(tmp_path: Path, processes: Processes) -> None:
    """What comes behind a body says nobody's name."""
    center = Center(tmp_path, processes, extra='trusted_proxies = ["127.0.0.1"]\n')
    honest = Machine(center, "honest-1")
    certificate = honest.identity.read_text().partition("-----BEGIN CERTIFICATE")[1:]
    header = b"Client-Cert: " + "".join(certificate).replace("\n", "%0A").encode() + b"\r\n"
    for text in (
        b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + header + b"\r\n",
        b"GET /v1/assignment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + header + b"\r\n",
    ):
        with dial(center) as connection:
            connection.sendall(text)
            connection.settimeout(DEADLINE)
            assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("number", [20, 5_000])
@pytest.mark.parametrize("path", [b"/healthz", b"/openapi.json", b"/readyz"])
def test_requests_one_behind_the_other_are_few(door: tuple[Center, Machine], number: int, path: bytes) -> None:
    center, honest = door
    before = memory(center)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(dial(center))
            connection.settimeout(DEADLINE)
            with contextlib.suppress(OSError):
                connection.sendall((b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n") * number)
        assert memory(center) < before + MEMORY_BYTES
        served(center, honest)


def test_a_few_behind_each_other_are_answered(door: tuple[Center, Machine]) -> None:
    center, _ = door
    with dial(center) as connection:
        connection.sendall((REQUEST + b"\r\n") * 4 + REQUEST + b"Connection: close\r\n\r\n")
        connection.settimeout(DEADLINE)
        said = b""
        while data := connection.recv(65536):
            said += data
    assert said.count(b"HTTP/1.1 200 ") == 5


def crowd(center: Center, addresses: int, each: int, say: bytes | None) -> Iterator[socket.socket]:
    """Connections of many addresses, which say this after TLS; None makes no TLS. Some are refused."""
    for number in range(each):
        for address in range(addresses):
            with contextlib.suppress(OSError):
                connection = dial(center, f"127.0.{1 + number % 3}.{1 + address}", tls=say is not None)
                if say:
                    connection.sendall(say)
                yield connection


@pytest.mark.parametrize(
    ("addresses", "each", "say"),
    [
        pytest.param(1, 300, None, id="TCP of one address"),
        pytest.param(1, 300, b"", id="TLS of one address"),
        pytest.param(1, 300, HALVES["half a body"][1], id="bodies of one address"),
        pytest.param(20, 15, REQUEST, id="headers of some addresses"),
        pytest.param(150, 2, None, id="TCP of many addresses"),
        pytest.param(150, 2, b"", id="TLS of many addresses"),
        pytest.param(150, 2, HALVES["half a body"][1], id="bodies of many addresses"),
    ],
)
def test_a_crowd_locks_nobody_out(
    tmp_path: Path, processes: Processes, addresses: int, each: int, say: bytes | None
) -> None:
    """More connections than the process has files, held open, all times as long as they are shipped or longer."""
    long = "[door]\nhandshake_seconds = 300\nidle_seconds = 300\nheader_seconds = 300\nbody_seconds = 300\n"
    center = FewFiles(tmp_path, processes, extra=long + "body_bytes_a_second = 1\n")
    honest = Machine(center, "honest-1")
    served(center, honest)
    kept = Machine(center, "honest-2")
    assert kept.deliver(kept.report())[0] == 200
    sock = kept._connection.sock if kept._connection else None
    with contextlib.ExitStack() as stack:
        for number, connection in enumerate(crowd(center, addresses, each, say)):
            stack.enter_context(connection)
            if number % 100 == 0:
                served(center, honest)
        served(center, honest)
        assert kept.deliver(kept.report())[0] == 200
        assert (kept._connection.sock if kept._connection else None) is sock  # it was never closed
        late = Machine(center, "honest-3")  # enrolled while they are there
        served(center, late)
        unknown = 'haidang_collector_connections{peer="unknown"}'
        wait_for("connections are counted", lambda: unknown in center.metrics())
        metrics = center.metrics()
        assert metrics[unknown] <= 96
        reasons = ("full", "address_full")
        assert sum(metrics[f'haidang_collector_connections_ended_total{{reason="{each}"}}'] for each in reasons) > 50
    late.close()
    kept.close()
    stands(center, honest)


def test_an_agent_alone_does_not_fill_the_house(tmp_path: Path, processes: Processes) -> None:
    center = FewFiles(tmp_path, processes)
    honest, attacker = Machine(center, "honest-1"), Machine(center, "attacker-1", "xa-dong-thinh")
    with contextlib.ExitStack() as stack:
        for _ in range(250):
            with contextlib.suppress(OSError):
                stack.enter_context(dial(center, identity=attacker.identity))
        served(center, honest)
        assert center.metrics()['haidang_collector_connections{peer="known"}'] <= 20
        assert ended(center, "certificate_full") >= 200
    stands(center, honest)


def swell(center: Center) -> None:
    """Make /metrics megabytes."""
    machine = Machine(center, "large-1")
    samples = [
        {"metric": "haidang_host_temperature_celsius", "labels": {"sensor": f"{number} " + "x" * 400}, "value": 1}
        for number in range(20_000)
    ]
    body = delivery(machine.report(samples=samples))
    status, receipt = machine.post("/v1/reports", body, packed=True)
    assert status == 200, receipt
    machine.close()


@pytest.mark.parametrize("how", ["never", "slowly", "once"])
def test_who_reads_metrics_slowly_is_ended(tmp_path: Path, processes: Processes, how: str) -> None:
    center = Center(tmp_path, processes, extra=SHORT)
    honest = Machine(center, "honest-1")
    swell(center)
    assert len(center.get("/metrics")[1]) > 8 * MEGABYTE
    served(center, honest)
    before = memory(center)
    with contextlib.ExitStack() as stack:
        connections = []
        for number in range(100):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(dial(center, f"127.0.0.{number % 5 + 1}"))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                if how == "once":
                    connection.recv(1000)
                connections.append(connection)
            if number % 25 == 0:
                assert memory(center) < before + 2 * MEMORY_BYTES
        served(center, honest)

        def all_closed() -> bool:
            return [is_closed(connection) for connection in connections].count(False) == 0

        def all_ended() -> bool:
            if how == "slowly":
                for connection in connections:
                    with contextlib.suppress(OSError):
                        connection.recv(10)
            return ended(center, "answer_unread") >= len(connections) - 8

        wait_for("they are ended", all_ended, DEADLINE)
        wait_for("none is left", all_closed, DEADLINE)
        assert memory(center) < before + 2 * MEMORY_BYTES
    served(center, honest)


@pytest.mark.parametrize("path", ["/openapi.json", "/console/", "/install.sh"])
def test_answers_that_nobody_reads_take_no_memory(door: tuple[Center, Machine], path: str) -> None:
    center, honest = door
    before = memory(center)
    text = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for number in range(200):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(dial(center, f"127.0.0.{number % 9 + 1}"))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                for _ in range(8):
                    connection.sendall(text)
        assert memory(center) < before + MEMORY_BYTES
        served(center, honest)


def at_once(tasks: int, do: Callable[[int], object]) -> list[object]:
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        return list(pool.map(do, range(tasks)))


def test_guessing_tokens_is_slow_and_locks_nobody_out(door: tuple[Center, Machine]) -> None:
    center, honest = door

    def guess(number: int) -> int:
        body = json.dumps({"token": f"hd-{number}", "name": "guess", "request": "x"}).encode()
        return center.post("/v1/enrol", body)[0]

    statuses = at_once(300, guess)
    assert set(statuses) == {403, 429}
    assert statuses.count(429) > 100
    served(center, honest)
    honest_too = Machine(center, "honest-2")  # from the same address, with a right token
    served(center, honest_too)


def test_asking_whether_it_is_ready_asks_the_database_once(door: tuple[Center, Machine]) -> None:
    center, honest = door
    assert set(at_once(400, lambda _: center.get("/readyz")[0])) == {200}
    served(center, honest)


def test_lines_of_the_log_are_few_whatever_comes(door: tuple[Center, Machine]) -> None:
    center, honest = door
    before = len(center.processes.log("collector"))
    for number in range(400):
        with contextlib.suppress(OSError), dial(center, tls=number % 2 == 0) as connection:
            connection.sendall(b"\x00nonsense\r\n\r\n")
    served(center, honest)
    assert len(center.processes.log("collector")) < before + 10_000


def test_it_ends_in_time_with_a_crowd_at_its_door(tmp_path: Path, processes: Processes) -> None:
    center = Center(tmp_path, processes)
    honest = Machine(center, "honest-1")
    with contextlib.ExitStack() as stack:
        for say in (None, b"", REQUEST, HALVES["half a body"][1], b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"):
            for connection in crowd(center, 5, 4, say):
                stack.enter_context(connection)
        stands(center, honest)
