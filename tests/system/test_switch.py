"""A switch of real parts: net-snmp's snmpd (version 3, AgentX) and lldpd on a machine with 300 interfaces."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.device import Memory
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.poll import poll
from haidang_agent.snmp.profile import load_profiles
from haidang_agent.snmp.session import Session
from haidang_agent.sources.lldp import Lldp

from tests.conftest import Processes, free_port, require, wait_for
from tests.recorded.test_session import Path_, values
from tests.system.network import Fiber, fiber, ip

pytestmark = pytest.mark.system
PAIRS = 150
USER = Credential(
    version="3", user="haidang", auth="sha256", auth_password="authpassword",
    privacy="aes256", privacy_password="privpassword",
)  # fmt: skip


@dataclass
class Switch:
    """The machine is this thread's own namespace; the neighbour stands at the other end of the fiber."""

    folder: Path
    sockets: Path
    processes: Processes
    neighbour: Fiber
    port: int

    def start_snmpd(self) -> subprocess.Popen[bytes]:
        config = self.folder / "snmpd.conf"
        config.write_text(
            # snmpd keeps removed interfaces for five minutes if it is not told otherwise.
            f"interface_fadeout 0\nagentaddress udp:127.0.0.1:{self.port}\nmaster agentx\nagentXSocket unix:{self.sockets}/agentx\n"
            'createUser haidang SHA-256 "authpassword" AES-256 "privpassword"\nrouser haidang priv\n'
        )
        command = (require("snmpd"), "-f", "-Lo", "-C", "-c", str(config), "-p", str(self.folder / "pid"))
        env = {"SNMP_PERSISTENT_DIR": str(self.folder / "state"), "MIBS": ""}
        process = self.processes.start("snmpd", *command, env=env)
        wait_for("snmpd answers", lambda: values(self.poll(), "device_up") == {"": 1}, 30)
        return process

    def poll(self, memory: Memory | None = None, port: int = 0, seconds: float = 2.0) -> Poll:
        session = Session("127.0.0.1", port or self.port, USER, timeout_seconds=seconds, retries=1)
        return asyncio.run(poll("sw", session, load_profiles(), memory=memory))

    def lldpd(self, name: str, interface: str, *prefix: str) -> str:
        """Start a daemon of this system name; its socket."""
        at = str(self.sockets / f"{name}.socket")
        agentx = [] if prefix else ["-x", "-X", f"{self.sockets}/agentx"]
        self.processes.start(
            name, *prefix, require("lldpd"), "-d", "-u", at, "-I", interface, "-S", f"{name} ở huyện", *agentx
        )
        command = ["lldpcli", "-u", at, "show", "interfaces"]
        wait_for("lldpd answers", lambda: subprocess.run(command, capture_output=True).returncode == 0, 20)
        return at


def links() -> dict[str, bool]:
    """Every interface of the machine and whether it is operational, as the kernel says."""
    done = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True, text=True)
    return {link["ifname"]: link["operstate"] != "DOWN" for link in json.loads(done.stdout)}


@pytest.fixture
def switch(tmp_path: Path, processes: Processes) -> Iterator[Switch]:
    require("lldpd")
    with fiber() as neighbour:
        for number in range(PAIRS):
            ip("link", "add", f"ge{number}", "type", "veth", "peer", "name", f"te{number}")
        Path("/run/lldpd").mkdir(exist_ok=True)  # the daemon's empty root; packaged services make it
        # lldpd works as a user of its own, who can't pass through a folder of root's.
        with tempfile.TemporaryDirectory() as open_folder:
            Path(open_folder).chmod(0o755)
            yield Switch(tmp_path, Path(open_folder), processes, neighbour, free_port())
            processes.stop()


def test_three_hundred_interfaces_and_their_neighbour(switch: Switch) -> None:
    switch.start_snmpd()
    socket = switch.lldpd("switch", "fiber")
    other = switch.lldpd("neighbour", "wan0", "ip", "netns", "exec", switch.neighbour.site)
    cli = switch.folder / "lldpcli"
    cli.write_text(f'#!/bin/sh\nexec {shutil.which("lldpcli")} -u {socket} "$@"\n')
    cli.chmod(0o755)

    def seen() -> list[dict[str, str]] | None:
        # Its own interval is half a minute, and a setting made while it starts may be lost again.
        for daemon in (socket, other):
            subprocess.run(["lldpcli", "-u", daemon, "update"], capture_output=True)
        found = Lldp("sw", str(cli)).collect().facts[0].body["neighbours"]
        return found or None

    own = wait_for("lldpd sees the neighbour", seen, 60)
    assert own[0]["interface"] == "fiber"
    assert own[0]["system"]
    assert own[0]["port_description"] == "wan0"
    found = switch.poll()
    assert found.notes == []
    assert set(values(found, "interface_up")) == set(links())
    assert len(values(found, "interface_up")) > 2 * PAIRS
    wait_for("lldpd tells snmpd", lambda: neighbours(switch.poll()), 30)
    over_snmp = neighbours(switch.poll())
    for name in ("interface", "system", "chassis", "port_description"):
        assert over_snmp[0][name] == own[0][name]


def neighbours(found: Poll) -> list[dict[str, str]]:
    (fact,) = (fact for fact in found.facts if fact.kind == "neighbours")
    return fact.body["neighbours"]


def test_interfaces_come_go_and_change_their_names_while_polled(switch: Switch) -> None:
    process = switch.start_snmpd()
    script = (
        "for n in $(seq 0 39); do ip link del ge$n; ip link add new$n type veth peer name old$n;"
        " ip link set ge$((n + 60)) name uplink$n; ip link set te$((n + 60)) up; ip link set uplink$n up; sleep 0.05; done"
    )
    changes = subprocess.Popen(["sh", "-c", script])
    memory, before, polls = Memory(), {}, 0
    try:
        while changes.poll() is None or polls < 8:
            found = switch.poll(memory)
            polls += 1
            assert values(found, "device_up") == {"": 1}
            counters = {k: v for k, v in values(found, "interface_receive_bytes_total").items() if k in before}
            assert all(value >= before[name] for name, value in counters.items())  # no spike, no reset
            before = values(found, "interface_receive_bytes_total") or before
    finally:
        changes.kill()
        changes.wait()

    def settled() -> bool:
        found = switch.poll(memory)
        # What snmpd knew by another name it goes on calling so, until it is started again.
        renamed = {f"uplink{number}" for number in range(40)} | {f"ge{number + 60}" for number in range(40)}
        return set(values(found, "interface_up")) - renamed == set(links()) - renamed and not found.notes

    wait_for("polls say what the machine has", settled, 60)
    process.kill()
    process.wait()
    switch.start_snmpd()
    up = values(switch.poll(memory), "interface_up")
    assert set(up) == set(links())
    assert (up["uplink3"], up["new3"], "ge3" in up) == (1, 0, False)


def test_a_daemon_stopped_in_the_middle_gives_what_was_read(switch: Switch) -> None:
    process = switch.start_snmpd()

    def stop_at_forty(number: int, answer: bytes) -> list[bytes]:
        if number == 40:
            os.kill(process.pid, signal.SIGSTOP)
        return [answer]

    memory = Memory()
    try:
        found = switch.poll(memory, Path_(switch.port, stop_at_forty).port, seconds=0.5)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert values(found, "device_up") == {"": 1}
    assert values(found, "device_poll_complete") == {"": 0}
    assert any("answer" in note for note in found.notes)
    assert len(found.samples) > 300
    again = switch.poll(memory)
    assert values(again, "device_poll_complete") == {"": 1}
    assert set(values(again, "interface_up")) == set(links())


def test_a_restart_is_seen_and_everything_read_anew(switch: Switch) -> None:
    process = switch.start_snmpd()
    memory = Memory()
    assert switch.poll(memory).facts
    assert not switch.poll(memory).facts  # what seldom changes is read seldom
    time.sleep(1.1)  # sysUpTime counts hundredths, this waits for it to be worth something
    process.kill()
    process.wait()
    down = switch.poll(memory, seconds=0.3)
    assert values(down, "device_up") == {"": 0}
    switch.start_snmpd()
    back = switch.poll(memory)
    assert values(back, "device_up") == {"": 1}
    assert back.facts
    assert values(back, "interface_receive_bytes_total")
