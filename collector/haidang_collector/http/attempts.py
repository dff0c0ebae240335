"""What anybody may try: as often as honest peers need, then slower.

Enrolment is open to all and costs the database a transaction: in turn, and slower for who guesses.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from haidang_collector.http.door import origin, visitor_of
from haidang_collector.problems import Problem
from haidang_collector.settings import DoorSettings

_FAILURES_IN_A_ROW = 30
_MOST_OF_ALL = 20_000
# Of one address, those that wait for their time; of all, those that wait for their turn.
_MOST_WAITING, _MOST_IN_LINE = 8, 1_000
_LONGEST_WAIT_SECONDS = 10.0
_AT_ONCE = 4


class Attempts:
    """What somebody (an address, a name) may try `a_second` times, and `in_a_row` at once."""

    def __init__(self, a_second: float, in_a_row: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_second = a_second
        self._in_a_row = in_a_row
        self._clock = clock
        self._known: dict[str, tuple[float, float]] = {}  # who → how many count, as of when

    def wait_seconds(self, who: str) -> float:
        """Seconds until the peer may try again; 0 is now."""
        return max(0.0, (self._count(who) + 1 - self._in_a_row) / self._a_second)

    def add(self, who: str) -> None:
        """He tried once more."""
        count = self._count(who) + 1
        self._known.pop(who, None)
        if len(self._known) >= _MOST_OF_ALL:  # the longest without one
            del self._known[next(iter(self._known))]
        self._known[who] = (count, self._clock())

    def _count(self, who: str) -> float:
        count, at = self._known.get(who, (0.0, 0.0))
        return max(0.0, count - (self._clock() - at) * self._a_second)


class Turns:
    """A few enrolments at once. An address whose tokens were wrong waits before the next is looked at; a right one
    that comes from there waits with it, and is not refused."""

    def __init__(self, failures_a_second: float) -> None:
        self._failures = Attempts(failures_a_second, _FAILURES_IN_A_ROW)
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._in_line = 0
        self._waiting: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[Callable[[], None]]:
        """The turn of one attempt; what it yields is called when it failed. Raises Problem: 429 for an address that
        guesses faster than it may, 503 when too many are in line."""
        if self._in_line >= _MOST_IN_LINE:
            raise Problem(503, "busy", "too many enrolments wait for their turn", retry_after=10)
        self._in_line += 1
        try:
            deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
            while True:
                await self._wait(address, deadline)
                async with self._turn:
                    if self._failures.wait_seconds(address):
                        continue  # one that waited with it was wrong again
                    yield lambda: self._failures.add(address)
                    return
        finally:
            self._in_line -= 1

    async def _wait(self, address: str, deadline: float) -> None:
        wait = self._failures.wait_seconds(address)
        if not wait:
            return
        if self._waiting[address] >= _MOST_WAITING or time.monotonic() + wait > deadline:
            detail = "too many wrong enrolments came from this address"
            raise Problem(429, "too_many_attempts", detail, retry_after=math.ceil(wait) + 1)
        self._waiting[address] += 1
        try:
            await asyncio.sleep(wait)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]


class Pace:
    """The application as fast as one peer may ask it: what is cheap once holds all up a thousand times a second. A peer
    is a certificate's name, else an address; trusted proxies keep the pace of those behind them."""

    def __init__(self, app: ASGIApp, settings: DoorSettings, refuse: Callable[[Problem], Response]) -> None:
        self._app = app
        self._asked = Attempts(settings.requests_a_second, settings.burst_requests)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visitor = visitor_of(scope)
        who = (visitor.name if visitor.known else origin(visitor.address)) if visitor else ""
        if who:
            wait = self._asked.wait_seconds(who)
            if wait > _LONGEST_WAIT_SECONDS:
                await asyncio.sleep(_LONGEST_WAIT_SECONDS)
                problem = Problem(429, "too_many_requests", "ask more slowly", retry_after=math.ceil(wait))
                await self._refuse(problem)(scope, receive, send)
                return
            self._asked.add(who)
            if wait:
                await asyncio.sleep(wait)
        await self._app(scope, receive, send)
