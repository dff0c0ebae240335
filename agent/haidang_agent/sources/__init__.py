"""Sources measure; the schedule times, isolates and counts them.

A source is one file with one class: a `name`, and `collect()`, which returns what it found
and may raise what its libraries raise. To add one: write the file, give it a table in
`config.SourcesConfig`, and build it in `build()`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from haidang_wire.report import Event, Fact, Sample

from haidang_agent.config import AgentConfig


@dataclass
class Findings:
    """What one run of a source found."""

    samples: list[Sample] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def add(self, metric: str, value: float, **labels: str) -> None:
        """Add one sample; `metric` without the `haidang_` all metrics begin with."""
        self.samples.append(Sample(f"haidang_{metric}", labels, value))


class Source(Protocol):
    """What the schedule runs."""

    name: str

    def collect(self) -> Findings:
        """Measure once. Called from one thread, never twice at a time."""
        ...


def build(config: AgentConfig, device: str) -> list[Source]:
    """The enabled sources of a host; `device` names this machine in interface metrics."""
    from haidang_agent.sources.host import Host
    from haidang_agent.sources.reachability import Reachability

    sources: list[Source] = []
    if config.sources.host.enabled:
        sources.append(Host(device))
    if config.sources.reachability.enabled:
        sources.append(Reachability(config.sources.reachability))
    return sources
