"""Who tells of neighbours tells of his own devices alone, in texts that are nothing but texts, and fills his own share."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.conftest import Machine, stands
from tests.attacks.test_operators import ask
from tests.attacks.test_outages import load
from tests.conftest import Center, Processes, wait_for
from tests.contract.test_operations import call
from tests.unit.test_printable import HOSTILE

pytestmark = pytest.mark.system

SMALL = """
[quotas]
link_bytes = 60000
"""


@pytest.fixture
def center(tmp_path: Path, processes: Processes) -> Center:
    return Center(tmp_path, processes, extra=SMALL)


@pytest.fixture
def operator(center: Center) -> Path:
    file = center.folder / "operator.pem"
    center.command("operator", "truc-ban", str(file))
    return file


def links(center: Center, operator: Path, query: str = "") -> list[dict[str, Any]]:
    status, page = call(center, "GET", f"/v1/links?limit=1000&{query}", operator)
    assert status == 200, page
    found: list[dict[str, Any]] = page["links"]
    return found


def neighbours(*told: dict[str, str], key: str) -> dict[str, Any]:
    return {"kind": "neighbours", "key": key, "body": {"neighbours": list(told)}}


def told(port: int, **more: str) -> dict[str, str]:
    return {"protocol": "lldp", "interface": f"ge{port}", "system": "sw-x", "port": "p", **more}


def test_nobody_links_anothers_device(center: Center, operator: Path, honest: Machine, attacker: Machine) -> None:
    """Over whatever source, key, protocol or field; what he says of his own machine is said by him."""

    def polled(document: dict[str, Any]) -> None:
        document["devices"][1] |= {"agent": honest.name, "credential": "core"}

    load(center, polled)
    assigned = f'device="sw-an-binh",role="switch",agent="{honest.name}"'
    wait_for("it is assigned", lambda: [name for name in center.metrics() if assigned in name], 10)
    forged = told(1, source="registry", agent="", device="sw-ttdl", site="ttdl", circuit="ttdl-an-binh", far_device="x")
    for source in ("lldp", "host", "links", "lan", "inventory", "snmp:sw-ttdl", "snmp:sw-an-binh", "traps:sw-ttdl"):
        for key in ("sw-ttdl", "sw-an-binh", "ttdl", "", honest.name):
            attacker.deliver(attacker.report(source=source, samples=[], facts=[neighbours(forged, key=key)]))
    # The name of a switch that somebody else polls is not the switch.
    named = Machine(center, "sw-an-binh", "huyen-an-binh")
    for source in ("lldp", "host", "lan", "inventory"):
        named.deliver(named.report(source=source, samples=[], facts=[neighbours(forged, key=named.name)]))
    named.close()
    assert {each["source"] for each in links(center, operator)} == {"registry"}
    attacker.deliver(attacker.report(source="lldp", samples=[], facts=[neighbours(forged, key=attacker.name)]))
    (own,) = links(center, operator, "source=lldp")
    assert (own["agent"], own["device"], own["site"], own["circuit"]) == (
        attacker.name,
        attacker.name,
        attacker.site,
        "",
    )
    # Who polls a device speaks for it, at its site; by whatever is said of others' devices, no cable is wrong.
    honest.deliver(honest.report(source="snmp:sw-an-binh", samples=[], facts=[neighbours(told(1), key="sw-an-binh")]))
    (its,) = links(center, operator, "device=sw-an-binh&source=lldp")
    assert (its["agent"], its["site"]) == (honest.name, "huyen-an-binh")
    # ARP is of his own site, and of his own machine.
    heard = [{"mac": "00:00:0c:00:00:01", "address": address} for address in ("10.20.0.2", "10.20.1.2")]
    fact = {"kind": "network", "key": attacker.name, "body": {"devices": heard}}
    attacker.deliver(attacker.report(source="lan", samples=[], facts=[fact]))
    assert links(center, operator, "source=arp") == []
    assert b"circuit_mismatch_info{" not in center.get("/metrics/outages")[1]
    stands(center, honest)


def test_a_neighbours_text_is_nothing_but_a_text(
    center: Center, operator: Path, honest: Machine, attacker: Machine
) -> None:
    texts = [
        *HOSTILE,
        "'; DROP TABLE links; --",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "\u202e\u0000\x1b[2J",
        "x" * 4000,
    ]
    for text in texts:
        if "\ud800" in text:
            continue  # no JSON: refused at the door
        named = dict.fromkeys(("interface", "system", "chassis", "port", "port_description"), text)
        status, receipt = attacker.deliver(
            attacker.report(
                source="lldp", samples=[], facts=[neighbours({**named, "protocol": text}, key=attacker.name)]
            )
        )
        assert (status, receipt["accepted"]) == (200, 1)
        (link,) = links(center, operator, f"device={attacker.name}")
        shown = text.replace("\0", "\ufffd")[:255]
        assert [link[name] for name in ("interface", "far_system", "far_chassis", "far_port")] == [shown] * 4
        assert link["source"] == "other"
    # It is JSON, which no browser takes for a page.
    _, _, headers = ask(center, operator, "GET", "/v1/links", None, {})
    assert (headers["content-type"], headers["x-content-type-options"]) == ("application/json", "nosniff")
    stands(center, honest)


def test_who_floods_with_neighbours_fills_his_own_share(
    center: Center, operator: Path, honest: Machine, attacker: Machine
) -> None:
    honest.deliver(
        honest.report(source="lldp", samples=[], facts=[neighbours(*map(told, range(200)), key=honest.name)])
    )
    mine = links(center, operator, f"device={honest.name}")
    assert len(mine) == 200
    named = []
    for begins in range(0, 6000, 1500):
        many = [told(port, system=f"sw-{port}") for port in range(begins, begins + 1500)]
        status, receipt = attacker.deliver(
            attacker.report(source="lldp", samples=[], facts=[neighbours(*many, key=attacker.name)])
        )
        assert (status, receipt["accepted"]) == (200, 1)
        named += [each["detail"] for each in receipt["left_out"]]
    assert any("links beyond quotas.link_bytes" in each for each in named)
    assert any("too_many_neighbours" in each for each in named)
    assert 0 < len(links(center, operator, f"device={attacker.name}")) < 300
    # Nothing of it is left behind.
    with contextlib.closing(sqlite3.connect(f"file:{center.state / 'collector.db'}?mode=ro", uri=True)) as database:
        (number,) = database.execute("SELECT count(*) FROM links WHERE agent = ?", [attacker.name]).fetchone()
    assert number < 300
    assert links(center, operator, f"device={honest.name}") != []
    assert [{**each, "age_seconds": 0} for each in links(center, operator, f"device={honest.name}")] == [
        {**each, "age_seconds": 0} for each in mine
    ]
    honest.deliver(
        honest.report(source="lldp", samples=[], facts=[neighbours(*map(told, range(210)), key=honest.name)])
    )
    assert len(links(center, operator, f"device={honest.name}")) == 210
    assert center.metrics()['haidang_collector_quota_reached_total{quota="links"}'] > 0
    stands(center, honest)
