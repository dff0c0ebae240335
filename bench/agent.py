"""The host agent's memory (PSS) and processor time against node_exporter scraped every 15 s and
zabbix-agent2 asked for the same things every 15 s.

    python bench/agent.py [SECONDS]     (default: 600)
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
import urllib.request

from common import BIN, cpu_seconds, folder, free_port, need, pss_bytes, running, show, wait_http

from tests.conftest import Center, Processes

EVERY = 15.0
ZABBIX_KEYS = (
    "system.uptime", "system.cpu.load[all,avg1]", "system.cpu.util", "vm.memory.size[available]",
    "system.swap.size[,total]", "system.swap.size[,free]", "vfs.fs.get", "net.if.discovery", "proc.num",
    "vfs.dev.discovery", "system.uname", "agent.version", "agent.ping",
)  # fmt: skip


def ask_zabbix(port: int) -> None:
    for key in ZABBIX_KEYS:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"ZBXD\x01" + struct.pack("<Q", len(key)) + key.encode())
            while connection.recv(65536):
                pass


def main(seconds: float) -> None:
    with folder() as place, contextlib.ExitStack() as cleanup:
        processes = Processes(place)
        cleanup.callback(processes.stop)
        center = Center(place, processes)
        state = center.enrol(place / "agent")
        exporter_port, zabbix_port = free_port(), free_port(20_000, 32_000)  # zabbix takes none above 32767
        config = place / "zabbix.conf"
        config.write_text(
            f"Server=127.0.0.1\nListenIP=127.0.0.1\nListenPort={zabbix_port}\nHostname=x\nLogFile={place}/zabbix.log\n"
            f"PidFile={place}/zabbix.pid\nControlSocket={place}/zabbix.sock\nPluginSocket={place}/plugin.sock\n"
        )
        # As the service unit runs it.
        ours = (str(BIN / "haidang-agent"), "run", "--state-dir", str(state))
        exporter = (need("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{exporter_port}")
        zabbix = (need("zabbix_agent2"), "-f", "-c", str(config))
        with (
            running(*ours, log=place / "a.log", env={**os.environ, "MALLOC_ARENA_MAX": "1"}) as us,
            running(*exporter) as node,
            running(*zabbix) as zabbix_agent,
        ):
            wait_http(f"http://127.0.0.1:{exporter_port}/")
            time.sleep(10)  # start-up is not what is compared
            before = [cpu_seconds(p) for p in (us, node, zabbix_agent)]
            for number in range(int(seconds / EVERY)):
                urllib.request.urlopen(f"http://127.0.0.1:{exporter_port}/metrics").read()
                ask_zabbix(zabbix_port)
                time.sleep(EVERY)
                if number % 8 == 0:
                    print(f"  {int((number + 1) * EVERY)} of {seconds:.0f} s", file=sys.stderr)
            cpu = [cpu_seconds(p) - b for p, b in zip((us, node, zabbix_agent), before, strict=True)]
            memory = [pss_bytes(p) / 1e6 for p in (us, node, zabbix_agent)]
            resident = [p.memory_info().rss / 1e6 for p in (us, node, zabbix_agent)]
    show("agent memory", memory[0], memory[1], "node_exporter", "<= 1.1", " MB")
    show("agent memory", memory[0], memory[2], "zabbix-agent2", "-", " MB")
    # Here the collector is a second Python and shares its libraries; on a machine with no other
    # Python the agent carries them alone, and the resident size is the truer figure.
    show("agent resident memory", resident[0], resident[1], "node_exporter", "-", " MB")
    show("agent CPU", cpu[0], cpu[1], "node_exporter scraped every 15 s", "<= 1", " s")
    show("agent CPU", cpu[0], cpu[2], "zabbix-agent2", "-", " s")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)
