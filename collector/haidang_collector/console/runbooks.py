"""/runbooks: what to do about each alert, in both languages, without internet and without a script.

For everybody who reaches the collector: what is in them is the project's own text, and whoever is paged at night has
perhaps no certificate at hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Runbook:
    """A page about one alert: its title and HTML in a language; `summary` alone is Vietnamese."""

    alert: str
    title: str
    summary: str
    body: str


@cache
def _pages() -> dict[str, dict[str, str]]:
    file = resources.files("haidang_collector.console") / "runbooks.json"
    found: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def runbook(alert: str, language: str) -> Runbook | None:
    """The page of an alert; None for one that there is not."""
    page = _pages().get(alert)
    if page is None:
        return None
    return Runbook(alert, page[f"title_{language}"], page["vi"] if language == "vi" else "", page["en"])


def runbooks(language: str) -> list[tuple[str, str]]:
    """(alert, title) of all, by title."""
    found = [(alert, page[f"title_{language}"]) for alert, page in _pages().items()]
    return sorted(found, key=lambda each: each[1])
