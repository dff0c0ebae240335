"""The boards in a running Grafana, where one is at hand: HAIDANG_GRAFANA is its home (`bin/grafana`, `conf`, `public`).

Looked at in Chromium: with a province's day, with the collector dead, and over an empty Prometheus.
"""

from __future__ import annotations

import colorsys
import json
import os
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import ROOT, Processes, free_port, require, wait_for
from tests.dashboards.day import Filled
from tests.dashboards.test_json import FILES
from tests.dashboards.test_queries import CHOSEN
from tests.system.stack import Stack

HOME = os.environ.get("HAIDANG_GRAFANA", "")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not HOME, reason="boards were not looked at in Grafana: HAIDANG_GRAFANA names the home of one"),
    pytest.mark.timeout(1800),
]
_DAY_SECONDS = 86400


@dataclass
class Grafana:
    """One that is started on our files, with two data sources: the day's Prometheus and an empty one."""

    port: int
    filled: Filled
    browser: Browser

    def open(self, file: Path, until: float, source: str = "day", height: int = 2400) -> Page:
        board, language = file.stem, file.parent.name
        chosen = "".join(f"&var-{name}={CHOSEN[name]}" for name in ("site", "circuit", "device") if name == board)
        times = f"from={round((until - _DAY_SECONDS) * 1000)}&to={round(until * 1000)}"
        page = self.browser.new_context(viewport={"width": 1920, "height": height}).new_page()
        page.goto(
            f"http://127.0.0.1:{self.port}/d/haidang-{board}-{language}?kiosk&theme=dark&{times}&var-datasource={source}{chosen}"
        )
        page.locator(".panel-container, [data-testid*='Panel header']").first.wait_for(timeout=60_000)
        loading = page.locator(".panel-loading, [aria-label='Panel loading bar']")
        wait_for("panels", lambda: page.wait_for_timeout(1000) or loading.count() == 0, 120)
        page.wait_for_timeout(1500)  # the last is drawn
        return page


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    folder = tmp_path_factory.mktemp("grafana")
    processes = Processes(folder)
    try:
        filled = Filled(folder, processes)
        filled.go_blind(filled.now + 480)
        empty, port = free_port(), free_port()
        (folder / "empty.yml").write_text("{}")
        processes.start(
            "empty", require("prometheus"), f"--config.file={folder / 'empty.yml'}", f"--storage.tsdb.path={folder / 'empty'}",
            f"--web.listen-address=127.0.0.1:{empty}",
        )  # fmt: skip
        wait_for("prometheus", lambda: Stack.ready(empty), 60)
        _provision(folder, {"day": filled.port, "empty": empty})
        environment = {
            "GF_SERVER_HTTP_ADDR": "127.0.0.1", "GF_SERVER_HTTP_PORT": str(port), "GF_PATHS_DATA": str(folder / "data"),
            "GF_PATHS_LOGS": str(folder / "logs"), "GF_PATHS_PROVISIONING": str(folder / "provisioning"),
            "GF_AUTH_ANONYMOUS_ENABLED": "true", "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        }  # fmt: skip
        program = Path(HOME, "bin/grafana")
        assert program.is_file(), f"HAIDANG_GRAFANA: there is no {program}"
        command = ("env", *(f"{key}={value}" for key, value in environment.items()), str(program), "server")
        processes.start("grafana", *command, "--homepath", HOME)
        wait_for("grafana", lambda: _boards(port) == len(FILES), 120)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=require("chromium"), args=["--no-sandbox"])
            yield Grafana(port, filled, browser)
            browser.close()
    finally:
        processes.stop()


def _provision(folder: Path, sources: dict[str, int]) -> None:
    for name, content in (
        ("datasources", {"apiVersion": 1, "datasources": [
            {"name": name, "uid": name, "type": "prometheus", "access": "proxy", "url": f"http://127.0.0.1:{port}"}
            for name, port in sources.items()
        ]}),
        ("dashboards", {"apiVersion": 1, "providers": [
            {"name": name, "folder": name, "type": "file", "options": {"path": str(ROOT / "dashboards/json" / name)}}
            for name in ("vi", "en")
        ]}),
    ):  # fmt: skip
        file = folder / "provisioning" / name / "haidang.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(yaml.safe_dump(content))


def _boards(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/search?type=dash-db", timeout=5) as answer:
            return len(json.load(answer))
    except OSError:
        return 0


def errors(page: Page) -> int:
    return page.locator(".panel-info-corner--error, [data-testid='data-testid Panel status error']").count()


def greens(page: Page) -> list[str]:
    """Texts that stand on or in a green: of the good colour, whatever Grafana made of it for a ground."""
    found = page.evaluate(
        """() => [...document.querySelectorAll('.panel-content *, [data-testid="data-testid panel content"] *')].map(each => {
             const style = getComputedStyle(each);
             return [each.innerText || each.tagName, style.backgroundImage + ' ' + style.backgroundColor + ' ' + style.color];
           })"""
    )
    return [
        text for text, colors in found if any(map(_green, re.findall(r"rgba?\((\d+), (\d+), (\d+)(?:, 0)?\)", colors)))
    ]


def _green(color: tuple[str, str, str]) -> bool:
    hue, lightness, saturation = colorsys.rgb_to_hls(*(int(part) / 255 for part in color))
    return 130 < hue * 360 < 185 and saturation > 0.4 and lightness > 0.1


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_day_is_shown(grafana: Grafana, file: Path) -> None:
    page = grafana.open(file, grafana.filled.now - 60)
    assert errors(page) == 0
    assert page.get_by_text(
        "Số liệu mới nhất cách đây" if file.parent.name == "vi" else "Figures are as old as"
    ).count()
    if file.stem == "wall":
        assert greens(page), "the check finds no green where there is some"
    page.context.close()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_with_a_dead_collector_nothing_is_green(grafana: Grafana, file: Path) -> None:
    page = grafana.open(file, grafana.filled.now + 480)
    assert errors(page) == 0
    assert greens(page) == []
    assert page.get_by_text("does not answer since" if file.parent.name == "en" else "không phản hồi từ").count()
    page.context.close()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_over_an_empty_prometheus_nothing_is_green(grafana: Grafana, file: Path) -> None:
    page = grafana.open(file, grafana.filled.now - 60, "empty")
    assert errors(page) == 0
    assert greens(page) == []
    assert page.get_by_text(
        "Prometheus has no figures" if file.parent.name == "en" else "Prometheus không có số liệu"
    ).count()
    page.context.close()


def test_the_wall_fits_its_screen(grafana: Grafana) -> None:
    page = grafana.open(next(file for file in FILES if file.stem == "wall"), grafana.filled.now - 60, height=1080)
    bottom = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.react-grid-item')].map(each => each.getBoundingClientRect().bottom))"
    )
    assert 900 < bottom <= 1080
