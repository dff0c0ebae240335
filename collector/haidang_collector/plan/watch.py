"""Once a minute: the inventory is counted, the figures are made, a day's last are kept, and both are exposed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import sqlalchemy as sa

from haidang_collector.intake.feed import Accepted
from haidang_collector.inventory import counts
from haidang_collector.inventory.counts import Counts
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.statements import Upsert, of_new
from haidang_collector.ledger.tables import plan_figures
from haidang_collector.lines import Sample, families_of
from haidang_collector.months import day_of
from haidang_collector.outage.engine import Engine
from haidang_collector.plan.figures import Figures, compute
from haidang_collector.plan.inputs import Inputs
from haidang_collector.registry.model import Registry
from haidang_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

_SECONDS = 60.0
# Figures that were made longer ago are not shown.
_CURRENT_SECONDS = 300.0
_KEEP = Upsert(
    plan_figures,
    ("day", "level", "site", "figure"),
    of_new("ratio"),
    where=lambda new: plan_figures.c.ratio != new.ratio,
)


class World(Protocol):
    """What the collector knows beside."""

    @property
    def registry(self) -> Registry | None:
        """The registry in force; None without one."""
        ...

    @property
    def engine(self) -> Engine | None:
        """The outage engine; None while it can't judge."""
        ...


class PlanWatch:
    """Fed by what comes in, asked for `blocks`."""

    def __init__(self, ledger: Ledger, telemetry: Telemetry, clock: Callable[[], float] = time.time) -> None:
        self.inputs = Inputs()
        self._blocks: list[tuple[str, bytes]] = []
        self._made = float("-inf")
        self._clock = clock
        self._ledger = ledger
        self._telemetry = telemetry
        self._news = asyncio.Event()
        self._looked = clock()

    @property
    def blocks(self) -> list[tuple[str, bytes]]:
        """The families to expose, as text; none while a ledger that fails or hangs keeps them from being made."""
        return self._blocks if 0 <= self._clock() - self._made <= _CURRENT_SECONDS else []

    def take(self, accepted: Accepted) -> None:
        """Note what an accepted report says, if it is live."""
        if not accepted.is_live:
            return
        self.inputs.take(accepted.prepared)
        if self.inputs.disbelieved:
            self._telemetry.disbelieved.labels("count").inc(self.inputs.disbelieved)
            self.inputs.disbelieved = 0

    def move(self, seconds: float) -> None:
        """The clock was set by so much: what was seen and made is as old as it was."""
        self.inputs.move(seconds)
        self._made += seconds
        self._looked += seconds

    def use(self, registry: Registry | None) -> None:
        """Another registry is in force: the figures are made anew at once."""
        self.inputs.use(registry)
        self._news.set()

    async def run(self, world: World) -> None:
        """Make the figures each minute, and when the registry changes, until cancelled."""
        while True:
            try:
                await self.turn(world)
            except LedgerError as error:
                log.error("%s", error)
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue
            self._news.clear()

    async def turn(self, world: World) -> None:
        """Make the figures once. Raises LedgerError."""
        now = self._clock()
        registry = world.registry
        if registry is None:
            self._blocks = []
            return
        self.inputs.look(world.engine, now)
        found = await self._ledger.read(counts.count, registry, now)
        figures = compute(registry, self.inputs, found.workstations, now)
        self._looked = await self._ledger.run(counts.tell_new_devices, registry, self._looked, now)
        await self._ledger.run(_keep, registry, figures, now)
        self._blocks, self._made = families_of(_samples(registry, found, figures)), now


def _keep(connection: sa.Connection, registry: Registry, figures: Figures, now: float) -> None:
    """The day's figures, each minute over those before: its last stay."""
    day = str(day_of(now))
    level = {site.id: site.level for site in registry.sites}
    rows = [
        {"day": day, "level": level[site], "site": site, "figure": figure, "ratio": share.ratio}
        for (site, figure), share in figures.sites.items()
    ]
    rows += [
        {"day": day, "level": name, "site": "", "figure": figure, "ratio": share.ratio}
        for (name, figure), share in figures.levels.items()
    ]
    if rows:
        connection.execute(_KEEP.on(connection), rows)


def _samples(registry: Registry, found: Counts, figures: Figures) -> Iterator[Sample]:
    known = {site.id for site in registry.sites}
    for name, values in (
        ("haidang_inventory_machines", found.present),
        ("haidang_inventory_machines_missing", found.missing),
        ("haidang_inventory_machines_disputed", found.disputed),
        ("haidang_inventory_clones", found.clones),
        ("haidang_inventory_coverage_ratio", found.coverage),
        ("haidang_network_devices_new", found.new_devices),
    ):
        for site, value in values.items():
            if site in known:
                yield name, {"site": site}, value
    for site, agent, ends in found.support:
        yield "haidang_workstation_support_ends_timestamp_seconds", {"site": site, "agent": agent}, ends
    for (site, figure), share in figures.sites.items():
        yield "haidang_plan_site_ratio", {"site": site, "figure": figure}, round(share.ratio, 6)
    for (level, figure), share in figures.levels.items():
        yield "haidang_plan_ratio", {"level": level, "figure": figure}, round(share.ratio, 6)
    for figure, target in registry.province.targets.model_dump().items():
        yield "haidang_plan_target_ratio", {"figure": figure}, target
    for service in registry.services:
        yield "haidang_service_info", {"service": service.id, "site": service.site, "kind": service.kind}, 1
