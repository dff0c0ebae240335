"""What circuits, sites and carriers were worth in a month: availability, repair times, against the SLA.

Pure functions of downtimes and planned work, which does not count: neither as downtime nor as time measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from haidang_wire.errors import HaidangError

from haidang_collector.outage.model import Downtime, Window
from haidang_collector.registry import Registry

Interval = tuple[float, float]


@dataclass(frozen=True)
class Figures:
    """Of one circuit, site or carrier. `measured_seconds` is the time that counts, 0 where nothing tells of it;
    `sla_ratio` the availability that was promised, 0 when none was."""

    kind: str
    element: str
    carrier: str
    outages: int
    down_seconds: float
    measured_seconds: float
    sla_ratio: float = 0.0

    @property
    def availability_ratio(self) -> float | None:
        """Share of the time that counts in which it worked; None when none counts."""
        return 1 - self.down_seconds / self.measured_seconds if self.measured_seconds else None

    @property
    def mean_time_to_repair_seconds(self) -> float | None:
        """MTTR: downtime of an outage; None without one."""
        return self.down_seconds / self.outages if self.outages else None

    @property
    def mean_time_between_failures_seconds(self) -> float | None:
        """MTBF: time it worked for each outage; None without one."""
        return (self.measured_seconds - self.down_seconds) / self.outages if self.outages else None

    @property
    def met(self) -> bool | None:
        """Whether the SLA was kept; None when there is none, or nothing was measured."""
        reached = self.availability_ratio
        return reached >= self.sla_ratio if self.sla_ratio and reached is not None else None


def month(text: str) -> Interval:
    """The beginning and end (Unix seconds, local time) of a month as 2026-10. Raises HaidangError."""
    try:
        begins = datetime.strptime(text, "%Y-%m").astimezone()
    except ValueError as error:
        raise HaidangError(f"{text!r} is no month", remedy="Give it as 2026-10") from error
    after = begins.replace(year=begins.year + begins.month // 12, month=begins.month % 12 + 1)
    return begins.timestamp(), after.timestamp()


def this_month(now: float) -> Interval:
    """The beginning and end of the month now lies in."""
    return month(datetime.fromtimestamp(now).astimezone().strftime("%Y-%m"))


def figures(
    registry: Registry, period: Interval, downtimes: Iterable[Downtime], windows: Sequence[Window], now: float
) -> list[Figures]:
    """Of every circuit, site and carrier, in this order, for the part of the period that is over."""
    begins, ends = period[0], min(period[1], now)
    of: dict[tuple[str, str], list[Downtime]] = {}
    for each in downtimes:
        of.setdefault((each.kind, each.element), []).append(each)
    found = []
    for circuit in registry.circuits:
        sites = {end.site for end in circuit.ends}
        planned = [w for w in windows if w.element == circuit.id or w.element in sites]
        own = of.get(("circuit", circuit.id), [])
        counted = (begins, ends if registry.watches_circuit(circuit) else begins)
        sla = circuit.sla_availability_ratio
        found.append(_one("circuit", circuit.id, circuit.carrier, own, planned, counted, sla))
    for site in registry.sites:
        planned = [window for window in windows if window.element == site.id]
        counted = (begins, ends if registry.watches_site(site) else begins)
        found.append(_one("site", site.id, "", of.get(("site", site.id), []), planned, counted, 0.0))
    for carrier in registry.carriers:
        own_circuits = [each for each in found if each.kind == "circuit" and each.carrier == carrier.id]
        found.append(
            Figures(
                "carrier", carrier.id, carrier.id, sum(each.outages for each in own_circuits),
                sum(each.down_seconds for each in own_circuits), sum(each.measured_seconds for each in own_circuits),
            )
        )  # fmt: skip
    return found


def _one(
    kind: str,
    element: str,
    carrier: str,
    downtimes: list[Downtime],
    planned: list[Window],
    period: Interval,
    sla: float,
) -> Figures:
    work = merged(((window.begins, window.ends) for window in planned), period)
    counted = [(each, without(merged([(each.started, each.ended or period[1])], period), work)) for each in downtimes]
    down = merged((part for _, parts in counted for part in parts), period)
    # A line that came and went is one outage; what was down without one is one each time.
    outages = {each.outage or str(each.started) for each, parts in counted if parts}
    measured = period[1] - period[0] - length(work)
    return Figures(kind, element, carrier, len(outages), length(down), max(measured, 0.0), sla)


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
    gaps = list(pairwise(edges))[::2]
    return [
        (max(begins, gap[0]), min(ends, gap[1]))
        for begins, ends in intervals
        for gap in gaps
        if max(begins, gap[0]) < min(ends, gap[1])
    ]


def length(intervals: list[Interval]) -> float:
    """Seconds of merged intervals."""
    return sum(ends - begins for begins, ends in intervals)


def budget_used(each: Figures, period: Interval) -> float | None:
    """The share of the downtime the SLA allows in the whole period that is used; None without an SLA."""
    if not 0 < each.sla_ratio < 1:
        return None
    return each.down_seconds / ((1 - each.sla_ratio) * (period[1] - period[0]))
