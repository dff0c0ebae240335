"""What is not known is never shown as well: with the collector dead, Prometheus not reading it, and nothing at all.

Every panel of every board in both languages is judged by what it would draw of what Prometheus answers: the colours, and
the words that all is well, which come from the query where there is something to say so of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from haidang_collector.console.panels import Shown, show

from dashboards.states import BAD, GOOD, GRAY
from tests.conftest import Processes, free_port, require, wait_for
from tests.dashboards.day import Filled
from tests.dashboards.test_json import FILES, panels
from tests.dashboards.test_queries import ask, replaced
from tests.system.stack import Stack

pytestmark = pytest.mark.system
_HOURS = 6


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("blind")
    processes = Processes(folder)
    try:
        made = Filled(folder, processes)
        made.go_blind(made.now + 480)
        yield made
    finally:
        processes.stop()


def drawn(at: Any, now: float) -> Iterator[tuple[str, dict[str, Any], Shown]]:
    """Each panel of each board as the console would draw it at a time; `at` has the port of a Prometheus."""
    for file in FILES:
        document = json.loads(file.read_text(encoding="utf-8"))
        for panel in panels(document):
            if "targets" in panel:
                answers = [_asked(at, target, file.stem, now) for target in panel["targets"]]
                yield (
                    f"{file.parent.name} {file.stem}: {panel['title']}",
                    panel,
                    show(panel, answers, (now - 3600 * _HOURS, now)),
                )


def _asked(at: Any, target: dict[str, Any], board: str, now: float) -> list[Any]:
    query = replaced(target["expr"], board, 3600 * _HOURS)
    if target.get("instant"):
        return ask(at, "query", query=query, time=now)[1]
    return ask(at, "query_range", query=query, start=now - 3600 * _HOURS, end=now, step=120)[1]


def present_colors(shown: Shown) -> list[str]:
    """The colours in which a panel says what is now."""
    colors = [shown.color] if shown.kind == "number" and not shown.empty else []
    colors += [cell.color for row in shown.rows for cell in row]
    return colors + [spans[-1].color for _, spans in shown.states if spans]


def nothing_is_well(at: Any, now: float) -> list[str]:
    """No panel shows the good colour, nor says that there is nothing; what each says across the boards."""
    said = []
    for name, panel, shown in drawn(at, now):
        assert GOOD not in present_colors(shown), name
        words = [
            found
            for target in panel["targets"]
            for found in re.findall(r'label_replace\(0 \* max.*?, "\w+", "(.+?)", "", ""\)', target["expr"])
        ]
        for row in shown.rows:
            assert row[0].text not in words, name
        if shown.kind == "number" and not shown.empty:
            assert shown.color in ("#0072B2", BAD, "#E69F00", GRAY), name
        if shown.kind == "head":
            said.append(" ".join(cell.text for row in shown.rows for cell in row) or shown.empty)
    return said


@pytest.mark.timeout(600)
def test_a_collector_that_is_dead_is_nowhere_green(filled: Filled) -> None:
    said = nothing_is_well(filled, filled.now + 480)
    assert len(said) == len(FILES)
    ended = f"{datetime.fromtimestamp(filled.now).astimezone():%Y-%m-%d %H:%M}"
    for words in said:
        assert re.match(
            "(The center is blind, the collector does not answer since|Mất toàn bộ số liệu: máy chủ thu thập không phản hồi từ) "
            + ended,
            words,
        ), words


@pytest.mark.timeout(600)
def test_a_prometheus_that_reads_nothing_is_nowhere_green(filled: Filled) -> None:
    """Nor are rules evaluated: both are said."""
    for words in nothing_is_well(filled, filled.now + 480 + 400):
        assert re.search(
            "Prometheus does not read the collector since|Prometheus không đọc máy chủ thu thập từ", words
        ), words
        assert re.search("rules are not evaluated since|luật cảnh báo không được tính từ", words), words


def test_an_empty_prometheus_is_nowhere_green(tmp_path: Path) -> None:
    class Empty:
        port = free_port()
        now = 1.0

    processes = Processes(tmp_path)
    try:
        config = tmp_path / "prometheus.yml"
        config.write_text(yaml.safe_dump({}))
        processes.start(
            "prometheus", require("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{Empty.port}",
        )  # fmt: skip
        wait_for("prometheus", lambda: Stack.ready(Empty.port), 60)
        for words in nothing_is_well(Empty, 1.7e9):
            assert words in (
                "Not known: Prometheus has no figures",
                "Chưa rõ: Prometheus không có số liệu",
            )
    finally:
        processes.stop()


@pytest.mark.timeout(600)
def test_a_day_that_is_seen_is_said_to_be(filled: Filled) -> None:
    green = 0
    for name, _, shown in drawn(filled, filled.now - 60):
        green += GOOD in present_colors(shown)
        if shown.kind == "head":
            assert [row[0].text for row in shown.rows] in (["Figures are as old as"], ["Số liệu mới nhất cách đây"]), (
                name
            )
    assert green > 60
