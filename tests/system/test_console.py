"""The status page in a real browser: what it shows, live, by keyboard, on a telephone, to a screen reader."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import pkcs12
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import Center, Processes, delivery, node_modules, report, require, wait_for
from tests.unit.province import SITES, registry

pytestmark = pytest.mark.system
PHONE = {"width": 360, "height": 740}


@dataclass
class Console:
    """A collector that knows a province, its operator's certificate, and the probe at its center."""

    center: Center
    operator: Path
    probe: Path
    browser: Browser
    sequence: int = 0

    def see(self, *lost: str) -> None:
        """What the probe sees from now on: all sites but these."""
        self.sequence += 1
        at = time.time()
        samples = [
            {"metric": f"haidang_path_{name}", "labels": {"target": site}, "value": value}
            for site in SITES[1:]
            for name, value in (
                ("reachable", int(site not in lost)),
                ("silent_seconds", 0.0 if site not in lost else 5.0),
            )
        ]
        sent = report("sw-ttdl", self.sequence, source="path_state", interval=120, samples=samples, taken=at)
        status, answer = self.center.post("/v1/reports", delivery(sent), self.probe)
        assert status == 200, answer

    def open(self, path: str = "/console/", *, signed_in: bool = True, **context: Any) -> Page:
        identity = {"origin": self.center.url, "certPath": str(self.operator), "keyPath": str(self.operator)}
        made = self.browser.new_context(
            ignore_https_errors=True, locale="vi-VN", client_certificates=[identity] if signed_in else [], **context
        )
        page = made.new_page()
        page.goto(self.center.url + path)
        return page


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    chromium = require("chromium")
    folder = tmp_path_factory.mktemp("console")
    processes = Processes(folder)
    try:
        center = Center(folder, processes, extra="[outages]\nhold_seconds = 5\n")
        file = folder / "registry.yaml"
        document = registry()
        document["sites"][SITES.index("x1")]["name"] = "UBND xã Đông Hòa"
        file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        center.command("registry", "load", str(file))
        operator = folder / "operator.pem"
        center.command("operator", "truc-ban", str(operator))
        probe = center.enrol(folder / "probe", site="ttdl", name="sw-ttdl") / "identity.pem"
        wait_for("the registry", lambda: "haidang_site_info" in center.get("/metrics")[1].decode(), 20)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            yield Console(center, operator, probe, browser)
            browser.close()
    finally:
        processes.stop()


@pytest.fixture(autouse=True)
def seen(console: Console) -> None:
    console.see("x1")


def outage(page: Page) -> Any:
    return page.locator("#outages")


def violations(page: Page) -> list[str]:
    """What axe finds wrong (WCAG 2.2 A and AA, and good practice)."""
    page.evaluate((node_modules() / "axe-core/axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']][:3]}" for each in found]


def test_without_a_certificate_it_says_how_to_get_one(console: Console) -> None:
    page = console.open(signed_in=False)
    expect(page.get_by_role("heading")).to_have_text("Cần chứng thư vận hành")
    assert "UBND" not in page.content()
    assert violations(page) == []
    agent = console.center.get("/console/", console.probe)
    assert (agent[0], b"UBND" in agent[1]) == (401, False)


def test_an_outage_is_told_in_both_languages(console: Console) -> None:
    page = console.open()
    expect(outage(page)).to_contain_text("UBND xã Đông Hòa", timeout=40_000)
    expect(outage(page)).to_contain_text("Viễn thông A 0200 800 119")
    expect(outage(page)).to_contain_text("VT-hub-x1")
    expect(outage(page)).to_contain_text("không có thông tin về cổng tại hub")
    expect(outage(page)).to_contain_text(" phút")
    expect(outage(page)).to_contain_text(f"1 cơ quan, {10 + SITES.index('x1')} cán bộ")
    assert page.locator("html").get_attribute("lang") == "vi"
    expect(page.locator("#sites-rows tr").first).to_contain_text("UBND xã Đông Hòa")  # what is down stands first
    expect(page.locator("#sites-rows tr").first).to_contain_text("mất kết nối")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Open outages")).to_be_visible()
    expect(outage(page)).to_contain_text("nothing is known of the port at hub")
    expect(page.locator("#sites-rows tr").first).to_contain_text("down")
    assert page.locator("#agents-rows tr").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE], ids=["desk", "telephone"])
def test_axe_finds_nothing(console: Console, scheme: str, viewport: dict[str, int]) -> None:
    page = console.open(color_scheme=scheme, viewport=viewport)
    expect(outage(page)).to_contain_text("UBND xã Đông Hòa", timeout=40_000)
    assert violations(page) == []


def test_it_changes_without_being_loaded_again(console: Console) -> None:
    page = console.open()
    expect(outage(page)).to_contain_text("UBND xã Đông Hòa", timeout=40_000)
    page.evaluate("window.same = true")
    search = page.get_by_label("Tìm").first
    search.fill("dong hoa")  # without diacritics
    expect(page.locator("#sites-rows tr:visible")).to_have_count(1)
    console.see()
    expect(outage(page)).to_contain_text("Không có sự cố nào.", timeout=60_000)
    assert page.evaluate("window.same")
    expect(search).to_have_value("dong hoa")
    expect(page.locator("#sites-rows tr:visible")).to_have_count(1)
    expect(page.locator("#sites-rows tr:visible")).to_contain_text("hoạt động")


def test_it_works_by_keyboard(console: Console) -> None:
    page = console.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Đến nội dung chính"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"search-sites", "search-circuits", "search-agents"} <= reached


def test_it_fits_a_telephone(console: Console) -> None:
    page = console.open(viewport=PHONE)
    expect(outage(page)).to_contain_text("UBND xã Đông Hòa", timeout=40_000)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    cell = page.locator("#outages tbody td").first
    assert page.evaluate("e => getComputedStyle(e, '::before').content", cell.element_handle()) == '"Nguyên nhân"'


def test_it_asks_nobody_else_and_runs_no_foreign_script(console: Console) -> None:
    asked: list[str] = []
    page = console.open()
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.wait_for_load_state("networkidle")
    assert asked
    assert {re.match(r"(\w+:(?://[^/]+)?)", url)[1] for url in asked} <= {console.center.url, "data:"}  # type: ignore[index]
    status, _ = console.center.get("/console/static/..%2f..%2fca.py", console.operator)
    assert status == 404


def test_without_javascript_it_still_says_everything(console: Console) -> None:
    page = console.open(java_script_enabled=False)
    assert "UBND xã Đông Hòa" in page.content()
    assert page.locator("#sites-rows tr").count() == len(SITES)


def test_a_name_is_never_markup(console: Console) -> None:
    """What agents and registry say is text."""
    console.center.enrol(console.probe.parent.parent / "odd", site="x2", name="b-script")
    page = console.open()
    expect(page.locator("#agents-rows")).to_contain_text("b-script", timeout=20_000)
    assert page.locator("#main script").count() == 0


def test_a_server_that_is_gone_is_told_and_its_return_too(console: Console) -> None:
    page = console.open()
    alert = page.get_by_role("alert")
    expect(alert).to_be_hidden()
    console.center.process.kill()
    console.center.process.wait()
    expect(alert).to_contain_text("Mất kết nối với máy chủ", timeout=20_000)
    console.center.start()
    expect(alert).to_be_hidden(timeout=30_000)


def test_the_certificate_for_browsers(console: Console, tmp_path: Path) -> None:
    file = tmp_path / "lan.p12"
    said = console.center.command("operator", "lan", str(file))
    password = said.rpartition(" ")[2].strip()
    key, certificate, _ = pkcs12.load_key_and_certificates(file.read_bytes(), password.encode())
    assert key is not None
    assert certificate is not None
    assert file.stat().st_mode & 0o77 == 0
