"""What a source is, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from haidang_wire.report import Event, Fact, Sample


@dataclass
class Findings:
    """What one run of a source found. `targets` holds what it found of others (devices, by name):
    a report of its own each, SOURCE:TARGET."""

    samples: list[Sample] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    targets: dict[str, Findings] = field(default_factory=dict)

    def add(self, metric: str, value: float, **labels: str) -> None:
        """Add one sample; `metric` without the `haidang_` all metrics begin with."""
        self.samples.append(Sample(f"haidang_{metric}", labels, value))


class Source(Protocol):
    """What the schedule runs."""

    name: str

    def collect(self) -> Findings:
        """Measure once. Called from one thread, never twice at a time."""
        ...
