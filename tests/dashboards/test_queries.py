"""Every query of every panel and variable, against a real Prometheus that holds a province's day."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from haidang_collector.outage import remarks

from tests.conftest import Processes
from tests.dashboards.day import OUTAGES, STEP_SECONDS, Filled
from tests.dashboards.test_json import FILES, JSON, panels

pytestmark = pytest.mark.system
# What is chosen where a board wants one thing.
CHOSEN = {
    "site": "site-24",
    "circuit": "c-40",
    "device": "sw-17",
    "carrier": ".*",
    "interface": ".*",
    "service": ".*",
    "level": ".*",
}
# Boards that show everything unless something is chosen.
EVERYTHING = ("wan", "fleet", "appliances", "workstations", "services", "agents")
_SLOWEST_SECONDS = 1.0


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("day")
    processes = Processes(folder)
    try:
        yield Filled(folder, processes)
    finally:
        processes.stop()


def ask(filled: Filled, path: str, **parameters: Any) -> tuple[float, list[Any]]:
    """(seconds, result) of an API call; what Prometheus says is wrong fails."""
    url = f"http://127.0.0.1:{filled.port}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
    started = time.perf_counter()
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            document = json.load(answer)
    except urllib.error.HTTPError as error:
        pytest.fail(f"{parameters}: {error.read().decode()}")
    data = document["data"]
    return time.perf_counter() - started, data if isinstance(data, list) else data["result"]


def replaced(query: str, board: str, seconds: int) -> str:
    """As Grafana would before it asks."""
    for name, value in (("__range", f"{seconds}s"), ("__rate_interval", "5m"), ("__interval", "2m")):
        query = query.replace(f"${name}", value)
    chosen = {**CHOSEN, **({"site": ".*", "circuit": ".*"} if board in EVERYTHING else {})}
    return re.sub(r"\$\{?([a-z]\w*)\}?", lambda found: chosen[found[1]], query)


@pytest.mark.timeout(900)
def test_every_query_answers_in_time_and_with_something(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    times: list[tuple[float, str, str]] = []
    empty: list[str] = []
    for file in (each for each in FILES if each.parent.name == "en"):
        document = json.loads(file.read_text(encoding="utf-8"))
        hours = {"now-6h": 6, "now-24h": 24, "now-30d": 24}[document["time"]["from"]]
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                seconds, found = ask_variable(filled, replaced(variable["query"], file.stem, hours * 3600))
                times.append((seconds, file.stem, f"${variable['name']}"))
                assert found, f"{file.stem}: ${variable['name']} has nothing to choose"
        for panel in panels(document):
            for target in panel.get("targets", ()):
                query = replaced(target["expr"], file.stem, hours * 3600)
                seconds, found = ask_panel(filled, query, instant=bool(target.get("instant")), hours=hours)
                if seconds > _SLOWEST_SECONDS:  # asked again: this machine does other things too
                    seconds = min(
                        seconds, ask_panel(filled, query, instant=bool(target.get("instant")), hours=hours)[0]
                    )
                times.append((seconds, file.stem, panel["title"]))
                if not found and not panel["fieldConfig"]["defaults"].get("noValue"):
                    empty.append(f"{file.stem}: {panel['title']}: {query}")
        times += (
            (marked(filled, each, file.stem)[0], file.stem, each["name"])
            for each in document["annotations"].get("list", ())
        )
    with capsys.disabled():
        print(f"\n{len(times)} queries of the dashboards; the slowest:")
        for seconds, board, title in sorted(times, reverse=True)[:10]:
            print(f"  {seconds * 1000:6.0f} ms  {board}: {title}")
    assert not empty, "\n".join(empty)
    assert max(times)[0] <= _SLOWEST_SECONDS, max(times)


def marked(filled: Filled, annotation: dict[str, Any], board: str) -> tuple[float, list[tuple[dict[str, str], float]]]:
    """(seconds, marks) of a day, as Grafana asks for them: a hundred steps, the value is the time."""
    query = replaced(
        annotation["expr"].replace("$__interval_ms", "864000").replace("$__interval", "864s"), board, 86400
    )
    start, end = filled.now - 86400, filled.now - 60
    seconds, found = ask(filled, "query_range", query=query, start=start, end=end, step=864)
    return seconds, [
        (series["metric"], at)
        for series in found
        for at in sorted({float(value) / 1000 for _, value in series["values"]})
        if start <= at <= end
    ]


def test_one_mark_for_one_event_at_its_second(filled: Filled) -> None:
    def of(board: str, name: str) -> list[tuple[dict[str, str], float]]:
        annotations = json.loads((JSON / "en" / f"{board}.json").read_text(encoding="utf-8"))["annotations"]["list"]
        return marked(filled, next(each for each in annotations if each["name"] == name), board)[1]

    started = filled.now - 86400
    begins = sorted((f"site-{each.site}", started + each.begins * STEP_SECONDS) for each in OUTAGES)
    ends = sorted((f"site-{each.site}", started + (each.ends - 1) * STEP_SECONDS) for each in OUTAGES if each.ends)
    assert sorted((labels["site"], at) for labels, at in of("wan", "Outages")) == begins
    assert sorted((labels["site"], at) for labels, at in of("wall", "Outages that ended")) == ends
    own = of("site", "Outages")
    assert [labels["cause_en"] for labels, _ in own] == [remarks.CAUSES[OUTAGES[2].cause].en]
    assert {labels["alertname"] for labels, _ in of("site", "Alerts")} == {"HaidangSiteDown", "HaidangUpsBatteryOld"}
    assert of("device", "Restarts") == []  # it has run for longer


def ask_panel(filled: Filled, query: str, *, instant: bool, hours: int) -> tuple[float, list[Any]]:
    if instant:
        return ask(filled, "query", query=query, time=filled.now - 60)
    step = max(120, hours * 3600 // 700)
    return ask(filled, "query_range", query=query, start=filled.now - hours * 3600, end=filled.now - 60, step=step)


def ask_variable(filled: Filled, query: str) -> tuple[float, list[Any]]:
    found = re.fullmatch(r"label_values\((.*),\s*(\w+)\)", query)
    assert found, query
    return ask(filled, f"label/{found[2]}/values", **{"match[]": found[1]})


def test_most_of_the_panels_have_data(filled: Filled) -> None:
    """An empty state that explains is for places without such a thing: this province has everything."""
    empty, count = [], 0
    for file in (each for each in FILES if each.parent.name == "en"):
        document = json.loads(file.read_text(encoding="utf-8"))
        for panel in panels(document):
            found: list[Any] = []
            for target in panel.get("targets", ()):
                query = replaced(target["expr"], file.stem, 86400)
                found += ask_panel(filled, query, instant=bool(target.get("instant")), hours=24)[1]
            count += "targets" in panel
            if "targets" in panel and not found:
                empty.append(f"{file.stem}: {panel['title']}")
    # Nothing is wrong with the cables of the circuit that is chosen.
    assert set(empty) <= {"circuit: Wrong cables"}, empty
    assert count > 120
