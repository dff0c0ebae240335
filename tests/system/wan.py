"""A province of namespaces: every site a router and its agent, every circuit a fiber through a namespace of the
carrier's, where it can be cut, swallowed or filled. Routers speak OSPF with each other (bird)."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import BIN, Center, Processes, require, wait_for
from tests.system.network import ip, own_namespace
from tests.unit.province import CIRCUITS, SITES

OFFICIALS = {site: 10 + number for number, site in enumerate(SITES)}
CENTER_ADDRESS = "10.9.100.2"
PROBE = "probe-ttdl"
BANDWIDTH_BITS = 8_000_000
_COST = 10
# A site with a UPS its agent polls.
UPS_SITE, UPS, UPS_COMMUNITY = "x3", "ups-x3", "nguồn điện"
UPS_ADDRESS = f"10.9.{SITES.index(UPS_SITE)}.2"
UPS_OUTPUT_SOURCE = "1.3.6.1.2.1.33.1.4.1.0"  # upsOutputSource (RFC 1628): 3 is normal, 5 is battery


def registry(stamp: bool = False) -> dict[str, Any]:
    """The registry's document."""
    return {
        "province": {"name": "Tỉnh Ví Dụ", "center": "ttdl"},
        "sites": [
            {
                "id": site, "name": f"UBND {site}", "level": "province" if site == "ttdl" else "commune",
                "officials": OFFICIALS[site], "address": f"10.9.{number}.1",
                "probe": PROBE if site == "ttdl" else f"sw-{site}",
                **({"stamp_port": 862} if stamp and site != "ttdl" else {}),
            }
            for number, site in enumerate(SITES)
        ],
        "carriers": [
            {"id": "vta", "name": "Viễn thông A", "telephone": "0200 800 119"},
            {"id": "vtb", "name": "Viễn thông B", "telephone": "0200 800 126"},
        ],
        "devices": [
            {"id": f"sw-{site}", "site": site, "role": "router", "address": f"10.9.{number}.1"}
            for number, site in enumerate(SITES)
        ]
        + [
            {
                "id": UPS, "site": UPS_SITE, "role": "ups", "address": UPS_ADDRESS,
                "agent": f"sw-{UPS_SITE}", "credential": "ups",
            }
        ],
        "circuits": [
            {
                "id": name, "carrier": "vtb" if name == "r5-dual" else "vta", "carrier_circuit_id": f"VT-{name}",
                "bandwidth_bits_per_second": BANDWIDTH_BITS, "sla_availability_ratio": 0.995,
                "ends": [
                    {"site": site, "device": f"sw-{site}", "interface": name, "address": circuit_address(name, site)}
                    for site in ends
                ],
            }
            for name, ends in CIRCUITS.items()
        ],
    }  # fmt: skip


def circuit_address(name: str, site: str) -> str:
    number = list(CIRCUITS).index(name)
    return f"10.8.{number}.{CIRCUITS[name].index(site)}"


class Wan:
    """The network, and what can happen to it. This thread's namespace is the machine of the data center."""

    def __init__(self, folder: Path, processes: Processes, costs: Mapping[str, int] | None = None) -> None:
        """`costs` are OSPF's of circuits that are not the usual one: of two ways that cost the same a router's kernel
        chooses by a seed of its own, another one each boot."""
        self.folder = folder
        self.processes = processes
        self._costs = costs or {}
        self._prefix = f"hd{os.getpid()}"
        self._carrier = self.namespace("carrier")
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._agent_command: dict[str, tuple[str, ...]] = {}

    def namespace(self, site: str) -> str:
        return f"{self._prefix}-{site}"

    def within(self, site: str, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.namespace(site), *command], check=True, capture_output=True)

    def build(self) -> None:
        """Namespaces, fibers, routers, until everybody is reached."""
        _remove_leftovers()
        ip("link", "set", "lo", "up")
        ip("netns", "add", self._carrier)
        for site in SITES:
            self._add_site(site)
        # The data center's machine hangs on its router by one cable.
        ip("link", "add", "uplink", "type", "veth", "peer", "name", "dc", "netns", self.namespace("ttdl"))
        ip("address", "add", f"{CENTER_ADDRESS}/30", "dev", "uplink")
        ip("link", "set", "uplink", "up")
        ip("route", "add", "default", "via", "10.9.100.1")
        ip("-n", self.namespace("ttdl"), "address", "add", "10.9.100.1/30", "dev", "dc")
        ip("-n", self.namespace("ttdl"), "link", "set", "dc", "up")
        for name in CIRCUITS:
            self._add_circuit(name)
        for site in SITES:
            self._start_router(site)
        self._start_ups()
        wait_for("every site is reached", lambda: all(self.reaches(site) for site in SITES), 60)

    def _add_site(self, site: str) -> None:
        name, number = self.namespace(site), SITES.index(site)
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "address", "add", f"10.9.{number}.1/32", "dev", "lo")
        self.within(site, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")

    def _add_circuit(self, name: str) -> None:
        """A bridge in the carrier's namespace with a cable to each end: the ends keep their ports when it is cut."""
        ip("-n", self._carrier, "link", "add", name, "type", "bridge")
        ip("-n", self._carrier, "link", "set", name, "up")
        for place, site in enumerate(CIRCUITS[name]):
            end = f"{list(CIRCUITS).index(name)}.{place}"
            ip(
                "-n",
                self.namespace(site),
                "link",
                "add",
                name,
                "type",
                "veth",
                "peer",
                "name",
                end,
                "netns",
                self._carrier,
            )
            ip("-n", self.namespace(site), "address", "add", f"{circuit_address(name, site)}/31", "dev", name)
            ip("-n", self.namespace(site), "link", "set", name, "up")
            ip("-n", self._carrier, "link", "set", end, "master", name, "up")

    def _ends(self, name: str) -> list[str]:
        return [f"{list(CIRCUITS).index(name)}.{place}" for place in (0, 1)]

    def _start_router(self, site: str) -> None:
        circuits = [name for name, ends in CIRCUITS.items() if site in ends]
        interfaces = "".join(
            f'interface "{name}" {{ type ptp; hello 1; dead 4; cost {self._costs.get(name, _COST)}; }};\n'
            for name in circuits
        )
        stubs = 'interface "lo" { stub; };\n' + ('interface "dc" { stub; };\n' if site == "ttdl" else "")
        file = self.folder / f"bird-{site}.conf"
        file.write_text(
            f"router id 10.9.{SITES.index(site)}.1;\nprotocol device {{ scan time 1; }}\n"
            "protocol kernel { ipv4 { export all; }; merge paths off; }\n"
            f"protocol ospf v2 {{ ipv4 {{ import all; }}; area 0 {{\n{interfaces}{stubs}}}; }}\n"
        )
        control = str(self.folder / f"bird-{site}.ctl")
        self._run(site, f"bird-{site}", require("bird"), "-f", "-c", str(file), "-s", control)

    def _start_ups(self) -> None:
        """net-snmp's agent in the place of a UPS's card, whose values can be set."""
        ip("-n", self.namespace(UPS_SITE), "address", "add", f"{UPS_ADDRESS}/32", "dev", "lo")
        file = self.folder / "ups.conf"
        file.write_text(
            f'agentaddress udp:{UPS_ADDRESS}:161\nsysObjectID 1.3.6.1.2.1.33\nrwcommunity "{UPS_COMMUNITY}"\n'
            'override 1.3.6.1.2.1.33.1.1.2.0 octet_str "UPS 3000"\n'  # upsIdentModel
            "override 1.3.6.1.2.1.33.1.2.1.0 integer 2\n"  # upsBatteryStatus: normal
            f"override -rw {UPS_OUTPUT_SOURCE} integer 3\n",
            encoding="utf-8",
        )
        environment = {"SNMP_PERSISTENT_DIR": str(self.folder / "ups"), "MIBS": ""}
        command = (
            "ip",
            "netns",
            "exec",
            self.namespace(UPS_SITE),
            require("snmpd"),
            "-f",
            "-Lo",
            "-C",
            "-c",
            str(file),
        )
        self.processes.start("ups", *command, "-p", str(self.folder / "ups.pid"), env=environment)

    def mains(self, *, there: bool) -> None:
        """The UPS has its mains, or lives on its battery."""
        value = ("i", "3" if there else "5")
        self.within(UPS_SITE, "snmpset", "-v2c", "-c", UPS_COMMUNITY, f"{UPS_ADDRESS}:161", UPS_OUTPUT_SOURCE, *value)

    def _run(self, site: str, name: str, *command: str) -> subprocess.Popen[bytes]:
        return self.processes.start(name, "ip", "netns", "exec", self.namespace(site), *command)

    def reaches(self, site: str) -> bool:
        address = f"10.9.{SITES.index(site)}.1"
        return subprocess.run(["ping", "-c1", "-W1", "-q", address], capture_output=True).returncode == 0

    # Agents

    def start_agents(self, center: Center, *, stamp: bool = False) -> None:
        for site in SITES:
            self._add_agent(center, site, f"sw-{site}", stamp=stamp)
        self._add_agent(center, "ttdl", PROBE, here=True)

    def _add_agent(self, center: Center, site: str, name: str, *, here: bool = False, stamp: bool = False) -> None:
        folder = center.enrol(self.folder / name, site=site, name=name)
        config = self.folder / f"{name}.toml"
        text = "".join(f"[sources.{source}]\nenabled = true\n" for source in ("links", "paths"))
        text += "[sources.reachability]\nenabled = false\n[sources.inventory]\nenabled = false\n[uplink]\ntimeout_seconds = 4\nbackoff_max_seconds = 4\n"
        if stamp and not here and site != "ttdl":
            text += "[sources.reflector]\nenabled = true\n"
        if site == UPS_SITE:
            secrets = self.folder / "snmp.toml"
            secrets.write_text(f'[ups]\nversion = "2c"\ncommunity = "{UPS_COMMUNITY}"\n', encoding="utf-8")
            secrets.chmod(0o600)
            text += f'[sources.snmp]\nenabled = true\ninterval_seconds = 5\ntimeout_seconds = 4\ncredentials_file = "{secrets}"\n'
            text += "[sources.snmp.traps]\nenabled = false\n"
        config.write_text(text)
        command = (str(BIN / "haidang-agent"), "run", "--state-dir", str(folder), "--config", str(config))
        self._agent_command[name] = command if here else ("ip", "netns", "exec", self.namespace(site), *command)
        self.start_agent(name)

    def start_agent(self, name: str) -> None:
        self._agents[name] = self.processes.start(name, *self._agent_command[name])

    def kill_agent(self, name: str) -> None:
        self._agents[name].kill()
        self._agents[name].wait()

    # What happens

    def cut(self, *circuits: str) -> float:
        """Fibers are cut: both ends lose their link. When, in Unix seconds."""
        at = time.time()
        for end in [end for name in circuits for end in self._ends(name)]:
            ip("-n", self._carrier, "link", "set", end, "down")
        return at

    def restore(self, *circuits: str) -> float:
        at = time.time()
        for end in [end for name in circuits for end in self._ends(name)]:
            ip("-n", self._carrier, "link", "set", end, "up")
        return at

    def swallow(self, circuit: str) -> float:
        """The carrier lets nothing through, and its ports stay up."""
        at = time.time()
        for end in self._ends(circuit):
            ip("-n", self._carrier, "link", "set", end, "nomaster")
        return at

    def release(self, circuit: str) -> float:
        at = time.time()
        for end in self._ends(circuit):
            ip("-n", self._carrier, "link", "set", end, "master", circuit)
        return at

    def power_off(self, site: str) -> float:
        """The site's router and agent lose their power: its links go dark for the neighbours."""
        self.kill_agent(f"sw-{site}")
        return self.cut(*(name for name, ends in CIRCUITS.items() if site in ends))

    def power_on(self, site: str) -> float:
        at = self.restore(*(name for name, ends in CIRCUITS.items() if site in ends))
        self.start_agent(f"sw-{site}")
        return at

    def uplink(self, state: str) -> float:
        """The cable of the data center's machine."""
        at = time.time()
        ip("link", "set", "uplink", state)
        if state == "up":
            ip("route", "replace", "default", "via", "10.9.100.1")
        return at

    def lose(self, circuit: str, percent: int, direction: str = "both") -> None:
        """Drop packets at random: from the first end to the second (there), back, or both; 0 for none."""
        site = CIRCUITS[circuit][1]
        text = f"table ip {circuit.replace('-', '_')}"
        rules = f"{text}\ndelete {text}\n"
        if percent:
            drop = f"meta l4proto {{ icmp, udp, tcp }} numgen random mod 100 < {percent} drop"
            chains = {"there": ("prerouting", "iifname"), "back": ("postrouting", "oifname")}
            wanted = chains if direction == "both" else {direction: chains[direction]}
            body = "".join(
                f'chain {name} {{ type filter hook {hook} priority 0; {match} "{circuit}" {drop}\n}}\n'
                for name, (hook, match) in wanted.items()
            )
            rules += f"{text} {{\n{body}}}\n"
        command = ["ip", "netns", "exec", self.namespace(site), "nft", "-f", "-"]
        subprocess.run(command, input=rules, text=True, check=True, capture_output=True)

    def narrow(self, circuit: str, bits_per_second: int) -> None:
        """What the line carries; 0 for as much as comes."""
        for end in self._ends(circuit):
            if bits_per_second:
                shape = ("tbf", "rate", f"{bits_per_second}bit", "burst", "16kb", "latency", "200ms")
                subprocess.run(["tc", "-n", self._carrier, "qdisc", "replace", "dev", end, "root", *shape], check=True)
            else:
                subprocess.run(["tc", "-n", self._carrier, "qdisc", "del", "dev", end, "root"], capture_output=True)

    def mend(self) -> None:
        """Whatever a test left broken."""
        for name in CIRCUITS:
            self.release(name)
            self.restore(name)
        self.uplink("up")
        self.mains(there=True)
        for name, agent in self._agents.items():
            if agent.poll() is not None:
                self.start_agent(name)

    def tear_down(self) -> None:
        for site in [*SITES, "carrier"]:
            subprocess.run(["ip", "netns", "delete", self.namespace(site)], capture_output=True)


def _remove_leftovers() -> None:
    """Namespaces of tests that were killed."""
    for line in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines():
        found = re.match(r"hd(\d+)-", line)
        if found and not Path(f"/proc/{found[1]}").exists():
            subprocess.run(["ip", "netns", "delete", line.split()[0]], capture_output=True)


@contextlib.contextmanager
def wan(folder: Path, processes: Processes, costs: Mapping[str, int] | None = None) -> Iterator[Wan]:
    """The network, built; everything this thread starts meanwhile lives on the data center's machine."""
    with own_namespace():
        made = Wan(folder, processes, costs)
        try:
            made.build()
            yield made
        finally:
            made.tear_down()


def write_registry(folder: Path, *, stamp: bool = False) -> Path:
    file = folder / "registry.yaml"
    file.write_text(yaml.safe_dump(registry(stamp), allow_unicode=True), encoding="utf-8")
    return file
