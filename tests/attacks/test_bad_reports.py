"""Reports that are bad in every way that was thought of: each costs itself alone, now and at the next start."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.attacks.conftest import Machine, shows, stands
from tests.conftest import Center, wait_for

pytestmark = pytest.mark.system
HUGE = 2**63 - 1


def fact(kind: str, body: Any, key: str = "attacker-1") -> dict[str, Any]:
    return {"kind": kind, "key": key, "body": body}


def event(kind: str, at: Any, body: Any) -> dict[str, Any]:
    return {"kind": kind, "at": at, "body": body}


def nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def bad_reports(now: float) -> list[dict[str, Any]]:
    """Changes of a good report, each bad in its own way."""
    device = {"device": "attacker-1", "interface": "eth0"}
    return [
        # Sums and values past what a database holds.
        {"source": "inventory", "facts": [fact("disks", {"disks": [{"size_bytes": 2**62}] * 5})]},
        {"source": "inventory", "facts": [fact("disks", {"disks": [{"size_bytes": HUGE}] * 2})]},
        {"source": "inventory", "facts": [fact("machine", {"memory": {"total_bytes": 2**64}})]},
        {"source": "inventory", "facts": [fact("system", {"updates": {"pending": 2**70}})]},
        {"source": "inventory", "facts": [fact("disks", {"disks": [{"size_bytes": -(2**63)}] * 9})]},
        # Times nobody lives in.
        {"interval": 604800, "events": [event("link_down", -1e300, device)]},
        {"interval": 604800, "events": [event("link_down", 1e300, device)]},
        {"interval": 604800, "events": [event("dying_gasp", 0, device)]},
        {"events": [event("path_down", now + 30 * 86400, {"target": "ttdl"})]},
        {"taken": -1e300}, {"taken": 1e308}, {"taken": -1},
        # Of another type, at any depth.
        {"events": [event("link_down", now, {"device": ["x"], "interface": {}})]},
        {"events": [event("path_up", now, {"target": 7})]},
        {"events": [event("link_down", now, [])]},
        {"source": "lldp", "facts": [fact("neighbours", {"neighbours": [7, None, []]})]},
        {"source": "lldp", "facts": [fact("neighbours", {"neighbours": {"a": 1}})]},
        {"source": "lan", "facts": [fact("network", {"devices": [{"mac": 1, "address": 2}]})]},
        {"source": "inventory", "facts": [fact("security", {"antivirus": [{"on": "yes"}], "encryption": 3})]},
        {"source": "inventory", "facts": [fact("displays", {"displays": [nested(50)]})]},
        # Too much of it.
        {"facts": [fact("whatever", {"text": "x" * 100_000})]},
        {"facts": [fact("x" * 101, {})]},
        {"source": "inventory", "facts": [fact("machine", {"macs": ["02:00:00:00:00:01"] * 30_000})]},
        {"source": "inventory", "facts": [fact("software", {"packages": [{"name": "n" * 10_000}]})]},
        {"epoch": 2**63}, {"sequence": 2**80}, {"interval": 1e18}, {"source": "host:" + "x" * 70}, {"source": "nonsense"},
    ]  # fmt: skip


def odd_reports(now: float) -> list[dict[str, Any]]:
    """Odd ones: whether they are taken or refused, nothing comes of them that hurts."""
    device = {"device": "attacker-1", "interface": "eth0"}
    return [
        {"source": "lan", "facts": [fact("network", {"devices": [{"mac": "02:00:00:00:00:01", "address": "1.2.3"}]})]},
        {"source": "lan", "facts": [fact("network", {"devices": [{"mac": "1", "address": "fe80::1%eth0"}]})]},
        {"source": "lan", "facts": [fact("network", {"devices": [{"mac": "0", "address": "::"}]})]},
        {"facts": [fact("whatever", nested(500))]},
        {"facts": [fact("device", {"name": "a\0b", "unknown": nested(500)})]},
        {"events": [event("whatever", now, {"n": 10**400})]},
        {"events": [event("link_down", now, {**device, "interface": "\0\x1b[31m\u202e"})]},
        {"source": "inventory", "facts": [fact("logon", {"last": -(2**53) + 1})]},
        {"source": "inventory", "facts": [fact("system", {"installed": 2**53 - 1, "name": "Windows 7"})]},
        {"source": "inventory", "facts": [fact("machine", {"name": "m"}), fact("disks", {"disks": [{"size_bytes": 2**53 - 1}] * 1500})]},
        {"source": "inventory", "facts": [fact("disks", {"volumes": [{"free_ratio": 1e308, "size_bytes": -1}]})]},
        {"samples": [{"metric": "haidang_host_boot_timestamp_seconds", "labels": {}, "value": -1e300}]},
        {"samples": [{"metric": "haidang_host_processes", "labels": {}, "value": 10**300}]},
        {"source": "path_state", "interval": 604800,
         "samples": [{"metric": "haidang_path_reachable", "labels": {"target": "ttdl"}, "value": 0},
                     {"metric": "haidang_path_change_timestamp_seconds", "labels": {"target": "ttdl"}, "value": -1e300}]},
        {"source": "lifecycle", "events": [event("agent_stopped", now, {"version": nested(20)})]},
    ]  # fmt: skip


def test_each_is_refused_by_name_and_the_good_ones_beside_it_are_taken(
    center: Center, honest: Machine, attacker: Machine
) -> None:
    now = time.time()
    bad = [attacker.report(**{"samples": [], **changes}) for changes in bad_reports(now)]
    good = attacker.report()
    status, receipt = attacker.deliver(*bad[: len(bad) // 2], good, *bad[len(bad) // 2 :])
    assert (status, receipt["accepted"]) == (200, 1), receipt
    named = {(each["epoch"], each["sequence"]) for each in receipt["refused"]}
    assert named == {(each["epoch"], each["sequence"]) for each in bad}
    assert shows(center, attacker, 7)
    counted = sum(
        value
        for series, value in center.metrics().items()
        if series.startswith("haidang_collector_refused_reports_total")
    )
    assert counted == len(bad)
    kept = center.command("quarantine", "list")
    for reason in ("bad_document", "out_of_range", "unknown_source"):
        assert reason in kept
    shown = center.command("quarantine", "show", "attacker-1", "inventory", "bad_document")
    assert "attacker-1" in shown
    assert len(kept.splitlines()) <= 20
    stands(center, honest)


def test_what_is_odd_hurts_nobody(center: Center, honest: Machine, attacker: Machine) -> None:
    """Sent together, then each again alone, then after a start."""
    now = time.time()
    for _ in range(2):
        odd = [attacker.report(**{"samples": [], **changes}) for changes in odd_reports(now)]
        status, receipt = attacker.deliver(*odd)
        assert status == 200, receipt
        assert receipt["accepted"] + len(receipt["refused"]) == len(odd)
        for changes in odd_reports(now):
            assert attacker.deliver(attacker.report(**{"samples": [], **changes}))[0] in (200, 422)
        stands(center, honest)
    lost = {name: value for name, value in center.metrics().items() if "_task_failures_total" in name and value}
    assert lost == {}


def test_bytes_that_are_no_delivery(center: Center, honest: Machine, attacker: Machine) -> None:
    good = json.dumps(attacker.report())
    for body in (
        b"", b"\0", b"[]", b"{}", b"[" * 100_000, b'{"sent":0,"reports":' + b"[" * 100_000, b'{"sent":NaN,"reports":[]}',
        b'{"sent":0,"reports":[{"age":0,"report":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}]}",
        b'{"sent":1e999,"reports":[{"age":0,"report":{}}]}', b'{"sent":0,"reports":[{"age":1e308,"report":' + good.encode() + b"}]}",
        b'{"sent":0,"reports":[{"age":-1e308,"report":7}]}', good.encode("utf-16"), b'{"sent":0,"reports":[{"age":0,"report":"\xff"}]}',
    ):  # fmt: skip
        for packed in (False, True):
            status, answer = attacker.post("/v1/reports", body, packed=packed)
            assert status in (400, 413, 422), answer
    stands(center, honest)


def test_a_report_that_the_ledger_cannot_hold_is_refused_alone(
    center: Center, honest: Machine, attacker: Machine
) -> None:
    """A defect nobody knows of is played by a rule in the database itself: one machine name is not taken."""
    import sqlite3

    with sqlite3.connect(center.state / "collector.db") as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON machines WHEN NEW.name = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )
        database.execute(
            "CREATE TRIGGER refuse_event BEFORE INSERT ON events WHEN NEW.kind = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )
    database.close()
    poison = [
        {"source": "inventory", "samples": [], "facts": [fact("machine", {"name": "poison", "serial": "S1"})]},
        {"events": [event("poison", time.time(), {})]},
    ]
    for changes in poison:
        bad = attacker.report(**changes)
        for _ in range(2):
            one, two = attacker.report(), attacker.report()
            status, receipt = attacker.deliver(one, bad, two)
            assert (status, receipt["accepted"], len(receipt["refused"])) == (200, 2, 1), receipt
            assert receipt["refused"][0]["sequence"] == bad["sequence"]
        status, answer = attacker.deliver(bad)
        assert (status, answer["refused"][0]["sequence"]) == (422, bad["sequence"])
    counted = center.metrics()['haidang_collector_refused_reports_total{reason="unwritable"}']
    assert counted == 6
    wait_for("it is kept", lambda: "unwritable" in center.command("quarantine", "list"))
    log = center.processes.log("collector")
    assert "can't be written" in log
    status, receipt = honest.deliver(honest.report())
    assert (status, receipt["accepted"]) == (200, 1)
