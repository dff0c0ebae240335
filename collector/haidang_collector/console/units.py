"""Values as people read them, by Grafana's names of units."""

from __future__ import annotations

from datetime import UTC, datetime

_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"), (0.000001, "µs"))
_SIZES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SUFFIXES = {
    "Bps": "B/s",
    "bps": "bit/s",
    "bytes": "B",
    "pps": "/s",
    "reqps": "/s",
    "dBm": " dBm",
    "celsius": " °C",
    "amp": " A",
}


def shown(value: float, unit: str) -> str:
    """A value of this unit, with about three digits that count."""
    if value != value:
        return "–"
    if unit == "dateTimeAsIso":
        return datetime.fromtimestamp(value / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if unit.startswith("suffix:"):
        return f"{_digits(value)}{unit.removeprefix('suffix:')}"
    if unit == "dthms":
        seconds = round(abs(value))
        return f"{'-' if value < 0 else ''}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if unit == "percentunit":
        return f"{_digits(value * 100)} %"
    if unit == "s":
        size = abs(value)
        base, name = next(((base, name) for base, name in _TIMES if size >= base), (1.0, "s"))
        return f"{_digits(value / base)} {name}"
    if unit in ("dBm", "celsius"):
        return f"{_digits(value)}{_SUFFIXES[unit]}"
    base, prefix = next(((base, prefix) for base, prefix in _SIZES if abs(value) >= base), (1.0, ""))
    if unit == "amp" and 0 < abs(value) < 1:
        return f"{_digits(value * 1000)} mA"
    return f"{_digits(value / base)} {prefix}{_SUFFIXES.get(unit, '').strip()}".strip()


def _digits(value: float) -> str:
    size = abs(value)
    text = f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
