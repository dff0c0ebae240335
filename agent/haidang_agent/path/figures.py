"""What the probes of one protocol say of one path: loss, round trips, variation, order, duplicates."""

from __future__ import annotations

from bisect import bisect_left

from haidang_agent.schedule.source import Findings

ANSWER_SECONDS = 3.0
"""A probe not answered within it is lost."""

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Upper bounds of the distribution of round trips, in seconds."""

_SEQUENCES = 0xFFFFFFFF
_RECENT = 64


class Figures:
    """Counters since the agent's start. `waiting` holds, by sequence number, when each probe not yet
    answered was sent: (monotonic seconds, Unix nanoseconds)."""

    __slots__ = (
        "_answered", "_buckets", "_count", "_highest", "_last", "_sum", "_variation",
        "duplicates", "lost", "reordered", "sent", "sequence", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sequence = 0
        self.sent = self.lost = self.duplicates = self.reordered = 0
        self.waiting: dict[int, tuple[float, int]] = {}
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        self._count = 0
        self._highest = -1
        self._answered: dict[int, None] = {}
        self._last: float | None = None
        self._variation: float | None = None

    def send(self, now: float, now_ns: int) -> int:
        """The sequence number of a probe that goes out now."""
        sequence = self.sequence
        self.waiting[sequence] = (now, now_ns)
        self.sequence = sequence + 1 & _SEQUENCES
        self.sent += 1
        return sequence

    def expire(self, now: float) -> None:
        """Count as lost what waits too long."""
        waiting = self.waiting
        while waiting:
            sequence = next(iter(waiting))
            if now - waiting[sequence][0] < ANSWER_SECONDS:
                return
            del waiting[sequence]
            self.lost += 1

    def answer(self, sequence: int, now: float, received_ns: int | None, away_seconds: float = 0.0) -> float | None:
        """The round trip in seconds of the probe an answer is to; None for a duplicate, or one too late.

        `received_ns` is the kernel's time of the answer where there is one, `away_seconds` what the
        far end says it kept the probe for. No clock that was set meanwhile makes it negative.
        """
        sent = self.waiting.pop(sequence, None)
        if sent is None:
            self.duplicates += sequence in self._answered
            return None
        at_most = now - sent[0]
        trip = (received_ns - sent[1]) / 1e9 if received_ns is not None else at_most
        if not 0.0 <= trip <= at_most:
            trip = at_most
        if 0.0 < away_seconds < trip:
            trip -= away_seconds
        self._note_order(sequence)
        self._note_trip(trip)
        return trip

    def _note_order(self, sequence: int) -> None:
        # RFC 4737, section 3.3: one that comes after a later one is reordered.
        if sequence < self._highest and self._highest - sequence < _SEQUENCES // 2:
            self.reordered += 1
        else:
            self._highest = sequence
        self._answered[sequence] = None
        if len(self._answered) > _RECENT:
            del self._answered[next(iter(self._answered))]

    def _note_trip(self, trip: float) -> None:
        self._buckets[bisect_left(BUCKETS, trip)] += 1
        self._sum += trip
        self._count += 1
        if self._last is not None:
            # The smoothed absolute difference of two that follow (RFC 3550, section 6.4.1).
            difference = abs(trip - self._last)
            self._variation = difference if self._variation is None else (
                self._variation + (difference - self._variation) / 16
            )  # fmt: skip
        self._last = trip

    def report(self, findings: Findings, **labels: str) -> None:
        """Add its samples."""
        name = "path_round_trip_distribution_seconds"
        total = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self._buckets):
            total += count
            findings.add(f"{name}_bucket", total, **labels, le=str(bound))
        findings.add(f"{name}_sum", round(self._sum, 6), **labels)
        findings.add(f"{name}_count", self._count, **labels)
        findings.add("path_packets_sent_total", self.sent, **labels)
        findings.add("path_packets_lost_total", self.lost, **labels)
        findings.add("path_packets_duplicate_total", self.duplicates, **labels)
        findings.add("path_packets_reordered_total", self.reordered, **labels)
        if self._variation is not None:
            findings.add("path_delay_variation_seconds", round(self._variation, 7), **labels)
