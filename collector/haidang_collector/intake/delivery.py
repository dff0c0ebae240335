"""Making deliveries durable: exactly once in effect, many deliveries in one commit.

Requests queue here; a worker takes a piece of each that waits, writes them in one transaction and only
then answers those that are whole. A report seen before (agent, epoch, sequence) changes nothing.
A report that can't be written is refused; the others of its group are not the worse for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.ingest import Batch, Prepared
from haidang_collector.intake.writer import Outcome, Writer
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.problems import Problem
from haidang_collector.quotas.holdings import Keeper
from haidang_collector.telemetry import Telemetry
from haidang_collector.topology.links import Address

log = logging.getLogger(__name__)

# What one commit holds, and of it one delivery: a report is one, what it brings along makes it more (see _weight).
_GROUP = 500
_TURN = 64


class _Waiting:
    """A delivery, stored in pieces so that one that is large does not hold the others up: the newest first."""

    def __init__(self, batch: Batch) -> None:
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.batch = batch
        self.piece = batch
        self._rejected = batch.rejected
        self._left = deque(sorted(batch.prepared, key=lambda prepared: prepared.taken, reverse=True))
        self._outcome = Outcome()

    def begin_piece(self) -> int:
        """Make the next one, a report at least; its weight."""
        reports: list[Prepared] = []
        weight = 0
        while self._left and weight < _TURN:
            reports.append(self._left.popleft())
            weight += _weight(reports[-1])
        self.piece = replace(self.batch, prepared=reports, rejected=self._rejected)
        return weight

    def is_over(self, result: Outcome | Problem) -> bool:
        """Take in what became of a piece. Over, it is answered."""
        self._outcome.add(result)
        self._rejected = {}  # kept with the first
        if self._left and self._outcome.problem is None:
            return False
        if not self.done.done():  # the client may have gone away meanwhile
            self.done.set_result(self._outcome)
        return True


def _weight(prepared: Prepared) -> int:
    """How long a report takes to store, about, where one of samples alone is 1."""
    report = prepared.report
    weight = 1 + len(prepared.raw) // 65_536
    weight += (len(report.events) + len(prepared.unknown_events)) // 8
    weight += len(report.facts) + len(prepared.unknown_facts)
    return weight + prepared.list_facts


class Deliveries:
    """The queue and its worker. `run()` is the task that owns it."""

    def __init__(
        self,
        ledger: Ledger,
        telemetry: Telemetry,
        time_base: TimeBase,
        *,
        limit: int,
        keep_late: bool,
        keeper: Keeper | None = None,
        devices: Callable[[], Mapping[Address, str]] = dict,
    ) -> None:
        """`devices` are those the registry has, by their addresses."""
        self._ledger = ledger
        self._time_base = time_base
        self._telemetry = telemetry
        self._limit = limit
        self._queue: deque[_Waiting] = deque()
        self._some = asyncio.Event()
        self._writer = Writer(keep_late=keep_late, keeper=keeper, devices=devices)

    def go_on_after(self, position: int) -> None:
        """What is stored from now on comes behind this place in the feed."""
        self._writer.position = position

    async def store(self, batch: Batch) -> Outcome:
        """Durable when this returns, but for what `problem` of the outcome says: 503 when the disk fails (the rest
        is not acknowledged then), 403 for an agent that may no longer speak. Raises Problem 503 when too much waits."""
        if len(self._queue) >= self._limit:
            raise Problem(503, "busy", "too many deliveries wait to be stored", retry_after=10)
        waiting = _Waiting(batch)
        self._queue.append(waiting)
        self._some.set()
        return await waiting.done

    async def forget_old(self, now: float) -> None:
        """The ledger was tidied up. Raises LedgerError."""
        await self._ledger.run(self._writer.forget_old, now)

    async def run(self) -> None:
        """Write groups until cancelled."""
        while True:
            await self._some.wait()
            self._writer.follow(self._time_base)
            group = self._next_group()
            try:
                await self._write(group)
            except BaseException:  # a defect, or the end: those who wait are told, and it is raised again
                for waiting in group:
                    waiting.is_over(Problem(503, "storage", "reports can't be stored now", retry_after=15))
                raise
            if not self._queue:
                self._some.clear()

    def _next_group(self) -> list[_Waiting]:
        """A piece of each that waits, as far as one commit stays short. Who has more goes behind the others."""
        group: list[_Waiting] = []
        weight = 0
        while self._queue and weight < _GROUP:
            waiting = self._queue.popleft()
            waiting.batch.follow(self._time_base)
            weight += waiting.begin_piece()
            group.append(waiting)
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        started = time.perf_counter()
        try:
            results = await self._ledger.run(self._writer.write, [waiting.piece for waiting in group])
        except LedgerError as error:
            self._telemetry.commit_failures.inc()
            self._writer.roll_back()
            results = [_not_now(error)] * len(group)
        except Exception as error:  # noqa: BLE001 (whatever it is: something of the group meets it, and halves find what)
            self._writer.roll_back()
            if len(group) > 1:
                middle = len(group) // 2
                await self._write(group[:middle])
                await self._write(group[middle:])
                return
            results = [await self._write_apart(group[0].piece, error)]
        else:
            self._writer.committed()
            self._telemetry.commit_duration.observe(time.perf_counter() - started)
        for waiting, result in zip(group, results, strict=True):
            if not waiting.is_over(result):
                self._queue.append(waiting)

    async def _write_apart(self, batch: Batch, error: Exception) -> Outcome:
        """A piece of which something can't be written, report by report."""
        log.error("a delivery of agent %s can't be written as a whole", batch.agent, exc_info=error)
        found = Outcome()
        for prepared in sorted(batch.prepared, key=lambda p: p.taken, reverse=True):
            alone = replace(batch, prepared=[prepared], rejected={})
            try:
                (outcome,) = await self._ledger.run(self._writer.write, [alone])
            except LedgerError as failure:
                self._telemetry.commit_failures.inc()
                self._writer.roll_back()
                outcome = _not_now(failure)
            except Exception:  # whatever it is, this report is the one that met it
                log.exception("a report of agent %s can't be written", batch.agent)
                self._writer.roll_back()
                found.unwritable.append(prepared)
                continue
            else:
                self._writer.committed()
            found.add(outcome)
            if found.problem:
                break
        return found


def _not_now(error: LedgerError) -> Problem:
    return Problem(503, "storage", f"reports can't be stored now: {error.what}", retry_after=15)
