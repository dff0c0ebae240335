"""What is logged: to standard error, and no more of one kind than a disk can hold."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable

_A_MINUTE = 30
_MOST_KINDS = 1_000


class Bounded(logging.Filter):
    """Lets the first lines of a kind through in each minute; the first of the next minute says how many there were.
    A kind is a logger and what its code says, without what is filled in: that may come from outside."""

    def __init__(self, a_minute: int = _A_MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = a_minute
        self._clock = clock
        self._began = clock()
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._before: Counter[tuple[str, str, int]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if self._clock() >= self._began + 60:
            self._before, self._counts, self._began = self._counts, Counter(), self._clock()
        kind = (record.name, record.pathname, record.lineno)
        if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
            return False
        self._counts[kind] += 1
        left_out = self._before.pop(kind, 0) - self._most
        if left_out > 0:
            record.msg = f"{record.getMessage()} (and {left_out} more of this kind in the minute before)"
            record.args = None
        return self._counts[kind] <= self._most


def configure(level: str) -> None:
    """Set up logging for the whole process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Bounded())
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", handlers=[handler])
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel("WARNING")
