"""Links: what is at the other end of a port, by the registry, by what devices see (LLDP, CDP), by who is heard (ARP).

One type for all of them, and pure functions from what was said to links. What is said comes from outside: texts are
cut, and only so many of a device are taken.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from haidang_wire.labels import to_identifier

from haidang_collector.registry.model import Registry

Source = Literal["registry", "lldp", "cdp", "arp", "other"]
# Of LLDP's own texts none is longer (IEEE 802.1AB-2016, 8.5); a switch has fewer ports.
MOST_TEXT = 255
MOST_A_DEVICE = 1000
_MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)

Address = tuple[str, str]
"""A site, and an address on its networks."""


@dataclass(frozen=True)
class Neighbour:
    """What a device sees at its own `interface`: the other's system name, and its port by id and description."""

    interface: str
    system: str
    port: str = ""
    port_description: str = ""

    @property
    def identifier(self) -> str:
        """The device that bears this name as its id, if one does."""
        return to_identifier(self.system.partition(".")[0], "")


@dataclass(frozen=True, kw_only=True)
class Link(Neighbour):
    """A neighbour, with its near end and who says so: `agent` (empty for the registry) tells what `source` says of a
    port of `device` at `site`. Of ARP the near end is the agent's machine, which is no device here, at no known port.

    `far_site` and `far_device` are the registry's, where source or address tell them; `chassis` and `address` the
    other's own; `circuit` is the registry's.
    """

    source: Source
    site: str
    device: str = ""
    agent: str = ""
    chassis: str = ""
    address: str = ""
    far_site: str = ""
    far_device: str = ""
    circuit: str = ""


def of_registry(registry: Registry) -> list[Link]:
    """A circuit is a link from each of its ends to the other, that from its first one before that from its second."""
    return [
        Link(
            near.interface, "", beyond.interface, source="registry", site=near.site, device=near.device,
            address=beyond.address, far_site=beyond.site, far_device=beyond.device, circuit=circuit.id,
        )
        for circuit in registry.circuits
        for near, beyond in (circuit.ends, circuit.ends[::-1])
    ]  # fmt: skip


def seen(agent: str, site: str, device: str, body: Mapping[str, Any]) -> Iterator[Link]:
    """What a device sees of its neighbours, by the body of its fact `neighbours`: as many as it may have."""
    for each in _objects(body, "neighbours")[:MOST_A_DEVICE]:
        yield Link(
            _text(each, "interface"), _text(each, "system"), _text(each, "port"), _text(each, "port_description"),
            source=_source(_text(each, "protocol")), site=site, device=device, agent=agent,
            chassis=_text(each, "chassis"),
        )  # fmt: skip


def heard(agent: str, site: str, body: Mapping[str, Any], devices: Mapping[Address, str]) -> list[Link]:
    """The devices of its site that a machine has in its neighbour table, by the body of its fact `network`: the others
    there are devices on networks, and no links."""
    found = {
        devices[at]: (each, at[1])
        for each in _objects(body, "devices")
        if (at := (site, _text(each, "address"))) in devices and _MAC.fullmatch(_text(each, "mac"))
    }
    return [
        Link(
            "", "", source="arp", site=site, agent=agent, chassis=_text(each, "mac").lower(), address=address,
            far_site=site, far_device=device,
        )
        for device, (each, address) in found.items()
    ]  # fmt: skip


def addresses(registry: Registry | None) -> dict[Address, str]:
    """The device at each address of each site: private addresses may be there at many sites."""
    return dict(_addresses(registry)) if registry else {}


def _addresses(registry: Registry) -> Iterator[tuple[Address, str]]:
    for circuit in registry.circuits:
        yield from (((end.site, end.address), end.device) for end in circuit.ends if end.device and end.address)
    for device in registry.devices:
        yield from (((device.site, address), device.id) for address in (*device.trap_addresses, device.address))


def device_of(neighbour: Neighbour, devices: Container[str], names: Mapping[str, str]) -> str:
    """The device of the registry that a neighbour is: the one that gives itself this name (`names`, to ids), else the
    one of the same id; empty for none."""
    known = names.get(neighbour.system) or neighbour.identifier
    return known if known in devices else ""


def resolved(link: Link, sites: Mapping[str, str], names: Mapping[str, str]) -> Link:
    """With the registry's device at its far end, and the site of that; `sites` by device, `names` as of device_of."""
    other = link.far_device or device_of(link, sites, names)
    return replace(link, far_device=other, far_site=sites.get(other, link.far_site))


def _source(protocol: str) -> Source:
    """By what a neighbour was heard; lldpd tells the version of CDP too, and of protocols that are no standard."""
    for source in ("lldp", "cdp"):
        if protocol.lower().startswith(source):
            return source
    return "other"


def _objects(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = body.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value[:MOST_TEXT] if isinstance(value, str) else ""
