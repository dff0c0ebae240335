"""The thread of a standing source: an event loop, watched and counted."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from haidang_agent.config import SourceConfig
from haidang_agent.schedule.source import Deliver, Findings, StandingSource

log = logging.getLogger(__name__)

_BEAT_SECONDS = 0.5


class Standing(threading.Thread):
    """Runs a standing source until stopped, and again when it fails. Figures as a Runner's."""

    def __init__(self, source: StandingSource, config: SourceConfig, deliver: Deliver) -> None:
        super().__init__(name=f"source {source.name}", daemon=True)
        self.source = source
        self.config = config
        self._deliver = deliver
        self._stop_asked = threading.Event()
        self._beat: float | None = None
        self._failed = False

    @property
    def failures(self) -> dict[str, int]:
        return self.source.failures

    @property
    def up(self) -> bool | None:
        """Whether its loop turns; None before it began."""
        return None if self._beat is None else not (self._failed or self.overdue)

    @property
    def duration(self) -> float:
        """Seconds of what took longest lately, or for which its loop has stood still."""
        return time.monotonic() - self._beat if self._beat is not None and self.overdue else self.source.duration

    @property
    def overdue(self) -> bool:
        """Whether its loop has stood still beyond the time limit."""
        return self._beat is not None and time.monotonic() - self._beat > self.config.timeout_seconds

    def stop(self) -> None:
        """What is under way is not waited for."""
        self._stop_asked.set()

    def run_once(self) -> Findings:
        """One round, for people."""
        return self.source.collect()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                asyncio.run(self._watch())
            except Exception:  # a source may fail in any way its libraries do; it stops nobody
                self.failures["error"] += 1
                self._failed = True
                log.warning("source %s failed", self.source.name, exc_info=True)
                self._stop_asked.wait(self.config.interval_seconds)

    async def _watch(self) -> None:
        task = asyncio.get_running_loop().create_task(self.source.run(self._deliver))
        try:
            while not self._stop_asked.is_set():
                self._beat = time.monotonic()
                done, _ = await asyncio.wait({task}, timeout=_BEAT_SECONDS)
                if done:
                    task.result()
                    return
                self._failed = False
        finally:
            task.cancel()
