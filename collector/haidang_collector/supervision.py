"""Background tasks that end by themselves, and single things that can't be taken in: seen, counted, survived."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from haidang_wire.backoff import backoff_seconds

from haidang_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

_BACKOFF_SECONDS = (1.0, 30.0)
# One that ran so long was well: what ends it next is another failure.
_WELL_SECONDS = 60.0
T = TypeVar("T")


class Supervision:
    """Whatever fails in the background fails alone."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def keep(self, task: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task that should never end; begin it again, later each time, when it does. Until cancelled."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await run()
                log.critical("%s ended by itself", task)
            except Exception:  # a defect, whatever it is: it is seen here, and ends nothing else
                log.critical("%s failed and is begun again", task, exc_info=True)
            self._telemetry.task_failures.labels(task).inc()
            failures = 1 if time.monotonic() - began > _WELL_SECONDS else failures + 1
            await asyncio.sleep(backoff_seconds(failures, *_BACKOFF_SECONDS))

    def attempt(self, where: str, what: str, function: Callable[..., T], *arguments: object) -> T | None:
        """function(*arguments) for one thing of many; None when it fails, which is logged with what it was and
        counted by where, and costs the others nothing."""
        try:
            return function(*arguments)
        except Exception:  # a defect that this one thing met
            log.exception("%s: %s can't be taken in", where, what)
            self._telemetry.unusable.labels(where).inc()
            return None
