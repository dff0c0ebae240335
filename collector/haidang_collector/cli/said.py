"""Times and durations as people say them to commands, and read them there."""

from __future__ import annotations

from datetime import datetime

from haidang_wire.errors import HaidangError

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str, option: str = "--expires") -> float:
    """Seconds of 30m, 24h or 7d. Raises HaidangError that names the option."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or not 1 <= int(number) <= 10**6:
        raise HaidangError(f"{option} must be like 30m, 24h or 7d, not {text!r}")
    return int(number) * _UNITS[unit]


def local_time(text: str, option: str) -> float:
    """Unix seconds of 2026-10-03T22:00. Raises HaidangError that names the option."""
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise HaidangError(f"{option} must be like 2026-10-03T22:00, not {text!r}") from error


def date(when: float) -> str:
    """Local time, with its zone."""
    return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M %z")
