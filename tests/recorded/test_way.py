"""A device's figures on their whole way: SNMP, agent, spool, collector, exposition."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.conftest import BIN, Center, Processes, wait_for
from tests.recorded.snmp import Simulator
from tests.recorded.test_session import OWN


def test_a_device_reaches_the_exposition(tmp_path: Path, center: Center, processes: Processes) -> None:
    simulator = Simulator(OWN, tmp_path, processes)
    folder = center.enrol(tmp_path / "agent", site="huyen-an-binh", name="probe")
    secrets, config = tmp_path / "snmp.toml", tmp_path / "agent.toml"
    secrets.write_text('[core]\ncommunity = "switch"\n')
    secrets.chmod(0o600)
    config.write_text(
        f'[sources.snmp]\ncredentials_file = "{secrets}"\ninterval_seconds = 5\n'
        f'[[sources.snmp.devices]]\nname = "sw-an-binh"\naddress = "127.0.0.1"\nport = {simulator.port}\ncredential = "core"\n'
    )
    command = (str(BIN / "haidang-agent"), "run", "--config", str(config), "--state-dir", str(folder))
    processes.start("agent", *command)
    of = 'site="huyen-an-binh",agent="probe",device="sw-an-binh"'
    wait_for("the device is up", lambda: center.metrics().get(f"haidang_device_up{{{of}}}") == 1, 30)
    metrics = center.metrics()
    assert metrics[f'haidang_interface_receive_bytes_total{{{of},interface="ge1"}}'] == 10000000001
    assert metrics[f'haidang_optical_receive_power_dbm{{{of},interface="ge1",lane=""}}'] == -18.5
    assert not [name for name in metrics if name.startswith("haidang_collector_refused_samples_total")]
    database = sqlite3.connect(center.state / "collector.db")
    kinds = {row[0] for row in database.execute("SELECT kind FROM facts WHERE key = 'sw-an-binh'")}
    database.close()
    assert kinds == {"device", "neighbours"}
    assert "switch" not in processes.log("agent")
