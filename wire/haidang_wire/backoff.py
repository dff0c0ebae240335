"""When to try again what failed: so that who is in trouble is not asked all the time, nor by everybody at once."""

from __future__ import annotations

import math
import random


def backoff_seconds(failures: int, first: float, longest: float) -> float:
    """Seconds to wait after so many failures in a row: at most `first` after the first, twice as much after each
    further one, never more than `longest`. Chance takes up to four fifths off: what failed for ten thousand at once is
    tried again by each at a time of its own."""
    highest = min(longest, first * 2.0 ** min(failures - 1, 30))
    return random.uniform(0.2, 1.0) * highest  # noqa: S311 (no secret)


def retry_after_seconds(value: str | None, longest: float) -> float:
    """What a Retry-After header asks for, 0 to `longest`; 0 where there is none, or none in seconds (RFC 9110, section
    10.2.3; the date form is used by nobody we ask)."""
    try:
        seconds = float(value or 0.0)
    except ValueError:
        return 0.0
    return min(longest, max(0.0, seconds)) if math.isfinite(seconds) else 0.0
