"""Attacks on the outage engine: times that can't be, speaking for others, what a registry no longer has."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from pypdf import PdfReader

from tests.attacks.conftest import Machine, stands
from tests.conftest import REGISTRY, Center, wait_for

pytestmark = pytest.mark.system

DOCUMENT = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
CIRCUIT = "ttdl-an-binh"


def load(center: Center, change: Callable[[dict[str, Any]], None]) -> None:
    """Load the example's registry with a change; the running collector takes it within a second."""
    document = json.loads(json.dumps(DOCUMENT))
    change(document)
    file = center.folder / "registry.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    center.command("registry", "load", str(file))


def watched(document: dict[str, Any]) -> None:
    """The center has a probe, and every other site an address."""
    for number, site in enumerate(document["sites"]):
        if site["id"] == "ttdl":
            site["probe"] = "probe-ttdl"
        else:
            site["address"] = f"10.20.{number}.1"


def outages(center: Center) -> dict[str, float]:
    """Every series of /metrics/outages."""
    status, text = center.get("/metrics/outages")
    assert status == 200
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def state(center: Center, circuit: str = CIRCUIT) -> float | None:
    """1, 0, or None where nothing tells."""
    found = [
        value for name, value in outages(center).items() if name.startswith(f'haidang_circuit_up{{circuit="{circuit}"')
    ]
    return found[0] if found else None


def rows(center: Center, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{center.state / 'collector.db'}?mode=ro", uri=True, timeout=10) as connection:
        return connection.execute(query).fetchall()


def link(device: Any, at: float, kind: str = "link_down", interface: Any = "ge-0/0/1") -> dict[str, Any]:
    return {"kind": kind, "at": at, "body": {"device": device, "interface": interface}}


def port(device: str, *, up: bool, interface: str = "ge-0/0/1") -> list[dict[str, Any]]:
    return [{"metric": "haidang_interface_up", "labels": {"device": device, "interface": interface}, "value": int(up)}]


def paths(**up: bool) -> list[dict[str, Any]]:
    return [
        {"metric": "haidang_path_reachable", "labels": {"target": target.replace("_", "-")}, "value": int(value)}
        for target, value in up.items()
    ]


WEEK = 7 * 86400
TIMES = (-1e300, 1e300, -62_135_596_801.0, 253_402_300_800.0, 0.0, -1.0)


@pytest.mark.parametrize("source", ["host", "links", "path_state", "lldp"])
def test_times_that_can_not_be_bring_nothing_down(
    center: Center, honest: Machine, attacker: Machine, source: str
) -> None:
    """Of an agent that may speak of its own ports, too: it is a device of the registry."""
    device = Machine(center, "sw-ttdl")
    bodies: tuple[dict[str, Any], ...] = ({"target": "ttdl"}, {"target": ["ttdl"]}, {"device": {}, "interface": 7}, {})
    for machine in (attacker, device):
        events = [link(machine.name, at) for at in TIMES]
        events += [
            {"kind": kind, "at": at, "body": {**link(machine.name, at)["body"], **body}}
            for kind in ("path_down", "path_up", "link_down", "link_up", "dying_gasp")
            for at in TIMES
            for body in bodies
        ]
        for event in events:
            report = machine.report(source=source, interval=WEEK, samples=[], events=[event])
            machine.deliver(report)
            machine.deliver(machine.report(source=source, interval=WEEK, samples=[], events=[event]), age=5e8)
        samples = [
            {"metric": "haidang_path_change_timestamp_seconds", "labels": {"target": "ttdl"}, "value": at}
            for at in TIMES
        ]
        machine.deliver(machine.report(source="path_state", interval=WEEK, samples=[*paths(ttdl=False), *samples]))
    assert state(center) is None
    stands(center, honest)
    assert rows(center, "SELECT * FROM outages") == []
    assert rows(center, "SELECT * FROM downtimes") == []


def test_nobody_speaks_for_anothers_port_path_or_power(center: Center, honest: Machine, attacker: Machine) -> None:
    load(center, watched)
    attacker.deliver(
        attacker.report(
            source="links", samples=[], events=[link("sw-ttdl", time.time()), link("sw-an-binh", time.time())]
        ),
        attacker.report(source="traps:sw-ttdl", samples=[], events=[link("sw-ttdl", time.time())]),
        attacker.report(source="snmp:sw-ttdl", samples=port("sw-ttdl", up=False)),
        attacker.report(source="host", samples=port("sw-ttdl", up=False)),
        attacker.report(
            source="path_state", samples=paths(huyen_an_binh=False, so_tttt=False, **{"ttdl-an-binh": False})
        ),
    )
    time.sleep(1.5)  # three looks of the engine
    assert state(center) is None
    assert not [name for name in outages(center) if name.startswith(("haidang_outage_", "haidang_site_up"))]
    stands(center, honest)
    assert rows(center, "SELECT * FROM downtimes") == []


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("running", [True, False])
def test_a_circuit_that_is_down_and_taken_out_is_over(
    center: Center, honest: Machine, running: bool, times: int
) -> None:
    device = Machine(center, "sw-ttdl")
    device.deliver(device.report(source="host", interval=600, samples=port("sw-ttdl", up=True)))
    wait_for("the circuit is up", lambda: state(center) == 1, 10)
    device.deliver(device.report(source="links", interval=600, samples=[], events=[link("sw-ttdl", time.time())]))

    def is_open() -> list[str]:
        # The only way to a site, of which nothing else tells: it must be said again that it is dark.
        device.deliver(device.report(source="host", interval=600, samples=port("sw-ttdl", up=False)))
        time.sleep(1)
        return [name for name in outages(center) if name.startswith("haidang_outage_open")]

    wait_for("its outage is open", is_open, 60)
    assert state(center) == 0

    def without(document: dict[str, Any]) -> None:
        document["circuits"] = [each for each in document["circuits"] if each["id"] != CIRCUIT]

    device.close()
    if not running:
        center.process.kill()
        center.process.wait()
    for _ in range(times):
        load(center, without)
    if not running:
        center.start()
    opened = "SELECT * FROM downtimes WHERE ended IS NULL"
    wait_for("its downtime is over", lambda: not rows(center, opened), 10)
    assert {reason for (reason,) in rows(center, "SELECT reason FROM downtimes")} == {"the registry no longer has it"}
    assert rows(center, "SELECT id FROM outages WHERE ended IS NULL") == []
    stands(center, honest)
    assert rows(center, opened) == []
    assert not [name for name in outages(center) if name.startswith("haidang_outage_")]


@pytest.mark.parametrize("agent", ["attacker-1", "sw-an-binh"])
def test_what_a_foreign_device_said_counts_as_little_after_a_restart(
    center: Center, honest: Machine, attacker: Machine, agent: str
) -> None:
    speaker = attacker if agent == attacker.name else Machine(center, agent, "huyen-an-binh")
    said = [{"interface": "ge-0/0/1", "system": "sw-an-binh", "port": "ge7", "port_description": ""}]
    foreign = {"kind": "neighbours", "key": "sw-ttdl", "body": {"neighbours": said}}
    named = {"kind": "device", "key": "sw-ttdl", "body": {"name": "sw-an-binh"}}
    speaker.deliver(*(speaker.report(source=source, samples=[], facts=[foreign, named]) for source in ("lldp", "host")))
    stands(center, honest)
    assert not [name for name in outages(center) if name.startswith("haidang_circuit_mismatch")]
    own = Machine(center, "sw-ttdl")
    own.deliver(own.report(source="lldp", samples=[], facts=[foreign]))
    own.close()
    center.process.kill()
    center.process.wait()
    center.start()
    wait_for(
        "its own are believed", lambda: [n for n in outages(center) if n.startswith("haidang_circuit_mismatch")], 10
    )


def report_of_the_month(center: Center, language: str) -> tuple[str, list[dict[str, str]], str]:
    """Table, rows of the CSV, text of the PDF."""
    folder = center.folder / f"month-{language}"
    folder.mkdir(exist_ok=True)
    month = time.strftime("%Y-%m")
    table = center.command("sla", "--month", month, "--folder", str(folder), "--language", language)
    found = list(csv.DictReader(io.StringIO((folder / f"sla-{month}.csv").read_text(encoding="utf-8-sig"))))
    pdf = " ".join(page.extract_text() for page in PdfReader(folder / f"sla-{month}.pdf").pages)
    return table, found, " ".join(pdf.split())


def test_what_nobody_measured_is_unmeasured_in_the_months_report(center: Center) -> None:
    assert state(center) is None
    series = outages(center)
    assert series[f'haidang_circuit_measured{{circuit="{CIRCUIT}",carrier="vien-thong-a"}}'] == 0
    assert not [name for name in series if "sla_budget" in name]
    for language, unmeasured, unjudged in (
        ("en", "unmeasured", "not judged"),
        ("vi", "không đo được", "không đánh giá"),
    ):
        table, found, pdf = report_of_the_month(center, language)
        (line,) = [line for line in table.splitlines() if line.startswith(CIRCUIT)]
        assert unmeasured in line
        assert unjudged in line
        assert "100" not in line
        (row,) = [row for row in found if row["element"] == CIRCUIT]
        assert (row["judgement"], row["measured_ratio"], row["availability_ratio"]) == ("unmeasured", "0.000000", "")
        assert row["sla_kept"] == ""
        assert unmeasured.replace(" ", "") in pdf.replace(" ", "")
        assert unjudged.replace(" ", "") in pdf.replace(" ", "")
        assert "100.0000" not in pdf


def test_what_a_probe_measured_while_the_collector_was_away_is_measured(center: Center) -> None:
    """As up or as down, as it says; and what was seen live is kept when the collector is killed."""
    load(center, watched)
    probe = Machine(center, "probe-ttdl")
    time.sleep(1.5)  # the collector looks for another registry each second

    def measured(says: str, element: str = "huyen-an-binh") -> list[tuple[float, float]]:
        query = f"SELECT begins, ends FROM measured WHERE element = '{element}' AND says = '{says}' AND ends > begins"
        return [(begins, ends) for begins, ends in rows(center, query)]

    for _ in range(4):
        probe.deliver(probe.report(source="path_state", interval=5, samples=paths(huyen_an_binh=True, so_tttt=True)))
        time.sleep(1)
    wait_for("live evidence is kept", lambda: measured("live"), 20)
    assert outages(center)['haidang_site_up{site="huyen-an-binh"}'] == 1
    probe.close()
    center.process.kill()
    center.process.wait()
    center.start()
    assert measured("live")
    now = time.time()
    for ago in range(3600, 1800, -5):
        up = ago > 2400
        late = probe.report(
            source="path_state", taken=now - ago, interval=5, samples=paths(huyen_an_binh=up, so_tttt=True)
        )
        # 360 deliveries take a while: each is as old as it is when it is sent.
        assert probe.deliver(late, age=time.time() - now + ago)[0] == 200
    wait_for("all of it is kept", lambda: measured("up") and measured("down"), 30)
    wait_for("up to its end", lambda: measured("up", "so-tttt")[0][1] >= now - 1810, 30)
    ((begins, ends),) = measured("up")
    assert (begins, ends) == (pytest.approx(now - 3600, abs=3), pytest.approx(now - 2405, abs=3))
    ((begins, ends),) = measured("down")
    assert (begins, ends) == (pytest.approx(now - 2400, abs=3), pytest.approx(now - 1805, abs=3))
    _, found, _ = report_of_the_month(center, "en")
    (row,) = [row for row in found if row["element"] == "huyen-an-binh"]
    began = time.mktime((*time.localtime(now)[:2], 1, 0, 0, 0, 0, 0, -1))
    if now - began > 3700:  # not within the first hour of a month
        assert float(row["down_seconds"]) == pytest.approx(595, abs=5)
        assert 1790 <= float(row["measured_seconds"]) <= 1860


def test_late_reports_of_others_prove_nothing(center: Center, attacker: Machine, honest: Machine) -> None:
    load(center, watched)
    time.sleep(1.5)  # the collector looks for another registry each second
    for ago in (7200, 7195, 7190):
        for source, samples in (
            ("path_state", paths(huyen_an_binh=True, ttdl=True)),
            ("host", port("sw-ttdl", up=True)),
        ):
            attacker.deliver(attacker.report(source=source, taken=time.time() - ago, samples=samples), age=float(ago))
    stands(center, honest)
    assert rows(center, "SELECT * FROM measured WHERE element != 'ttdl'") == []
