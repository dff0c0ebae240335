"""What one agent may use of what is everyone's. Pure: the clock is passed in, nothing waits or writes.

What passes (bytes, reports) is a bucket that fills with time. Whoever has something left may spend more than that once,
and waits then until there is something again: so the largest delivery passes too, and nobody passes twice. What is kept
(events, documents) is a bucket of a day.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from haidang_collector.settings import Quotas as Settings

DAY_SECONDS = 86400.0
# Their names in receipts and metrics, and the setting of each. `deliveries` is one at a time, which none sets.
SETTING = {
    "bytes": "bytes_a_second",
    "reports": "reports_a_second",
    "facts": "facts_a_second",
    "events": "events_a_day",
    "renewals": "renewals_a_day",
    "sources": "sources and quotas.source_bytes",
    "epochs": "epochs_a_day",
    "facts_kept": "facts and quotas.fact_bytes",
    "links": "link_bytes",
    "fact_versions": "fact_versions",
    "kept_bytes": "kept_bytes_a_day",
    "late": "late_share",
    "series": "series_a_day",
}
QUOTAS = (*SETTING, "deliveries")
# An object that a character of structure makes is so many bytes of work and memory, whatever its length.
_BYTES_A_VALUE = 24
_STRUCTURE = b",{["
# Reached quotas of this and the last window are shown, of so many agents.
_WINDOW_SECONDS = 600.0
WORST = 10


def cost(data: bytes) -> int:
    """What JSON costs to read, in bytes as an agent is charged them: its length, or more where it is nothing but
    structure. Fifteen kilobytes of gzip with empty lists in them were half a gigabyte of objects."""
    structure = len(data) - len(data.translate(None, _STRUCTURE))  # one pass, where count() takes one for each
    return max(len(data), _BYTES_A_VALUE * structure)


@dataclass
class Bucket:
    """Fills with `rate` a second up to `burst`. `level` may be below zero: then somebody took his overdraft."""

    rate: float
    burst: float
    level: float
    at: float

    @classmethod
    def full(cls, rate: float, burst: float, now: float) -> Bucket:
        """One that nothing was taken of; `now` is any clock that only goes on, in seconds."""
        return cls(rate, burst, burst, now)

    def _fill(self, now: float) -> None:
        if now > self.at:
            self.level = min(self.burst, self.level + (now - self.at) * self.rate)
            self.at = now

    def spend(self, amount: float, now: float) -> None:
        """Take so much, whether it is there or not."""
        self._fill(now)
        self.level -= amount

    def take_up_to(self, amount: int, now: float) -> int:
        """Take up to so many out of the bucket; how many were there."""
        self._fill(now)
        granted = max(0, min(amount, int(self.level)))
        self.level -= granted
        return granted

    def wait(self, now: float) -> float:
        """Seconds until there is something again; 0 when there is."""
        self._fill(now)
        # A little more than nothing, so that who comes then is not sent away again.
        return 0.0 if self.level > 0 else (1.0 - self.level) / self.rate


@dataclass
class Allowance:
    """What one agent has left. `bytes` and `reports` are spent where deliveries come in, and `facts`, which cost more
    to store than other things; `events` and `renewals` by the day."""

    bytes: Bucket
    reports: Bucket
    facts: Bucket
    events: Bucket
    renewals: Bucket

    def passing(self) -> dict[str, Bucket]:
        """The buckets that a delivery waits for, by the name of their quota."""
        return {"bytes": self.bytes, "reports": self.reports, "facts": self.facts}

    def lacking(self, now: float) -> tuple[str, float]:
        """The quota that is used up for the longest time, and the seconds until something may be sent again; empty
        and 0 when none is."""
        wait, name = max(
            (self.bytes.wait(now), "bytes"), (self.reports.wait(now), "reports"), (self.facts.wait(now), "facts")
        )  # fmt: skip
        return (name, wait) if wait else ("", 0.0)


@dataclass
class Quotas:
    """Everybody's allowances, and who reached which quota how often lately."""

    settings: Settings
    _agents: dict[str, Allowance] = field(default_factory=dict)
    _reached: Counter[tuple[str, str]] = field(default_factory=Counter)
    _reached_before: Counter[tuple[str, str]] = field(default_factory=Counter)
    _window_ends: float = 0.0

    def of(self, agent: str, now: float) -> Allowance:
        """An enrolled agent's: there are no more than there are agents."""
        known = self._agents.get(agent)
        if known is None:
            of = self.settings
            known = self._agents[agent] = Allowance(
                bytes=Bucket.full(of.bytes_a_second, of.burst_bytes, now),
                reports=Bucket.full(of.reports_a_second, of.burst_reports, now),
                facts=Bucket.full(of.facts_a_second, of.burst_facts, now),
                events=Bucket.full(of.events_a_day / DAY_SECONDS, of.events_a_day, now),
                renewals=Bucket.full(of.renewals_a_day / DAY_SECONDS, of.renewals_a_day, now),
            )
        return known

    def forget(self, agent: str) -> None:
        """One that may no longer speak."""
        self._agents.pop(agent, None)

    def reached(self, agent: str, quota: str, now: float, times: int = 1) -> None:
        """Note that an agent wanted more than it may have."""
        self._turn_window(now)
        self._reached[agent, quota] += times

    def worst(self, now: float) -> list[tuple[str, str, int]]:
        """(agent, quota, times) of those that reached one most often in the last ten to twenty minutes."""
        self._turn_window(now)
        both = self._reached + self._reached_before
        return [(agent, quota, times) for (agent, quota), times in both.most_common(WORST)]

    def _turn_window(self, now: float) -> None:
        if now < self._window_ends:
            return
        stale = now - self._window_ends >= _WINDOW_SECONDS
        self._reached_before = Counter() if stale else self._reached
        self._reached, self._window_ends = Counter(), now + _WINDOW_SECONDS
