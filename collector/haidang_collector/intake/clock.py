"""The collector's clock, and what deliveries show of their agents'."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from haidang_wire.reference import Reading, Reference

# Beyond it a delivery that seems to come before it was sent is no drift: one of the two clocks stood still.
_AHEAD_SECONDS = 0.5
# What an agent without a reference says is held up for no longer: it is late then in any case.
_LONGEST_SECONDS = 86400.0
_SAME_SECONDS = 0.5
# What is less than this off was not set, but slewed.
SET_SECONDS = 0.25


def _steady() -> float:
    """Seconds on a clock nobody sets; where there is one, it goes on while the machine sleeps."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


def boot() -> str:
    """Names this boot of the machine; empty where that is not known (random(4), boot_id)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class TimeBase:
    """Unix seconds that go on steadily, but for when `follow()` finds that the wall clock was set. `identity` names
    this process' steady clock, `anchor` is the Unix time at which it says zero."""

    def __init__(self, steady: Callable[[], float] = _steady, wall: Callable[[], float] = time.time) -> None:
        self.identity = secrets.token_hex(8)
        self._steady, self._wall = steady, wall
        self.anchor = wall() - steady()

    def now(self) -> float:
        """Unix seconds."""
        return self._steady() + self.anchor

    def follow(self) -> float:
        """Go where the wall clock was set to; the seconds it was set by, 0 when it was not."""
        moved = self._wall() - self.now()
        if abs(moved) < SET_SECONDS:
            return 0.0
        self.anchor += moved
        return moved

    def read(self) -> Reading:
        """What agents refer to."""
        return Reading(self.identity, self._steady())

    def composed(self, reference: Reference, received: float) -> float | None:
        """The earliest time at which a delivery may have been composed that was received then, in Unix seconds; None
        for a reference that is not of this clock, or can't be."""
        latest, composed = received - self.anchor, reference.after(reference.ago)
        if reference.clock != self.identity or not (reference.seconds >= 0.0 and reference.ago >= 0.0):
            return None
        return self.anchor + min(composed, latest) if composed <= latest + _AHEAD_SECONDS else None


@dataclass
class Clock:
    """`offset` is the collector's clock minus the agent's, in seconds; None before the first delivery.

    Older agents give no reference, they say only what their clock was when they sent. A larger offset than the known
    one means a delivery that was held up, until the next one says the same: then the agent's clock was set. A clock
    is right until deliveries show otherwise, so that not even the first is taken for fresh on faith.
    """

    offset: float | None = None
    _doubtful: float | None = None

    def held_up(self, seen: float) -> float:
        """The seconds a delivery was on its way beyond what is usual; `seen` is when it was received minus when
        its agent says that it was sent."""
        known, before, self._doubtful = self.offset or 0.0, self._doubtful, None
        if seen <= known:
            self.offset = seen
            return 0.0
        if before is not None and abs(seen - before) < _SAME_SECONDS:
            self.offset = min(seen, before)
            return seen - self.offset
        self._doubtful = seen
        return min(seen - known, _LONGEST_SECONDS)
