"""Enrolment is open to all and costs the database a transaction: in turn, and slower for who guesses."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from haidang_collector.problems import Problem

_FAILURES_IN_A_ROW = 30
_MOST_ADDRESSES = 10_000
# Of one address, those that wait for their time; of all, those that wait for their turn.
_MOST_WAITING, _MOST_IN_LINE = 8, 1_000
_LONGEST_WAIT_SECONDS = 10.0
_AT_ONCE = 4


class Failures:
    """What may fail `a_second` times for an address, and `in_a_row` at once."""

    def __init__(self, a_second: float, in_a_row: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_second = a_second
        self._in_a_row = in_a_row
        self._clock = clock
        self._failed: dict[str, tuple[float, float]] = {}  # address → how many count, as of when

    def wait_seconds(self, address: str) -> float:
        """How long until this address may try again; 0 is now."""
        return max(0.0, (self._count(address) + 1 - self._in_a_row) / self._a_second)

    def add(self, address: str) -> None:
        """It failed once more."""
        count = self._count(address) + 1
        self._failed.pop(address, None)
        if len(self._failed) >= _MOST_ADDRESSES:  # the longest without a failure
            del self._failed[next(iter(self._failed))]
        self._failed[address] = (count, self._clock())

    def _count(self, address: str) -> float:
        count, at = self._failed.get(address, (0.0, 0.0))
        return max(0.0, count - (self._clock() - at) * self._a_second)


class Turns:
    """A few enrolments at once. An address whose tokens were wrong waits before the next is looked at; a right one
    that comes from there waits with it, and is not refused."""

    def __init__(self, failures_a_second: float) -> None:
        self._failures = Failures(failures_a_second, _FAILURES_IN_A_ROW)
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
