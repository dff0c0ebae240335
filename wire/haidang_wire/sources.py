"""What kinds of source there are, what each is about, and which facts and events it says.

A report's `source` is a kind, or `KIND:DEVICE` where it is about a device that is polled. Bodies of facts and events:
kinds.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

AGENT = "agent"
HOST = "host"
INVENTORY = "inventory"
LAN = "lan"
LIFECYCLE = "lifecycle"
LINKS = "links"
LLDP = "lldp"
PATH_STATE = "path_state"
PATHS = "paths"
REACHABILITY = "reachability"
REFLECTOR = "reflector"
ROUTES = "routes"
SERVICES = "services"
SNMP = "snmp"
TRANSCEIVERS = "transceivers"
TRAPS = "traps"


class About(Enum):
    """What reports of a kind of source may name. By what right an agent does: the collector's registry/rights.py."""

    ITSELF = "the machine it runs on, also as a device with ports"
    MACHINE = "the machine it runs on, and the networks of its site"
    DEVICE = "the device that its name says, which the agent polls"
    PATHS = "sites and circuits to which the agent measures"
    SERVICES = "services the agent asks, and the units whose documents they count"


@dataclass(frozen=True)
class SourceKind:
    """A kind of source: the kinds of fact and event it says, none where it says samples alone."""

    about: About
    facts: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


_OF_DEVICES = ("link_down", "link_up", "dying_gasp")

SOURCES = {
    AGENT: SourceKind(About.ITSELF),
    HOST: SourceKind(About.ITSELF),
    INVENTORY: SourceKind(
        About.MACHINE,
        facts=("machine", "disks", "system", "software", "security", "displays", "printers", "logon"),
    ),
    LAN: SourceKind(About.MACHINE, facts=("network",)),
    LIFECYCLE: SourceKind(About.ITSELF, events=("agent_started", "agent_stopped", "spool_damaged")),
    LINKS: SourceKind(About.ITSELF, events=_OF_DEVICES),
    LLDP: SourceKind(About.ITSELF, facts=("neighbours",)),
    PATH_STATE: SourceKind(About.PATHS, events=("path_down", "path_up")),
    PATHS: SourceKind(About.PATHS),
    REACHABILITY: SourceKind(About.ITSELF),
    REFLECTOR: SourceKind(About.ITSELF),
    ROUTES: SourceKind(About.PATHS, facts=("route",), events=("path_changed",)),
    SERVICES: SourceKind(About.SERVICES),
    SNMP: SourceKind(About.DEVICE, facts=("device", "neighbours")),
    TRANSCEIVERS: SourceKind(About.ITSELF, facts=("transceivers",)),
    # Devices have more notifications than can be named: an event of any other kind is a DeviceEvent, too.
    TRAPS: SourceKind(About.DEVICE, events=_OF_DEVICES),
}
"""Every kind of source; a report of another one is refused."""
