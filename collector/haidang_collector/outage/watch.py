"""The engine in the collector: fed by what comes in, asked twice a second, kept in the ledger.

Judging waits for nothing. What it finds is kept by a task of its own: a ledger that fails or hangs delays only that."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import sqlalchemy as sa
from haidang_wire.report import Fact

from haidang_collector.intake.feed import Accepted
from haidang_collector.intake.ingest import Prepared
from haidang_collector.intake.time_base import redate
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.tables import facts
from haidang_collector.months import month_of
from haidang_collector.outage import sla
from haidang_collector.outage import store as kept
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.evidence import Evidence
from haidang_collector.outage.measured import Keeper, Proofs
from haidang_collector.outage.model import Changes, Downtime, MaintenanceWindow, Outage
from haidang_collector.outage.revise import Reviser
from haidang_collector.registry.model import Registry
from haidang_collector.registry.store import registry_loaded
from haidang_collector.settings import Settings
from haidang_collector.telemetry import Telemetry
from haidang_collector.topology.store import Seen, all_seen

log = logging.getLogger(__name__)

_EVALUATE_SECONDS = 0.5
_SOONER_SECONDS = 0.05
_WINDOWS_SECONDS = 5.0
# What changes seldom: budgets of SLAs, cables against the registry.
_SLOW_SECONDS = 60.0
# What was judged longer ago is not what is.
_CURRENT_SECONDS = 5.0
T = TypeVar("T")


class Watch:
    """`engine` is None until there is a registry with a center; who shows it asks `current()`. It is changed on the
    event loop alone; what is written to the ledger and a change of the registry wait for each other."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
        anchor: Callable[[], float] | None = None,
    ) -> None:
        """`anchor` is that of the clock's time base: by it the ledger is dated before something is written."""
        self.engine: Engine | None = None
        self._clock, self._anchor = clock, anchor
        self._dated_by: float | None = None
        self._moved = 0.0
        self._ledger = ledger
        self._settings = settings.outages
        self._telemetry = telemetry
        self._reviser = Reviser(ledger)
        self._keeper = Keeper(ledger)
        self._proofs: Proofs | None = None
        self._news = asyncio.Event()
        self._keeping = asyncio.Lock()
        self._unsaved = Unsaved()
        self._looked = float("-inf")
        self._windows_due = self._month_due = self._cables_due = 0.0

    async def use(self, registry: Registry | None) -> None:
        """Judge by this registry from now on. Raises LedgerError; then the one before stays in force."""
        async with self._keeping:
            if registry is None:
                self.engine = self._proofs = None
                return
            opened = await self._write(_open, registry, self._clock())
            self._leave_out(opened.unusable)
            engine, before = Engine(registry, Evidence(registry), self._settings), self.engine
            self._unsaved.forget_gone(engine)  # what was judged meanwhile
            if not registry.center:
                self.engine = self._proofs = None
                return
            if before is not None:
                engine.evidence.take_over(before.evidence)
                engine.take_over(before)
            else:
                for outage in opened.outages:
                    outage.down = set(outage.sites)
                engine.resume(opened.outages, opened.downtimes)
            engine.windows = opened.windows
            for agent, site, fact in opened.facts:
                engine.evidence.know(fact, agent, site)
            for each in opened.seen:
                engine.evidence.see(each.agent, each.site, each.device, each.links)
            self._windows_due = self._month_due = self._cables_due = 0.0
            self.engine, self._proofs = engine, Proofs(registry, engine.evidence.witnesses)

    def current(self) -> Engine | None:
        """The engine, if what it says is of now: when nothing ran for a while it looks first. None when it can't."""
        now = self._clock()
        if not 0 <= now - self._looked <= _CURRENT_SECONDS:
            try:
                self.look(now)
            except Exception:  # noqa: BLE001 (the task that looks meets the same, and is supervised: it is said there)
                return None
        return self.engine

    def begin_again(self, moved: float = 0.0) -> None:
        """The clock was set by so many seconds: when anything was seen is no longer known, and each is unknown until it
        is said again. What is open stays so, as old as it was, and what devices see of their neighbours, which they say
        seldom."""
        self._moved += moved
        self._unsaved.move(moved, self._clock())
        self._reviser.move(moved)
        before = self.engine
        if before is None:
            return
        seen = before.evidence
        evidence = Evidence(before.registry, neighbours=seen.neighbours, documented=seen.documented)
        self.engine = Engine(before.registry, evidence, self._settings)
        self.engine.take_over(before)
        self.engine.move(moved, self._clock())
        self._keeper.begin_again()
        self._windows_due = self._month_due = self._cables_due = 0.0

    def take(self, accepted: Accepted) -> None:
        """Note what an accepted report says now, or, if it is late, proves of its own time."""
        if self.engine is None or self._proofs is None:
            return
        if accepted.is_live:
            self._take_live(self.engine, accepted.prepared, accepted.composed)
        else:
            self._take_late(self.engine, self._proofs, accepted.prepared)

    def _take_live(self, engine: Engine, prepared: Prepared, composed: float) -> None:
        if engine.evidence.take(prepared, composed):
            self._news.set()
        if prepared.report.events:
            self._take_signs(engine, prepared)

    def _take_late(self, engine: Engine, proofs: Proofs, prepared: Prepared) -> None:
        self._take_signs(engine, prepared)
        self._disbelieve("proof", self._keeper.take(prepared, proofs, self._clock()))

    def _take_signs(self, engine: Engine, prepared: Prepared) -> None:
        refused = self._reviser.take(prepared, engine.evidence.witnesses, engine.registry.center, self._clock())
        self._disbelieve("sign", refused)

    def _disbelieve(self, what: str, number: int) -> None:
        if number:
            self._telemetry.disbelieved.labels(what).inc(number)

    def _leave_out(self, number: int) -> None:
        """What met a defect, and is in the log."""
        if number:
            self._telemetry.unusable.labels("outages").inc(number)

    async def run(self) -> None:
        """Judge until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_EVALUATE_SECONDS):
                    await self._news.wait()
                await asyncio.sleep(_SOONER_SECONDS)  # what is said in one breath is judged at once
            except TimeoutError:
                pass
            self._news.clear()
            self.look(self._clock())

    async def run_ledger(self) -> None:
        """Keep what is judged until cancelled."""
        while True:
            await asyncio.sleep(_EVALUATE_SECONDS)
            try:
                await self.keep(self._clock())
            except LedgerError as error:
                log.error("outages can't be kept now: %s", error)

    async def turn(self, now: float) -> None:
        """Judge and keep once. Raises LedgerError; what could not be written is, with the next turn."""
        self.look(now)
        await self.keep(now)

    def look(self, now: float) -> None:
        """Judge once, by what is known."""
        engine = self.engine
        if engine is None:
            return
        seen = engine.evidence
        if now >= self._cables_due:
            self._cables_due = now + _SLOW_SECONDS
            engine.mismatches = engine.cables.mismatches(seen.documented.seen, seen.documented.system_names)
            seen.expire(now)
        started = time.perf_counter()
        changes = engine.evaluate(now)
        self._telemetry.outage_evaluation.set(time.perf_counter() - started)
        self._looked = now
        self._disbelieve("event", seen.disbelieved)
        seen.disbelieved = 0
        self._keeper.note(engine.told)
        self._unsaved.add(changes, engine)
        for outage in changes.outages.values():
            said = "is over" if outage.ended else "is well" if outage.clear_since else f"{len(outage.down)} sites down"
            log.warning("outage %s: %s, cause %s", outage.id, said, outage.cause.kind)

    async def keep(self, now: float) -> None:
        """Write what is new, and read what the engine is told by the ledger. Raises LedgerError; what could not be
        written is, with the next time."""
        async with self._keeping:
            if self._unsaved or (self._anchor and self._anchor() != self._dated_by):
                await self._write(_save, now)
            self._disbelieve("proof", await self._keeper.write(now))
            engine = self.engine
            if engine is None:
                return
            self._leave_out(await self._reviser.turn(lambda: self.engine or engine, now))
            if now >= self._windows_due:
                self._windows_due = now + _WINDOWS_SECONDS
                windows = await self._ledger.read(kept.windows, now)
                (self.engine or engine).windows = windows  # it is another one when the clock was set meanwhile
            if now >= self._month_due:
                self._month_due = now + _SLOW_SECONDS
                judged = self._settings.sla_judged_ratio
                month = await self._ledger.read(_month, engine.registry, now, judged)
                present = self.engine or engine
                present.sla_budgets_used, present.measured_ratios = month

    async def _write(self, function: Callable[..., T], *arguments: Any) -> T:
        """function(connection, what is not kept yet, *arguments) in the ledger. What is judged meanwhile comes after
        it; where the ledger fails, nothing of either is lost."""
        writing, self._unsaved = self._unsaved, Unsaved()
        moved, anchor = self._moved, self._anchor() if self._anchor else None
        dated_by = anchor if anchor != self._dated_by else None
        try:
            done: T = await self._ledger.run(_dated, dated_by, self._clock(), function, writing, *arguments)
        except BaseException:
            writing.move(self._moved - moved, self._clock())
            self._unsaved = writing.followed_by(self._unsaved)
            raise
        self._dated_by = anchor
        return done


class Unsaved:
    """What evaluations changed and the ledger does not have yet; each outage and downtime once, as it was last."""

    def __init__(self) -> None:
        self.outages: dict[str, Outage] = {}
        self._officials: dict[str, int] = {}
        self._downtimes: dict[tuple[str, str, float], Downtime] = {}

    def __bool__(self) -> bool:
        return bool(self.outages or self._downtimes)

    def add(self, changes: Changes, engine: Engine) -> None:
        """Note changes. Outages are copied: the engine goes on with its own while these are written."""
        for name, outage in changes.outages.items():
            self.outages[name] = replace(outage, sites=set(outage.sites), down=set(outage.down))
            self._officials[name] = engine.officials(outage)
        for each in changes.downtimes:
            self._downtimes[each.kind, each.element, each.started] = each

    def move(self, seconds: float, now: float) -> None:
        """The clock was set by so much."""
        for outage in self.outages.values():
            outage.move(seconds, now)
        moved = (each.moved(seconds, now) for each in self._downtimes.values())
        self._downtimes = {(each.kind, each.element, each.started): each for each in moved}

    def followed_by(self, later: Unsaved) -> Unsaved:
        """The same with what was changed after it."""
        self.outages |= later.outages
        self._officials |= later._officials
        self._downtimes |= later._downtimes
        return self

    def forget_gone(self, engine: Engine) -> None:
        """Leave out what the registry of this engine does not have: the ledger has ended it."""
        self.outages = {name: outage for name, outage in self.outages.items() if not engine.is_gone(outage)}
        self._downtimes = {key: each for key, each in self._downtimes.items() if engine.has(each.kind, each.element)}

    def save(self, connection: sa.Connection, now: float) -> None:
        """Write it."""
        kept.save(connection, Changes(self.outages, list(self._downtimes.values())), self._officials, now)


@dataclass
class Opened:
    """What a registry goes on with: what is open, maintenance, what devices are, with the agent and site that told it,
    and what they see."""

    outages: list[Outage]
    downtimes: list[Downtime]
    windows: list[MaintenanceWindow]
    facts: list[tuple[str, str, Fact]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    unusable: int = 0


def _dated(
    connection: sa.Connection, anchor: float | None, now: float, function: Callable[..., T], *arguments: Any
) -> T:
    """function(connection, *arguments) in a ledger that is dated by this time base; None for as it is."""
    if anchor is not None:
        redate(connection, anchor, now)
    return function(connection, *arguments)


def _save(connection: sa.Connection, unsaved: Unsaved, now: float) -> None:
    unsaved.save(connection, now)


def _open(connection: sa.Connection, unsaved: Unsaved, registry: Registry, now: float) -> Opened:
    """End what the registry no longer has, when it was loaded; read what is open then, and what devices are and see, as
    they said last: they say it again only after hours, or when it changes."""
    unsaved.save(connection, now)
    kept.end_gone(connection, registry, min(now, registry_loaded(connection) or now))
    outages, downtimes, unusable = kept.load_open(connection)
    opened = Opened(outages, downtimes, kept.windows(connection, now), seen=all_seen(connection), unusable=unusable)
    told = sa.select(facts).where(facts.c.kind == "device").order_by(facts.c.seen)
    for row in connection.execute(told):
        try:
            body = json.loads(row.body)
        except (RecursionError, ValueError):
            body = None
        if isinstance(body, dict):
            opened.facts.append((row.agent, row.site, Fact(row.kind, row.key, body)))
        else:
            log.warning("a fact %s of agent %s can't be read", row.kind, row.agent)
            opened.unusable += 1
    return opened


def _month(
    connection: sa.Connection, registry: Registry, now: float, judged: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Of each circuit with an SLA the share of this month's allowed downtime that is used; of each circuit the share of
    this month that was measured."""
    period = month_of(now).period
    figures = sla.figures(registry, period, kept.record(connection, *period), now, judged)
    circuits = [each for each in figures if each.kind == "circuit"]
    used = {each.element: sla.budget_used(each, period) for each in circuits}
    measured = {each.element: each.measured_ratio for each in circuits}
    return _known(used), _known(measured)


def _known(ratios: dict[str, float | None]) -> dict[str, float]:
    return {element: ratio for element, ratio in ratios.items() if ratio is not None}
