"""The schedule: every source in a thread of its own, timed, isolated and counted.

A source that hangs holds its own thread and nothing else. One that raises is logged and
counted. One that is slow counts as failed, and what it found late is still delivered: it
carries the time at which the run began.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from haidang_agent.config import SourceConfig
from haidang_agent.schedule.grid import Grid
from haidang_agent.schedule.source import Deliver, Findings, Source, StandingSource, instant

if TYPE_CHECKING:
    from haidang_agent.schedule.standing import Standing

log = logging.getLogger(__name__)


class Runner(threading.Thread):
    """Runs one source of an agent again and again and keeps its figures."""

    def __init__(self, source: Source, config: SourceConfig, agent: str, deliver: Deliver) -> None:
        super().__init__(name=f"source {source.name}", daemon=True)
        self.source = source
        self.config = config
        self.failures = {"error": 0, "timeout": 0}
        self._deliver = deliver
        self._grid = Grid(config.interval_seconds, agent)
        self._stop_asked = threading.Event()
        self._succeeded: bool | None = None
        self._duration = 0.0
        self._running_since: float | None = None

    @property
    def up(self) -> bool | None:
        """Whether the last run succeeded; None before the first ended."""
        return False if self.overdue else self._succeeded

    @property
    def duration(self) -> float:
        """Seconds the last run took, or the present one so far when it is overdue."""
        since = self._running_since
        return time.monotonic() - since if since is not None and self.overdue else self._duration

    @property
    def overdue(self) -> bool:
        """Whether a run goes on beyond its time limit."""
        since = self._running_since
        return since is not None and time.monotonic() - since > self.config.timeout_seconds

    def stop(self) -> None:
        """No further run; a run under way is not waited for."""
        self._stop_asked.set()

    def run(self) -> None:
        due = time.monotonic()  # the first run at once: a new agent is seen within a second
        while not self._stop_asked.wait(max(0.0, due - time.monotonic())):
            self.run_once()
            due = self._grid.after(time.monotonic()) + random.uniform(0, self.config.jitter_seconds)  # noqa: S311 (no secret)

    def run_once(self) -> Findings | None:
        """One run, counted; what it found, or None when it failed."""
        taken = instant()
        self._running_since = started = time.monotonic()
        findings: Findings | None = None
        try:
            findings = self.source.collect()
        except Exception:  # a source may fail in any way its libraries do; it stops nobody
            self.failures["error"] += 1
            log.warning("source %s failed", self.source.name, exc_info=True)
        self._duration = time.monotonic() - started
        late = self._duration > self.config.timeout_seconds
        if late and findings is not None:
            self.failures["timeout"] += 1
            log.warning("source %s took %.1f s", self.source.name, self._duration)
        self._succeeded = findings is not None and not late
        self._running_since = None
        if findings is not None:
            try:
                self._deliver(self.source.name, taken, self.config.interval_seconds, findings)
            except Exception:  # what can't be put into a report ends no thread either
                self.failures["error"] += 1
                log.warning("what source %s found can't be reported", self.source.name, exc_info=True)
        return findings


def make(source: Source | StandingSource, config: SourceConfig, agent: str, deliver: Deliver) -> Runner | Standing:
    """The thread that runs a source of this agent."""
    if isinstance(source, StandingSource):
        from haidang_agent.schedule.standing import Standing  # brings asyncio, which a host agent does without

        return Standing(source, config, deliver)
    return Runner(source, config, agent, deliver)
