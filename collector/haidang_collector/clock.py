"""An agent's clock against the collector's."""

from __future__ import annotations

from dataclasses import dataclass

# No delivery is on its way for longer: the agent gives up before.
_LONGEST_SECONDS = 60.0
_SAME_SECONDS = 0.5


@dataclass
class Clock:
    """`offset` is the collector's clock minus the agent's, in seconds; None before the first delivery.

    A delivery sent into a line that is cut arrives when the line is back: TCP sends it again, up to the agent's
    time limit later. Taken for fresh, its measurements would be dated after ones that follow them. So an offset
    that is larger than the known one means a delivery that was held up, until the next one says the same: then
    the agent's clock was set.
    """

    offset: float | None = None
    _doubtful: float | None = None

    def held_up(self, seen: float) -> float:
        """The seconds a delivery was on its way beyond what is usual; `seen` is when it was received minus when
        its agent says that it was sent."""
        known, before, self._doubtful = self.offset, self._doubtful, None
        if known is None or not 0 < seen - known < _LONGEST_SECONDS:
            self.offset = seen
            return 0.0
        if before is not None and abs(seen - before) < _SAME_SECONDS:
            self.offset = min(seen, before)
            return seen - self.offset
        self._doubtful = seen
        return seen - known
