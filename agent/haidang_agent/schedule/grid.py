"""When things are due that happen at an interval: spread over it, and at the same places after each restart."""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Times `interval` apart. What `name` is of has its own place in the interval, so that ten thousand agents, or a
    thousand devices of one probe, do not all come at once. Seconds of one steady clock."""

    interval: float
    name: str

    @property
    def phase(self) -> float:
        """The first time of the grid, counted from when the clock was zero."""
        return zlib.crc32(self.name.encode()) / 2**32 * self.interval

    def after(self, now: float) -> float:
        """The first time of the grid that is later than now."""
        return (now - self.phase) // self.interval * self.interval + self.phase + self.interval
