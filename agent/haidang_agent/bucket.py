"""A token bucket: what keeps anybody from making us work without end."""

from __future__ import annotations

import time


class Bucket:
    """Lets through `a_second` on average, twice as many at once."""

    def __init__(self, a_second: float) -> None:
        self._rate = a_second
        self._tokens = a_second * 2
        self._filled = time.monotonic()

    def take(self) -> bool:
        """Whether one more may pass."""
        now = time.monotonic()
        self._tokens = min(self._rate * 2, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
