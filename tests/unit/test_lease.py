"""What one collector alone may do runs while the lease is held, and not a moment longer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from haidang_collector.collector import Collector
from haidang_collector.lease import AlwaysHeld, Duties, Task
from haidang_collector.settings import RemoteWrite, Settings
from haidang_collector.supervision import Supervision
from haidang_collector.telemetry import TASKS, Telemetry

from tests.conftest import ROOT


class Given:
    """A lease that a test gives and takes away."""

    def __init__(self) -> None:
        self.given, self.taken = asyncio.Event(), asyncio.Event()

    async def acquire(self) -> None:
        await self.given.wait()
        self.taken.clear()

    async def lost(self) -> None:
        await self.taken.wait()
        self.given.clear()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


def test_duties_follow_the_lease() -> None:
    async def run() -> None:
        lease = Given()
        running: set[str] = set()
        ended: list[str] = []

        def duty(name: str) -> Task:
            async def work() -> None:
                running.add(name)
                try:
                    await asyncio.Event().wait()
                finally:
                    running.discard(name)
                    ended.append(name)

            return work

        duties = Duties(lease, Supervision(Telemetry()), {name: duty(name) for name in ("outages", "plan")})
        task = asyncio.create_task(duties.run())
        await asyncio.sleep(0.01)
        assert running == set()  # another one holds it
        for _ in range(3):
            lease.given.set()
            await until(lambda: running == {"outages", "plan"})
            lease.taken.set()
            await until(lambda: not running)
        assert sorted(ended) == ["outages"] * 3 + ["plan"] * 3
        lease.given.set()
        await until(lambda: bool(running))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert running == set()

    asyncio.run(run())


def test_a_collector_that_is_alone_always_holds_it() -> None:
    async def run() -> None:
        lease = AlwaysHeld()
        await asyncio.wait_for(lease.acquire(), 1)
        lost = asyncio.create_task(lease.lost())
        await asyncio.sleep(0.01)
        assert not lost.done()
        lost.cancel()

    asyncio.run(run())


def test_what_runs_in_the_background_is_counted_and_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task of a collector has a series before it fails, and a line of the runbook."""
    begun: set[str] = set()

    async def keep(self: Supervision, name: str, run: Task) -> None:
        begun.add(name)
        if name == "lease":  # which holds others
            await run()

    async def run() -> None:
        collector = Collector(Settings(state_dir=str(tmp_path), remote_write=RemoteWrite(url="http://127.0.0.1:1")))
        task = asyncio.create_task(collector.run())
        await until(lambda: "remote write" in begun)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        collector.close()

    monkeypatch.setattr(Supervision, "keep", keep)
    asyncio.run(run())
    assert begun <= set(TASKS)
    runbook = (ROOT / "docs/runbooks/HaidangCollectorTaskFailing.md").read_text(encoding="utf-8")
    assert [name for name in TASKS if f"| `{name}` |" not in runbook] == []
