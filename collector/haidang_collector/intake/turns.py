"""How a delivery comes in: one of an agent at a time, as far as its quota and the memory of all reach.

Who has used up his quota is told so before anything of the body is unpacked, and when to come back. What an agent sends
is charged as it is unpacked, before it is decoded; what takes long is done beside the event loop.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request

from haidang_collector.intake import body
from haidang_collector.intake.ingest import Batch, Speaker, pieces, read_delivery
from haidang_collector.problems import Problem
from haidang_collector.quotas.allowances import QUOTAS, Allowance, Quotas, cost
from haidang_collector.settings import Limits
from haidang_collector.telemetry import Telemetry

# A delivery waits so long for the one before it of the same agent. An agent sends one after the other: two are one
# that was cut off, or somebody who tries.
_PATIENCE_SECONDS = 5.0
# Who is sent away waits for that answer, the longer the more of the same agent wait: a flood of requests that are
# refused costs little then. Agents give up after 15 s.
_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 0.5, 10.0
_MOST_RETRY_SECONDS = 600.0
# Less than that is unpacked, decoded and rendered within a few milliseconds.
_SMALL_BYTES = 131_072


class Room:
    """Bytes of all deliveries that are being read or wait, from the first part of a body to the receipt."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Raises Problem 503."""
        with self._lock:
            if self._taken + size > self._most:
                raise Problem(503, "busy", "too many bytes of deliveries wait to be stored", retry_after=10)
            self._taken += size

    def give(self, size: int) -> None:
        """Back again."""
        with self._lock:
            self._taken -= size


@dataclass
class _Lane:
    """An agent's requests: the one whose turn it is, all there are, and those that are sent away."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    requests: int = 0
    sent_away: int = 0


class Intake:
    """What stands between the HTTP interface and ingest."""

    def __init__(self, limits: Limits, quotas: Quotas, telemetry: Telemetry, now: Callable[[], float]) -> None:
        """now is the collector's clock, in Unix seconds."""
        self.limits = limits
        self.now = now
        self.room = Room(limits.waiting_bytes)
        # One thread: several would only take the interpreter from each other.
        self.beside = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._quotas = quotas
        self._telemetry = telemetry
        for quota in QUOTAS:  # there before the first time, so that `increase()` sees it
            telemetry.quota_reached.labels(quota)
        self._lanes: dict[str, _Lane] = {}

    def close(self) -> None:
        """When nothing comes in any more."""
        self.beside.shutdown(cancel_futures=True)

    @asynccontextmanager
    async def turn(self, agent: str, request: Request) -> AsyncIterator[Turn]:
        """This agent's turn. Raises Problem 429 when it has used up its quota."""
        lane = self._lanes.setdefault(agent, _Lane())
        lane.requests += 1
        try:
            try:
                if not lane.lock.locked():
                    await lane.lock.acquire()  # at once
                else:
                    async with asyncio.timeout(_PATIENCE_SECONDS):
                        await lane.lock.acquire()
            except TimeoutError:
                raise await self._sent_away(agent, lane, request, "deliveries", _PATIENCE_SECONDS) from None
            turn = Turn(self, self._quotas.of(agent, time.monotonic()), request)
            lacking, wait = turn.allowance.lacking(time.monotonic())
            try:
                if not lacking:
                    yield turn
            finally:
                lane.lock.release()
                turn.end()
            if lacking:
                raise await self._sent_away(agent, lane, request, lacking, wait)
        finally:
            lane.requests -= 1
            if not lane.requests:
                self._lanes.pop(agent, None)

    async def _sent_away(self, agent: str, lane: _Lane, request: Request, quota: str, wait: float) -> Problem:
        self.note(agent, quota)
        lane.sent_away += 1
        try:
            await asyncio.sleep(min(_MOST_PAUSE_SECONDS, _PAUSE_SECONDS * lane.sent_away))
            # Read and thrown away: who is answered in the middle of his body may not see the answer.
            await body.skip(request, self.limits.body_bytes)
        finally:
            lane.sent_away -= 1
        retry_after = math.ceil(min(_MOST_RETRY_SECONDS, max(1.0, wait)))
        detail = f"agent {agent!r} has used up what it may use (quota {quota}): keep the reports and come back"
        return Problem(429, "quota", detail, retry_after=retry_after, extensions={"quota": quota})

    def require_renewal(self, agent: str) -> None:
        """One more renewal of this agent. Raises Problem 429 when it had enough of them: each is a signature and a
        transaction."""
        now = time.monotonic()
        bucket = self._quotas.of(agent, now).renewals
        if bucket.take_up_to(1, now) == 0:
            self.note(agent, "renewals")
            detail = f"agent {agent!r} has used up quotas.renewals_a_day"
            wait = math.ceil(min(_MOST_RETRY_SECONDS, 1 / bucket.rate))
            raise Problem(429, "quota", detail, retry_after=wait, extensions={"quota": "renewals"})

    def note(self, agent: str, quota: str, times: int = 1) -> None:
        """Count that an agent reached a quota."""
        self._quotas.reached(agent, quota, time.monotonic(), times)
        self._telemetry.quota_reached.labels(quota).inc(times)


class Turn:
    """One delivery of an agent, from its body to its reports."""

    def __init__(self, intake: Intake, allowance: Allowance, request: Request) -> None:
        self.allowance = allowance
        self._intake = intake
        self._request = request
        self._held = self._cost = 0

    def end(self) -> None:
        """The delivery is answered: its bytes are free."""
        self._intake.room.give(self._held)
        self._held = 0

    async def batch(self, speaker: Speaker) -> Batch:
        """The checked reports of the delivery. Raises Problem."""
        # Whatever is in it, a request costs as much as a report.
        self.allowance.reports.spend(1, time.monotonic())
        packed = await body.read(self._request, self._intake.limits.body_bytes, self._hold)
        received = self._intake.now()
        unpacked = bytearray()
        parts = pieces(packed, self._request.headers.get("content-encoding", ""))

        def reports() -> Batch:
            self._unpack(parts, unpacked, self._intake.limits.decompressed_bytes)
            return read_delivery(bytes(unpacked), speaker, received, self._intake.limits)

        if self._unpack(parts, unpacked, _SMALL_BYTES):
            batch = reports()
        else:
            batch = await asyncio.get_running_loop().run_in_executor(self._intake.beside, reports)
        self._charge(batch)
        return batch

    def _hold(self, size: int) -> None:
        self._intake.room.take(size)
        self._held += size

    def _unpack(self, parts: Iterator[bytes], unpacked: bytearray, stop_at: int) -> bool:
        """Unpack, and charge for it, until it is whole or has come to cost so much; whether it is whole."""
        for part in parts:
            price = cost(part)
            self.allowance.bytes.spend(price, time.monotonic())
            self._hold(price)
            self._cost += price
            unpacked += part
            if self._cost > self._intake.limits.decompressed_bytes:
                most = self._intake.limits.decompressed_bytes
                detail = f"the body is larger than {most} bytes when decompressed, or nothing but structure"
                raise Problem(413, "too_large", detail, field="body")
            if self._cost > stop_at:
                return False
        return True

    def _charge(self, batch: Batch) -> None:
        more = len(batch.prepared) + len(batch.refused) - 1
        facts = 0
        for prepared in batch.prepared:
            facts += len(prepared.report.facts) + len(prepared.unknown_facts)
            facts += prepared.list_facts
        if more or facts:  # most deliveries are one report of samples
            now = time.monotonic()
            self.allowance.reports.spend(more, now)
            self.allowance.facts.spend(facts, now)
