"""How agent and collector agree on when a delivery was composed, by clocks that nobody sets.

Each answer of the collector holds a reading of its steady clock. An agent that had such an answer `ago` seconds
before it composed a delivery proves that the collector's clock had come at least to the reading plus `ago` by then.
So the collector knows the most a delivery may have been held up since, whatever held it up and whatever clock was set
meanwhile. That bound needs no guess how a round trip divides into its two ways, as NTP's offset does (RFC 5905,
section 8): it errs towards old, by the way back of the fastest answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# How far two steady clocks go apart, in seconds a second: the kernel slews by 500 ppm at most (adjtimex(2)).
DRIFT = 500e-6
# No machine runs for longer.
_LONGEST_SECONDS = 1e12


@dataclass(frozen=True)
class Reading:
    """The collector's steady clock: `clock` names it (another process is another clock), `seconds` is what it said."""

    clock: str
    seconds: float

    def after(self, seconds: float) -> float:
        """What that clock says at least when another steady clock has gone on by so many seconds."""
        return self.seconds + seconds * (1.0 - DRIFT)


@dataclass(frozen=True)
class Reference(Reading):
    """A reading, and how long before the delivery was composed its agent had it (seconds)."""

    ago: float


def reading_from(document: Any) -> Reading:
    """The Reading of a JSON object. Raises ValueError for what is none."""
    if isinstance(document, dict):
        clock, seconds = document.get("clock"), document.get("seconds")
        if isinstance(clock, str) and isinstance(seconds, (int, float)) and 0 <= seconds < _LONGEST_SECONDS:
            return Reading(clock, float(seconds))
    raise ValueError("is no reading of a clock")
