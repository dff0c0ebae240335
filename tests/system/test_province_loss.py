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
# Beyond the windows of the rules that are to fire; HAIDANG_LOSS_SECONDS=1800 for the half hour nobody waits for in CI.
LOSS_SECONDS = int(os.environ.get("HAIDANG_LOSS_SECONDS", "150"))
_LATE_SECONDS = 240
PAGES = {"HaidangPathLoss", "HaidangCircuitCongested"}


def flood(network: Wan, circuit: str) -> subprocess.Popen[bytes]:
    """Fill a circuit from its second end to its first with ten megabits a second, however slow the machine's sleep."""
    to, sender = CIRCUITS[circuit]
    program = f"""
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
due, at = 0.0, time.monotonic()
while True:
    time.sleep(0.002)
    now = time.monotonic()
    due, at = min(due + (now - at) * 900, 500.0), now
    while due >= 1.0:
        s.sendto(bytes(1400), ('{circuit_address(circuit, to)}', 9))  # nobody is there, and a socket that is connected would mind
        due -= 1.0
"""
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
        stack = Stack(tmp_path, processes, center, port, soon=tuple(PAGES))
        network.start_agents(center, stamp=True)
        wait_for("all is well", lambda: len(stack.query("haidang_site_up == 1")) == len(SITES), 60)
        told = 'increase(haidang_path_packets_sent_total{agent="probe-ttdl",target="x3",protocol="stamp"}[30s]) > 5'
        wait_for("STAMP is reflected", lambda: stack.query(told), 60)

        network.lose("hub-x1", 5)
        network.lose("hub-x2", 20)
        network.lose("hub-x3", 20, "there")
        network.narrow("r5-dual", 8_000_000)
        flooding = flood(network, "r5-dual")
        began = time.monotonic()
        # The fault itself, and until everything is said that should be.
        while (took := time.monotonic() - began) < LOSS_SECONDS or not {
            name for _, name, _ in stack.webhook.alerts
        } >= PAGES:
            assert took < LOSS_SECONDS + _LATE_SECONDS, stack.webhook.alerts
            time.sleep(5)
            assert not stack.query("haidang_outage_open")
            assert len(stack.query("haidang_site_up == 1")) == len(SITES)
        paged = {name for status, name, _ in stack.webhook.alerts if status == "firing"} - {"HaidangWatchdog"}
        assert paged - {"HaidangPathSlow"} == PAGES

        def lossy() -> set[str]:
            return {
                labels["target"]
                for _, name, labels in stack.webhook.alerts
                if name == "HaidangPathLoss" and labels["agent"] == "probe-ttdl"
            }

        wait_for("all lossy lines are warned of", lambda: lossy() >= {"x1", "x2", "x3"}, _LATE_SECONDS)
        assert lossy() & {site for site in SITES if site.startswith("r") or site in ("hub", "dual")} == set()
        full = {labels["circuit"] for _, name, labels in stack.webhook.alerts if name == "HaidangCircuitCongested"}
        assert full == {"r5-dual"}
        lost = "increase(haidang_path_direction_lost_total{{agent='probe-ttdl',target='x3',direction='{}'}}[3m])"
        (there,), (back,) = stack.query(lost.format("there")), stack.query(lost.format("back"))
        assert float(there["value"][1]) > 10
        assert float(back["value"][1]) < 5
        flooding.kill()
