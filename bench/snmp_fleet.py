"""A whole probe with many devices: the agent as it is installed (TLS, spool, delivery to a real collector,
the generic profile with all its tables), polling DEVICES of PORTS interfaces every 60 seconds.

    python bench/snmp_fleet.py [DEVICES] [PORTS] [TRAPS]     (default: 1000 24 0; TRAPS 1 listens for traps, too)

The devices are one real snmpd of net-snmp in a network namespace with that many interfaces; every address of
127.1.0.0/16 is one of them. Its own use of the processor is printed: far below a core, it is not the bottleneck.
snmp_exporter's memory after it was asked for as many devices with the interfaces alone stands beside ours.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml
from common import BIN, cpu_seconds, folder, need, pss_bytes, running, show, wait_http
from snmp import exporter_config

from tests.conftest import REGISTRY, Center, Processes, free_port, wait_for

WINDOW_SECONDS = float(os.environ.get("WINDOW_SECONDS", "120"))


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def prepare(center: Center, place: Path, devices: int, port: int, *, traps: bool) -> Path:
    registry = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    registry["circuits"] = []
    registry["devices"] = [
        {
            "id": f"sw-{number}", "site": "ttdl", "role": "switch", "address": address(number), "port": port,
            "agent": "probe", "credential": "core",
        }
        for number in range(devices)
    ]  # fmt: skip
    (place / "registry.yaml").write_text(yaml.safe_dump(registry, allow_unicode=True))
    center.command("registry", "load", str(place / "registry.yaml"))
    (place / "snmp.toml").write_text('[core]\ncommunity = "public"\n')
    (place / "snmp.toml").chmod(0o600)
    config = place / "agent.toml"
    config.write_text(
        f'[sources.snmp]\nenabled = true\ncredentials_file = "{place / "snmp.toml"}"\n'
        f'[sources.snmp.traps]\nenabled = {str(traps).lower()}\naddress = "127.0.0.1"\n'
    )
    return config


def up(center: Center) -> tuple[int, float]:
    """Devices that are up, and the longest poll, as the collector shows them."""
    metrics = center.metrics()
    polls = [value for name, value in metrics.items() if name.startswith("haidang_device_poll_seconds")]
    return sum(name.startswith("haidang_device_up") and value == 1 for name, value in metrics.items()), max(
        polls, default=0
    )


def main(devices: int, ports: int, traps: int) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for number in range(ports // 2):
        subprocess.run(["ip", "link", "add", f"a{number}", "type", "veth", "peer", "name", f"b{number}"], check=True)
    with folder() as place, contextlib.ExitStack() as cleanup:
        processes = Processes(place)
        cleanup.callback(processes.stop)
        port, exporter_port = free_port(), free_port()
        (place / "snmpd.conf").write_text(f"agentaddress udp:{port}\nrocommunity public 127.0.0.0/8\n")
        (place / "snmp.yml").write_text(exporter_config())
        snmpd = cleanup.enter_context(
            running(need("snmpd"), "-f", "-LE", "0", "-C", "-c", str(place / "snmpd.conf"), "-p", str(place / "pid"),
                    env={**os.environ, "SNMP_PERSISTENT_DIR": str(place / "state"), "MIBS": ""})
        )  # fmt: skip
        center = Center(place, processes)
        config = prepare(center, place, devices, port, traps=bool(traps))
        state = center.enrol(place / "agent", name="probe")
        # As the service unit runs it.
        command = (str(BIN / "haidang-agent"), "run", "--config", str(config), "--state-dir", str(state))
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["MALLOC_ARENA_MAX"] = "1"
        agent = cleanup.enter_context(running(*command, log=place / "agent.log", env=environment))
        wait_for("every device is up", lambda: up(center)[0] == devices, 180)
        print("  every device was polled once", file=sys.stderr)
        before, served = cpu_seconds(agent), cpu_seconds(snmpd)
        time.sleep(WINDOW_SECONDS)
        share = (cpu_seconds(agent) - before) / WINDOW_SECONDS
        snmpd_share = (cpu_seconds(snmpd) - served) / WINDOW_SECONDS
        there, longest = up(center)
        mine = pss_bytes(agent) / 1e6
        peer = cleanup.enter_context(
            running(need("prometheus-snmp-exporter"), f"--config.file={place / 'snmp.yml'}",
                    f"--web.listen-address=127.0.0.1:{exporter_port}", log=place / "exporter.log")
        )  # fmt: skip
        wait_http(f"http://127.0.0.1:{exporter_port}/metrics")
        before = cpu_seconds(peer)
        for number in range(devices):
            target = f"target={address(number)}:{port}&module=bench"
            urllib.request.urlopen(f"http://127.0.0.1:{exporter_port}/snmp?{target}", timeout=30).read()
        their_share = (cpu_seconds(peer) - before) / 60
        what = f"{devices} devices of {ports} ports every 60 s"
        show(f"whole probe, {what}, share of a core", share, their_share, "snmp_exporter (interfaces alone)", "-")
        show(f"whole probe, {what}, memory", mine, pss_bytes(peer) / 1e6, "snmp_exporter", "<= 1.5", " MB")
        print(f"  {there} of {devices} up, the longest poll {longest:.2f} s; snmpd used {snmpd_share:.2f} of a core")


if __name__ == "__main__":
    if os.environ.get("HAIDANG_BENCH_ALONE") != "1":  # again, in a network of our own
        os.environ["HAIDANG_BENCH_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    arguments = [int(argument) for argument in sys.argv[1:]]
    main(*(arguments + [1000, 24, 0][len(arguments) :]))
