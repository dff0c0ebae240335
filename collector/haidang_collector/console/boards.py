"""The dashboards without Grafana: the same JSON, the same queries, asked of Prometheus and drawn here."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from haidang_collector.console.panels import Result, Shown, show

_SECONDS = 10.0
_AT_ONCE = 6
_STEPS = 700
FOLDER = Path(__file__).with_name("boards")
# Beside the sources, where the package is not built.
_SOURCES = Path(__file__).resolve().parents[3] / "dashboards/json"


class PrometheusError(Exception):
    """It does not answer, or not with data."""


@dataclass(frozen=True)
class Choice:
    """A variable of a board: what can be chosen, and what is."""

    name: str
    label: str
    values: list[str]
    chosen: str


@dataclass(frozen=True)
class Page:
    """A board, drawn."""

    title: str
    description: str
    choices: list[Choice]
    panels: list[Shown]


def names(language: str) -> dict[str, str]:
    """Board → its title."""
    files = sorted((_folder() / language).glob("*.json"))
    return {file.stem: str(json.loads(file.read_text(encoding="utf-8"))["title"]) for file in files}


def load(name: str, language: str) -> dict[str, Any] | None:
    """A board's JSON; None for one that is none."""
    if not re.fullmatch("[a-z]+", name) or not (_folder() / language / f"{name}.json").is_file():
        return None
    document: dict[str, Any] = json.loads((_folder() / language / f"{name}.json").read_text(encoding="utf-8"))
    return document


def _folder() -> Path:
    return FOLDER if FOLDER.is_dir() else _SOURCES


class Boards:
    """Asks one Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def draw(self, board: Mapping[str, Any], given: Mapping[str, str], hours: float, now: float) -> Page:
        """A board over the last hours. Raises PrometheusError."""
        async with httpx.AsyncClient(timeout=_SECONDS) as client:
            choices: list[Choice] = []
            for variable in board["templating"]["list"]:
                if variable["type"] == "query":
                    choices.append(await self._choice(client, variable, given, choices))
            values = {choice.name: choice.chosen for choice in choices}
            period = (now - hours * 3600, now)
            tasks = [self._panel(client, panel, values, period) for panel in board["panels"]]
            panels = await asyncio.gather(*tasks)
        return Page(board["title"], board.get("description", ""), choices, list(panels))

    async def _choice(
        self, client: httpx.AsyncClient, variable: Mapping[str, Any], given: Mapping[str, str], before: list[Choice]
    ) -> Choice:
        everything = bool(variable.get("includeAll"))
        known = {choice.name: choice.chosen for choice in before}
        found = re.fullmatch(r"label_values\((.*),\s*(\w+)\)", _filled(variable["query"], known, 3600))
        values: list[str] = []
        if found:
            listed = await self._ask(client, f"label/{found[2]}/values", {"match[]": found[1]})
            values = sorted(str(each) for each in listed)
        wanted = given.get(variable["name"], "")
        chosen = wanted if wanted in values else ".*" if everything else (values or [""])[0]
        options = [".*", *values] if everything else values
        return Choice(variable["name"], variable.get("label") or variable["name"], options, chosen)

    async def _panel(
        self,
        client: httpx.AsyncClient,
        panel: Mapping[str, Any],
        values: Mapping[str, str],
        period: tuple[float, float],
    ) -> Shown:
        answers = []
        for target in panel.get("targets", ()):
            query = _filled(target["expr"], values, period[1] - period[0])
            if target.get("instant"):
                answers.append(await self._ask(client, "query", {"query": query, "time": str(period[1])}))
            else:
                step = max(60.0, (period[1] - period[0]) / _STEPS)
                times = {"start": str(period[0]), "end": str(period[1]), "step": str(step)}
                answers.append(await self._ask(client, "query_range", {"query": query, **times}))
        return show(panel, answers, period)

    async def _ask(self, client: httpx.AsyncClient, path: str, parameters: dict[str, str]) -> Result:
        async with self._turns:
            try:
                answer = await client.get(f"{self._url}/api/v1/{path}", params=parameters)
                data = answer.json()["data"]
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                raise PrometheusError(f"Prometheus does not answer as it should: {type(error).__name__}") from error
        result: Result = data if isinstance(data, list) else data.get("result", [])
        return result


def _filled(query: str, values: Mapping[str, str], seconds: float) -> str:
    """As Grafana fills a query in. What is chosen stands in a text or pattern of PromQL: it can end neither."""
    for name, text in (("__range", f"{seconds:.0f}s"), ("__rate_interval", "5m"), ("__interval", "1m")):
        query = query.replace(f"${name}", text)

    def value(found: re.Match[str]) -> str:
        chosen = values.get(found[1], ".*")
        return chosen if chosen == ".*" else chosen.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")

    return re.sub(r"\$\{?([a-z]\w*)\}?", value, query)
