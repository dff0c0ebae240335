"""The dashboards without Grafana: drawn by the collector from a Prometheus that holds a province's day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from haidang_collector.console.boards import _filled, load, names
from haidang_collector.console.panels import show
from haidang_collector.console.units import shown
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import ROOT, Center, Processes, require, wait_for
from tests.dashboards.day import Filled
from tests.system.test_console import violations

pytestmark = pytest.mark.system
CHOSEN = {"circuit": "var-circuit=c-40", "site": "var-site=site-24", "device": "var-device=sw-17"}


@dataclass
class Boards:
    center: Center
    operator: Path
    browser: Browser

    def open(self, path: str, width: int = 1280) -> Page:
        identity = {"origin": self.center.url, "certPath": str(self.operator), "keyPath": str(self.operator)}
        context = self.browser.new_context(
            ignore_https_errors=True,
            locale="vi-VN",
            client_certificates=[identity],
            viewport={"width": width, "height": 900},
        )
        page = context.new_page()
        page.goto(f"{self.center.url}/console/boards/{path}")
        return page

    def answer(self, path: str) -> tuple[int, bytes] | None:
        """What the collector answers; None while its Prometheus is too busy to."""
        status, body = self.center.get(path, self.operator)
        return None if status == 503 else (status, body)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    folder = tmp_path_factory.mktemp("boards")
    processes = Processes(folder)
    try:
        filled = Filled(folder, processes)
        center = Center(folder, processes, extra=f'[console]\nprometheus_url = "http://127.0.0.1:{filled.port}"\n')
        operator = folder / "operator.pem"
        center.command("operator", "truc-ban", str(operator))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=require("chromium"), args=["--no-sandbox"])
            yield Boards(center, operator, browser)
            browser.close()
    finally:
        processes.stop()


@pytest.mark.timeout(600)
def test_every_board_is_drawn(boards: Boards) -> None:
    for name, title in names("vi").items():
        page = boards.open(f"{name}?language=vi&{CHOSEN.get(name, '')}")
        assert "Internal Server Error" not in page.content(), boards.center.processes.log("collector")[-3000:]
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        panels = page.locator("section.panel")
        assert panels.count() >= (3 if name == "fleet" else 7)
        # A province that has everything: hardly a panel is empty, and each of those says why.
        empty = page.locator("section.panel .empty")
        assert empty.count() <= panels.count() / 2, [empty.nth(n).inner_text() for n in range(empty.count())]
        assert "–" not in [empty.nth(n).inner_text() for n in range(empty.count())]
        page.context.close()


def test_axe_finds_nothing_wrong_with_boards(boards: Boards) -> None:
    for name, width in (("wan", 1280), ("plan", 1280), ("workstations", 360)):
        page = boards.open(name, width)
        assert violations(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.context.close()


def test_a_choice_and_a_click_lead_on(boards: Boards) -> None:
    page = boards.open("circuit?language=en")
    page.locator("select[name=var-circuit]").select_option("c-24")
    page.get_by_role("button", name="Show").click()
    assert "var-circuit=c-24" in page.url
    expect(page.locator("#board")).to_contain_text("wan0")
    page.get_by_role("link", name="Cơ quan 24").click()
    assert "/console/boards/site?" in page.url
    assert "var-site=site-24" in page.url
    expect(page.locator("select[name=var-site]")).to_have_value("site-24")
    page.get_by_role("link", name="Tiếng Việt").click()
    expect(page.locator("select[name=var-site]")).to_have_value("site-24")


def test_alerts_stand_with_the_gravest_first_and_lead_on(boards: Boards) -> None:
    page = boards.open("wall?language=en")
    rows = page.locator("section.panel", has=page.get_by_role("heading", name="Alerts")).locator("tbody tr")
    # The wall has what somebody must act on, the site all that is of it.
    assert [rows.nth(n).locator("td").nth(1).inner_text() for n in range(rows.count())] == ["critical"] * 2
    expect(rows.last).to_contain_text("Site cut off")
    rows.filter(has_text="Cơ quan 77").get_by_role("link", name="Cơ quan 77").click()
    alerts = page.locator("section.panel", has=page.get_by_role("heading", name="Alerts"))
    expect(alerts.locator("tbody tr")).to_have_count(1)
    expect(alerts.locator("tbody tr td").last).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    alerts.get_by_role("link", name="Site cut off").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Site cut off")
    page = boards.open("site?language=vi&var-site=site-24")
    expect(page.locator("#board")).to_contain_text("Ắc quy UPS cần thay")


def test_every_link_leads_to_a_page(boards: Boards) -> None:
    """Of every board in both languages, and of the runbooks they lead to: all on this collector."""
    left = {
        f"/console/boards/{name}?language={language}&{CHOSEN.get(name, '')}"
        for name in names("vi")
        for language in ("en", "vi")
    }
    seen: set[str] = set()
    kinds: set[str] = set()
    while left:
        path = left.pop()
        # A board of another site has the same links.
        kind = re.sub(r"&?var-\w+=[^&]*", "", path)
        seen.add(path)
        if kind in kinds:
            continue
        kinds.add(kind)
        status, body = wait_for(path, lambda path=path: boards.answer(path), 60)  # type: ignore[misc]
        assert status == 200, path
        for href in re.findall(r'href="([^"]*)"', body.decode()):
            link = href.replace("&amp;", "&")
            if link.startswith("?"):
                link = path.partition("?")[0] + link
            if not link.startswith(("#", "data:")):
                assert link.startswith("/"), f"{path}: {link}"
                left |= {link} - seen
    assert any(kind.startswith("/runbooks/HaidangSiteDown") for kind in kinds)


def test_each_alert_leads_to_its_runbook_without_a_certificate(boards: Boards) -> None:
    groups = yaml.safe_load((ROOT / "rules/haidang.yml").read_text())["groups"]
    urls = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(urls) > 60
    for url in urls:
        path = url.removeprefix("https://haidang.example")
        for language, word in (("en", "What it means"), ("vi", "Tóm tắt")):
            status, body = boards.center.get(f"{path}?language={language}")
            assert status == 200, path
            assert word in body.decode(), path
    page = boards.center.get("/runbooks/?language=vi")[1].decode()
    assert page.count('<a href="/runbooks/Haidang') == len(urls)
    assert boards.center.get("/runbooks/Haidang%3Cscript%3E")[0] == 404


def test_graphs_are_drawn_of_what_was_measured(boards: Boards) -> None:
    page = boards.open("plan?language=en&hours=24")
    paths = page.locator("section.lines path[d^=M]")
    assert paths.count() >= 7
    assert len(re.findall("[ML]", paths.first.get_attribute("d") or "")) > 500


def test_nothing_of_a_request_gets_out_of_a_query(boards: Boards) -> None:
    assert _filled('up{site="$site"}', {"site": 'x"} or up{a="'}, 60) == 'up{site="x\\"} or up{a=\\""}'
    status, body = boards.center.get("/console/boards/site?var-site=%22%7D%20or%20vector(1)%20%23", boards.operator)
    assert status == 200  # what is not among the values is not chosen
    assert b'<option value="site-0" selected>' in body
    assert boards.center.get("/console/boards/..%2f..%2fx", boards.operator)[0] == 404
    assert boards.center.get("/console/boards/wan")[0] == 401


def test_a_prometheus_that_is_gone_is_said(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    try:
        center = Center(tmp_path, processes, extra='[console]\nprometheus_url = "http://127.0.0.1:9"\n')
        operator = tmp_path / "operator.pem"
        center.command("operator", "truc-ban", str(operator))
        status, body = center.get("/console/boards/wan", operator)
        assert (status, b"Prometheus does not answer" in body) == (503, True)
    finally:
        processes.stop()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9951, "percentunit", "99.5 %"), (0.0, "percentunit", "0 %"), (0.0123, "s", "12.3 ms"), (7200, "s", "2 h"),
        (1.25e7, "Bps", "12.5 MB/s"), (1e9, "bps", "1 Gbit/s"), (-18.53, "dBm", "-18.5 dBm"), (400, "short", "400"),
        (0.0213, "amp", "21.3 mA"), (float("nan"), "short", "–"), (34.06, "celsius", "34.1 °C"),
    ],
)  # fmt: skip
def test_values_are_read_as_people_do(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_every_panel_of_every_board_can_be_shown_with_nothing_and_with_anything() -> None:
    for language in ("en", "vi"):
        for name in names(language):
            document = load(name, language)
            assert document is not None
            for panel in document["panels"]:
                targets = panel.get("targets", ())
                assert show(panel, [[] for _ in targets], (0.0, 10.0)).empty or panel["type"] == "row"
                for value in ("5", "0", "-9", "NaN"):
                    given = {"metric": {}, "values": [[1.0, value], [2.0, value]], "value": [1.0, value]}
                    drawn = show(panel, [[given] for _ in targets], (0.0, 10.0))
                    assert not (targets and value == "5" and drawn.empty), (name, panel.get("title"))
