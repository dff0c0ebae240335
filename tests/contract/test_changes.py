"""Whatever changes something, by command or over HTTP, leaves a row in the audit; all else changes nothing. A command or
route that is new is neither until it stands here."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI
from haidang_collector.cli import main as cli
from haidang_collector.collector import Collector
from haidang_collector.http.app import create_app
from haidang_collector.http.own_pages import AGENTS_ROUTES
from haidang_collector.identity.authority import new_key_and_request
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action, Entry, Wanted
from haidang_collector.ledger.database import Ledger
from haidang_collector.settings import load_settings
from starlette.applications import Starlette

from tests.conftest import REGISTRY, ROOT

# Commands by what they do; those that are no change of the collector's state.
READ = {
    "token list", "agents list", "installer", "backup", "registry check", "registry routes", "maintenance list", "audit",
    "sla", "report", "serve", "certificates list", "ca show", "quarantine list", "quarantine show", "machines disputes",
}  # fmt: skip
# One after the other: what each needs stands before it. `{…}` is what an earlier one printed.
CHANGES: list[tuple[str, str, Action]] = [
    ("registry load", str(REGISTRY), Action.REGISTRY_LOAD),
    ("token create", "--site ttdl --uses unlimited", Action.TOKEN_CREATE),
    ("token revoke", "{token}", Action.TOKEN_REVOKE),
    ("agents release", "may-1", Action.AGENT_RELEASE),
    ("agents revoke", "may-1", Action.AGENT_REVOKE),
    ("scraper", "prometheus {folder}/scraper.pem", Action.CERTIFICATE_MAKE),
    ("operator", "truc-ban {folder}/operator.p12", Action.CERTIFICATE_MAKE),
    ("certificates revoke", "operator/truc-ban", Action.CERTIFICATE_REVOKE),
    ("ca rotate", "", Action.CA_ROTATE),
    ("ca retire", "--force", Action.CA_RETIRE),
    ("maintenance add", "ttdl --lasts 1h", Action.MAINTENANCE_PLAN),
    ("maintenance end", "{work}", Action.MAINTENANCE_END),
    ("quarantine clear", "", Action.QUARANTINE_CLEAR),
    ("machines decide", "2 refused", Action.MACHINE_DECIDE),
    ("restore", "--force {folder}/saved.tar.gz", Action.STATE_RESTORE),
]
# (method, path) of routes that are not safe: the body that makes each change something, and as what it is noted.
ROUTES: dict[tuple[str, str], tuple[str, Any, Action | None]] = {
    ("POST", "/v1/maintenance"): (
        "/v1/maintenance", {"element": "ttdl", "begins": time.time() + 60, "ends": time.time() + 120}, Action.MAINTENANCE_PLAN,
    ),
    ("DELETE", "/v1/maintenance/{number}"): ("/v1/maintenance/1", None, Action.MAINTENANCE_END),
    ("POST", "/v1/machines/{number}/decision"): (
        "/v1/machines/2/decision", {"decision": "moved"}, Action.MACHINE_DECIDE,
    ),
    ("DELETE", "/v1/machines/{number}"): ("/v1/machines/1", None, Action.MACHINE_REMOVE),
    ("POST", "/v1/enrol"): ("/v1/enrol", "enrol", Action.AGENT_ENROL),
    # A machine decides these, as often as it likes.
    ("POST", "/v1/renew"): ("/v1/renew", "renew", None),
    ("POST", "/v1/reports"): ("/v1/reports", "reports", None),
}  # fmt: skip


class Place:
    """A collector of this process, its commands and its HTTP, without anything in the background."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "collector.toml"
        self._capsys = capsys
        self.config.write_text(
            f'state_dir = "{self.state}"\ntrusted_proxies = ["127.0.0.1"]\nnames = ["center.example"]\n'
        )

    def command(self, *arguments: str) -> str:
        self._capsys.readouterr()
        code = cli.main(["--config", str(self.config), *arguments])
        said = self._capsys.readouterr()
        assert code == 0, said.err
        return said.out.strip()

    def rows(self) -> list[Entry]:
        ledger = Ledger(self.state)
        try:
            with ledger.transaction() as connection:
                return audit.find(connection, Wanted(), 10_000)
        finally:
            ledger.close()

    def certificate(self, kind: str, name: str) -> str:
        """The header by which a trusted proxy tells of a certificate."""
        file = self.folder / f"{kind}-{name}.pem"
        self.command(kind, name, str(file))
        return header(file.read_bytes())

    def collector(self) -> Collector:
        made = Collector(load_settings(self.config))
        asyncio.run(made.start())
        return made


def header(pem: bytes) -> str:
    der = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :]).public_bytes(Encoding.DER)
    return f":{base64.b64encode(der).decode()}:"


def web(collector: Collector) -> tuple[FastAPI, Callable[..., httpx.Response]]:
    """The application, and a way to ask it as the proxy does."""
    whole: Any = create_app(collector)
    inner = whole
    while not isinstance(inner, FastAPI):
        inner = inner.routes[-1].app if isinstance(inner, Starlette) else inner._app

    def ask(method: str, path: str, certificate: str = "", **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=whole, client=(more.pop("client", "127.0.0.1"), 5000))
            shown = {"Client-Cert": certificate} if certificate else {}
            said = more.pop("headers", {})
            headers = [
                *shown.items(),
                ("X-Forwarded-For", "6.6.6.6, 10.0.0.7"),
                *getattr(said, "items", lambda: said)(),
            ]
            async with httpx.AsyncClient(transport=transport, base_url="https://center.example:8443") as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(asked())

    return inner, ask


def routes_of(router: Any) -> Iterator[tuple[str, str]]:
    """(method, path) of everything that is served."""
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes_of(included)
            continue
        assert route.methods, f"{route} is no plain route"
        for method in route.methods:
            yield method, route.path


def commands_of(parser: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    """Every command, as typed."""
    inner = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not inner:
        yield before.strip()
    for action in inner:
        for name, each in action.choices.items():
            yield from commands_of(each, f"{before} {name}")


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capsys)


def test_each_command_that_changes_something_is_noted(place: Place) -> None:
    assert set(commands_of(cli._parser())) == READ | {name for name, _, _ in CHANGES}
    known = {"folder": str(place.folder)}
    for name, arguments, action in CHANGES:
        if name == "agents release":
            enrol(place)
        if name == "machines decide":
            ledger = Ledger(place.state)
            dispute(ledger)
            ledger.close()
        if name == "restore":
            place.command("backup", f"{place.folder}/saved.tar.gz")
        before = place.rows() if place.state.exists() else []
        said = place.command(*name.split(), *arguments.format(**known).split())
        if name == "token create":
            known["token"] = place.command("token", "list").split()[0]
        if name == "maintenance add":
            known["work"] = said.split()[0]
        (row, *others) = place.rows()
        assert others == before, name
        assert (row.action, row.kind) == (action, "command"), name
        assert row.name
        assert "@" in row.origin
        assert row.before or row.after, name
    # What only looks, or fails, is no change.
    before = place.rows()
    for name in ("token list", "agents list", "maintenance list", "audit", "installer", f"registry check {REGISTRY}"):
        place.command(*name.split())
    place.command("audit", "--json")
    place.command("audit", "--csv", "--since", "1d", "--what", "token")
    place.command("backup", f"{place.folder}/again.tar.gz")
    for name in ("token revoke none", "agents revoke none", "maintenance end 99", "maintenance add none --lasts 1h",
                 "token create --site none", "agents release none", f"restore {place.folder}/saved.tar.gz"):  # fmt: skip
        cli.main(["--config", str(place.config), *name.split()])
    assert place.rows() == before


def dispute(ledger: Ledger) -> None:
    """A machine, and another site's that claims to be it."""
    with ledger.transaction() as connection:
        for site, claims, state in (("ttdl", "NULL", "''"), ("so-tttt", "1", "'open'")):
            connection.exec_driver_sql(
                "INSERT INTO machines (site, agent, first_seen, last_seen, name, manufacturer, model, serial, uuid,"
                " machine_id, chassis, system, version, disks_failing, folded, claims, dispute)"
                f" VALUES ('{site}', 'may-1', 1, 1, 'PC', '', '', '', '', '', '', '', '', 0, '', {claims}, {state})"
            )


def enrol(place: Place, name: str = "may-1") -> bytes:
    """An agent's certificate, bought over HTTP."""
    token = place.command("token", "create", "--site", "ttdl")
    collector = place.collector()
    _, ask = web(collector)
    _, request = new_key_and_request(name)
    answer = ask("POST", "/v1/enrol", json={"token": token.split(".")[0], "name": name, "request": request})
    collector.close()
    assert answer.status_code == 200, answer.text
    return str(answer.json()["certificate"]).encode()


def test_each_route_that_changes_something_is_noted(place: Place) -> None:
    place.command("registry", "load", str(REGISTRY))
    operator = place.certificate("operator", "truc-ban")
    agent = header(enrol(place))
    token = place.command("token", "create", "--site", "ttdl")
    _, request = new_key_and_request("may-2")
    special = {
        "enrol": {"token": token.split(".")[0], "name": "may-2", "request": request},
        "renew": {"request": request},
    }
    collector = place.collector()
    dispute(collector.ledger)
    app, ask = web(collector)
    unsafe = {each for each in routes_of(app) if each[0] not in ("GET", "HEAD", "OPTIONS")}
    assert unsafe == set(ROUTES)
    documented = app.openapi()["paths"]
    for method, path in unsafe - {each for each in unsafe if each[1] in AGENTS_ROUTES}:
        assert documented[path][method.lower()]["responses"].keys() >= {"401", "403", "415"}, path
    for (method, path), (address, body, action) in ROUTES.items():
        if body == "reports":
            continue  # stored in the background, see the tests of ingest
        before = place.rows()
        sent = {} if body is None else {"json": special.get(body, body) if isinstance(body, str) else body}
        answer = ask(method, address, agent if path in AGENTS_ROUTES else operator, **sent)
        assert answer.status_code in (200, 201, 204), (path, answer.text)
        made = place.rows()[: len(place.rows()) - len(before)]
        assert [row.action for row in made] == [action] * bool(action), path
        for row in made:
            assert row.origin == "10.0.0.7 via 127.0.0.1"
            assert row.kind == ("token" if path in AGENTS_ROUTES else "operator")
            assert row.name == ("truc-ban" if row.kind == "operator" else row.after and row.after["token"])
    collector.close()


def test_no_route_obeys_another_page(place: Place) -> None:
    """By all routes there are: none can be forgotten, because none is asked whether it thought of it."""
    place.command("registry", "load", str(REGISTRY))
    operator, agent = place.certificate("operator", "truc-ban"), header(enrol(place))
    collector = place.collector()
    app, ask = web(collector)

    @app.post("/v1/new/{thing}")
    @app.get("/v1/new/{thing}")
    async def forgotten(thing: str) -> str:
        return thing

    before = place.rows()
    for method, path in set(routes_of(app)):
        if method in ("GET", "HEAD", "OPTIONS"):
            continue
        address = path.replace("{number}", "1").replace("{thing}", "x")
        certificate = agent if path in AGENTS_ROUTES else operator
        for origin in (
            "https://evil.example",
            "null",
            "https://center.example:444",
            "https://center.example:8444",
            "http://center.example:8443",
        ):
            answer = ask(method, address, certificate, json={}, headers={"Origin": origin})
            assert (answer.status_code, answer.json()["title"]) == (403, "origin"), (path, origin)
        for site in ("cross-site", "same-site", "none"):
            headers = {"Origin": "https://center.example:8443", "Sec-Fetch-Site": site}
            assert ask(method, address, certificate, json={}, headers=headers).status_code == 403, path
        twice = [("Origin", "https://center.example:8443")] * 2
        assert ask(method, address, certificate, json={}, headers=twice).status_code == 403, path
        if path in AGENTS_ROUTES:
            continue
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            answer = ask(method, address, certificate, content=b"{}", headers={"Content-Type": kind})
            assert (answer.status_code, answer.json()["title"]) == (415, "content_type"), path
        own = {"Origin": "https://center.example:8443", "Sec-Fetch-Site": "same-origin"}
        assert ask(method, address, certificate, json={}, headers=own).status_code in (200, 201, 404, 422), path
    assert place.rows() == before
    collector.close()


@pytest.mark.parametrize(
    ("settings", "client", "origin", "status"),
    [
        ("", "127.0.0.1", "https://center.example:8443", 401),  # it may ask: that nobody is there comes next
        ("", "127.0.0.1", "https://center.example", 401),  # a page of the proxy's
        ("", "127.0.0.1", "https://[2001:db8::1]", 401),
        ("", "10.0.0.9", "https://[2001:db8::1]:8443", 401),
        ("", "10.0.0.9", "https://center.example", 403),  # another service of the same machine
        ("", "127.0.0.1", "https://other.example", 403),
        ('public_url = "https://Tram.example"', "10.0.0.9", "https://tram.example", 401),
        ('public_url = "https://tram.example:443"', "10.0.0.9", "https://tram.example", 401),
        ('public_url = "https://tram.example"', "10.0.0.9", "https://tram.example:8443", 403),
        ('console = {url = "https://pages.example:9443"}', "127.0.0.1", "https://pages.example:9443", 401),
        ('console = {url = "https://pages.example:9443"}', "127.0.0.1", "https://pages.example", 403),
        ('console = {url = "https://pages.example:9443"}', "127.0.0.1", "", 403),
    ],
)
def test_own_pages_are_those_of_the_collector_s_addresses(
    place: Place, settings: str, client: str, origin: str, status: int
) -> None:
    text = place.config.read_text().replace('"center.example"', '"center.example", "2001:db8::1"')
    place.config.write_text(f"{text}{settings}\n")
    collector = place.collector()
    _, ask = web(collector)
    answer = ask("DELETE", "/v1/maintenance/1", headers={"Origin": origin}, client=client)
    assert answer.status_code == status
    collector.close()


def test_to_look_changes_nothing(place: Place) -> None:
    place.command("registry", "load", str(REGISTRY))
    operator, scraper = place.certificate("operator", "truc-ban"), place.certificate("scraper", "prometheus")
    agent = header(enrol(place))
    collector = place.collector()
    app, ask = web(collector)
    with collector.ledger.transaction() as connection:
        raw: Any = connection.connection.driver_connection
    changes = raw.total_changes
    answered = set()
    for method, path in routes_of(app):
        if method not in ("GET", "HEAD"):
            continue
        for certificate in (operator, scraper, agent, ""):
            answer = ask(method, path.replace("{number}", "1").replace("{name}", "style.css"), certificate)
            assert answer.status_code < 500, path
            answered.add((path, answer.status_code))
            if path not in AGENTS_ROUTES:
                assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["x-frame-options"] == "DENY"
    assert {
        ("/console/", 200),
        ("/v1/audit", 200),
        ("/v1/machines", 200),
        ("/metrics", 200),
        ("/v1/assignment", 200),
    } <= answered
    assert raw.total_changes == changes
    collector.close()


def test_the_audit_is_read_page_by_page(place: Place) -> None:
    place.command("registry", "load", str(REGISTRY))
    operator = place.certificate("operator", "truc-ban")
    for _ in range(5):
        place.command("maintenance", "add", "ttdl", "--lasts", "1h")
    collector = place.collector()
    _, ask = web(collector)
    seen, older = [], ""
    for _ in range(10):
        page = ask("GET", f"/v1/audit?limit=2{older}", operator).json()
        seen += page["entries"]
        if page["older_than"] is None:
            break
        older = f"&older_than={page['older_than']}"
    assert [Entry(**entry) for entry in seen] == place.rows()
    found = ask("GET", "/v1/audit?what=certificate&object=truc-ban", operator).json()["entries"]
    assert [entry["action"] for entry in found] == ["certificate.make"]
    assert ask("GET", f"/v1/audit?begins={time.time() + 60}", operator).json()["entries"] == []
    for wrong in ("limit=501", "limit=0", "begins=x", "begins=nan", "older_than=-1", "who=" + "x" * 201):
        assert ask("GET", f"/v1/audit?{wrong}", operator).status_code == 422, wrong
    collector.close()
    shown = place.command("audit", "--most", "3").splitlines()
    assert len(shown) == 3
    assert "maintenance.plan" in shown[0]
    lines = [json.loads(line) for line in place.command("audit", "--json", "--what", "registry.load").splitlines()]
    assert [line["action"] for line in lines] == ["registry.load"]


@pytest.mark.parametrize("language", ["", "vi/"])
def test_every_action_is_told_of_to_operators(language: str) -> None:
    text = (ROOT / f"docs/{language}operators.md").read_text()
    lists = [line.split("|")[1] for line in text.splitlines() if re.match(r"\| `[a-z]+\.[a-z]+`", line)]
    assert sorted(re.findall(r"`(\S+)`", " ".join(lists))) == sorted(Action)


def test_every_action_is_shown_by_one_of_these() -> None:
    shown = {action for _, _, action in CHANGES} | {action for _, _, action in ROUTES.values()}
    # The collector's own, see test_audit.py and test_ca_audit.py.
    assert {*Action} - shown == {Action.AUDIT_REMOVE, Action.CA_FOUND}
