"""The inventory over the wire: from a delivery of an agent to what operators ask, export and are told."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from haidang_agent.inventory.windows import security as read_security

from tests.conftest import Center, delivery, report, wait_for
from tests.contract.test_operations import call
from tests.unit.test_machines import CARD, CARD2, MACHINE, OTHER

SERVICES = """
services:
  - {id: qlvb, kind: document_system, site: ttdl, url: "https://qlvb.example/", serves: all, agent: may-1,
     documents: {url: "https://qlvb.example/counts", items: data.units, unit: code, count: total, electronic: signed.total}}
  - {id: cong, kind: portal, site: ttdl, url: "https://cong.example/", agent: may-1}
"""


def facts(agent: str, **bodies: Any) -> list[dict[str, Any]]:
    return [{"kind": kind, "key": agent, "body": body} for kind, body in bodies.items()]


def give(center: Center, folder: Path, sequence: int, agent: str = "may-1", **changes: Any) -> None:
    sent = report(agent, sequence, **{"source": "inventory", "interval": 3600, "samples": [], **changes})
    status, answer = center.post("/v1/reports", delivery(sent), folder / "identity.pem")
    assert status == 200, answer


@pytest.fixture
def operator(center: Center, tmp_path: Path) -> Path:
    file = tmp_path / "operator.pem"
    center.command("operator", "truc-ban", str(file))
    return file


def test_only_operators_see_the_inventory(center: Center, tmp_path: Path) -> None:
    agent = center.enrol(tmp_path / "agent") / "identity.pem"
    for path in ("machines", "machines/1", "machines.csv", "machines.xlsx", "changes", "software", "network-devices"):
        for identity in (None, agent):
            assert call(center, "GET", f"/v1/{path}", identity)[0] == 401


def test_from_an_agent_to_an_export(center: Center, tmp_path: Path, operator: Path) -> None:
    folder = center.enrol(tmp_path / "agent")
    packages = [{"name": "Trình duyệt", "version": "1.0", "source": "windows"}]
    give(center, folder, 1, facts=facts("may-1", machine={**MACHINE, "name": "=cmd|' /C calc'!A0"}, software={"packages": packages},
                                        system={"name": "Windows 7"}, logon={"last": 1}))  # fmt: skip
    give(center, folder, 2, facts=facts("may-1", machine={**MACHINE, "name": "MÁY-01"}))
    # Another machine's name is no key of this agent's.
    give(center, folder, 3, facts=facts("may-2", machine={**MACHINE, "name": "FOREIGN"}))
    status, found = call(center, "GET", "/v1/machines?text=may-01&support_ended=true", operator)
    assert (status, found["total"]) == (200, 1)
    (machine,) = found["machines"]
    assert (machine["name"], machine["site"], machine["agent"], machine["serial"]) == (
        "MÁY-01",
        "ttdl",
        "may-1",
        "ABC1234",
    )
    _, whole = call(center, "GET", f"/v1/machines/{machine['id']}", operator)
    assert whole["software"][0]["name"] == "Trình duyệt"
    assert whole["documents"]["machine"]["body"]["memory"]["slots"] == 2
    _, changed = call(center, "GET", f"/v1/changes?machine={machine['id']}", operator)
    assert [change["what"] for change in changed] == ["renamed", "first_seen"]
    assert call(center, "GET", "/v1/software?text=trinh", operator)[1][0]["machines"] == 1
    status, data = center.get("/v1/machines.csv?language=vi", operator)
    assert status == 200
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    assert rows[0][:4] == ["Số", "Cơ quan", "Tên máy", "Loại"]
    assert rows[1][2] == "MÁY-01"
    _, data = center.get("/v1/machines.xlsx", operator)
    sheet = openpyxl.load_workbook(io.BytesIO(data)).active
    assert sheet is not None
    assert [cell.value for cell in sheet[2]][2] == "MÁY-01"
    assert call(center, "GET", "/v1/machines?site=ttdl&site=xa-dong-hoa", operator)[1]["total"] == 1
    assert call(center, "GET", "/v1/machines?site=xa-dong-hoa", operator)[1]["total"] == 0
    assert call(center, "GET", "/v1/machines/77", operator)[0] == 404
    assert call(center, "GET", "/v1/machines?sort=colour", operator)[0] == 422
    # Out of use until it is seen again.
    assert center_delete(center, f"/v1/machines/{machine['id']}", operator) == 204
    assert call(center, "GET", "/v1/machines", operator)[1]["total"] == 0
    give(center, folder, 4)
    assert call(center, "GET", "/v1/machines", operator)[1]["total"] == 1


def center_delete(center: Center, path: str, identity: Path) -> int:
    import urllib.request

    request = urllib.request.Request(center.url + path, method="DELETE")
    handler = urllib.request.HTTPSHandler(context=center.context(identity))
    with urllib.request.build_opener(urllib.request.ProxyHandler({}), handler).open(request, timeout=15) as answer:
        return int(answer.status)


def test_a_name_that_is_a_formula_stays_a_text(center: Center, tmp_path: Path, operator: Path) -> None:
    folder = center.enrol(tmp_path / "agent")
    give(center, folder, 1, facts=facts("may-1", machine={**MACHINE, "name": "=1+1"}))
    _, data = center.get("/v1/machines.csv", operator)
    assert "'=1+1" in data.decode("utf-8-sig")
    _, data = center.get("/v1/machines.xlsx", operator)
    sheet = openpyxl.load_workbook(io.BytesIO(data)).active
    assert sheet is not None
    assert (sheet["C2"].value, sheet["C2"].data_type) == ("=1+1", "s")


def test_broken_bodies_cost_themselves_alone(center: Center, tmp_path: Path, operator: Path) -> None:
    folder = center.enrol(tmp_path / "agent")
    give(center, folder, 1, facts=facts("may-1", machine={**MACHINE, "name": "a\0b\U0001f600\u202e"}))
    broken = [
        ("machine", {"name": 5}), ("machine", {"macs": [None, {}]}), ("machine", {"memory": "much"}),
        ("machine", {"serial": "x" * 5000}), ("disks", {"disks": 7}), ("disks", {"disks": [{"size_bytes": 2**63}]}),
        ("software", {"packages": [None, {"name": 3}]}), ("software", {"packages": [{"name": "a" * 9999}]}),
        ("security", {"antivirus": {}}), ("system", {"updates": {"pending": "many"}}),
    ]  # fmt: skip
    good = report(sequence=99)
    bad = [
        report(sequence=number, source="inventory", samples=[], facts=facts("may-1", **{kind: body}))
        for number, (kind, body) in enumerate(broken, 2)
    ]
    status, receipt = center.post("/v1/reports", delivery(*bad, good), folder / "identity.pem")
    assert (status, receipt["accepted"]) == (200, 1)
    assert [each["sequence"] for each in receipt["refused"]] == list(range(2, len(broken) + 2))
    for (kind, body), refusal in zip(broken, receipt["refused"], strict=True):
        assert "facts[0].body" in refusal["detail"]
        assert next(iter(body)) in refusal["detail"], (kind, refusal)
    assert call(center, "GET", "/v1/machines", operator)[1]["machines"][0]["name"].startswith("a\ufffdb")


def test_counts_are_exposed(center: Center, tmp_path: Path) -> None:
    one, two = center.enrol(tmp_path / "one"), center.enrol(tmp_path / "two", name="may-2")
    give(center, one, 1, facts=facts("may-1", machine=MACHINE, system={"name": "Windows 7"}))
    copy = {**MACHINE, "uuid": OTHER, "serial": "X", "macs": [CARD2]}
    give(center, two, 1, "may-2", facts=facts("may-2", machine=copy))
    seen = {"devices": [{"mac": CARD, "address": "10.9.0.5"}, {"mac": "00:00:0c:00:00:01", "address": "10.9.0.6"}]}
    give(center, one, 2, source="lan", facts=facts("may-1", network=seen))
    # The watch of a minute is begun anew by another registry.
    center.command("registry", "load", str(sensitive(tmp_path)))
    wait_for("the counts", lambda: center.metrics().get('haidang_inventory_machines{site="ttdl"}') == 2)
    found = center.metrics()
    assert found['haidang_inventory_clones{site="ttdl"}'] == 2
    assert found['haidang_inventory_coverage_ratio{site="ttdl"}'] == 0.5
    assert found['haidang_network_devices_new{site="ttdl"}'] == 1
    database = sqlite3.connect(center.state / "collector.db")
    told = database.execute("SELECT site, body FROM events WHERE kind = 'network_device_new'").fetchall()
    database.close()
    assert [(site, json.loads(body)["address"]) for site, body in told] == [("ttdl", "10.9.0.6")]
    ends = found['haidang_workstation_support_ends_timestamp_seconds{site="ttdl",agent="may-1"}']
    assert time.strftime("%Y", time.gmtime(ends)) == "2020"
    assert found['haidang_plan_target_ratio{figure="electronic_documents"}'] == 0.8
    assert 'haidang_service_info{service="cong",site="ttdl",kind="portal"}' in found


def sensitive(folder: Path) -> Path:
    from tests.conftest import REGISTRY

    text = REGISTRY.read_text(encoding="utf-8")
    place = text.index("- id: ttdl") + len("- id: ttdl")
    file = folder / "registry.yaml"
    file.write_text(
        f"{text[:place]}\n    sensitive_networks: [10.9.0.0/24]{text[place:]}\n{SERVICES}", encoding="utf-8"
    )
    return file


def test_services_and_documents_make_figures(center: Center, tmp_path: Path) -> None:
    folder = center.enrol(tmp_path / "agent")
    samples = [
        {"metric": "haidang_service_up", "labels": {"service": "qlvb"}, "value": 1},
        {"metric": "haidang_service_up", "labels": {"service": "cong"}, "value": 0},
        {"metric": "haidang_service_documents", "labels": {"service": "qlvb", "unit": "ttdl"}, "value": 200},
        {"metric": "haidang_service_documents_electronic", "labels": {"service": "qlvb", "unit": "ttdl"}, "value": 150},
    ]
    center.command("registry", "load", str(sensitive(tmp_path)))
    wait_for(
        "the registry", lambda: 'haidang_service_info{service="cong",site="ttdl",kind="portal"}' in center.metrics()
    )
    give(center, folder, 1, source="services", samples=samples)
    (tmp_path / "again").mkdir()
    center.command("registry", "load", str(sensitive(tmp_path / "again")))
    of = 'haidang_plan_site_ratio{{site="ttdl",figure="{}"}}'
    wait_for("the figures", lambda: center.metrics().get(of.format("document_system")) == 1)
    found = center.metrics()
    assert found[of.format("online_services")] == 0
    assert found[of.format("electronic_documents")] == 0.75
    assert found['haidang_plan_ratio{level="all",figure="electronic_documents"}'] == 0.75
    assert found[of.format("appliance")] == 0


def test_who_was_logged_on_is_asked_for_where_the_registry_allows_it(center: Center, tmp_path: Path) -> None:
    folder = center.enrol(tmp_path / "agent")
    assert center.get("/v1/assignment", folder / "identity.pem")[1].find(b'"last_user":false') > 0
    from tests.conftest import REGISTRY

    file = tmp_path / "registry.yaml"
    text = REGISTRY.read_text(encoding="utf-8").replace("province:\n", "province:\n  report_last_user: true\n")
    file.write_text(text, encoding="utf-8")
    center.command("registry", "load", str(file))
    wait_for("the assignment", lambda: b'"last_user":true' in center.get("/v1/assignment", folder / "identity.pem")[1])


def test_the_agents_words_are_those_the_collector_reads() -> None:
    """Both name the same things: what Windows' reader writes, the store reads."""
    from haidang_collector.inventory.store import _columns

    body = read_security({"AntiVirusProduct": [{"displayName": "Bkav", "productState": "397568"}]})
    assert _columns("security", "a", body)["antivirus_on"] is True
