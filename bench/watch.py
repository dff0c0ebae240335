"""What it costs each second to know what commands changed beside the collector: registry, agents, certificates, CA.

python bench/watch.py [AGENTS] [SECONDS]     (default: 20000 60)
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from common import folder
from haidang_collector.collector import Collector
from haidang_collector.identity import agents as identities
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import time_base
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry
from haidang_collector.settings import Settings

from tests.conftest import REGISTRY


def main() -> None:
    agents = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    with folder() as path:
        asyncio.run(measure(path, agents, seconds))


async def measure(state: Path, agents: int, seconds: int) -> None:
    collector, beside = Collector(Settings(state_dir=str(state))), Ledger(state)
    who = Principal.itself()
    with beside.transaction() as connection:
        registry_store.save_registry(connection, who, load_registry(REGISTRY))
        for number in range(agents):
            identities.add_agent(connection, who, f"pc-{number:05}", "ttdl", "t", 0.0)
    await collector.start()
    names = iter(range(agents))

    def nothing() -> None:
        pass

    def a_delivery() -> None:
        with beside.transaction() as connection:
            connection.execute(sa.update(time_base).values(anchor=time.time()))

    def a_revocation() -> None:
        with beside.transaction() as connection:
            identities.revoke_agent(connection, who, f"pc-{next(names):05}")

    happens: dict[str, Callable[[], None]] = {
        "nothing happens": nothing,
        "something is stored": a_delivery,
        "an agent is revoked": a_revocation,
    }
    for what, happen in happens.items():
        spent, took = [], []
        for _ in range(seconds):
            happen()
            processor, clock = time.process_time(), time.perf_counter()
            await collector._watch_once()
            spent.append((time.process_time() - processor) * 1000)
            took.append((time.perf_counter() - clock) * 1000)
        print(
            f"a second in which {what}, {agents} agents:",
            f"{statistics.mean(spent):.2f} ms of processor time, {statistics.median(took):.2f} ms (p50)",
        )
    collector.close()
    beside.close()


if __name__ == "__main__":
    main()
