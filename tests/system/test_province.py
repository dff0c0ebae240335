"""A province with real links, routers, agents, Prometheus and Alertmanager: for each fault exactly the right pages."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Center, Processes, free_port, wait_for
from tests.system.stack import Stack
from tests.system.wan import CENTER_ADDRESS, OFFICIALS, UPS, UPS_SITE, Wan, wan, write_registry
from tests.unit.province import LEAVES, SITES

pytestmark = [pytest.mark.system, pytest.mark.alone]
HOLD_SECONDS = 12
# What is paged is paged by then, and nothing more comes.
QUIET_SECONDS = 6


@dataclass
class Province:
    """Everything, running."""

    wan: Wan
    center: Center
    stack: Stack
    folder: Path
    mark: int = 0

    def begin(self) -> None:
        """All is well and nobody is paged: what comes now is this fault's."""
        wait_for(
            "all is well",
            lambda: len(self.stack.query("haidang_site_up == 1 unless haidang_site_degraded == 1")) == len(SITES),
            60,
        )
        wait_for("nothing is open", lambda: not self.stack.query("haidang_outage_open"), 90)
        try:
            wait_for("nothing fires", lambda: not self._firing(), 90)
        except AssertionError as fault:
            raise AssertionError(f"{fault}, but {self._firing()}") from None
        self.mark = len(self.stack.webhook.alerts)

    def _firing(self) -> list[object]:
        return list(self.stack.query('ALERTS{alertstate="firing",alertname!="HaidangWatchdog"}'))

    def pages(self) -> list[tuple[str, str]]:
        """(alert, site or circuit) of each page since the mark."""
        return [
            (name, labels["circuit"] if name == "HaidangCircuitDown" else labels.get("site", ""))
            for status, name, labels in self.stack.webhook.alerts[self.mark :]
            if status == "firing" and name != "HaidangWatchdog"
        ]

    def expect(self, *pages: tuple[str, str], seconds: float = 20) -> None:
        """These pages and no others."""
        wait_for(f"{pages}", lambda: len(self.pages()) >= len(pages), seconds)
        ends = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < ends:  # a time in which nothing is to come, not one to wait for something
            assert sorted(self.pages()) == sorted(pages)
            time.sleep(0.5)

    def text(self, alert: str) -> str:
        """All annotations of the page of this name."""
        alerts = self.stack.webhook.alerts
        place = next(n for n in range(self.mark, len(alerts)) if alerts[n][:2] == ("firing", alert))
        return json.dumps(self.stack.webhook.texts[place], ensure_ascii=False)

    def cause(self) -> str:
        (found,) = self.stack.query(
            'haidang_outage_info * on (outage) group_left (kind) haidang_outage_open{kind!="circuit"}'
        )
        return str(found["metric"]["cause"])

    def repaired(self, *, resolved: int = 1) -> None:
        """Until what was paged is resolved, once each."""

        def count() -> int:
            return sum(status == "resolved" for status, _, _ in self.stack.webhook.alerts[self.mark :])

        wait_for("resolved", lambda: count() >= resolved, 60)
        assert count() == resolved

    def ledger(self, query: str, *values: object) -> list[tuple[object, ...]]:
        database = sqlite3.connect(f"file:{self.center.state / 'collector.db'}?mode=ro", uri=True)
        try:
            return database.execute(query, values).fetchall()
        finally:
            database.close()

    def downtime(self, kind: str, element: str, since: float) -> tuple[float, float]:
        """When the one downtime since then began and ended."""
        query = "SELECT started, ended FROM downtimes WHERE kind = ? AND element = ? AND started > ?"
        found = wait_for(
            f"{element} in the ledger",
            lambda: [row for row in self.ledger(query, kind, element, since - 2) if row[1] is not None],
            20,
        )
        ((started, ended),) = found
        assert isinstance(started, float)
        assert isinstance(ended, float)
        return started, ended


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Province]:
    folder = tmp_path_factory.mktemp("province")
    processes = Processes(folder)
    try:
        with wan(folder, processes) as network:
            port = free_port()
            extra = f'[remote_write]\nurl = "http://127.0.0.1:{port}/api/v1/write"\n'
            extra += f"[outages]\nhold_seconds = {HOLD_SECONDS}\nflapping_hold_seconds = 25\n"
            center = Center(folder, processes, CENTER_ADDRESS, extra)
            center.command("registry", "load", str(write_registry(folder)))
            stack = Stack(folder, processes, center, port)
            network.start_agents(center)
            yield Province(network, center, stack, folder)
    finally:
        processes.stop()


@pytest.fixture(autouse=True)
def well(province: Province) -> Iterator[None]:
    province.begin()
    yield
    province.wan.mend()


def near(at: float) -> object:
    # A probe a second: what is dated by one is dated to a second.
    return pytest.approx(at, abs=1.2)


def soon(after: float) -> object:
    # A line that has its light back carries nothing until ARP, which asks each second, has found the other end.
    return pytest.approx(after + 1, abs=1.7)


def test_a_cut_is_one_page_that_says_everything_and_the_ledger_is_right_to_the_second(province: Province) -> None:
    cut = province.wan.cut("r2-hub")
    province.expect(("HaidangSiteDown", "hub"))
    text = province.text("HaidangSiteDown")
    behind = ["hub", *LEAVES]
    officials = sum(OFFICIALS[site] for site in behind)
    for part in (
        "r2-hub",
        "VT-r2-hub",
        "0200 800 119",
        "r2 to hub",
        "4 sites",
        f"{officials} officials",
        "fiber cut",
        "đứt cáp quang",
        "từ r2 đến hub",
        "sw-r2 r2-hub tại r2 mất kết nối",
        *behind,
    ):
        assert part in text, part
    assert "sw-r2 r2-hub at r2 has no link" in text
    restored = province.wan.restore("r2-hub")
    wait_for("hub is reached", lambda: province.wan.reaches("hub"), 30)
    reached = time.time()
    province.repaired()
    for site in behind:
        started, ended = province.downtime("site", site, cut)
        assert started == near(cut)
        assert restored <= ended < reached + 3
    started, ended = province.downtime("circuit", "r2-hub", cut)
    assert (started, ended) == (near(cut), soon(restored))
    ((cause, outage_started, outage_officials),) = province.ledger(
        "SELECT cause, started, officials FROM outages WHERE site = 'hub' AND started > ?", cut - 2
    )
    assert (cause, outage_started, outage_officials) == ("fiber_cut", near(cut), officials)


def test_a_cut_of_the_ring_warns_of_one_circuit_and_cuts_nobody_off(province: Province) -> None:
    cut = province.wan.cut("r3-r4")
    province.expect(("HaidangCircuitDown", "r3-r4"), seconds=25)
    degraded = province.stack.query("haidang_site_degraded == 1")
    assert {each["metric"]["site"] for each in degraded} == {"r3", "r4"}
    assert len(province.stack.query("haidang_site_up == 1")) == len(SITES)
    assert "reached another way" in province.text("HaidangCircuitDown")
    restored = province.wan.restore("r3-r4")
    province.repaired()
    assert province.downtime("circuit", "r3-r4", cut) == (near(cut), soon(restored))


def test_a_second_cut_of_the_ring_pages_the_site_between(province: Province) -> None:
    province.wan.cut("r3-r4")
    province.expect(("HaidangCircuitDown", "r3-r4"), seconds=25)
    province.wan.cut("r4-r5")
    province.expect(("HaidangCircuitDown", "r3-r4"), ("HaidangSiteDown", "r4"))
    assert province.cause() == "fiber_cut"
    assert "VT-r4-r5" in province.text("HaidangSiteDown")
    province.wan.restore("r3-r4", "r4-r5")
    province.repaired(resolved=2)


def test_a_device_without_power_is_not_taken_for_two_cut_fibers(province: Province) -> None:
    off = province.wan.power_off("r4")
    province.expect(("HaidangSiteDown", "r4"))
    assert province.cause() == "far_device"
    on = province.wan.power_on("r4")
    province.repaired()
    started, ended = province.downtime("site", "r4", off)
    assert started == near(off)
    assert ended > on


def test_power_that_was_on_battery_before_is_named(province: Province) -> None:
    province.wan.mains(there=False)
    wait_for("the agent polls it", lambda: province.stack.query(f'haidang_ups_on_battery{{device="{UPS}"}} == 1'), 30)
    province.wan.power_off(UPS_SITE)
    province.expect(("HaidangSiteDown", UPS_SITE))
    assert province.cause() == "power"
    assert f"{UPS} on battery" in province.text("HaidangSiteDown")
    province.wan.mains(there=True)
    province.wan.power_on(UPS_SITE)
    province.repaired()


def test_a_carriers_black_hole_with_its_ports_up_is_called_that(province: Province) -> None:
    swallowed = province.wan.swallow("hub-x2")
    province.expect(("HaidangSiteDown", "x2"))
    wait_for("the cause", lambda: province.cause() == "carrier", 25)
    released = province.wan.release("hub-x2")
    province.repaired()
    started, ended = province.downtime("site", "x2", swallowed)
    assert started == near(swallowed)
    assert ended >= released


def test_the_centers_own_uplink_is_one_page_for_all(province: Province) -> None:
    down = province.wan.uplink("down")
    province.expect(("HaidangCenterIsolated", "ttdl"))
    up = province.wan.uplink("up")
    province.repaired()
    ((started, ended),) = wait_for(
        "the ledger",
        lambda: province.ledger("SELECT started, ended FROM outages WHERE kind = 'center' AND ended > 0"),
        20,
    )
    assert (started, ended) == (near(down), pytest.approx(up, abs=3))
    # What the cut held up on its way was dated right: nothing looks as if it had started anew.
    assert not province.stack.query("resets(haidang_device_uptime_seconds[5m]) > 0")


def test_two_unrelated_cuts_are_two_messages(province: Province) -> None:
    province.wan.cut("hub-x1", "r5-r6")
    province.expect(("HaidangSiteDown", "x1"), ("HaidangCircuitDown", "r5-r6"), seconds=25)
    province.wan.restore("hub-x1", "r5-r6")
    province.repaired(resolved=2)


def test_a_site_of_two_carriers_runs_on_the_other(province: Province) -> None:
    province.wan.cut("ttdl-dual")
    province.expect(("HaidangCircuitDown", "ttdl-dual"), seconds=25)
    assert province.stack.query('haidang_site_up{site="dual"} == 1 and haidang_site_degraded == 1')
    province.wan.restore("ttdl-dual")
    province.repaired()


def test_a_cut_during_planned_work_pages_nobody_and_counts_in_no_sla(province: Province) -> None:
    said = province.center.command("maintenance", "add", "hub-x1", "--lasts", "10m", "--text", "Hàn nối cáp")
    number = said.split()[0]
    planned = 'haidang_outage_open{planned="1",site="x1"}'
    time.sleep(6)  # windows are read each five seconds
    province.wan.cut("hub-x1")
    wait_for("the outage is known", lambda: province.stack.query(planned), 20)
    province.expect()
    province.wan.restore("hub-x1")
    wait_for("it is over", lambda: not province.stack.query(planned), 60)
    assert province.pages() == []
    month = time.strftime("%Y-%m")
    table = province.center.command("sla", "--month", month, "--folder", str(province.folder))
    assert "VT-hub-x1" in table
    province.center.command("maintenance", "end", number)


def test_a_line_that_flaps_each_five_seconds_is_one_page(province: Province) -> None:
    for _ in range(6):
        province.wan.cut("hub-x2")
        time.sleep(5)  # the fault itself
        province.wan.restore("hub-x2")
        time.sleep(5)
    pages = [page for page in province.pages() if page[0] == "HaidangSiteDown"]
    assert pages == [("HaidangSiteDown", "x2")]
    others = [page for page in province.pages() if page[0] not in ("HaidangSiteDown", "HaidangOutageFlapping")]
    assert others == []


def test_a_killed_agent_is_a_warning_and_no_outage(province: Province) -> None:
    started = "time() - haidang_collector_start_timestamp_seconds > 181"
    wait_for("the collector has settled", lambda: province.stack.query(started), 200)
    province.wan.kill_agent("sw-r6")
    province.expect(("HaidangAgentDown", "r6"), seconds=90)
    assert len(province.stack.query("haidang_site_up == 1")) == len(SITES)
    province.wan.start_agent("sw-r6")
    province.repaired()


def test_an_outage_survives_the_collector(province: Province) -> None:
    cut = province.wan.cut("r2-hub")
    province.expect(("HaidangSiteDown", "hub"))
    province.center.process.kill()
    province.center.process.wait()
    province.center.start()
    province.expect(("HaidangSiteDown", "hub"))
    province.wan.restore("r2-hub")
    province.repaired()
    (rows,) = province.ledger("SELECT count(*) FROM outages WHERE site = 'hub' AND started > ?", cut - 2)
    assert rows == (1,)
    started, _ = province.downtime("site", "hub", cut)
    assert started == near(cut)
