"""The prober: every path once a second (ten times in doubt), from one loop and one socket a protocol (of STAMP as many
as paths share a reflector: a session is told by its ports).

Probes are paced: each path has its own moment in the second, and no turn of the loop sends more than a few.
Answers are read when there is something to send anyway: the kernel has noted when they came.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from haidang_wire.assignment import AssignedPath

from haidang_agent.path import icmp, stamp
from haidang_agent.path.directions import OMITTED, Directions
from haidang_agent.path.figures import Figures
from haidang_agent.path.liveness import DOUBT_SECONDS, SHORTEST_PATIENCE_SECONDS, Liveness
from haidang_agent.path.sockets import arrivals, prepare
from haidang_agent.platform.arrival import Arrival

log = logging.getLogger(__name__)

TURN_SECONDS = 0.02
"""Between two turns of the loop there is at least so much time."""

_A_TURN = 100
_READ_A_TURN = 2000
# Each is a socket.
_MOST_LANES = 32
# An echo request whole: type, code, checksum, identifier, number (RFC 792), and as payload a token of this
# process, the number of the path, the number of the probe.
_ECHO = struct.Struct("!BBHHH8sII")
_PAYLOAD = struct.Struct("!8sII")
_ICMP_HEADER_BYTES = 8
_TOKEN_BYTES = 8


@dataclass
class Path:
    """One path under measurement. `ttl` is that of its last answer: it changes when the way back does. `lane` numbers
    those with the same reflector."""

    assigned: AssignedPath
    family: int
    number: int
    key: bytes = b""
    lane: int = 0
    liveness: Liveness = field(default_factory=Liveness)
    echo: Figures = field(default_factory=Figures)
    session: Figures | None = None
    directions: Directions = field(default_factory=Directions)
    ttl: int | None = None
    next_echo: float = 0.0
    next_session: float = 0.0
    changed_route: bool = False


class Prober:
    """Call `turn()` again and again, after the seconds it gives. `changed` are targets that went up or
    down (for the caller to clear), `doubtful` those that don't answer now and are not yet down."""

    def __init__(self, interval_seconds: float, packets_a_second: float) -> None:
        self.paths: dict[str, Path] = {}
        self.changed: set[str] = set()
        self.doubtful: set[str] = set()
        self._interval = interval_seconds
        self._gap = 1 / packets_a_second
        self._next_packet = 0.0
        self._token = os.urandom(_TOKEN_BYTES)
        self._numbers: dict[int, Path] = {}
        self._number = 0
        self._sessions: dict[tuple[int, str, int], Path] = {}
        self._sockets: dict[tuple[str, int, int], socket.socket] = {}  # by protocol, family, lane
        self._raw: set[int] = set()  # families whose echoes come with an IP header, and want a checksum
        # Every path once an interval, the next first; what was sent and may turn out to be missed; the
        # few paths that miss something now.
        self._echoes: deque[Path] = deque()
        self._stamps: deque[Path] = deque()
        self._sent: deque[tuple[float, Path]] = deque()
        self._missing: dict[int, Path] = {}

    def assign(self, wanted: dict[str, tuple[AssignedPath, bytes]]) -> None:
        """Measure these (path and STAMP key by target), and no others.

        Raises PermissionError when this machine may not send echo requests.
        """
        for target, path in list(self.paths.items()):
            if wanted.get(target) != (path.assigned, path.key):
                del self.paths[target]
                self._missing.pop(path.number, None)
                self.doubtful.discard(target)
                self.changed.discard(target)
        self._sent = deque((when, path) for when, path in self._sent if self.paths.get(path.assigned.target) is path)
        now = time.monotonic()
        new = [target for target in wanted if target not in self.paths]
        for place, target in enumerate(new):
            # Spread over the interval, so that a thousand paths are no burst.
            try:
                self.paths[target] = self._begin(*wanted[target], now + self._interval * place / len(new))
            except PermissionError:
                raise
            except OSError as error:  # this machine does not speak IPv6, say: the others are measured
                log.error("%s: not measured: %s", target, error)
        paths = self.paths.values()
        self._numbers = {path.number: path for path in paths}
        self._echoes = deque(sorted(paths, key=lambda path: path.next_echo))
        self._stamps = deque(sorted((p for p in paths if p.session), key=lambda path: path.next_session))
        self._sessions = {_session_of(path): path for path in self._stamps}

    def _begin(self, assigned: AssignedPath, key: bytes, first: float) -> Path:
        family = socket.AF_INET6 if ipaddress.ip_address(assigned.address).version == 6 else socket.AF_INET
        self._number = self._number + 1 & 0xFFFFFFFF
        path = Path(assigned, family, self._number, key, next_echo=first, next_session=first + self._interval / 2)
        self._open("icmp", family)
        if assigned.stamp_port:
            taken = {_session_of(each) for each in self.paths.values()}
            while _session_of(path) in taken:
                path.lane += 1
            if path.lane < _MOST_LANES:
                self._open("stamp", family, path.lane)
                path.session = Figures()
            else:
                log.error("%s: measured by echo alone: %d others have its reflector", assigned.target, path.lane)
        return path

    def close(self) -> None:
        """Close the sockets."""
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()

    def turn(self) -> float:
        """Take what was answered, send what is due; seconds until the next turn."""
        self._receive()
        now = time.monotonic()
        for path in list(self._missing.values()):
            self._attend(path, now)
        budget = _A_TURN
        echoes, stamps = self._echoes, self._stamps
        while echoes and echoes[0].next_echo <= now and budget and self._may_send(now):
            path = echoes.popleft()
            self._echo(path, now)
            path.next_echo = max(path.next_echo + self._interval, now)
            echoes.append(path)
            budget -= 1
        while stamps and stamps[0].next_session <= now and budget and self._may_send(now):
            path = stamps.popleft()
            self._stamp(path, now)
            path.next_session = max(path.next_session + self._interval, now)
            stamps.append(path)
            budget -= 1
        sent = self._sent
        while sent and now - sent[0][0] >= SHORTEST_PATIENCE_SECONDS:
            when, path = sent.popleft()
            if path.liveness.misses(when):
                self._missing[path.number] = path
        return self._wait(now)

    def _wait(self, now: float) -> float:
        if self._missing:
            return TURN_SECONDS
        due = [each for each in (
            self._echoes[0].next_echo if self._echoes else None,
            self._stamps[0].next_session if self._stamps else None,
            self._sent[0][0] + SHORTEST_PATIENCE_SECONDS if self._sent else None,
        ) if each is not None]  # fmt: skip
        return min(max(min(due, default=now + self._interval) - now, TURN_SECONDS), self._interval)

    def _may_send(self, now: float) -> bool:
        if now < self._next_packet:
            return False
        self._next_packet = max(self._next_packet, now - TURN_SECONDS) + self._gap
        return True

    def _attend(self, path: Path, now: float) -> None:
        """A path that misses something: ask it again soon, judge it."""
        liveness, target = path.liveness, path.assigned.target
        path.echo.expire(now)
        if liveness.judge(now):
            self.changed.add(target)
        if not liveness.in_doubt(now):
            self.doubtful.discard(target)
            if liveness.up is False or not liveness.silent_seconds(now):
                del self._missing[path.number]
            return
        if liveness.up is not False:
            self.doubtful.add(target)
        if now - liveness.last_sent >= DOUBT_SECONDS and self._may_send(now):
            self._echo(path, now)

    def _echo(self, path: Path, now: float) -> None:
        figures = path.echo
        if figures.waiting:
            figures.expire(now)
        sequence = figures.send(now, time.time_ns())
        path.liveness.sent(now)
        self._sent.append((now, path))
        number = path.number
        packet = _ECHO.pack(icmp.ECHO_REQUEST[path.family], 0, 0, 0, sequence & 0xFFFF, self._token, number, sequence)
        if path.family in self._raw:
            packet = icmp.with_checksum(packet)  # of a datagram socket's the kernel does it
        self._send("icmp", path, packet, 0)

    def _stamp(self, path: Path, now: float) -> None:
        assert path.session is not None
        if path.session.sequence == OMITTED:
            path.session.sequence += 1
        path.session.expire(now)
        path.directions.lost(path.session.lost)
        now_ns = time.time_ns()
        packet = stamp.sender_packet(path.session.send(now, now_ns), now_ns, path.key)
        self._send("stamp", path, packet, path.assigned.stamp_port)

    def _send(self, protocol: str, path: Path, packet: bytes, port: int) -> None:
        try:
            lane = path.lane if port else 0
            self._sockets[protocol, path.family, lane].sendto(packet, (path.assigned.address, port))
        except OSError:  # no route, the interface is down, a full queue: it is not answered, as it will show
            pass

    def _receive(self) -> None:
        for (protocol, family, lane), opened in self._sockets.items():
            for arrival in arrivals(opened, _READ_A_TURN):
                if protocol == "icmp":
                    self._echoed(arrival, family)
                else:
                    self._reflected(arrival, lane)

    def _echoed(self, arrival: Arrival, family: int) -> None:
        data = arrival.data
        if family in self._raw and data:
            data = data[(data[0] & 0x0F) * 4 :]  # the IP header comes along
        if len(data) < _ICMP_HEADER_BYTES + _PAYLOAD.size or data[0] != icmp.ECHO_REPLY[family]:
            return
        token, number, sequence = _PAYLOAD.unpack_from(data, _ICMP_HEADER_BYTES)
        path = self._numbers.get(number)
        if token != self._token or path is None or _plain(arrival.sender[0]) != path.assigned.address:
            return
        sent = path.echo.waiting.get(sequence)
        trip = path.echo.answer(sequence, time.monotonic(), arrival.time_ns)
        if trip is None or sent is None:
            return
        if path.liveness.answered(sent[0], trip):
            self.changed.add(path.assigned.target)
        if arrival.ttl is not None and arrival.ttl != path.ttl:
            path.changed_route = True
            path.ttl = arrival.ttl

    def _reflected(self, arrival: Arrival, lane: int) -> None:
        path = self._sessions.get((lane, _plain(arrival.sender[0]), arrival.sender[1]))
        reflected = stamp.read_reflected(arrival.data, path.key) if path else None
        if path is None or path.session is None or reflected is None:
            return
        away = (reflected.sent_ns - reflected.received_ns) / 1e9
        trip = path.session.answer(reflected.sender_sequence, time.monotonic(), arrival.time_ns, away)
        if trip is not None:
            path.directions.answer(reflected.sender_sequence, reflected.sequence)

    def _open(self, protocol: str, family: int, lane: int = 0) -> None:
        if (protocol, family, lane) in self._sockets:
            return
        if protocol == "icmp":
            opened = icmp.open_socket(family)
            if opened.type == socket.SOCK_RAW and family == socket.AF_INET:
                self._raw.add(family)
        else:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            opened.bind(("", 0))
        self._sockets[protocol, family, lane] = prepare(opened)


def _session_of(path: Path) -> tuple[int, str, int]:
    return path.lane, path.assigned.address, path.assigned.stamp_port


def _plain(address: str) -> str:
    return address.partition("%")[0]
