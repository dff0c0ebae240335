"""What else is on this machine's networks: those the kernel has heard of, then, slowly, those it has not.

To ask, an empty datagram is sent to the discard port (RFC 863) of an address: the kernel then asks for it by ARP or
neighbour discovery, which needs no right and no library, and what answers stands in its table.
Linux alone: the table is iproute2's.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
import subprocess
import time
from typing import Any

from haidang_wire.report import Fact
from haidang_wire.sources import LAN

from haidang_agent.config import LanConfig
from haidang_agent.schedule.source import Findings

_DISCARD = 9
_ANSWER_SECONDS = 5.0
_MOST = 4096
_MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5,19}", re.IGNORECASE)
# Answers come within a second or not at all (neigh/default/retrans_time_ms is 1000).
_LAST_ANSWERS_SECONDS = 2.0


class Lan:
    """The fact `network`: {"devices": [{mac, address}]}."""

    name = LAN

    def __init__(self, config: LanConfig, agent: str) -> None:
        self._config = config
        self._agent = agent

    def collect(self) -> Findings:
        """Raises OSError when iproute2 can't be asked."""
        seen = neighbours(_ip("neigh"))
        if self._config.ask:
            # A neighbour's entry lasts for seconds once it is silent: what was there while asking counts.
            seen.update(self._ask_others(set(seen.values())))
        devices = [{"mac": mac, "address": address} for mac, address in sorted(seen.items())[:_MOST]]
        return Findings(facts=[Fact("network", self._agent, {"devices": devices})])

    def _ask_others(self, known: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        pause = 1 / self._config.packets_a_second
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            for network in networks(_ip("addr"), self._config.largest_network):
                for number, address in enumerate(network.hosts()):
                    if str(address) in known:
                        continue
                    with contextlib.suppress(OSError):  # a full buffer, a route that is gone: asked next time
                        asking.sendto(b"", (str(address), _DISCARD))
                    time.sleep(pause)
                    if number % 64 == 63:
                        found.update(neighbours(_ip("neigh")))
                time.sleep(_LAST_ANSWERS_SECONDS)
                found.update(neighbours(_ip("neigh")))
        return found


def _ip(what: str) -> Any:
    done = subprocess.run(
        ["ip", "-j", what, "show"], capture_output=True, timeout=_ANSWER_SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise OSError(f"iproute2 can't be asked: {done.stderr.decode('utf-8', 'replace').strip()}")
    return json.loads(done.stdout or b"[]")


def _objects(table: Any) -> list[dict[str, Any]]:
    return [each for each in table if isinstance(each, dict)] if isinstance(table, list) else []


def neighbours(table: Any) -> dict[str, str]:
    """MAC → address of neighbours that answered, IPv4 before IPv6, out of `ip -j neigh`."""
    found: dict[str, str] = {}
    for entry in _objects(table):
        mac, address = entry.get("lladdr"), entry.get("dst")
        # A tunnel's neighbours have an IP address in place of a MAC.
        if not isinstance(mac, str) or not isinstance(address, str) or not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
            continue
        states = {str(each) for each in entry.get("state") or ()}
        if not {"FAILED", "INCOMPLETE", "NOARP"} & states and (mac not in found or "." in address):
            found[mac] = address
    return found


def networks(table: Any, largest: int) -> list[ipaddress.IPv4Network]:
    """The IPv4 networks of ports that are up, those of at most so many addresses, out of `ip -j addr`."""
    found: dict[ipaddress.IPv4Network, None] = {}
    for link in _objects(table):
        flags = set(link.get("flags") or ())
        if not {"UP", "BROADCAST"} <= flags or "LOOPBACK" in flags:
            continue
        for each in _objects(link.get("addr_info")):
            if each.get("family") == "inet":
                try:
                    network = ipaddress.IPv4Network(f"{each['local']}/{each['prefixlen']}", strict=False)
                except (KeyError, ValueError):
                    continue
                if 2 < network.num_addresses <= largest:
                    found[network] = None
    return list(found)
