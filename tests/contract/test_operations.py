"""What operators ask and order over HTTP: who may, what comes, what is refused."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import REGISTRY, Center, delivery, report, wait_for


def call(center: Center, method: str, path: str, identity: Path | None, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(center.url + path, data, headers, method=method)
    handler = urllib.request.HTTPSHandler(context=center.context(identity))
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), handler).open(request, timeout=15) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_only_an_operator_may_ask_and_plan(center: Center, tmp_path: Path) -> None:
    agent = center.enrol(tmp_path / "agent") / "identity.pem"
    scraper = tmp_path / "scraper.pem"
    center.command("scraper", "prometheus", str(scraper))
    work = {"element": "ttdl-an-binh", "begins": time.time(), "ends": time.time() + 60}
    for identity in (None, agent, scraper):
        for method, path, body in (
            ("GET", "/v1/outages", None), ("GET", "/v1/maintenance", None),
            ("POST", "/v1/maintenance", work), ("DELETE", "/v1/maintenance/1", None),
        ):  # fmt: skip
            assert call(center, method, path, identity, body)[0] == 401


def test_work_is_planned_listed_and_ended(center: Center, tmp_path: Path) -> None:
    operator = tmp_path / "operator.pem"
    center.command("operator", "truc-ban", str(operator))
    now = time.time()
    work = {"element": "ttdl-an-binh", "begins": now, "ends": now + 3600, "text": "Hàn nối cáp"}
    status, planned = call(center, "POST", "/v1/maintenance", operator, work)
    assert status == 201
    assert planned == {**work, "id": planned["id"]}
    assert call(center, "GET", "/v1/maintenance", operator) == (200, [planned])
    assert "Hàn nối cáp" in center.command("maintenance", "list")
    assert call(center, "DELETE", f"/v1/maintenance/{planned['id']}", operator)[0] == 200
    assert call(center, "GET", "/v1/maintenance", operator) == (200, [])
    assert call(center, "DELETE", "/v1/maintenance/77", operator)[0] == 404
    for wrong, field in (
        ({**work, "element": "x"}, "element"), ({**work, "ends": now - 1}, "ends"), ({**work, "ends": now + 9e6}, "ends"),
        ({**work, "colour": "red"}, "colour"), ({"element": "ttdl"}, "begins"), ({**work, "begins": 1e300}, "begins"),
    ):  # fmt: skip
        status, problem = call(center, "POST", "/v1/maintenance", operator, wrong)
        assert (status, problem["field"]) == (422, field)
    assert call(center, "GET", "/v1/outages?begins=0", operator) == (200, [])
    assert call(center, "GET", "/v1/outages?begins=then", operator)[0] == 422


def test_the_distribution_of_round_trips_is_one_family_in_both_formats(center: Center, tmp_path: Path) -> None:
    folder = center.enrol(tmp_path / "agent")
    document = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    document["sites"][0]["probe"] = "may-1"
    document["sites"][1]["address"] = "10.20.1.1"
    file = tmp_path / "registry.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    center.command("registry", "load", str(file))
    assignment = lambda: json.loads(center.get("/v1/assignment", folder / "identity.pem")[1])  # noqa: E731
    wait_for("the path is assigned", lambda: assignment()["paths"])
    name = "haidang_path_round_trip_distribution_seconds"
    labels = {"target": document["sites"][1]["id"], "protocol": "icmp"}
    samples = [
        {"metric": f"{name}_bucket", "labels": {**labels, "le": "0.1"}, "value": 3},
        {"metric": f"{name}_bucket", "labels": {**labels, "le": "+Inf"}, "value": 4},
        {"metric": f"{name}_sum", "labels": labels, "value": 0.5},
        {"metric": f"{name}_count", "labels": labels, "value": 4},
        {"metric": name, "labels": labels, "value": 4},  # no sample of a histogram
    ]
    status, receipt = center.post(
        "/v1/reports", delivery(report(source="paths", samples=samples)), folder / "identity.pem"
    )
    assert (status, receipt["samples_refused"]) == (200, 1)
    text = center.get("/metrics")[1].decode()
    lines = [line for line in text.splitlines() if name in line]
    assert lines[:2] == [line for line in lines if line.startswith("#")]
    assert f"# TYPE {name} histogram" in lines
    assert len(lines) == 6
    openmetrics = center.get("/metrics", headers={"Accept": "application/openmetrics-text"})[1].decode()
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    (family,) = [f for f in text_string_to_metric_families(openmetrics) if f.name == name]
    assert (family.type, len(family.samples)) == ("histogram", 4)
    outages = center.get("/metrics/outages", headers={"Accept": "application/openmetrics-text"})[1].decode()
    known = {f.name: f.samples for f in text_string_to_metric_families(outages)}
    assert known["haidang_circuit_up"] == []  # nobody has told of any
    assert {sample.value for sample in known["haidang_circuit_measured"]} == {0}
