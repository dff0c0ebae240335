"""Days and months as the province counts them: in the time zone of the collector's machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from haidang_wire.errors import HaidangError

# Those that every clock can tell.
_YEARS = range(1970, 9999)


def day_of(at: float) -> date:
    """The day of a time (Unix seconds)."""
    return datetime.fromtimestamp(at, UTC).astimezone().date()


@dataclass(frozen=True)
class Month:
    """A calendar month: its `first` day and the first day `after` it."""

    first: date
    after: date

    def __str__(self) -> str:
        return str(self.first)[:7]

    @property
    def period(self) -> tuple[float, float]:
        """Its beginning and end in Unix seconds."""
        return _midnight(self.first), _midnight(self.after)

    def days_until(self, now: float) -> list[date]:
        """Those of its days that are over or under way."""
        days = (min(self.after, day_of(now) + timedelta(days=1)) - self.first).days
        return [self.first + timedelta(days=number) for number in range(days)]


def month(text: str) -> Month:
    """The month of a text as 2026-10. Raises HaidangError."""
    try:
        first = datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        first = date.min
    if first.year not in _YEARS:
        raise HaidangError(f"{text!r} is no month", remedy="Give it as 2026-10")
    return _from(first)


def month_of(at: float) -> Month:
    """The month a time (Unix seconds) lies in."""
    return _from(day_of(at).replace(day=1))


def _from(first: date) -> Month:
    return Month(first, (first + timedelta(days=31)).replace(day=1))


def _midnight(day: date) -> float:
    return datetime.combine(day, time()).astimezone().timestamp()
