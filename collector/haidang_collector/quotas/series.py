"""How many different series each agent makes in a day. Pure: the day is passed in.

Each series costs Prometheus memory for hours, however soon another takes its place: a limit on what is current does
not bound that. Whether a report's series are those of the report before is one comparison; only when they are not,
its names are looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class _Day:
    """Hashes of the series of one agent, or of one device it watches, on a day."""

    number: int
    hashes: array[int] = field(default_factory=lambda: array("q"))


@dataclass
class _Agent:
    days: dict[str, _Day] = field(default_factory=dict)
    # Of each source, its last report's series, and the day on which they were taken.
    reports: dict[str, tuple[int, int]] = field(default_factory=dict)


class SeriesADay:
    """The series that each agent made today: eight bytes a series."""

    def __init__(self, most: int, most_sources: int) -> None:
        """`most` series of an agent or device; `most_sources` are remembered of each agent."""
        self._most = most
        self._most_sources = most_sources
        self._agents: dict[str, _Agent] = {}

    def take(self, agent: str, source: str, device: str, series: int, blocks: Iterable[bytes], day: int) -> bool:
        """Whether a report may be taken: of a source that is about a device, or about none (""); its series as a
        number that is the same for the same ones, and its lines."""
        known = self._agents.setdefault(agent, _Agent())
        if known.reports.get(source) == (series, day):
            return True
        of_day = known.days.get(device)
        if of_day is None or of_day.number != day:
            of_day = known.days[device] = _Day(day)
        names = (line.rpartition(b" ")[0] for block in blocks for line in block.splitlines())
        new = {hash(name) for name in names}.difference(of_day.hashes)
        if len(of_day.hashes) + len(new) > self._most:
            return False
        of_day.hashes.extend(new)
        if source in known.reports or len(known.reports) < self._most_sources:
            known.reports[source] = (series, day)
        return True

    def forget(self, agent: str) -> None:
        """One that may no longer speak."""
        self._agents.pop(agent, None)
