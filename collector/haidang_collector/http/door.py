"""The door: who may be connected and for how long, and who leaves when it is full.

Before anyone is known an address is all there is to go by. So each connection is counted from the moment it is
accepted, until its peer has shown a certificate of ours among those of its address; whoever is known counts by the
name in the certificate. A newcomer is always let in: when there is no room, the one that has been quiet longest leaves,
of the address that has most. So many connections cost those who made them, and room is kept for who is known.

Knows no sockets and no clock of its own: its tests run in virtual time.
"""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from haidang_collector.settings import DoorSettings

# How often a body is looked at: whether enough of it came since.
_BODY_CHECK_SECONDS = 10.0
# How long one that was refused is still listened to, so that it comes to read why.
_REFUSED_SECONDS = 1.0
# Files that are open beside connections: the database, the log, downloads, requests to Prometheus.
_FEWEST_FILES_KEPT, _MOST_FILES_KEPT = 64, 512
_ADDRESSES_COMPARED = 64

# Why connections were ended here; the labels of the metric.
FULL, ADDRESS_FULL, NAME_FULL, REQUESTS_FULL = "full", "address_full", "certificate_full", "requests_full"
SLOW_BODY, UNREAD, NO_FILES = "body_slow", "answer_unread", "no_files"
LATE = {"handshake": "handshake_time", "headers": "header_time", "body": "body_time", "unread": UNREAD}
HEADERS_TOO_LARGE, BODY_TOO_LARGE = "headers_too_large", "body_too_large"
PIPELINED, UPGRADE, MALFORMED, TLS = "pipelined", "upgrade", "malformed", "tls"
REASONS = (
    FULL, ADDRESS_FULL, NAME_FULL, REQUESTS_FULL, *LATE.values(), SLOW_BODY, NO_FILES, HEADERS_TOO_LARGE,
    BODY_TOO_LARGE, PIPELINED, UPGRADE, MALFORMED, TLS,
)  # fmt: skip


class Stage(enum.Enum):
    """Where a connection is. The value is what its time is called in LATE."""

    HANDSHAKE = "handshake"  # accepted, TLS is not made yet
    IDLE = "idle"  # before the first request and between two
    HEADERS = "headers"  # from the first byte of a request to the end of its headers
    BODY = "body"
    ANSWER = "answer"  # the application works, or its answer is being read
    UNREAD = "unread"  # more of the answer waits than the peer takes
    REFUSED = "refused"  # was told so, and may come to read it
    CLOSING = "closing"


# Those that have said nothing whole yet leave before those that are being served.
_QUIET = frozenset({Stage.HANDSHAKE, Stage.IDLE, Stage.HEADERS, Stage.REFUSED, Stage.CLOSING})


@dataclass(frozen=True)
class Room:
    """How many connections there may be: in all, of unknown peers, of these from one address; and at once,
    downloads of the bundle, each of which holds a file open."""

    connections: int
    unknown: int
    an_address: int
    downloads: int


def room(settings: DoorSettings, files: int) -> Room:
    """What the settings want, as far as the process' file limit allows it. Half stays for peers that are known, and
    a quarter of the unknown's for other addresses."""
    kept = max(min(_FEWEST_FILES_KEPT, files // 4), min(_MOST_FILES_KEPT, files // 8))
    connections = max(4, min(settings.connections, files - kept))
    unknown = max(2, min(settings.unknown_connections, connections // 2))
    an_address = max(1, min(settings.unknown_connections_an_address, unknown * 3 // 4))
    return Room(connections, unknown, an_address, max(1, min(settings.downloads, kept // 4)))


def origin(address: str) -> str:
    """Whom an address stands for: itself, and an IPv6 address for its network of 64 bits, which is one customer's."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


class Visitor:
    """One connection. `abort` ends it at once, `close` after what was written is sent; the protocol replaces both
    when it has a transport. `received` are the bytes of a body since it was last looked at; it is `held` while we
    don't read it; `gone` once it has ended."""

    __slots__ = ("abort", "address", "close", "gone", "held", "known", "name", "received", "since", "stage", "until")

    def __init__(self, address: str, abort: Callable[[], object]) -> None:
        self.address = address
        self.name = ""
        self.known = False
        self.gone = False
        self.abort = self.close = abort
        self.held: Callable[[], bool] = bool
        self.stage: Stage | None = None
        self.since = self.until = 0.0
        self.received = 0


def visitor_of(scope: Mapping[str, Any]) -> Visitor | None:
    """The connection a request came over; None where there is no door (tests of the application alone)."""
    visitor: Visitor | None = scope.get("extensions", {}).get("door")
    return visitor


class _Crowd:
    """The unknown of one address, longest quiet first."""

    __slots__ = ("busy", "quiet")

    def __init__(self) -> None:
        self.quiet: dict[Visitor, None] = {}
        self.busy: dict[Visitor, None] = {}

    def __len__(self) -> int:
        return len(self.quiet) + len(self.busy)

    def first(self) -> Visitor:
        return next(iter(self.quiet or self.busy))


class _Crowds:
    """All unknown by address. Which address has most is known without a look at each."""

    def __init__(self) -> None:
        self.count = 0
        self._by_address: dict[str, _Crowd] = {}
        self._by_size: dict[int, dict[str, None]] = {}
        self._largest = 0

    def of(self, address: str) -> int:
        crowd = self._by_address.get(address)
        return len(crowd) if crowd else 0

    def add(self, visitor: Visitor) -> None:
        crowd = self._by_address.setdefault(visitor.address, _Crowd())
        size = len(crowd)
        crowd.quiet[visitor] = None
        self.count += 1
        self._resize(visitor.address, size, size + 1)

    def remove(self, visitor: Visitor) -> None:
        crowd = self._by_address[visitor.address]
        size = len(crowd)
        del (crowd.quiet if visitor in crowd.quiet else crowd.busy)[visitor]
        self.count -= 1
        if size == 1:
            del self._by_address[visitor.address]
        self._resize(visitor.address, size, size - 1)

    def move(self, visitor: Visitor, *, quiet: bool) -> None:
        crowd = self._by_address[visitor.address]
        there, here = (crowd.quiet, crowd.busy) if quiet else (crowd.busy, crowd.quiet)
        if visitor in here:
            del here[visitor]
            there[visitor] = None

    def first(self, address: str | None = None) -> Visitor:
        """Who leaves next, of this address or of one that has most: rather one who is not being served."""
        if address is None:
            most = list(itertools.islice(self._by_size[self._largest], _ADDRESSES_COMPARED))
            address = next((each for each in most if self._by_address[each].quiet), most[0])
        return self._by_address[address].first()

    def _resize(self, address: str, before: int, after: int) -> None:
        if before:
            same = self._by_size[before]
            del same[address]
            if not same:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[address] = None
        if after > self._largest or self._largest not in self._by_size:
            self._largest = after


class Door:
    """All connections, each in the queue of its stage; in each queue the first is the first whose time is over."""

    def __init__(
        self,
        settings: DoorSettings,
        size: Room,
        count: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`count` is told the reason of each connection that is ended here."""
        self.room = size
        self.scrapes = Seats(self, settings.scrapes)
        self.downloads = Seats(self, size.downloads)
        self.ended: Counter[str] = Counter()  # since whoever reads it has cleared it
        self._tell = count
        self._clock = clock
        self._settings = settings
        self._crowds = _Crowds()
        self._by_name: dict[str, dict[Visitor, None]] = {}
        self._known = 0
        # What costs memory while it lasts has bounds of its own for unknown peers.
        self._bounds = {
            Stage.HEADERS: (settings.unknown_requests, REQUESTS_FULL),
            Stage.BODY: (settings.unknown_requests, REQUESTS_FULL),
            Stage.UNREAD: (settings.unread_answers, UNREAD),
        }
        times = {
            Stage.HANDSHAKE: settings.handshake_seconds,
            Stage.HEADERS: settings.header_seconds,
            Stage.BODY: min(_BODY_CHECK_SECONDS, settings.body_seconds),
            Stage.ANSWER: float("inf"),
            Stage.UNREAD: settings.unread_seconds,
            Stage.REFUSED: _REFUSED_SECONDS,
            Stage.CLOSING: settings.unread_seconds,
        }
        self._times = {(stage, known): seconds for stage, seconds in times.items() for known in (False, True)}
        self._times[Stage.IDLE, False] = settings.idle_seconds
        self._times[Stage.IDLE, True] = settings.known_idle_seconds
        self._queues: dict[tuple[Stage, bool], dict[Visitor, None]] = {key: {} for key in self._times}

    @property
    def unknown(self) -> int:
        """Connections of peers that have shown no certificate of ours."""
        return self._crowds.count

    @property
    def known(self) -> int:
        """Connections of the others."""
        return self._known

    def arrive(self, address: str, abort: Callable[[], object], *, trusted: bool = False) -> Visitor:
        """A connection was accepted. `trusted` is a reverse proxy, which keeps the door for those behind it."""
        visitor = Visitor(origin(address), abort)
        if trusted:
            self._make_room(None)
            visitor.known = True
            self._known += 1
        else:
            self._make_room(visitor.address)
            self._crowds.add(visitor)
        self._enqueue(visitor, Stage.HANDSHAKE)
        return visitor

    def introduce(self, visitor: Visitor, name: str) -> None:
        """TLS is made. `name` is the peer's by a certificate of ours, empty without one."""
        if name and not visitor.known and visitor.stage is not None:
            del self._queues[visitor.stage, False][visitor]
            self._crowds.remove(visitor)
            visitor.known, visitor.name = True, name
            self._known += 1
            self._enqueue(visitor, Stage.IDLE)
            same = self._by_name.setdefault(name, {})
            same[visitor] = None
            if len(same) > self._settings.connections_a_certificate:
                self.end(next((each for each in same if each.stage is Stage.IDLE), next(iter(same))), NAME_FULL)
        else:
            self.enter(visitor, Stage.IDLE)

    def enter(self, visitor: Visitor, stage: Stage) -> None:
        """It is in another stage now; its time begins anew. Of one that has left nothing is kept."""
        if visitor.stage is None or visitor.stage is stage:
            return
        del self._queues[visitor.stage, visitor.known][visitor]
        if not visitor.known:
            self._crowds.move(visitor, quiet=stage in _QUIET)
            most, reason = self._bounds.get(stage, (0, ""))
            queue = self._queues[stage, False]
            if most and len(queue) >= most:  # the first of them was there longest
                self.end(next(iter(queue)), reason)
        self._enqueue(visitor, stage)

    def leave(self, visitor: Visitor) -> None:
        """The connection is lost, by us or by the other side."""
        if visitor.stage is None:
            return
        del self._queues[visitor.stage, visitor.known][visitor]
        visitor.stage = None
        if not visitor.known:
            self._crowds.remove(visitor)
            return
        self._known -= 1
        same = self._by_name.get(visitor.name, {})
        same.pop(visitor, None)
        if not same:
            self._by_name.pop(visitor.name, None)

    def end(self, visitor: Visitor, reason: str) -> None:
        """End a connection at once, and count it."""
        self._count(reason)
        self.leave(visitor)
        visitor.abort()

    def refused(self, visitor: Visitor, reason: str) -> None:
        """It is being told so."""
        self._count(reason)
        self.enter(visitor, Stage.REFUSED)

    def spare(self) -> None:
        """There are no files left: whoever would leave next leaves now."""
        self._count(NO_FILES)
        if self.unknown:
            self.end(self._crowds.first(), FULL)
        else:
            self._end_known()

    def sweep(self) -> None:
        """End those whose time is over."""
        now = self._clock()
        for queue in self._queues.values():
            while queue:
                visitor = next(iter(queue))
                if visitor.until > now:
                    break
                self._late(visitor, now)

    def _count(self, reason: str) -> None:
        self.ended[reason] += 1
        self._tell(reason)

    def _late(self, visitor: Visitor, now: float) -> None:
        stage = visitor.stage
        assert stage is not None
        if stage in (Stage.IDLE, Stage.REFUSED):  # what was written is still sent
            self.enter(visitor, Stage.CLOSING)
            visitor.close()
        elif stage is Stage.CLOSING:
            self.leave(visitor)
            visitor.abort()
        elif stage is Stage.BODY and visitor.held():
            del self._queues[stage, visitor.known][visitor]
            self._enqueue(visitor, stage)
        elif stage is Stage.BODY and now < visitor.since + self._settings.body_seconds:
            if visitor.received < self._settings.body_bytes_a_second * _BODY_CHECK_SECONDS:
                self.end(visitor, SLOW_BODY)
            else:
                visitor.received = 0
                self._requeue(visitor, now)
        else:
            self.end(visitor, LATE[stage.value])

    def _enqueue(self, visitor: Visitor, stage: Stage) -> None:
        visitor.stage = stage
        visitor.since = self._clock()
        visitor.received = 0
        self._queues[stage, visitor.known][visitor] = None
        visitor.until = visitor.since + self._times[stage, visitor.known]

    def _requeue(self, visitor: Visitor, now: float) -> None:
        queue = self._queues[Stage.BODY, visitor.known]
        del queue[visitor]
        queue[visitor] = None
        visitor.until = now + self._times[Stage.BODY, visitor.known]

    def _make_room(self, address: str | None) -> None:
        """End others until there is room for one more connection; `address` is that of a peer that is not known."""
        if address is not None and self._crowds.of(address) >= self.room.an_address:
            self.end(self._crowds.first(address), ADDRESS_FULL)
        elif address is not None and self.unknown >= self.room.unknown:
            self.end(self._crowds.first(), FULL)
        if self.known + self.unknown >= self.room.connections:
            if self.unknown:
                self.end(self._crowds.first(), FULL)
            else:
                self._end_known()

    def _end_known(self) -> None:
        for stage in (
            Stage.CLOSING,
            Stage.IDLE,
            Stage.HANDSHAKE,
            Stage.HEADERS,
            Stage.UNREAD,
            Stage.BODY,
            Stage.ANSWER,
        ):
            queue = self._queues[stage, True]
            if queue:
                self.end(next(iter(queue)), FULL)
                return


class Seats:
    """For answers that cost much while they are read. When all are taken, who has not read for longest gives his up;
    when all read, who came first."""

    def __init__(self, door: Door, most: int) -> None:
        self._door = door
        self._most = most
        self._taken: dict[Visitor, None] = {}

    @contextlib.contextmanager
    def seat(self, visitor: Visitor | None) -> Iterator[None]:
        """One of them, while its answer lasts; None is nobody from outside."""
        if visitor is None:
            yield
            return
        if len(self._taken) >= self._most and visitor not in self._taken:
            leaves = min(self._taken, key=lambda each: each.since if each.stage is Stage.UNREAD else float("inf"))
            del self._taken[leaves]
            if leaves.stage is not None:
                self._door.end(leaves, UNREAD)
        self._taken[visitor] = None
        try:
            yield
        finally:
            self._taken.pop(visitor, None)
