"""The same devices polled by us and by snmp_exporter: processor time a sample, rendering to metrics
included, and memory of a probe with many devices. Both report the same columns of the interfaces;
ours also reads identity, entities and neighbours, as seldom as a probe does, and is charged for it.
Our part runs in a process of its own, with as many devices at once as a probe polls.

    python bench/snmp.py [DEVICES] [POLLS]     (default: 100 10)

The devices are one real snmpd of net-snmp on a machine with INTERFACES interfaces more; every "device"
is that one again. Its own processor time is printed: it is not part of the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import psutil
import yaml
from common import cpu_seconds, folder, free_port, need, pss_bytes, running, show, wait_http
from haidang_agent.config import SnmpConfig
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.device import Memory
from haidang_agent.snmp.poll import poll
from haidang_agent.snmp.profile import Profile, Profiles, load_profiles
from haidang_agent.snmp.session import Session

INTERFACES = 48
# ifEntry and ifXEntry, the same columns for both: (name, OID, type of snmp_exporter).
COLUMNS = (
    ("ifMtu", "1.3.6.1.2.1.2.2.1.4", "gauge"),
    ("ifAdminStatus", "1.3.6.1.2.1.2.2.1.7", "gauge"),
    ("ifOperStatus", "1.3.6.1.2.1.2.2.1.8", "gauge"),
    ("ifLastChange", "1.3.6.1.2.1.2.2.1.9", "gauge"),
    ("ifInDiscards", "1.3.6.1.2.1.2.2.1.13", "counter"),
    ("ifInErrors", "1.3.6.1.2.1.2.2.1.14", "counter"),
    ("ifOutDiscards", "1.3.6.1.2.1.2.2.1.19", "counter"),
    ("ifOutErrors", "1.3.6.1.2.1.2.2.1.20", "counter"),
    ("ifHCInOctets", "1.3.6.1.2.1.31.1.1.1.6", "counter"),
    ("ifHCInUcastPkts", "1.3.6.1.2.1.31.1.1.1.7", "counter"),
    ("ifHCOutOctets", "1.3.6.1.2.1.31.1.1.1.10", "counter"),
    ("ifHCOutUcastPkts", "1.3.6.1.2.1.31.1.1.1.11", "counter"),
    ("ifHighSpeed", "1.3.6.1.2.1.31.1.1.1.15", "gauge"),
)


def exporter_config() -> str:
    lookups = [{"labels": ["ifIndex"], "labelname": "ifName", "oid": "1.3.6.1.2.1.31.1.1.1.1", "type": "DisplayString"}]
    metrics = [
        {
            "name": name, "oid": oid, "type": kind, "help": name,
            "indexes": [{"labelname": "ifIndex", "type": "gauge"}], "lookups": lookups,
        }
        for name, oid, kind in COLUMNS
    ]  # fmt: skip
    walk = [oid for _, oid, _ in COLUMNS] + ["1.3.6.1.2.1.31.1.1.1.1"]
    module = {"walk": walk, "metrics": metrics, "version": 2, "max_repetitions": 40, "auth": {"community": "public"}}
    return yaml.safe_dump({"bench": module})


def interfaces_only() -> Profiles:
    """The interfaces of the generic profile and nothing else, with the columns above alone."""
    generic = load_profiles().all["generic"]
    wanted = {oid for _, oid, _ in COLUMNS}
    table = next(table for table in generic.tables if table.name == "interfaces")
    readings = [
        replace(reading, columns=tuple(c for c in reading.columns if c.oid in wanted)) for reading in table.readings
    ]
    only = replace(table, readings=tuple(r for r in readings if r.columns))
    return Profiles([Profile("generic", tables=(only,))])


def _line(metric: str, labels: tuple[tuple[str, str], ...], value: float) -> str:
    written = ",".join(f'{name}="{text}"' for name, text in labels)
    return f"{metric}{{{written}}} {value!r}\n"


async def probe(port: int, devices: int, polls: int) -> int:
    profiles = interfaces_only()
    credential = Credential(community="public")
    turns = asyncio.Semaphore(SnmpConfig().at_once)
    memories = [Memory() for _ in range(devices)]

    async def one(number: int) -> int:
        async with turns:
            memory = memories[number]
            session = Session("127.0.0.1", port, credential, manner=memory.manner)
            found = await poll(f"d{number}", session, profiles, memory=memory)
            # Both sides end with exposition text.
            lines = [_line(metric, labels, value) for (metric, labels), value in found.samples.items()]
            return len(lines) if "".join(lines) else 0

    return sum([sum(await asyncio.gather(*(one(number) for number in range(devices)))) for _ in range(polls)])


def ours(port: int, devices: int, polls: int) -> dict[str, float]:
    """What a process of ours used: samples, cpu (seconds after its start), memory (PSS in bytes)."""
    command = [sys.executable, __file__, "probe", str(port), str(devices), str(polls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main(devices: int, polls: int) -> None:
    exporter = need("prometheus-snmp-exporter")
    with folder() as place, contextlib.ExitStack() as cleanup:
        port = free_port()
        for number in range(INTERFACES // 2):
            pair = (f"hb{number}a", f"hb{number}b")
            subprocess.run(["ip", "link", "add", pair[0], "type", "veth", "peer", "name", pair[1]], check=True)
            cleanup.callback(subprocess.run, ["ip", "link", "del", pair[0]], check=False)
        config = place / "snmpd.conf"
        config.write_text(f"agentaddress udp:127.0.0.1:{port}\nrocommunity public 127.0.0.1\n")
        (place / "snmp.yml").write_text(exporter_config())
        exporter_port = free_port()
        snmpd = cleanup.enter_context(
            running(need("snmpd"), "-f", "-LE", "0", "-C", "-c", str(config), "-p", str(place / "pid"),
                    env={**os.environ, "SNMP_PERSISTENT_DIR": str(place / "state"), "MIBS": ""})
        )  # fmt: skip
        peer = cleanup.enter_context(
            running(exporter, f"--config.file={place / 'snmp.yml'}", f"--web.listen-address=127.0.0.1:{exporter_port}",
                    log=place / "exporter.log")
        )  # fmt: skip
        wait_http(f"http://127.0.0.1:{exporter_port}/metrics")
        time.sleep(2)
        url = f"http://127.0.0.1:{exporter_port}/snmp?target=127.0.0.1:{port}&module=bench"
        before, lines = cpu_seconds(peer), 0
        for _ in range(devices * polls):
            text = urllib.request.urlopen(url, timeout=30).read().decode()
            lines += sum(line.startswith("if") for line in text.splitlines())
        theirs = (cpu_seconds(peer) - before) / lines
        their_memory = pss_bytes(peer) / 1e6
        served = cpu_seconds(snmpd)
        mine = ours(port, devices, polls)
        each = mine["cpu"] / mine["samples"]
        show("SNMP, microseconds of processor time a sample", each * 1e6, theirs * 1e6, "snmp_exporter", "<= 0.6")
        show(
            f"SNMP, memory with {devices} devices", mine["memory"] / 1e6, their_memory, "snmp_exporter", "<= 1.5", " MB"
        )
        print(f"  snmpd itself used {cpu_seconds(snmpd) - served:.2f} s while we polled;")
        print(f"  {lines} and {mine['samples']:.0f} samples")


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        load_profiles()  # read once at start-up, as the exporter reads its configuration
        before = time.process_time()
        count = asyncio.run(probe(*map(int, sys.argv[2:])))
        used = {"samples": count, "cpu": time.process_time() - before}
        print(json.dumps({**used, "memory": psutil.Process().memory_full_info().pss}))
    else:
        arguments = [int(argument) for argument in sys.argv[1:]]
        main(*(arguments + [100, 10][len(arguments) :]))
