"""The latest live value of every series, as rendered lines by family and report.

One thread only (the event loop's). A report is exposed until it expires or a newer one of
the same source takes its place; nothing stale is ever shown as current.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from haidang_wire.sources import SOURCES

from haidang_collector.intake.clock import Clock
from haidang_collector.intake.feed import Accepted
from haidang_collector.intake.ingest import Prepared
from haidang_collector.registry.rights import ABOUT_DEVICES

Source = tuple[str, str]  # agent, source
# What reports each few hours (an inventory) says nothing of whether its agent lives now.
_SLOW_SECONDS = 300.0


@dataclass
class _Entry:
    taken: float
    expires: float
    families: tuple[str, ...]
    series: int


@dataclass
class AgentState:
    """What is known of an agent: times on the collector's clock, 0 before its first report."""

    site: str
    stopped: bool = False
    last_taken: float = 0.0
    clock: Clock = field(default_factory=Clock)
    sources: dict[str, float] = field(default_factory=dict)  # those that are current, and their intervals
    # Of the sources that were current when it spoke last: what it does not send any more promises nothing.
    shortest_interval: float = float("inf")
    series: int = 0

    @property
    def up(self) -> bool:
        """Whether a report of those that come often is current, and the agent did not say that it stops."""
        often = max(_SLOW_SECONDS, self.shortest_interval)
        return not self.stopped and any(interval <= often for interval in self.sources.values())


class Latest:
    """Blocks of lines by family, and the state of every enrolled agent."""

    def __init__(self) -> None:
        self.agents: dict[str, AgentState] = {}
        self.series = 0
        self._families: dict[str, dict[Source, bytes]] = {}
        self._entries: dict[Source, _Entry] = {}
        self._expiries: list[tuple[float, Source]] = []

    def enrol(self, agent: str, site: str, *, stopped: bool = False) -> None:
        """Know an agent before its first report."""
        self.agents.setdefault(agent, AgentState(site, stopped))

    def take(self, accepted: Accepted) -> None:
        """Show an accepted report, if it is live."""
        if accepted.is_live:
            self.put(accepted.prepared.report.agent, accepted.prepared)

    def put(self, agent: str, prepared: Prepared) -> None:
        """Expose a report, if it is newer than what its source has there."""
        source = (agent, prepared.report.source)
        present = self._entries.get(source)
        state = self.agents[agent]
        if present and present.taken >= prepared.taken:
            return
        if present:
            gone = set(present.families).difference(prepared.blocks)
            self._forget_blocks(source, gone)
            self._count(state, -present.series)
        for family, block in prepared.blocks.items():
            self._families.setdefault(family, {})[source] = block
        self._entries[source] = _Entry(
            prepared.taken, prepared.expires, tuple(prepared.blocks), len(prepared.kept_samples)
        )
        self._expire_at(prepared.expires, source)
        self._count(state, len(prepared.kept_samples))
        state.sources[prepared.report.source] = prepared.report.interval
        state.shortest_interval = min(
            interval for name, interval in state.sources.items() if self._entries[agent, name].expires > prepared.taken
        )
        state.last_taken = max(state.last_taken, prepared.taken)

    def _expire_at(self, expires: float, source: Source) -> None:
        heapq.heappush(self._expiries, (expires, source))
        # Times of reports that others replaced since stay behind; a source that promises to come in a week and comes
        # each second would leave a million of them.
        if len(self._expiries) > 4 * len(self._entries) + 1000:
            self._expiries = [(entry.expires, source) for source, entry in self._entries.items()]
            heapq.heapify(self._expiries)

    def series_beside(self, agent: str, source: str, coming: Mapping[str, int]) -> int:
        """Series the agent has now or that are coming from its sources, of itself or of the device the source is
        about, but for this source's."""
        target = source.partition(":")[2]
        beside = [f"{kind}:{target}" for kind in ABOUT_DEVICES] if target else SOURCES
        total = 0
        for other in beside:
            if other != source:
                entry = self._entries.get((agent, other))
                total += max(entry.series if entry else 0, coming.get(other, 0))
        return total

    def _count(self, state: AgentState, series: int) -> None:
        state.series += series
        self.series += series

    def move(self, seconds: float) -> None:
        """The clock was set by so much: what is shown is as old as it was."""
        for entry in self._entries.values():
            entry.taken += seconds
            entry.expires += seconds
        self._expiries = [(expires + seconds, source) for expires, source in self._expiries]
        for state in self.agents.values():
            state.last_taken += seconds if state.last_taken else 0.0

    def expire(self, now: float) -> None:
        """Take away what is no longer current."""
        while self._expiries and self._expiries[0][0] <= now:
            _, source = heapq.heappop(self._expiries)
            entry = self._entries.get(source)
            if entry and entry.expires <= now:
                self._remove(source, entry)

    def _remove(self, source: Source, entry: _Entry) -> None:
        del self._entries[source]
        self._forget_blocks(source, set(entry.families))
        state = self.agents.get(source[0])
        if state:
            state.sources.pop(source[1], None)
            self._count(state, -entry.series)
        else:
            self.series -= entry.series

    def _forget_blocks(self, source: Source, families: set[str]) -> None:
        for family in families:
            blocks = self._families[family]
            del blocks[source]
            if not blocks:
                del self._families[family]

    def stop(self, agent: str, *, stopped: bool) -> None:
        """Note that an agent stopped in an orderly way, or speaks again."""
        self.agents[agent].stopped = stopped

    def forget(self, agent: str) -> None:
        """Nothing of a revoked agent stays."""
        state = self.agents.get(agent)
        if state is None:
            return
        for source in sorted(state.sources):
            self._remove((agent, source), self._entries[agent, source])
        del self.agents[agent]

    def families(self) -> Iterator[tuple[str, bytes]]:
        """(family, its lines) of all agents; the latest may change between two of them."""
        for family in sorted(self._families):
            blocks = self._families.get(family)
            if blocks:
                yield family, b"".join(blocks.values())
