"""A name belongs to a site: what the registry gives to one machine, no token and no report of another gets."""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from haidang_collector.identity.authority import new_key_and_request

from tests.attacks.conftest import Machine, shows, stands
from tests.conftest import BIN, REGISTRY, Center, Processes, wait_for

pytestmark = pytest.mark.system

PROBE = "probe-ttdl"


def registry() -> dict[str, Any]:
    """The example's, with roles: a probe at the center, a district's, hosts, a polled switch, services."""
    document: dict[str, Any] = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    sites = {site["id"]: site for site in document["sites"]}
    sites["ttdl"].update(address="10.20.0.1", probe=PROBE)
    sites["huyen-an-binh"].update(address="10.20.1.1", probe="probe-huyen")
    sites["xa-dong-thinh"].update(address="10.20.2.1")
    polled = {"address": "10.20.2.2", "agent": "poller", "credential": "s"}
    document["devices"] += [
        {"id": "sw-xa", "site": "xa-dong-thinh", "role": "switch", **polled},
        {"id": "fw-huyen", "site": "huyen-an-binh", "role": "appliance", "address": "10.20.1.9"},
    ]
    counts = {"url": "https://qlvb.vidu.example/n", "items": "u", "unit": "c", "count": "n", "electronic": "e"}
    document["services"] = [
        {"id": "qlvb", "kind": "document_system", "site": "ttdl", "serves": "all",
         "url": "https://qlvb.vidu.example/", "documents": counts},
        {"id": "vb-huyen", "kind": "document_system", "site": "huyen-an-binh", "agent": "asker",
         "url": "https://vb.vidu.example/", "documents": counts},
    ]  # fmt: skip
    document["hosts"] = [{"id": "may-chu-huyen", "site": "huyen-an-binh", "address": "10.20.1.11"}]
    return document


def load(center: Center, document: dict[str, Any]) -> str:
    """Put a registry in force, and wait until the collector has it; what the command said."""
    file = center.folder / "registry.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    said = center.command("registry", "load", str(file))
    wanted = {f'haidang_device_registry_info{{site="{d["site"]}",device="{d["id"]}"' for d in document["devices"]}
    wait_for("the registry is in force", lambda: {name.partition(",role")[0] for name in center.metrics()} >= wanted)
    return said


@pytest.fixture
def province(center: Center) -> Center:
    load(center, registry())
    return center


def enrol(center: Center, name: str, site: str, token: str = "") -> tuple[int, dict[str, Any]]:
    """(status, certificate or problem) of an enrolment under a name, with a token of a site."""
    secret = (token or center.command("token", "create", "--site", site)).split(".")[0]
    _, request = new_key_and_request("x")
    return center.post("/v1/enrol", json.dumps({"token": secret, "name": name, "request": request}).encode())


def counted(center: Center, series: str) -> float:
    return center.metrics().get(series, 0.0)


def event(kind: str, **body: Any) -> dict[str, Any]:
    return {"kind": kind, "at": time.time(), "body": body}


def sample(metric: str, value: float = 1, **labels: str) -> dict[str, Any]:
    return {"metric": f"haidang_{metric}", "labels": labels, "value": value}


# Names and tokens


def test_a_communes_token_buys_no_name_with_a_role(province: Center) -> None:
    token = province.command("token", "create", "--site", "xa-dong-thinh")
    tried = {
        PROBE: "ttdl", PROBE.upper(): "ttdl", f" {PROBE}. ": "ttdl", "Probe-Huyện": "huyen-an-binh",
        "may-chu-huyen": "huyen-an-binh", "sw-ttdl": "ttdl", "fw-huyen": "huyen-an-binh",
        "asker": "huyen-an-binh or ttdl",
    }  # fmt: skip
    for name, owner in tried.items():
        status, problem = enrol(province, name, "", token)
        assert (status, problem["title"]) == (403, "enrolment"), (name, problem)
        assert f"belongs to {owner} " in problem["detail"]
        assert "--name" in problem["detail"]
    assert counted(province, 'haidang_collector_refused_enrolments_total{reason="name"}') == len(tried)
    # The token is not spent, nor did anybody get a name like it.
    status, answer = enrol(province, "may-van-thu", "", token)
    assert (status, answer["agent"]) == (200, "may-van-thu")
    assert "may-van-thu" in province.command("agents", "list")
    assert PROBE not in province.command("agents", "list")


def test_whom_a_name_belongs_to_gets_it_once(province: Center, honest: Machine) -> None:
    for name, site in (
        (PROBE, "ttdl"), ("probe-huyen", "huyen-an-binh"), ("may-chu-huyen", "huyen-an-binh"), ("poller", "ttdl"),
        ("asker", "huyen-an-binh"), ("sw-ttdl", "ttdl"),
    ):  # fmt: skip
        status, answer = enrol(province, name, site)
        assert (status, answer["agent"], answer["site"]) == (200, name, site)
    # A second one is told, not called probe-ttdl-2: it would be the probe to nobody.
    for site in ("ttdl", "xa-dong-thinh"):
        assert enrol(province, PROBE, site)[0] == 403
    status, problem = enrol(province, PROBE, "ttdl")
    assert f"agents release {PROBE}" in problem["detail"]
    assert enrol(province, "poller", "xa-dong-thinh")[0] == 403
    province.command("agents", "release", PROBE)
    assert enrol(province, PROBE, "xa-dong-thinh")[0] == 403
    assert enrol(province, PROBE, "ttdl")[1]["agent"] == PROBE
    stands(province, honest)


def test_numbers_behind_names_make_no_role(province: Center) -> None:
    document = registry()
    document["sites"][0]["probe"] = "may-2"
    load(province, document)
    names = [enrol(province, "may", "xa-dong-thinh")[1]["agent"] for _ in range(3)]
    assert names == ["may", "may-3", "may-4"]
    long = "x" * 63
    assert enrol(province, long, "xa-dong-thinh")[1]["agent"] == long
    assert enrol(province, long, "xa-dong-thinh")[1]["agent"] == f"{'x' * 58}-2"
    assert enrol(province, "may-2", "ttdl")[1]["agent"] == "may-2"


def test_a_name_that_becomes_a_role_is_not_its_holders(center: Center, honest: Machine) -> None:
    """Before the registry says so anybody may have it: he keeps the name, and gets nothing by it."""
    squatter = Machine(center, PROBE, "xa-dong-thinh")
    assert squatter.deliver(squatter.report())[1]["accepted"] == 1
    load(center, registry())
    foreign = f'haidang_agent_name_foreign{{site="xa-dong-thinh",agent="{PROBE}"}}'
    wait_for("it is shown", lambda: counted(center, foreign) == 1)
    assert f"agent '{PROBE}' of site 'xa-dong-thinh' bears a name" in center.processes.log("collector")
    command = [str(BIN / "haidang-collector"), "--config", str(center.config), "registry", "load"]
    loaded = subprocess.run([*command, str(center.folder / "registry.yaml")], capture_output=True, text=True)
    assert loaded.returncode == 0
    assert f"agents release {PROBE}" in loaded.stderr
    # It is assigned nothing, and its paths and services do not count.
    status, document = center.get("/v1/assignment", squatter.identity)
    assert (status, json.loads(document)["paths"], json.loads(document)["services"]) == (200, [], [])
    status, receipt = squatter.deliver(
        squatter.report(source="path_state", samples=[sample("path_reachable", 0, target="huyen-an-binh")]),
        squatter.report(source="services", samples=[sample("service_up", service="qlvb")]),
    )
    assert (status, receipt["accepted"], receipt["samples_refused"], receipt["assignment"]) == (200, 2, 2, "")
    assert not [name for name in center.metrics() if name.startswith(("haidang_path_reachable", "haidang_service_up"))]
    # The machine that is meant gets it, when the data center frees it; the other can't buy it back.
    assert enrol(center, PROBE, "ttdl")[0] == 403
    center.command("agents", "release", PROBE)
    assert squatter.post("/v1/enrol", b"{}")[0] in (401, 403, 422)
    assert enrol(center, PROBE, "xa-dong-thinh")[0] == 403
    probe = Machine(center, PROBE, "ttdl")
    assert probe.name == PROBE
    status, receipt = probe.deliver(
        probe.report(epoch=2, source="path_state", samples=[sample("path_reachable", target="huyen-an-binh")])
    )
    assert (status, receipt["accepted"], receipt["samples_refused"]) == (200, 1, 0)
    assert counted(center, f'haidang_path_reachable{{site="ttdl",agent="{PROBE}",target="huyen-an-binh"}}') == 1
    assert counted(center, f'haidang_agent_up{{site="xa-dong-thinh",agent="{PROBE}"}}') == 0
    wait_for("nothing is foreign", lambda: counted(center, foreign) == 0)
    stands(center, honest)
    assert counted(center, f'haidang_path_reachable{{site="ttdl",agent="{PROBE}",target="huyen-an-binh"}}') == 1


def test_a_token_for_many_enrols_so_many_a_day(tmp_path: Path, processes: Processes) -> None:
    center = Center(tmp_path, processes, extra="[limits]\nenrolments_a_site_a_day = 5\n")
    many = center.command("token", "create", "--site", "xa-dong-thinh", "--uses", "unlimited")
    other = center.command("token", "create", "--site", "xa-dong-thinh", "--uses", "unlimited")
    answers = [enrol(center, "may", "", token) for token in (many, other) * 4]
    assert [status for status, _ in answers] == [200] * 5 + [403] * 3
    assert "enrolments_a_site_a_day" in answers[-1][1]["detail"]
    assert counted(center, 'haidang_collector_refused_enrolments_total{reason="quota"}') == 3
    # Others' tokens count for themselves, and a new start forgets nothing.
    center.process.kill()
    center.process.wait()
    center.start()
    assert enrol(center, "may", "", many)[0] == 403
    stands(center, Machine(center, "honest-1"))


# What reports say of others


def test_a_commune_sets_no_figure_of_the_province(province: Center, honest: Machine, attacker: Machine) -> None:
    """A services report of a PC made every site's document system count as there."""
    forged = [
        sample("service_up", service="qlvb"),
        *(sample("service_documents", 100, service="qlvb", unit=unit) for unit in ("ttdl", "so-tttt", "")),
        *(sample("service_documents_electronic", 100, service="qlvb", unit=unit) for unit in ("ttdl", "so-tttt", "")),
    ]
    probe, asker = Machine(province, PROBE, "ttdl"), Machine(province, "asker", "huyen-an-binh")
    for source in ("services", "services:qlvb", "host"):
        attacker.deliver(attacker.report(source=source, samples=forged))
    # One who asks a service counts for that one's own site alone.
    status, receipt = asker.deliver(
        asker.report(
            source="services",
            samples=[
                sample("service_up", service="vb-huyen"),
                sample("service_documents", 5, service="vb-huyen", unit="huyen-an-binh"),
                sample("service_documents", 5, service="vb-huyen", unit="xa-dong-thinh"),
                sample("service_documents", 5, service="qlvb", unit="huyen-an-binh"),
                sample("service_up", service="qlvb"),
            ],
        )
    )
    assert (status, receipt["accepted"], receipt["samples_refused"]) == (200, 1, 3)
    load(province, registry())  # the figures are made anew at once
    figure = 'haidang_plan_site_ratio{{site="{}",figure="document_system"}}'
    wait_for("the figures", lambda: figure.format("so-tttt") in province.metrics())
    assert counted(province, figure.format("so-tttt")) == 0
    assert 'haidang_plan_site_ratio{site="so-tttt",figure="electronic_documents"}' not in province.metrics()
    assert counted(province, 'haidang_collector_refused_samples_total{reason="foreign_service"}') == 9
    assert counted(province, 'haidang_collector_refused_samples_total{reason="foreign_unit"}') == 1
    # Whom the registry lets ask says it, for all.
    status, receipt = probe.deliver(probe.report(source="services", samples=forged))
    assert (status, receipt["samples_refused"]) == (200, 0)
    load(province, registry())
    wait_for("it answers", lambda: counted(province, figure.format("so-tttt")) == 1)
    stands(province, honest)


def test_a_report_about_anothers_device_is_refused_whole(province: Center, attacker: Machine, honest: Machine) -> None:
    sources = ("snmp:sw-xa", "traps:sw-xa", "host:sw-ttdl", "links:sw-ttdl", "lldp:fw-huyen", "paths:ttdl")
    reports = [attacker.report(source=source, samples=[]) for source in sources]
    status, receipt = attacker.deliver(attacker.report(), *reports)
    assert (status, receipt["accepted"], len(receipt["refused"])) == (200, 1, len(sources))
    assert all("not assigned" in refused["detail"] for refused in receipt["refused"])
    assert counted(province, 'haidang_collector_refused_reports_total{reason="foreign_device"}') == len(sources)
    stands(province, honest)


def test_facts_and_events_of_others_are_not_kept(province: Center, attacker: Machine, honest: Machine) -> None:
    """Neither now nor, from the ledger, after a restart."""
    neighbours = {"neighbours": [{"interface": "ge-0/0/1", "system": "sw-xa", "port": "1"}]}
    own = attacker.name
    facts = [
        *({"kind": kind, "key": key, "body": neighbours} for kind in ("neighbours", "device", "transceivers", "route")
          for key in ("sw-ttdl", "sw-xa", "ttdl", "")),
        {"kind": "neighbours", "key": own, "body": neighbours},
    ]  # fmt: skip
    events = [
        event("link_down", device="sw-ttdl", interface="ge-0/0/1"), event("dying_gasp", device="sw-xa"),
        event("path_down", target="ttdl"), event("path_up", target="huyen-an-binh"), event("whatever", agent=PROBE),
        event("whatever", site="ttdl"), event("whatever", device="sw-ttdl"), event("whatever", device=["sw-ttdl"]),
        event("whatever", target=7), event("network_device_new", mac="00:00:0c:00:00:01"),
        event("machine_disputed", machine=1), event("link_down", device=own, interface="eth0"),
    ]  # fmt: skip
    nobodys = [
        event("link_up", device=["sw-ttdl"]), event("dying_gasp"), event("path_up", target=7), event("path_changed"),
        event("link_down", interface="ge-0/0/1"),
    ]  # fmt: skip
    sources = ("host", "links", "lldp", "lifecycle", "inventory", "services", "traps", "routes")
    reports = [attacker.report(source=source, samples=[], facts=[fact]) for source in sources for fact in facts]
    reports += [attacker.report(source=source, samples=[], events=events) for source in sources]
    status, receipt = attacker.deliver(*reports)
    # A body that is none of its kind's is refused with its report; whom it names is asked of all others.
    assert (status, receipt["accepted"] + len(receipt["refused"])) == (200, len(reports))
    attacker.deliver(
        attacker.report(), *(attacker.report(source="host", samples=[], events=[each]) for each in nobodys)
    )
    documents = {
        name: value for name, value in province.metrics().items() if "collector_refused_documents_total" in name
    }
    assert sum(documents.values()) >= len(sources) * 11
    stands(province, honest)
    database = sqlite3.connect(province.state / "collector.db")
    try:
        keys = {key for (key,) in database.execute("SELECT key FROM facts UNION SELECT key FROM fact_history")}
        kinds = {(kind, body) for kind, body in database.execute("SELECT kind, body FROM events")}
        latest = b" ".join(report for (report,) in database.execute("SELECT report FROM latest"))
    finally:
        database.close()
    assert keys <= {own}
    assert {(kind, json.loads(body)["device"]) for kind, body in kinds} == {("link_down", own)}
    assert b"sw-ttdl" not in latest
    status, text = province.get("/metrics/outages")
    assert b"circuit_mismatch_info{" not in text


def test_samples_of_others_are_not_shown(province: Center, attacker: Machine, honest: Machine) -> None:
    named = {"device": "sw-ttdl", "interface": "ge-0/0/1"}
    status, receipt = attacker.deliver(
        attacker.report(samples=[sample("interface_up", 0, **named), sample("host_processes", 5)]),
        attacker.report(source="transceivers", samples=[sample("optical_receive_power_dbm", -40, lane="", **named)]),
        attacker.report(source="snmp", samples=[sample("ups_on_battery", device="sw-ttdl")]),
        attacker.report(source="traps", samples=[sample("device_traps_total", device="sw-xa", kind="x")]),
        attacker.report(source="path_state", samples=[sample("path_reachable", 0, target="ttdl")]),
        attacker.report(source="paths", samples=[sample("path_hops", 3, target="an-binh-dong-thinh")]),
    )
    assert (status, receipt["accepted"], receipt["samples_refused"]) == (200, 6, 6)
    assert shows(province, attacker, 5)
    for text in ("sw-ttdl", "sw-xa", 'target="ttdl"'):
        assert not [name for name in province.metrics() if text in name and attacker.name in name]
    stands(province, honest)


def test_a_switchs_name_is_not_the_switch_that_somebody_polls(province: Center, honest: Machine) -> None:
    """The commune's own token buys the name of the commune's switch; the switch is asked by the probe."""
    assert enrol(province, "sw-xa", "ttdl")[0] == 403
    switch, poller = Machine(province, "sw-xa", "xa-dong-thinh"), Machine(province, "poller", "ttdl")
    named = {"device": "sw-xa", "interface": "1"}
    status, receipt = switch.deliver(
        switch.report(samples=[sample("interface_up", 0, **named)]),
        switch.report(source="lldp", samples=[], facts=[{"kind": "neighbours", "key": "sw-xa", "body": {}}]),
        switch.report(source="links", samples=[], events=[event("link_down", **named)]),
    )
    assert (status, receipt["samples_refused"]) == (200, 1)
    status, receipt = poller.deliver(poller.report(source="snmp:sw-xa", samples=[sample("interface_up", **named)]))
    assert (status, receipt["accepted"], receipt["samples_refused"]) == (200, 1, 0)
    mine = 'haidang_interface_up{site="xa-dong-thinh",agent="poller",device="sw-xa",interface="1"}'
    assert [name for name in province.metrics() if name.startswith("haidang_interface_up")] == [mine]
    stands(province, honest)


# Machines


MACHINE = {
    "name": "PC-VĂN-THƯ", "manufacturer": "Dell Inc.", "model": "OptiPlex 3080", "serial": "ABC1234",
    "uuid": "4c4c4544-0033-4d10-8034-b3c04f4e3332", "machine_id": "f" * 32, "macs": ["58:11:22:aa:bb:01"],
    "chassis": "desktop",
}  # fmt: skip


def inventory(machine: Machine, /, **bodies: Any) -> dict[str, Any]:
    facts = [{"kind": kind, "key": machine.name, "body": body} for kind, body in bodies.items()]
    return machine.report(source="inventory", interval=3600, samples=[], facts=facts)


def ask(center: Center, method: str, path: str, operator: Path, body: Any = None) -> tuple[int, Any]:
    """What an operator is answered; a state-changing request says where it comes from, as browsers do."""
    context = center.context(operator)
    connection = http.client.HTTPSConnection(center.address, center.port, timeout=30, context=context)
    headers = {"Content-Type": "application/json", "Origin": center.url} if body is not None else {}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def test_no_site_takes_anothers_machine(province: Center, honest: Machine, attacker: Machine, tmp_path: Path) -> None:
    operator = tmp_path / "operator.pem"
    province.command("operator", "truc-ban", str(operator))
    assert honest.deliver(inventory(honest, machine=MACHINE))[1]["accepted"] == 1
    claims = [
        MACHINE, {"serial": "ABC1234"}, {"uuid": MACHINE["uuid"], "serial": "ABC1234"},
        {"macs": MACHINE["macs"]}, {"machine_id": "f" * 32, "macs": MACHINE["macs"]}, {"uuid": MACHINE["uuid"]},
    ]  # fmt: skip
    for number, claim in enumerate(claims):
        stolen = {**claim, "name": f"STOLEN-{number}"}
        assert attacker.deliver(inventory(attacker, machine=stolen, security={"antivirus": []}))[0] == 200
        assert attacker.deliver(inventory(attacker, disks={"disks": [{"healthy": False}]}))[0] == 200
    _, found = ask(province, "GET", "/v1/machines?site=ttdl", operator)
    (mine,) = found["machines"]
    assert (mine["name"], mine["agent"], mine["dispute"], mine["antivirus_on"]) == (
        MACHINE["name"], honest.name, "claimed", None,
    )  # fmt: skip
    _, found = ask(province, "GET", "/v1/machines?disputed=true&site=xa-dong-thinh", operator)
    (claim_,) = found["machines"]
    assert (claim_["claims"], claim_["dispute"]) == (mine["id"], "open")
    # Shown everywhere, told once, counted where it was.
    load(province, registry())
    disputed = 'haidang_inventory_machines_disputed{{site="{}"}}'
    wait_for("it is counted", lambda: counted(province, disputed.format("ttdl")) == 1)
    metrics = province.metrics()
    assert metrics[disputed.format("xa-dong-thinh")] == metrics['haidang_inventory_machines{site="ttdl"}'] == 1
    assert metrics.get('haidang_inventory_machines{site="xa-dong-thinh"}', 0) == 0
    assert 'haidang_inventory_clones{site="ttdl"}' not in metrics
    rows = province.get("/v1/machines.csv?language=vi", operator)[1].decode("utf-8-sig")
    assert "cơ quan khác nhận là của mình" in rows
    listed = province.command("machines", "disputes")
    assert f"claims to be {mine['id']} of ttdl ({honest.name}" in listed
    database = sqlite3.connect(province.state / "collector.db")
    told = database.execute("SELECT site FROM events WHERE kind = 'machine_disputed' ORDER BY site").fetchall()
    database.close()
    assert told == [("ttdl",), ("xa-dong-thinh",)]
    # Who may decide, and what: nobody else, and nothing else.
    path = f"/v1/machines/{claim_['id']}/decision"
    assert attacker.post(path, b'{"decision": "moved"}')[0] == 401
    assert ask(province, "POST", path, operator, {"decision": "mine"})[0] == 422
    assert ask(province, "POST", f"/v1/machines/{mine['id']}/decision", operator, {"decision": "moved"})[0] == 404
    assert ask(province, "POST", "/v1/machines/77/decision", operator, {"decision": "moved"})[0] == 404
    status, decided = ask(province, "POST", path, operator, {"decision": "refused"})
    assert (status, decided["dispute"]) == (200, "refused")
    assert attacker.deliver(inventory(attacker, machine=MACHINE))[0] == 200
    assert province.command("machines", "disputes") == ""
    stands(province, honest)
    # It was given away after all: its history goes on there.
    province.command("machines", "decide", str(claim_["id"]), "moved")
    _, found = ask(province, "GET", "/v1/machines", operator)
    assert [(each["id"], each["site"], each["dispute"]) for each in found["machines"]] == [
        (mine["id"], "xa-dong-thinh", "")
    ]


def test_machines_without_number_are_refused_and_counted(province: Center, honest: Machine, attacker: Machine) -> None:
    reports = [
        inventory(attacker, machine={"name": f"m{n}", "serial": f"S{n}", "model": "M", "uuid": f"{n:08d}-0000"})
        for n in range(130)
    ]
    status, receipt = attacker.deliver(*reports)
    assert (status, receipt["accepted"]) == (200, 130)
    assert counted(province, 'haidang_collector_refused_documents_total{reason="too_many_machines"}') == 30
    stands(province, honest)
