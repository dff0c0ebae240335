"""How long a delivery waits for its acknowledgement while the inventory of 20,000 machines is exported, or counted for
the plan's figures: with reads beside the thread that writes, and on it as the peer.

    python bench/reads.py [MACHINES]     (default: 20000)
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from common import folder, show
from haidang_collector.identity import agents as identities
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.delivery import Deliveries
from haidang_collector.intake.ingest import Speaker, read_delivery
from haidang_collector.inventory import counts, export
from haidang_collector.inventory.search import Filter
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import machines
from haidang_collector.principals import Principal
from haidang_collector.registry.file import load_registry
from haidang_collector.settings import Limits
from haidang_collector.telemetry import Telemetry

from tests.conftest import REGISTRY, delivery, report

DELIVERIES, PAUSE_SECONDS = 150, 0.02


class OnOneThread(Ledger):
    """Where reads wait for writes and writes for reads."""

    async def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self.run(function, *arguments)


def filled(state: Path, kind: type[Ledger], number: int) -> Ledger:
    ledger, now = kind(state), time.time()
    known = {"site": "ttdl", "first_seen": 1.0, "last_seen": now}
    rows = [{**known, "agent": f"pc-{n}", "name": f"may-{n}", "machine_id": f"{n}"} for n in range(number)]
    with ledger.transaction() as connection:
        identities.add_agent(connection, Principal.itself(), "may-1", "ttdl", "t", 0.0)
        connection.execute(sa.insert(machines), rows)
    return ledger


async def waits(ledger: Ledger) -> dict[str, tuple[float, float]]:
    """By what is asked beside it: p50 and p95 of an acknowledgement, in milliseconds."""
    deliveries = Deliveries(ledger, Telemetry(), TimeBase(), limit=10, keep_late=False)
    registry = load_registry(REGISTRY)

    async def nothing() -> None:
        await asyncio.sleep(3600)

    async def exporting() -> None:
        while True:
            async for _ in export.as_csv(ledger, Filter(), "en"):
                pass

    async def counting() -> None:
        while True:
            await ledger.read(counts.count, registry, time.time())

    asked: dict[str, Callable[[], Awaitable[None]]] = {
        "nothing": nothing, "an export": exporting, "the plan's count": counting,
    }  # fmt: skip
    worker = asyncio.create_task(deliveries.run())
    sequence, found = 0, {}
    for what, ask in asked.items():
        beside, took = asyncio.ensure_future(ask()), []
        for _ in range(DELIVERIES):
            sequence += 1
            body = delivery(report("may-1", sequence))
            batch = read_delivery(body, Speaker("may-1", "ttdl"), time.time(), Limits())
            began = time.perf_counter()
            await deliveries.store(batch)
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PAUSE_SECONDS)
        beside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beside
        took.sort()
        found[what] = took[DELIVERIES // 2], took[DELIVERIES * 95 // 100]
    worker.cancel()
    return found


def measured(kind: type[Ledger], number: int) -> dict[str, tuple[float, float]]:
    with folder() as state:
        ledger = filled(state, kind, number)
        try:
            return asyncio.run(waits(ledger))
        finally:
            ledger.close()


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    sys.setswitchinterval(0.0002)  # as the server does
    ours, peers = measured(Ledger, number), measured(OnOneThread, number)
    for what in ours:
        for index, name in enumerate(("p50", "p95")):
            shown = f"acknowledged while {what} is asked of {number} machines, {name}"
            show(shown, ours[what][index], peers[what][index], "on one thread", "≤ 1", " ms")


if __name__ == "__main__":
    main()
