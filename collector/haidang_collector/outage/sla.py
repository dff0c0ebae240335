"""What circuits, sites and carriers were worth in a month: availability, repair times, against the SLA.

Pure functions of downtimes, of the time in which something told, and of maintenance, which does not count. Only what
was measured is judged: neither the time a probe was away nor the collector's own absence is a carrier's good or ill.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from haidang_collector.outage.coincidence import SAME_SECONDS
from haidang_collector.outage.model import Downtime, MaintenanceWindow, Says, Seen
from haidang_collector.registry.model import Registry

Interval = tuple[float, float]


class Judgement(StrEnum):
    """What became of an SLA, or why nothing can be said of it."""

    KEPT = "kept"
    MISSED = "missed"
    NOT_JUDGED = "not_judged"  # too little was measured
    UNMEASURED = "unmeasured"
    NONE = ""  # none was promised


@dataclass(frozen=True)
class Figures:
    """Of one circuit, site or carrier. `counted_seconds` is the time that is over, without maintenance;
    `measured_seconds` that part of it in which something told, `down_seconds` that part of this in which it was down.
    `sla_ratio` is the availability that was promised, 0 when none was; it is judged where `judged_ratio` of the time
    that counts was measured."""

    kind: str
    element: str
    carrier: str
    outages: int
    down_seconds: float
    measured_seconds: float
    sla_ratio: float = 0.0
    counted_seconds: float = 0.0
    judged_ratio: float = 0.0

    @property
    def measured_ratio(self) -> float | None:
        """Share of the time that counts in which something told; None when none counts."""
        return min(1.0, self.measured_seconds / self.counted_seconds) if self.counted_seconds else None

    @property
    def availability_ratio(self) -> float | None:
        """Share of the measured time in which it worked; None when nothing was measured."""
        return 1 - self.down_seconds / self.measured_seconds if self.measured_seconds else None

    @property
    def mean_time_to_repair_seconds(self) -> float | None:
        """MTTR: downtime of an outage; None without one."""
        return self.down_seconds / self.outages if self.outages else None

    @property
    def mean_time_between_failures_seconds(self) -> float | None:
        """MTBF: measured time it worked for each outage; None without one."""
        return (self.measured_seconds - self.down_seconds) / self.outages if self.outages else None

    @property
    def judgement(self) -> Judgement:
        """What became of its SLA."""
        reached, share = self.availability_ratio, self.measured_ratio
        if reached is None or share is None:
            return Judgement.UNMEASURED
        if not self.sla_ratio:
            return Judgement.NONE
        if share < self.judged_ratio:
            return Judgement.NOT_JUDGED
        return Judgement.KEPT if reached >= self.sla_ratio else Judgement.MISSED


@dataclass(frozen=True)
class Record:
    """What the ledger has of a period: downtimes, maintenance, and the time in which something told."""

    downtimes: Sequence[Downtime] = ()
    windows: Sequence[MaintenanceWindow] = ()
    seen: Sequence[Seen] = ()


def figures(registry: Registry, period: Interval, record: Record, now: float, judged_ratio: float) -> list[Figures]:
    """The figures of every circuit, site and carrier, in this order, for the part of the period that is over."""
    within = period[0], max(period[0], min(period[1], now))
    downtimes: dict[tuple[str, str], list[Downtime]] = {}
    for each in record.downtimes:
        downtimes.setdefault((each.kind, each.element), []).append(each)
    seen: dict[tuple[str, str], dict[Says, list[Interval]]] = {}
    for span in record.seen:
        seen.setdefault((span.kind, span.element), {}).setdefault(span.says, []).append((span.begins, span.ends))

    def one(kind: str, element: str, carrier: str, elements: set[str], sla: float) -> Figures:
        work = [(window.begins, window.ends) for window in record.windows if window.element in elements]
        key = (kind, element)
        return _one(
            Figures(kind, element, carrier, 0, 0.0, 0.0, sla, 0.0, judged_ratio),
            downtimes.get(key, []), seen.get(key, {}), merged(work, within), within,
        )  # fmt: skip

    found = [
        one("circuit", circuit.id, circuit.carrier, {circuit.id, *(end.site for end in circuit.ends)},
            circuit.sla_availability_ratio)
        for circuit in registry.circuits
    ]  # fmt: skip
    found += [one("site", site.id, "", {site.id}, 0.0) for site in registry.sites]
    for carrier in registry.carriers:
        own = [each for each in found if each.kind == "circuit" and each.carrier == carrier.id]
        found.append(
            Figures(
                "carrier", carrier.id, carrier.id, sum(each.outages for each in own),
                sum(each.down_seconds for each in own), sum(each.measured_seconds for each in own),
                counted_seconds=sum(each.counted_seconds for each in own),
            )
        )  # fmt: skip
    return found


def _one(
    of: Figures, downtimes: list[Downtime], seen: dict[Says, list[Interval]], work: list[Interval], within: Interval
) -> Figures:
    said = {says: merged(seen.get(says, ()), within) for says in Says}
    live = said[Says.LIVE]
    # What the engine judged stands; where it was away, late reports say: a port without link is down whatever probes
    # say, a path that answered is up. What those at its ends say gives way to what the data center's probe says.
    center_down = without(said[Says.DOWN], said[Says.UP])
    own_down = without(said[Says.OWN_DOWN], merged([*said[Says.UP], *said[Says.OWN_UP]], within))
    late_down = without(merged([*said[Says.DARK], *center_down, *own_down], within), live)
    measured = without(merged([part for parts in said.values() for part in parts], within), work)
    ends = [within[1] if each.ended is None else each.ended for each in downtimes]
    spans = [(each, merged([(each.started, end)], within)) for each, end in zip(downtimes, ends, strict=True)]
    counted = [(each, without(both(parts, live), work)) for each, parts in spans]
    late = without(late_down, work)
    down = merged([*(part for _, parts in counted for part in parts), *late], within)
    # A line that came and went is one outage; what was down without one is one each time.
    outages = {each.outage or str(each.started) for each, parts in counted if parts}
    known = [(begins - SAME_SECONDS, ends + SAME_SECONDS) for _, parts in spans for begins, ends in parts]
    alone = [part for part in late if not both([part], merged(known, (float("-inf"), float("inf"))))]
    return replace(
        of, outages=len(outages) + len(alone), down_seconds=length(down), measured_seconds=length(measured),
        counted_seconds=max(within[1] - within[0] - length(work), 0.0),
    )  # fmt: skip


def merged(intervals: Iterable[Interval], within: Interval) -> list[Interval]:
    """Intervals in order, those that touch as one, clipped."""
    found: list[Interval] = []
    for begins, ends in sorted((max(begins, within[0]), min(ends, within[1])) for begins, ends in intervals):
        if begins >= ends:
            continue
        if found and begins <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ends))
        else:
            found.append((begins, ends))
    return found


def without(intervals: list[Interval], others: list[Interval]) -> list[Interval]:
    """What of merged intervals lies in none of others, merged too."""
    edges = [float("-inf"), *(edge for other in others for edge in other), float("inf")]
    return both(intervals, list(pairwise(edges))[::2])


def both(intervals: list[Interval], others: list[Interval]) -> list[Interval]:
    """What of merged intervals lies in others, merged too."""
    found: list[Interval] = []
    one = two = 0
    while one < len(intervals) and two < len(others):
        begins = max(intervals[one][0], others[two][0])
        ends = min(intervals[one][1], others[two][1])
        if begins < ends:
            found.append((begins, ends))
        if intervals[one][1] < others[two][1]:
            one += 1
        else:
            two += 1
    return found


def length(intervals: list[Interval]) -> float:
    """Seconds of merged intervals."""
    return sum(ends - begins for begins, ends in intervals)


def budget_used(each: Figures, period: Interval) -> float | None:
    """The share of the downtime the SLA allows in the whole period that is used; None without an SLA, and where
    nothing was measured: that has used nothing, and kept nothing either."""
    if not 0 < each.sla_ratio < 1 or not each.measured_seconds:
        return None
    return each.down_seconds / ((1 - each.sla_ratio) * (period[1] - period[0]))
