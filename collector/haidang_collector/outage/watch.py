"""The engine in the collector: fed by what comes in, asked twice a second, kept in the ledger."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable

import sqlalchemy as sa
from haidang_wire.report import Fact

from haidang_collector.ingest import Prepared
from haidang_collector.ledger import outages as kept
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.tables import facts
from haidang_collector.outage import sla
from haidang_collector.outage.documented import mismatches
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.evidence import Evidence
from haidang_collector.outage.model import Changes, Window
from haidang_collector.outage.revise import Reviser
from haidang_collector.registry import Registry
from haidang_collector.settings import Settings
from haidang_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

_EVALUATE_SECONDS = 0.5
_SOONER_SECONDS = 0.05
_WINDOWS_SECONDS = 5.0
# What changes seldom: budgets of SLAs, cables against the registry.
_SLOW_SECONDS = 60.0


class Watch:
    """`engine` is None until there is a registry with a center."""

    def __init__(
        self, ledger: Ledger, settings: Settings, telemetry: Telemetry, clock: Callable[[], float] = time.time
    ) -> None:
        self.engine: Engine | None = None
        self._clock = clock
        self._ledger = ledger
        self._settings = settings.outages
        self._telemetry = telemetry
        self._reviser = Reviser(ledger)
        self._news = asyncio.Event()
        self._unsaved = Changes()
        self._windows_due = self._slow_due = 0.0

    async def use(self, registry: Registry | None) -> None:
        """Judge by this registry from now on."""
        before = self.engine
        self.engine = Engine(registry, Evidence(registry), self._settings) if registry and registry.center else None
        if self.engine is None:
            return
        self._windows_due = self._slow_due = 0.0
        if before is not None:
            self.engine.evidence.take_over(before.evidence)
            self.engine.take_over(before)
            return
        for fact in await self._ledger.run(_facts):
            self.engine.evidence.know(fact)
        outages, downtimes = await self._ledger.run(kept.load_open)
        known = {site.id for site in self.engine.registry.sites}
        for outage in outages:
            outage.sites &= known
            outage.down = set(outage.sites)
            self.engine.outages[outage.id] = outage
        self.engine.downtimes = {(each.kind, each.element): each for each in downtimes}

    def begin_again(self) -> None:
        """The clock was set: when anything was seen is no longer known, and each is unknown until it is said again.
        What is open stays so, and what devices see of their neighbours, which they say seldom."""
        before = self.engine
        if before is None:
            return
        seen = before.evidence
        evidence = Evidence(
            before.registry, neighbours=seen.neighbours, documented=seen.documented, system_names=seen.system_names
        )
        self.engine = Engine(before.registry, evidence, self._settings)
        self.engine.take_over(before)
        self._windows_due = self._slow_due = 0.0

    def take(self, live: Iterable[Prepared], late: Iterable[Prepared], composed: float) -> None:
        """What a delivery held that was composed then."""
        if self.engine is None:
            return
        for prepared in live:
            if self.engine.evidence.take(prepared, composed):
                self._news.set()
            if prepared.report.events:
                self._reviser.take(prepared)
        for prepared in late:
            self._reviser.take(prepared)

    async def run(self) -> None:
        """Evaluate and keep until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_EVALUATE_SECONDS):
                    await self._news.wait()
                await asyncio.sleep(_SOONER_SECONDS)  # what is said in one breath is judged at once
            except TimeoutError:
                pass
            self._news.clear()
            try:
                await self._turn(self._clock())
            except LedgerError as error:
                log.error("outages can't be kept now: %s", error)

    async def _turn(self, now: float) -> None:
        engine = self.engine
        if engine is None:
            return
        if now >= self._windows_due:
            engine.windows = await self._ledger.run(kept.windows, now)
            self._windows_due = now + _WINDOWS_SECONDS
        if now >= self._slow_due:
            self._slow_due = now + _SLOW_SECONDS
            engine.sla_budgets_used = await self._ledger.run(_budgets, engine.registry, now)
            seen = engine.evidence
            engine.mismatches = mismatches(engine.registry, seen.documented, seen.system_names)
            seen.expire(now)
        started = time.perf_counter()
        changes = engine.evaluate(now)
        self._telemetry.outage_evaluation.set(time.perf_counter() - started)
        self._unsaved.outages |= changes.outages
        self._unsaved.downtimes += changes.downtimes
        if self._unsaved:
            # What a failing disk keeps from being written is written with the next turn.
            writing, officials = self._unsaved, {name: engine.officials(o) for name, o in self._unsaved.outages.items()}
            await self._ledger.run(kept.save, writing, officials, now)
            self._unsaved = Changes()
            for outage in writing.outages.values():
                said = (
                    "is over" if outage.ended else "is well" if outage.clear_since else f"{len(outage.down)} sites down"
                )
                log.warning("outage %s: %s, cause %s", outage.id, said, outage.cause.kind)
        await self._reviser.turn(engine)


def _budgets(connection: sa.Connection, registry: Registry, now: float) -> dict[str, float]:
    """Of each circuit with an SLA the share of this month's allowed downtime that is used."""
    period = sla.this_month(now)
    windows = [Window(each.element, each.begins, each.ends) for each in kept.list_planned(connection, *period)]
    figures = sla.figures(registry, period, kept.downtimes_between(connection, *period), windows, now)
    used = {each.element: sla.budget_used(each, period) for each in figures if each.kind == "circuit"}
    return {circuit: share for circuit, share in used.items() if share is not None}


def _facts(connection: sa.Connection) -> list[Fact]:
    """What devices are and see, as they said last: they say it again only after hours, or when it changes."""
    rows = connection.execute(sa.select(facts).where(facts.c.kind.in_(("neighbours", "device"))))
    return [Fact(row.kind, row.key, json.loads(row.body)) for row in rows]
