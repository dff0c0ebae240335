"""A panel of a dashboard and what Prometheus answered, as what a page can show: numbers, rows, lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import quote, urlencode

from haidang_collector.console.units import shown

Result = list[dict[str, Any]]
_WIDTH, _HEIGHT = 600.0, 160.0
_MOST_LINES, _MOST_ROWS = 12, 200
# What Grafana shows of a state that no mapping names, and of what is no number.
_GRAY = "#999999"
# Okabe and Ito's colours, those that stand out from both grounds.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


@dataclass(frozen=True)
class Line:
    """One series: an SVG path in a box of 600 by 160, its last value, its colour and dash."""

    name: str
    path: str
    last: str
    color: str
    dash: str


@dataclass(frozen=True)
class Span:
    """A state from x to x + width (shares of 600)."""

    x: float
    width: float
    color: str
    word: str


@dataclass(frozen=True)
class Cell:
    """A cell of a table: `link` is where it leads to, `percent` how much of a bar is filled."""

    text: str
    link: str = ""
    color: str = ""
    percent: str = ""


@dataclass
class Shown:
    """A panel on the page. `kind` is head, number, bars, lines, states, table or row; `empty` says why there is
    nothing."""

    kind: str
    title: str
    description: str
    width: int
    empty: str = ""
    number: str = ""
    color: str = ""
    head: list[str] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    states: list[tuple[str, list[Span]]] = field(default_factory=list)
    low: str = ""
    high: str = ""


def show(panel: Mapping[str, Any], answers: list[Result], period: tuple[float, float]) -> Shown:
    """The panel with an answer for each of its targets."""
    defaults = panel["fieldConfig"]["defaults"] if "fieldConfig" in panel else {}
    kinds = {
        "stat": "number",
        "bargauge": "bars",
        "timeseries": "lines",
        "heatmap": "lines",
        "state-timeline": "states",
    }
    kind = kinds.get(panel["type"], panel["type"])
    if panel.get("options", {}).get("textMode") == "value_and_name":
        kind = "head"
    made = Shown(kind, panel["title"], panel.get("description", ""), panel["gridPos"]["w"], defaults.get("noValue", ""))
    found = [(target, series) for target, series in zip(panel.get("targets", ()), answers, strict=True) if series]
    if not found:
        made.empty = made.empty or "–"
        return made
    made.empty = ""
    unit = defaults.get("unit", "short")
    steps = defaults.get("thresholds", {}).get("steps", [])
    if kind == "head":
        _head(made, panel, found, unit, steps)
    elif kind == "number":
        value = _value(found[0][1][0])
        if value != value:
            made.empty = defaults.get("noValue", "–")
        made.number, made.color = _said(value, unit, steps, defaults.get("mappings", ()))
    elif kind == "bars":
        _bars(made, found, unit, steps, panel)
    elif kind == "table":
        _table(made, panel, found, unit, steps)
    elif kind == "states":
        _states(made, found, defaults, period)
    else:
        _lines(made, found, unit, period, panel)
    return made


def _value(series: Mapping[str, Any]) -> float:
    values = series.get("values")
    return float(values[-1][1] if values else series["value"][1])


def _color(value: float, steps: list[dict[str, Any]]) -> str:
    if value != value:
        return _GRAY
    fitting = [step["color"] for step in steps if step.get("value") is None or value >= step["value"]]
    return fitting[-1] if fitting else ""


def _word(value: str, mappings: Iterable[Mapping[str, Any]]) -> tuple[str, str] | None:
    """(words, colour) of a value that a mapping names."""
    for mapping in mappings:
        found = mapping["options"].get(value) if mapping["type"] == "value" else None
        if found:
            return found["text"], found.get("color") or ""
    return None


def _said(
    value: float, unit: str, steps: list[dict[str, Any]], mappings: Iterable[Mapping[str, Any]]
) -> tuple[str, str]:
    """A number in its words or its unit, and its colour."""
    return _word(f"{value:g}", mappings) or (shown(value, unit), _color(value, steps))


def _own(panel: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a field or query of a panel has of its own, by its name; of several overrides together."""
    found: dict[str, dict[str, Any]] = {}
    for override in panel["fieldConfig"].get("overrides", ()):
        given = found.setdefault(override["matcher"]["options"], {})
        given.update({each["id"]: each["value"] for each in override["properties"]})
    return found


def _name(target: Mapping[str, Any], series: Mapping[str, Any]) -> str:
    legend = target.get("legendFormat") or "{{__name__}}"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda label: str(series["metric"].get(label[1], "")), legend).strip()


def _bars(
    made: Shown,
    found: list[tuple[dict[str, Any], Result]],
    unit: str,
    steps: list[dict[str, Any]],
    panel: Mapping[str, Any],
) -> None:
    defaults, own = panel["fieldConfig"]["defaults"], _own(panel)
    for target, result in found:
        names = [_name(target, series) for series in result[:_MOST_ROWS]]
        called = [own.get(name, {}).get("displayName", name) for name in names]
        values = list(zip(called, map(_value, result), strict=False))
        least = defaults.get("min") or 0.0
        most = defaults.get("max") or max((value for _, value in values), default=1.0) or 1.0
        for name, value in values:
            part = max(0.0, min(1.0, (value - least) / (most - least))) if most > least and value == value else 0.0
            bar = Cell(shown(value, unit), color=_color(value, steps), percent=f"{part * 100:.1f}")
            made.rows.append([Cell(name), bar])


def _head(
    made: Shown,
    panel: Mapping[str, Any],
    found: list[tuple[dict[str, Any], Result]],
    unit: str,
    steps: list[dict[str, Any]],
) -> None:
    """Values with their names, of which each query may have a unit, colour and words of its own."""
    own = _own(panel)
    for target, result in found:
        given = own.get(target["refId"], {})
        for series in result:
            value = _value(series)
            word, color = _said(value, given.get("unit", unit), steps, given.get("mappings", ()))
            color = given["color"]["fixedColor"] if "color" in given else color
            made.rows.append([Cell(_name(target, series)), Cell(word, color=color)])


def _table(
    made: Shown,
    panel: Mapping[str, Any],
    found: list[tuple[dict[str, Any], Result]],
    unit: str,
    steps: list[dict[str, Any]],
) -> None:
    """Rows in the order of the first query; what others tell of the same labels stands in the same row."""
    columns, titles = _columns(panel)
    links, own = _links(panel, titles), _own(panel)
    columns = [name for name in columns if not own.get(name, {}).get("custom.hidden")]
    made.head = [titles[name] for name in columns]
    several = len(panel["targets"]) > 1
    rows: dict[frozenset[tuple[str, str]], dict[str, float]] = {}
    for target, result in found:
        for series in result:
            labels = frozenset((key, value) for key, value in series["metric"].items() if key != "__name__")
            if labels not in rows and len(rows) >= _MOST_ROWS:
                continue
            rows.setdefault(labels, {})[f"Value #{target['refId']}" if several else "Value"] = _value(series)
    for labels, values in rows.items():
        metric, row = dict(labels), []
        for name in columns:
            mine = own.get(titles[name], {})
            mappings, its = mine.get("mappings", ()), mine.get("thresholds", {"steps": steps})["steps"]
            if name.startswith("Value"):
                known = name in values
                text, color = _said(values[name], mine.get("unit", unit), its, mappings) if known else ("", "")
            else:
                text, color = _word(metric.get(name, ""), mappings) or (metric.get(name, ""), "")
            row.append(Cell(text, _address(links.get(name, ""), metric), color))
        made.rows.append(row)


def _columns(panel: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    organize = next(each["options"] for each in panel["transformations"] if each["id"] == "organize")
    order = sorted(organize["indexByName"], key=organize["indexByName"].__getitem__)
    return order, {name: organize["renameByName"].get(name, name) for name in order}


def _links(panel: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, str]:
    """Column → the address Grafana would follow."""
    by_title = {title: name for name, title in titles.items()}
    return {
        by_title[override["matcher"]["options"]]: each["value"][0]["url"]
        for override in panel["fieldConfig"].get("overrides", ())
        for each in override["properties"]
        if each["id"] == "links" and override["matcher"]["options"] in by_title
    }


def _address(grafana: str, labels: Mapping[str, str]) -> str:
    """A link of Grafana's as one of these pages."""
    page = re.match(r"\$\{collector\}/runbooks/\$\{__data\.fields\.alertname\}\?language=(en|vi)$", grafana)
    if page:
        return f"/runbooks/{quote(labels['alertname'])}?language={page[1]}" if labels.get("severity") else ""
    found = re.match(r"/d/haidang-([\w-]+)-(en|vi)\?", grafana)
    if not found:
        return ""
    given = {
        f"var-{name}": labels.get(label, "")
        for name, label in re.findall(r"&var-(\w+)=\$\{__(?:data\.fields|field\.labels)\.(\w+)\}", grafana)
    }
    if "" in given.values():
        return ""
    return f"/console/boards/{found[1]}?{urlencode({'language': found[2], **given})}"


def _points(series: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in series.get("values", ()) if value not in ("NaN", "+Inf", "-Inf")]


def _lines(
    made: Shown,
    found: list[tuple[dict[str, Any], Result]],
    unit: str,
    period: tuple[float, float],
    panel: Mapping[str, Any],
) -> None:
    own = _own(panel)
    named = [
        (own.get(name, {}).get("displayName", name), _points(series))
        for target, result in found
        for series in result
        for name in [_name(target, series)]
    ]
    drawn = [(name, points) for name, points in named if points][:_MOST_LINES]
    values = [value for _, points in drawn for _, value in points]
    if not values:
        return
    low, high = min(values), max(values)
    if low == high:
        low, high = min(0.0, low), max(0.0, high) or float(low == 0.0)
    elif 0 < low < (high - low):
        low = 0.0
    made.low, made.high = shown(low, unit), shown(high, unit)
    for number, (name, points) in enumerate(drawn):
        dash = ("", "6 3", "2 3")[number // len(_COLORS)]
        path = "".join(_pieces(points, period, low, high))
        made.lines.append(Line(name, path, shown(points[-1][1], unit), _COLORS[number % len(_COLORS)], dash))


def _pieces(points: list[tuple[float, float]], period: tuple[float, float], low: float, high: float) -> Iterator[str]:
    """Commands of an SVG path along the points, with a gap where nothing was measured for a while."""
    start, end = period
    pause = 3 * max((end - start) / 700, 120)
    before: float | None = None
    for at, value in points:
        x, y = (at - start) / (end - start) * _WIDTH, _HEIGHT - (value - low) / (high - low) * _HEIGHT
        yield f"{'M' if before is None or at - before > pause else 'L'}{x:.1f} {y:.1f}"
        before = at


def _states(
    made: Shown, found: list[tuple[dict[str, Any], Result]], defaults: dict[str, Any], period: tuple[float, float]
) -> None:
    words = defaults["mappings"][0]["options"]
    start, end = period
    for target, result in found:
        for series in result[:_MOST_ROWS]:
            spans: list[Span] = []
            points = _points(series)
            for (at, value), (until, _) in pairwise([*points, (end, 0.0)] if points else []):
                word = words.get(f"{value:g}", {"text": f"{value:g}", "color": _GRAY})
                x = (at - start) / (end - start) * _WIDTH
                width = (until - at) / (end - start) * _WIDTH
                if spans and spans[-1].word == word["text"]:
                    spans[-1] = Span(spans[-1].x, x + width - spans[-1].x, word["color"], word["text"])
                else:
                    spans.append(Span(x, width, word["color"], word["text"]))
            made.states.append((_name(target, series), spans))
