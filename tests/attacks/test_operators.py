"""Pages of others that ask an operator's browser for changes, commands that want to leave no trace, names of machines
that want to be formulas."""

from __future__ import annotations

import csv
import http.client
import io
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from tests.attacks.conftest import Machine, stands
from tests.conftest import REGISTRY, Center
from tests.unit.test_machines import MACHINE
from tests.unit.test_printable import HOSTILE, no_formula

pytestmark = pytest.mark.system
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def operator(center: Center) -> Path:
    file = center.folder / "operator.pem"
    center.command("operator", "truc-ban", str(file))
    return file


def ask(
    center: Center, identity: Path | None, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, Any, dict[str, str]]:
    """(status, document, headers) of a request as it is: what is not given is not sent."""
    connection = http.client.HTTPSConnection(center.address, center.port, timeout=30, context=center.context(identity))
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        kind = answer.getheader("Content-Type", "")
        return answer.status, json.loads(content) if "json" in kind else content, dict(answer.getheaders())
    finally:
        connection.close()


def works(center: Center) -> str:
    return center.command("maintenance", "list")


def plan(days: float = 80) -> bytes:
    now = time.time()
    return json.dumps({"element": "ttdl", "begins": now, "ends": now + days * 86400, "text": "attack"}).encode()


def test_no_form_of_another_page_plans_work(center: Center, operator: Path, honest: Machine) -> None:
    boundary = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + plan() + b"\r\n--x--\r\n"
    for kind, body in (
        ("text/plain", plan()),
        ("text/plain; charset=utf-8", plan()),
        ("text/plain; application/json", plan()),
        ("text/plain,application/json", plan()),
        ("application/json, text/plain", plan()),
        ("application/x-www-form-urlencoded", plan()),
        ("multipart/form-data; boundary=x", boundary),
        ("multipart/form-data; boundary=x", plan()),
        ("application/csp-report", plan()),
        ("application/jsonx", plan()),
        ("", plan()),
    ):
        # Some browsers, and old ones, tell no origin.
        for headers in ({}, {"Origin": center.url}):
            status, problem, _ = ask(
                center, operator, "POST", "/v1/maintenance", body, {**headers, "Content-Type": kind}
            )
            assert (status, problem["title"]) == (415, "content_type"), kind
    status, problem, _ = ask(center, operator, "POST", "/v1/maintenance", plan(), {})
    assert status == 415
    status, problem, _ = ask(center, operator, "POST", "/v1/maintenance", None, {})
    assert status == 415
    assert works(center) == ""
    assert center.metrics()['haidang_collector_refused_requests_total{reason="content_type"}'] > 20
    stands(center, honest)


def test_no_page_of_another_origin_changes_anything(center: Center, operator: Path) -> None:
    name, port = "localhost", center.port
    status, planned, _ = ask(center, operator, "POST", "/v1/maintenance", plan(1), JSON)
    assert status == 201  # a script: no Origin
    before = works(center)
    for origin in (
        "null", "https://evil.example", f"https://evil.example:{port}", f"http://{name}:{port}", f"https://{name}",
        f"https://{name}:{port + 1}", f"https://sub.{name}:{port}", f"https://{name}.evil.example:{port}",
        f"https://{name}:{port}.evil.example", f"https://{name}:{port}@evil.example", f"https://x@{name}:{port}",
        f"https://{name}:{port}/", f"https://{name}:{port} https://evil.example", f"https://{name}.:{port}", "",
        f"https://evil.example, https://{name}:{port}", f"https://127.1:{port}", "file://", "chrome-extension://abc",
    ):  # fmt: skip
        # Whatever Host says: who points a name of his here chooses it.
        for host in (None, f"evil.example:{port}") if "evil.example" in origin else (None,):
            headers = {**JSON, "Origin": origin, **({"Host": host} if host else {})}
            for method, path, body in (
                ("POST", "/v1/maintenance", plan()), ("DELETE", f"/v1/maintenance/{planned['id']}", None),
                ("DELETE", "/v1/machines/1", None), ("PUT", "/v1/maintenance", plan()), ("PATCH", "/console/", b"{}"),
            ):  # fmt: skip
                status, problem, _ = ask(center, operator, method, path, body, headers)
                assert (status, problem["title"]) == (403, "origin"), (origin, host, method, path)
    for site in ("cross-site", "same-site", "none", "nonsense"):
        headers = {**JSON, "Origin": center.url, "Sec-Fetch-Site": site}
        assert ask(center, operator, "POST", "/v1/maintenance", plan(), headers)[0] == 403
        assert ask(center, operator, "DELETE", f"/v1/maintenance/{planned['id']}", None, headers)[0] == 403
    for forged in ({"X-Forwarded-Host": "evil.example"}, {"Forwarded": "host=evil.example;proto=https"}):
        headers = {**JSON, "Origin": "https://evil.example", **forged}
        assert ask(center, operator, "POST", "/v1/maintenance", plan(), headers)[0] == 403
    assert works(center) == before
    # Its own pages may, under each of its names.
    for own in (f"https://{name}:{port}", f"https://127.0.0.1:{port}", f"HTTPS://LOCALHOST:{port}"):
        headers = {**JSON, "Origin": own, "Sec-Fetch-Site": "same-origin"}
        assert ask(center, operator, "POST", "/v1/maintenance", plan(1), headers)[0] == 201, own
        headers = {"Content-Type": "application/json; charset=utf-8", "Origin": own}
        assert ask(center, operator, "POST", "/v1/maintenance", plan(1), headers)[0] == 201, own
    headers = {"Origin": center.url, "Sec-Fetch-Site": "same-origin"}
    assert ask(center, operator, "DELETE", f"/v1/maintenance/{planned['id']}", None, headers)[0] == 200
    # No preflight is answered.
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"}
    status, _, answered = ask(center, operator, "OPTIONS", "/v1/maintenance/1", None, preflight)
    assert status == 405
    assert not [header for header in answered if header.lower().startswith("access-control")]


def test_a_delete_with_a_body_is_json(center: Center, operator: Path) -> None:
    for body, headers, wanted in (
        (b"x=1", {}, 415), (b"x=1", {"Content-Type": "text/plain"}, 415), (b"{}", JSON, 404), (b"", {}, 404), (None, {}, 404),
    ):  # fmt: skip
        assert ask(center, operator, "DELETE", "/v1/maintenance/99", body, headers)[0] == wanted


def test_no_page_shows_or_keeps_what_operators_see(center: Center, operator: Path) -> None:
    for path in ("/console/", "/v1/outages", "/v1/machines.csv", "/v1/audit", "/v1/nothing", "/", "/metrics"):
        for identity in (operator, None):
            _, _, headers = ask(center, identity, "GET", path, None, {})
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert headers["x-frame-options"] == "DENY"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store", path


def test_the_audit_tells_of_each_change_and_forgets_none(center: Center, operator: Path, honest: Machine) -> None:
    status, planned, _ = ask(center, operator, "POST", "/v1/maintenance", plan(1), JSON)
    assert status == 201
    # What is refused, or fails, is no change.
    for body in (plan(91), b"{", b'{"element": "nowhere", "begins": 1, "ends": 2}'):
        assert ask(center, operator, "POST", "/v1/maintenance", body, JSON)[0] == 422
    assert ask(center, operator, "DELETE", "/v1/maintenance/99", None, {})[0] == 404
    assert ask(center, operator, "DELETE", f"/v1/maintenance/{planned['id']}", None, {})[0] == 200
    status, page, _ = ask(center, operator, "GET", "/v1/audit?who=truc-ban&what=maintenance", None, {})
    assert status == 200
    assert [(row["action"], row["object"], row["kind"], row["origin"]) for row in page["entries"]] == [
        ("maintenance.end", str(planned["id"]), "operator", "127.0.0.1"),
        ("maintenance.plan", str(planned["id"]), "operator", "127.0.0.1"),
    ]
    ended, made = page["entries"]
    assert (made["before"], made["after"]) == (None, planned)
    assert ended["before"] == planned
    assert ended["after"]["ends"] < planned["ends"]
    # Nobody else reads it; nobody changes it over HTTP.
    for identity in (None, honest.identity):
        assert ask(center, identity, "GET", "/v1/audit", None, {})[0] == 401
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(center, operator, method, "/v1/audit", b"{}", JSON)[0] == 405
    # Nor by the database's own connection.
    database = sqlite3.connect(center.state / "collector.db")
    for statement in ("UPDATE audit SET name = 'x'", "DELETE FROM audit", "REPLACE INTO audit SELECT * FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(statement)
        database.rollback()
    database.close()
    stands(center, honest)
    assert ask(center, operator, "GET", "/v1/audit?who=truc-ban&what=maintenance", None, {})[1] == page


def test_the_audit_holds_no_secret(center: Center, operator: Path, honest: Machine) -> None:
    token = center.command("token", "create", "--site", "ttdl")
    now = time.time()
    work = {"element": "ttdl", "begins": now, "ends": now + 60, "text": f"with {token}"}
    assert ask(center, operator, "POST", "/v1/maintenance", json.dumps(work).encode(), JSON)[0] == 201
    told = center.command("audit", "--json") + center.command("audit", "--csv") + center.command("audit")
    assert token.split(".")[0] not in told
    assert "PRIVATE KEY" not in told
    registry = REGISTRY.read_text(encoding="utf-8")
    for line in registry.splitlines():
        if "stamp_key" in line:
            assert line.split(":", 1)[1].strip().strip("\"'") not in told


def test_no_machine_s_name_is_a_formula(center: Center, operator: Path, honest: Machine, attacker: Machine) -> None:
    for text in HOSTILE:
        if "\ud800" in text:
            continue  # no JSON: refused at the door
        fields = dict.fromkeys(("name", "manufacturer", "model", "serial"), text)
        facts = [
            {"kind": kind, "key": attacker.name, "body": body}
            for kind, body in (("machine", {**MACHINE, **fields}), ("system", {"name": text, "version": text}))
        ]
        attacker.deliver(attacker.report(source="inventory", interval=3600, samples=[], facts=facts))
        for language in ("en", "vi"):
            status, data = center.get(f"/v1/machines.csv?language={language}", operator)
            assert status == 200
            assert data.startswith(b"\xef\xbb\xbf")
            no_formula(data.decode("utf-8-sig"))
            assert len(set(map(len, csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))))) == 1
        status, data = center.get("/v1/machines.xlsx", operator)
        assert status == 200
        for row in load_workbook(io.BytesIO(data)).active or ():
            assert {cell.data_type for cell in row if cell.value is not None} <= {"s", "n", "inlineStr"}, text
    stands(center, honest)
