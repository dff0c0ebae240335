"""Lines that lose packets or are full: warned of, with the direction, and never an outage."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Center, Processes, free_port, wait_for
from tests.system.stack import Stack
from tests.system.wan import CENTER_ADDRESS, Wan, circuit_address, wan, write_registry
from tests.unit.province import CIRCUITS, SITES

pytestmark = [pytest.mark.system, pytest.mark.alone]
# Long enough for every rule that is to fire; HAIDANG_LOSS_SECONDS=1800 for the half hour nobody waits for in CI.
LOSS_SECONDS = int(os.environ.get("HAIDANG_LOSS_SECONDS", "300"))


def flood(network: Wan, circuit: str) -> subprocess.Popen[bytes]:
    """Fill a circuit from its second end to its first."""
    to, sender = CIRCUITS[circuit]
    program = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"while True:\n    s.sendto(bytes(1400), ('{circuit_address(circuit, to)}', 9))\n    time.sleep(0.0012)\n"
    )
    return network.processes.start(
        "flood", "ip", "netns", "exec", network.namespace(sender), sys.executable, "-c", program
    )


@pytest.mark.timeout(LOSS_SECONDS + 600)
def test_lossy_and_full_lines_are_warned_of_and_no_outage(tmp_path: Path, processes: Processes) -> None:
    # The line that will be full is nobody's way to the center: else r4 and r5 are as near over it as over r6, and which
    # way their packets take is the kernel's luck.
    with wan(tmp_path, processes, costs={"r5-dual": 30}) as network:
        port = free_port()
        center = Center(
            tmp_path, processes, CENTER_ADDRESS, f'[remote_write]\nurl = "http://127.0.0.1:{port}/api/v1/write"\n'
        )
        center.command("registry", "load", str(write_registry(tmp_path, stamp=True)))
        stack = Stack(tmp_path, processes, center, port)
        network.start_agents(center, stamp=True)
        wait_for("all is well", lambda: len(stack.query("haidang_site_up == 1")) == len(SITES), 60)
        told = 'increase(haidang_path_packets_sent_total{agent="probe-ttdl",target="x3",protocol="stamp"}[30s]) > 5'
        wait_for("STAMP is reflected", lambda: stack.query(told), 60)

        network.lose("hub-x1", 5)
        network.lose("hub-x2", 30)
        network.lose("hub-x3", 20, "there")
        network.narrow("r5-dual", 8_000_000)
        flooding = flood(network, "r5-dual")
        ends = time.monotonic() + LOSS_SECONDS
        while time.monotonic() < ends:  # the fault itself
            time.sleep(5)
            assert not stack.query("haidang_outage_open")
            assert len(stack.query("haidang_site_up == 1")) == len(SITES)
        paged = {name for status, name, _ in stack.webhook.alerts if status == "firing"} - {"HaidangWatchdog"}
        assert paged - {"HaidangPathSlow"} == {"HaidangPathLoss", "HaidangCircuitCongested"}
        lossy = {
            labels["target"]
            for _, name, labels in stack.webhook.alerts
            if name == "HaidangPathLoss" and labels["agent"] == "probe-ttdl"
        }
        assert {"x1", "x2", "x3"} <= lossy
        assert lossy & {site for site in SITES if site.startswith("r") or site in ("hub", "dual")} == set()
        full = {labels["circuit"] for _, name, labels in stack.webhook.alerts if name == "HaidangCircuitCongested"}
        assert full == {"r5-dual"}
        lost = "increase(haidang_path_direction_lost_total{{agent='probe-ttdl',target='x3',direction='{}'}}[3m])"
        (there,), (back,) = stack.query(lost.format("there")), stack.query(lost.format("back"))
        assert float(there["value"][1]) > 20
        assert float(back["value"][1]) < 5
        flooding.kill()
