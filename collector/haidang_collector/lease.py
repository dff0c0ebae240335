"""What one collector alone may do: judge outages and the plan, remove what is old, send late reports.

Those tasks run while a lease is held. A collector that is alone always holds it; of several on one database, the one
that the database gave it to, and only for as long as that one can say so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from haidang_collector.supervision import Supervision

log = logging.getLogger(__name__)

Task = Callable[[], Awaitable[None]]


class Lease(Protocol):
    """Whether this collector is the one."""

    async def acquire(self) -> None:
        """Return when it is held."""

    async def lost(self) -> None:
        """Return when it is held no more."""


class AlwaysHeld:
    """The lease of a collector that is alone: it always holds it."""

    async def acquire(self) -> None:
        """At once."""

    async def lost(self) -> None:
        """Never."""
        await asyncio.Event().wait()


class Duties:
    """The tasks of one collector alone. `run()` owns them."""

    def __init__(self, lease: Lease, supervision: Supervision, tasks: Mapping[str, Task]) -> None:
        self._lease = lease
        self._supervision = supervision
        self._tasks = dict(tasks)

    async def run(self) -> None:
        """Until cancelled: all of them while the lease is held, none while it is not."""
        while True:
            await self._lease.acquire()
            running = [
                asyncio.create_task(self._supervision.keep(name, task), name=name) for name, task in self._tasks.items()
            ]
            try:
                await self._lease.lost()
                log.warning("the lease is lost: another collector judges outages from now on")
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
