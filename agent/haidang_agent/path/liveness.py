"""Whether a path is up, from probes answered and not: certain within seconds, wrong practically never.

A probe that is missed starts a doubt, not an outage: in doubt, probes go out ten a second until
one is answered. Only when all of a row of them stay unanswered the path is down. With 30% of packets
lost in each direction a row of 20 is lost once in 1.4 million doubts.
"""

from __future__ import annotations

DOUBT_SECONDS = 0.1
"""Time between two probes in doubt."""

SHORTEST_PATIENCE_SECONDS = 0.3
"""An answer is waited for at least so long before there is doubt."""

_ROW = 20
_ANSWERS_TO_RISE = 3
# It is waited for a few round trips, at most so long.
_LONGEST_PATIENCE_SECONDS = 1.0
_PATIENCE_ROUND_TRIPS = 3.0


class Liveness:
    """One path. Times are seconds of a monotonic clock.

    `up` is None until it is known; `since` when its present state began: the sending of the first
    probe that was answered, or of the first that was not; `changes` counts them, the first knowledge too.
    """

    __slots__ = ("_answered", "_answers", "_round_trip", "_unanswered", "changes", "last_sent", "since", "up")

    def __init__(self) -> None:
        self.up: bool | None = None
        self.since = 0.0
        self.changes = 0
        self._unanswered: list[float] = []  # sending times after the last that was answered
        self._answered: float | None = None
        self._answers = 0
        self._round_trip = 0.0
        self.last_sent = 0.0

    @property
    def patience(self) -> float:
        """Seconds after which a missing answer is a doubt."""
        return min(max(self._round_trip * _PATIENCE_ROUND_TRIPS, SHORTEST_PATIENCE_SECONDS), _LONGEST_PATIENCE_SECONDS)

    def silent_seconds(self, now: float) -> float:
        """Time since the first probe that is not answered was sent; 0 when all are."""
        return now - self._unanswered[0] if self._unanswered else 0.0

    def in_doubt(self, now: float) -> bool:
        """Whether the next probe is to be sent soon."""
        if self.up is False:
            return self._answers > 0
        return bool(self._unanswered) and now - self._unanswered[0] >= self.patience

    def sent(self, now: float) -> None:
        """A probe goes out."""
        self.last_sent = now
        if len(self._unanswered) <= _ROW:  # more say nothing more; the first of them is the one that tells
            self._unanswered.append(now)

    def answered(self, sent: float, round_trip: float) -> bool:
        """An answer to the probe sent then; whether the state changed."""
        unanswered = self._unanswered
        if len(unanswered) == 1 and unanswered[0] <= sent:
            unanswered.clear()
        else:
            self._unanswered = [each for each in unanswered if each > sent]
        self._round_trip += (round_trip - self._round_trip) / 8
        if self.up:
            return False
        if self._answers == 0:
            self._answered = sent
        self._answers += 1
        if self.up is False and self._answers < _ANSWERS_TO_RISE:
            return False
        return self._change(True, self._answered or sent)

    def misses(self, sent: float) -> bool:
        """Whether neither the probe sent then nor a later one was answered."""
        return bool(self._unanswered) and self._unanswered[0] <= sent

    def judge(self, now: float) -> bool:
        """Look at what was not answered; whether the state changed."""
        enough = len(self._unanswered) >= _ROW and now - self._unanswered[_ROW - 1] >= self.patience
        if self.up is False:
            if enough:
                self._answers = 0  # those that came were the last
            return False
        return enough and self._change(False, self._unanswered[0])

    def _change(self, up: bool, since: float) -> bool:
        self.up, self.since, self._answers = up, since, 0
        self.changes += 1
        return True
