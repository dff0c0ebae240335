"""A device's figures on their whole way: registry, assignment, SNMP, agent, spool, collector, exposition."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path

import yaml

from tests.conftest import BIN, REGISTRY, Center, Processes, agent_command, delivery, report, wait_for
from tests.recorded.snmp import Simulator
from tests.recorded.test_session import OWN


def give(center: Center, *devices: dict[str, object]) -> None:
    """Load the example registry with these devices."""
    document = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    file = center.folder / "registry.yaml"
    file.write_text(yaml.safe_dump({**document, "circuits": [], "devices": list(devices)}, allow_unicode=True))
    center.command("registry", "load", str(file))


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def doctor(folder: Path, config: Path) -> str:
    return agent_command("doctor", "--state-dir", str(folder), "--config", str(config)).stdout


def test_a_device_reaches_the_exposition(tmp_path: Path, center: Center, processes: Processes) -> None:
    """The probe stands at the center; what it says of a device is of the device's site."""
    simulator = Simulator(OWN, tmp_path, processes)
    folder = center.enrol(tmp_path / "agent", site="ttdl", name="probe")
    secrets, config = tmp_path / "snmp.toml", tmp_path / "agent.toml"
    secrets.write_text('[core]\ncommunity = "switch"\n')
    secrets.chmod(0o600)
    config.write_text(
        f'[sources.snmp]\nenabled = true\ncredentials_file = "{secrets}"\ninterval_seconds = 5\ntimeout_seconds = 4\n'
        f"[sources.snmp.traps]\nenabled = false\n[sources.agent]\ninterval_seconds = 2\n"
    )
    command = (str(BIN / "haidang-agent"), "run", "--config", str(config), "--state-dir", str(folder))
    processes.start("agent", *command)
    wait_for("the agent reports", lambda: center.metrics().get('haidang_agent_up{site="ttdl",agent="probe"}') == 1)
    # Assigned while it runs: the next receipt tells it.
    common = {"address": "127.0.0.1", "port": simulator.port, "agent": "probe", "credential": "core"}
    give(center, {"id": "sw-an-binh", "site": "huyen-an-binh", "role": "switch", **common})
    of = 'site="huyen-an-binh",agent="probe",device="sw-an-binh"'
    wait_for("the device is up", lambda: center.metrics().get(f"haidang_device_up{{{of}}}") == 1, 30)
    metrics = center.metrics()
    assert metrics[f'haidang_interface_receive_bytes_total{{{of},interface="ge1"}}'] == 10000000001
    assert metrics[f'haidang_optical_receive_power_dbm{{{of},interface="ge1",lane=""}}'] == -18.5
    assert metrics['haidang_agent_source_up{site="ttdl",agent="probe",source="snmp"}'] == 1
    registered = 'site="huyen-an-binh",device="sw-an-binh",role="switch",agent="probe"'
    assert metrics[f"haidang_device_registry_info{{{registered}}}"] == 1
    assert not [name for name in metrics if name.startswith("haidang_collector_refused_samples_total")]
    database = sqlite3.connect(center.state / "collector.db")
    rows = database.execute("SELECT kind, site FROM facts WHERE key = 'sw-an-binh'").fetchall()
    database.close()
    assert sorted(rows) == [("device", "huyen-an-binh"), ("neighbours", "huyen-an-binh")]
    assert "switch" not in processes.log("agent")
    said = doctor(folder, config)
    assert "1 assigned over SNMP" in said
    assert re.search(r"within \d+ s of the collector's", said)
    assert "is no probe" in doctor(folder, write(tmp_path / "other.toml", "[sources.snmp]\nenabled = false\n"))
    secrets.write_text('[other]\ncommunity = "switch"\n')
    assert "does not have: core" in doctor(folder, config)
    # Taken away again, it is no longer polled, and another agent's word for it does not count.
    give(center)
    kept = folder / "assignment.json"
    wait_for("the device is gone", lambda: json.loads(kept.read_text())["assignment"]["devices"] == [], 30)


def test_only_who_is_assigned_speaks_for_a_device(tmp_path: Path, center: Center) -> None:
    identity = center.enrol(tmp_path / "agent", site="ttdl", name="may-1") / "identity.pem"
    mine = {"address": "10.0.0.1", "agent": "may-1", "credential": "core", "trap_addresses": ["10.0.0.2"]}
    give(
        center,
        {"id": "sw-1", "site": "huyen-an-binh", **mine},
        {"id": "sw-2", "site": "xa-dong-thinh", "address": "10.0.0.3", "agent": "other", "credential": "core"},
    )

    def say(device: str, sequence: int) -> tuple[int, dict[str, object]]:
        sample = {"metric": "haidang_device_up", "labels": {"device": device}, "value": 1}
        body = delivery(
            report(sequence=sequence, source=f"snmp:{device}", samples=[sample]), report(sequence=sequence + 1)
        )
        return center.post("/v1/reports", body, identity)

    wait_for("the assignment is in force", lambda: say("sw-1", int(time.time() * 1000))[1]["assignment"])
    # The delivery that says so may have been judged by the assignment before it.
    assert say("sw-1", int(time.time() * 1000))[0] == 200
    assert 'haidang_device_up{site="huyen-an-binh",agent="may-1",device="sw-1"}' in center.metrics()
    refused = 'haidang_collector_refused_reports_total{reason="foreign_device"}'
    before = center.metrics().get(refused, 0.0)
    status, receipt = say("sw-2", 10)
    assert (status, receipt["accepted"]) == (200, 1)  # the good report beside it is kept
    assert "not assigned" in str(receipt["refused"])
    assert center.metrics()[refused] == before + 1
    status, body = center.get("/v1/assignment", identity)
    assert json.loads(body)["devices"] == [
        {
            "id": "sw-1", "address": "10.0.0.1", "port": 161, "credential": "core", "profile": "",
            "trap_addresses": ["10.0.0.2"],
        }
    ]  # fmt: skip
    etag = f'"{receipt["assignment"]}"'
    assert center.get("/v1/assignment", identity, {"If-None-Match": etag})[0] == 304
    # It still counts after the collector was started again.
    center.process.kill()
    center.process.wait()
    center.start()
    assert 'haidang_device_up{site="huyen-an-binh",agent="may-1",device="sw-1"}' in center.metrics()
