"""What is connected to what, over HTTP: from what agents and the registry say to what operators read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Center, delivery, report, wait_for
from tests.contract.test_operations import call

LLDP = {"protocol": "lldp", "interface": "ge-0/0/1", "system": "sw-an-binh.vidu.example", "chassis": "00:1b:44:11:3a:b7",
        "port": "ge1", "port_description": "về TTDL"}  # fmt: skip
CDP = {"protocol": "CDPv2", "interface": "ge-0/0/2", "system": "printer", "port": "eth0"}


@pytest.fixture
def operator(center: Center, tmp_path: Path) -> Path:
    file = tmp_path / "operator.pem"
    center.command("operator", "truc-ban", str(file))
    return file


def say(center: Center, folder: Path, agent: str, sequence: int, source: str, kind: str, body: dict[str, Any]) -> None:
    fact = {"kind": kind, "key": agent, "body": body}
    sent = report(agent, sequence, source=source, interval=600, samples=[], facts=[fact])
    status, receipt = center.post("/v1/reports", delivery(sent), folder / "identity.pem")
    assert (status, receipt["accepted"], receipt["left_out"]) == (200, 1, []), receipt


def mismatches(center: Center) -> list[str]:
    lines = center.get("/metrics/outages")[1].decode().splitlines()
    return [line for line in lines if line.startswith("haidang_circuit_mismatch_info{")]


def test_links_are_there_by_registry_lldp_cdp_and_arp(center: Center, tmp_path: Path, operator: Path) -> None:
    began = time.time()
    switch, host = center.enrol(tmp_path / "switch", name="sw-ttdl"), center.enrol(tmp_path / "host")
    say(center, switch, "sw-ttdl", 1, "lldp", "neighbours", {"neighbours": [LLDP, CDP]})
    heard = [{"mac": "00:00:0c:00:00:01", "address": "10.20.0.2"}, {"mac": "00:00:0c:00:00:02", "address": "10.20.0.9"}]
    say(center, host, "may-1", 1, "lan", "network", {"devices": heard})
    status, page = call(center, "GET", "/v1/links", operator)
    assert (status, page["total"], len(page["links"])) == (200, 7, 7)
    known = {(each["source"], each["site"], each["interface"]): each for each in page["links"]}
    seen = known["lldp", "ttdl", "ge-0/0/1"]
    assert began - 1 <= seen.pop("first_seen") == seen.pop("last_seen") <= time.time() + 1
    assert 0 <= seen.pop("age_seconds") < 60
    assert seen == {
        "source": "lldp", "agent": "sw-ttdl", "site": "ttdl", "device": "sw-ttdl", "interface": "ge-0/0/1",
        "far_site": "huyen-an-binh", "far_device": "sw-an-binh", "far_system": "sw-an-binh.vidu.example",
        "far_chassis": "00:1b:44:11:3a:b7", "far_port": "ge1", "far_port_description": "về TTDL", "far_address": "",
        "circuit": "",
    }  # fmt: skip
    documented = known["registry", "ttdl", "ge-0/0/1"]
    assert (documented["circuit"], documented["agent"], documented["far_device"], documented["far_port"]) == (
        "ttdl-an-binh", "", "sw-an-binh", "ge1",
    )  # fmt: skip
    strange = known["cdp", "ttdl", "ge-0/0/2"]
    assert (strange["far_system"], strange["far_device"], strange["far_site"]) == ("printer", "", "")
    on_network = known["arp", "ttdl", ""]
    assert (on_network["agent"], on_network["device"], on_network["far_device"], on_network["far_address"]) == (
        "may-1", "", "sw-ttdl", "10.20.0.2",
    )  # fmt: skip

    def asked(query: str) -> list[tuple[str, str, str]]:
        status, page = call(center, "GET", f"/v1/links?{query}", operator)
        assert (status, len(page["links"])) == (200, min(page["total"], 100))
        return [(each["source"], each["site"], each["interface"]) for each in page["links"]]

    assert asked("source=cdp") == [("cdp", "ttdl", "ge-0/0/2")]
    assert asked("device=sw-an-binh") == [("registry", "huyen-an-binh", "ge1")]
    assert asked("site=xa-dong-thinh&source=registry") == [("registry", "xa-dong-thinh", "")]
    assert asked("site=xa-dong-thinh&source=lldp") == asked("site=nowhere") == []
    whole = asked("")
    assert whole == sorted(whole, key=lambda each: each[1])
    assert [
        call(center, "GET", f"/v1/links?limit=1&offset={n}", operator)[1]["links"][0]["source"] for n in range(7)
    ] == [source for source, *_ in whole]
    assert call(center, "GET", "/v1/links?offset=7", operator)[1] == {"total": 7, "links": []}


def test_what_is_asked_wrongly_is_refused_by_name(center: Center, tmp_path: Path, operator: Path) -> None:
    for query, field in (
        ("colour=red", "colour"), ("limit=0", "limit"), ("limit=1001", "limit"), ("offset=-1", "offset"),
        ("offset=10000001", "offset"), ("source=rumour", "source"), ("device=../etc", "device"), ("site=%00", "site"),
        ("sit%65=a&Site=a", "Site"), ("x" * 5000 + "=1", "x" * 100),
    ):  # fmt: skip
        status, problem = call(center, "GET", f"/v1/links?{query}", operator)
        assert (status, problem["title"], problem["field"]) == (422, "malformed", field)
    assert call(center, "GET", "/v1/machines?sort=colour", operator)[1]["field"] == "sort"
    agent, scraper = center.enrol(tmp_path / "agent") / "identity.pem", tmp_path / "scraper.pem"
    center.command("scraper", "prometheus", str(scraper))
    for identity in (None, agent, scraper):
        for query in ("", "?colour=red"):  # who asks is asked before what he asks
            assert call(center, "GET", f"/v1/links{query}", identity)[0] == 401
    for method in ("POST", "PUT", "DELETE"):
        assert call(center, method, "/v1/links", operator, {})[0] == 405


def test_a_wrong_cable_is_known_again_after_a_start_by_its_link(center: Center, tmp_path: Path) -> None:
    switch = center.enrol(tmp_path / "switch", name="sw-ttdl")
    wrong = {**LLDP, "port": "ge7", "port_description": ""}
    say(center, switch, "sw-ttdl", 1, "lldp", "neighbours", {"neighbours": [wrong]})
    for _ in range(2):
        center.process.kill()
        center.process.wait()
        center.start()
        (line,) = wait_for("the wrong cable", lambda: mismatches(center), 15)
        assert 'problem="wrong_port",expected="sw-an-binh ge1",found="sw-an-binh ge7"' in line
    say(center, switch, "sw-ttdl", 2, "lldp", "neighbours", {"neighbours": []})
    center.process.terminate()
    center.process.wait()
    center.start()
    wait_for("judged", lambda: b"haidang_outages_judged 1" in center.get("/metrics/outages")[1])
    assert mismatches(center) == []
