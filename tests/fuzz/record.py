"""Writes corpus.json anew (as root): real reports of every source, of a real agent with a real snmpd, traps, links and a
service, taken out of its spool. `python -m tests.fuzz.record`; look at the difference before you keep it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import BIN, Center, Processes, free_port, require, wait_for
from tests.system.network import Fiber, fiber

CORPUS = Path(__file__).with_name("corpus.json")
_SECONDS = 75
_EACH = 2  # reports of each kind of source
_MOST_ITEMS = 12


def registry(network: Fiber, center: Center, snmp_port: int) -> dict[str, Any]:
    sites = [
        {"id": "ttdl", "name": "TTDL", "level": "province", "probe": "probe-1", "address": network.center_address},
        {"id": "xa", "name": "Xã Đông Thịnh", "level": "commune", "address": network.site_address},
    ]
    ends = [
        {"site": "ttdl", "device": "sw-1", "interface": "fiber", "address": network.center_address},
        {"site": "xa", "address": network.site_address},
    ]
    return {
        "province": {"name": "Tỉnh Ví Dụ", "center": "ttdl"},
        "sites": sites,
        "circuits": [{"id": "ttdl-xa", "ends": ends}],
        "devices": [
            {"id": "sw-1", "site": "ttdl", "address": "127.0.0.1", "port": snmp_port, "agent": "probe-1", "credential": "c"}
        ],
        "services": [{"id": "cong", "kind": "portal", "site": "ttdl", "url": f"{center.url}/healthz", "serves": "all"}],
    }  # fmt: skip


def record(folder: Path, processes: Processes, network: Fiber) -> list[dict[str, Any]]:
    center, snmp_port, trap_port = Center(folder, processes), free_port(), free_port()
    file = folder / "registry.yaml"
    file.write_text(yaml.safe_dump(registry(network, center, snmp_port), allow_unicode=True))
    center.command("registry", "load", str(file))
    (folder / "snmpd.conf").write_text(f'agentaddress udp:127.0.0.1:{snmp_port}\nrocommunity "public"\n')
    processes.start(
        "snmpd", require("snmpd"), "-f", "-Lo", "-C", "-c", str(folder / "snmpd.conf"), "-p", str(folder / "pid"),
        env={"SNMP_PERSISTENT_DIR": str(folder / "state"), "MIBS": ""},
    )  # fmt: skip
    secrets = folder / "snmp.toml"
    secrets.write_text('[c]\nversion = "2c"\ncommunity = "public"\n')
    secrets.chmod(0o600)
    agent = center.enrol(folder / "agent", name="probe-1")
    config = folder / "agent.toml"
    config.write_text(
        "".join(f"[sources.{name}]\nenabled = true\n" for name in ("links", "paths", "services", "lan", "lldp"))
        + f'[sources.snmp]\nenabled = true\ninterval_seconds = 10\ntimeout_seconds = 9\ncredentials_file = "{secrets}"\n'
        f'[sources.snmp.traps]\naddress = "127.0.0.1"\nport = {trap_port}\n'
    )
    processes.start("agent", str(BIN / "haidang-agent"), "run", "--state-dir", str(agent), "--config", str(config))
    wait_for("the assignment has come", lambda: (agent / "assignment.json").exists(), 60)
    time.sleep(10)
    center.process.kill()
    until = time.monotonic() + _SECONDS
    for state in ("down", "up") * 3:
        time.sleep(6)
        network.set(state)
        for trap in ("1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4", "1.3.6.1.4.1.890.1.15.3.26.2.5"):
            index = ("1.3.6.1.2.1.2.2.1.1.2", "i", "2")
            command = ["snmptrap", "-v2c", "-c", "public", f"127.0.0.1:{trap_port}", "", trap, *index]
            subprocess.run(command, check=True)
    time.sleep(max(0.0, until - time.monotonic()))
    with sqlite3.connect(agent / "spool.db") as spool:
        rows = spool.execute("SELECT body FROM reports ORDER BY epoch, sequence").fetchall()
    return [json.loads(zlib.decompress(body)) for (body,) in rows]


def chosen(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few of each source, those with the most in them, with long lists cut."""
    found = []
    for kind in sorted({report["source"].partition(":")[0] for report in reports}):
        mine = [report for report in reports if report["source"].partition(":")[0] == kind]
        mine.sort(key=lambda report: -len(report["events"]) * 100 - len(report["facts"]) * 10 - len(report["samples"]))
        found += [_short(report) for report in mine[:_EACH]]
    return found


# What is this machine's own says nothing to the tests.
_OWN = {"machine_id": "0123456789abcdef0123456789abcdef", "kernel": "6.1.0-28-amd64"}


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(each) for each in value[:_MOST_ITEMS]]
    return {name: _OWN.get(name) or _short(each) for name, each in value.items()} if isinstance(value, dict) else value


def main() -> int:
    with tempfile.TemporaryDirectory() as name, fiber() as network:
        processes = Processes(Path(name))
        try:
            reports = record(Path(name), processes, network)
        finally:
            processes.stop()
    kept = chosen(reports)
    CORPUS.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print({report["source"] for report in kept}, CORPUS.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
