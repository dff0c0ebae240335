"""What a source is, and what it finds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from haidang_wire.report import Event, Fact, Sample

from haidang_agent.platform.system import boot_seconds


@dataclass
class Findings:
    """What one run of a source found."""

    samples: list[Sample] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def add(self, metric: str, value: float, **labels: str) -> None:
        """Add one sample; `metric` without the `haidang_` all metrics begin with."""
        self.samples.append(Sample(f"haidang_{metric}", labels, value))


class Instant(NamedTuple):
    """A moment, by the clock that people set (Unix seconds) and by the one that nobody sets (seconds since boot)."""

    unix: float
    boot: float


def instant() -> Instant:
    """Now. It is noted before anything is measured: whoever is frozen in between takes nothing old for new."""
    return Instant(time.time(), boot_seconds())


Deliver = Callable[[str, Instant, float, Findings], None]
"""Takes a report of a source: its name, when it was begun, interval (seconds), findings."""


class Source(Protocol):
    """What the schedule runs."""

    name: str

    def collect(self) -> Findings:
        """Measure once. Called from one thread, never twice at a time."""
        ...


@runtime_checkable
class StandingSource(Source, Protocol):
    """A source that keeps its own time, for what must answer at once or watches many things.

    `failures` and `duration` (seconds of what took longest lately) are what it says of itself.
    """

    failures: dict[str, int]
    duration: float

    async def run(self, deliver: Deliver) -> None:
        """Measure and deliver until cancelled."""
        ...
