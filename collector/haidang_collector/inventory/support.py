"""When a maker's support of a system ends, by the data file beside this (support.yaml says where each is from)."""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import yaml
from haidang_wire.errors import ConfigError

from haidang_collector.inventory.body import Body, text_of

FILE = Path(__file__).with_name("support.yaml")


@functools.cache
def _systems() -> list[tuple[re.Pattern[str], float]]:
    found = []
    try:
        for entry in yaml.safe_load(FILE.read_text(encoding="utf-8"))["systems"]:
            ends = datetime.combine(_date(entry["ends"]), time(), UTC).timestamp()
            found.append((re.compile(entry["match"], re.IGNORECASE), ends))
    except (OSError, KeyError, TypeError, ValueError, re.error, yaml.YAMLError) as error:
        raise ConfigError(f"the dates of support can't be read: {error}", where=str(FILE)) from error
    return found


def _date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))


def support_ends(system: Body) -> float | None:
    """Unix time at which the support of a system (its document) ends; None for one that is not known."""
    names = ("name", "version", "release", "edition", "build")
    text = " ".join(filter(None, (text_of(system, name) for name in names)))
    return next((ends for pattern, ends in _systems() if pattern.search(text)), None)
