"""Whether cables run as the registry says: its circuits against what devices see of their neighbours (LLDP, CDP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from haidang_wire.labels import to_identifier

from haidang_collector.registry import Circuit, End, Registry

WRONG_DEVICE, WRONG_PORT, UNDOCUMENTED = "wrong_device", "wrong_port", "undocumented"


@dataclass(frozen=True)
class Neighbour:
    """What a device sees at its own `interface`: the other's system name, and its port by id and description."""

    interface: str
    system: str
    port: str = ""
    port_description: str = ""


@dataclass(frozen=True)
class Mismatch:
    """A port where the cable does not run as documented: `expected` and `found` are DEVICE PORT, expected empty for
    a link between two sites that no circuit is for."""

    site: str
    device: str
    interface: str
    circuit: str
    problem: str
    expected: str
    found: str


def mismatches(registry: Registry, seen: Mapping[str, Sequence[Neighbour]], names: Mapping[str, str]) -> list[Mismatch]:
    """All there are. `seen` is by device; `names` the system names devices give themselves, to their ids; one that is
    not there is taken for the device of the same id. Neighbours the registry does not know say nothing."""
    devices = {device.id: device for device in registry.devices}
    ports: dict[tuple[str, str], tuple[Circuit, End]] = {}
    for each in registry.circuits:
        for near, beyond in (each.ends, each.ends[::-1]):
            if near.interface:
                ports[near.device, near.interface] = (each, beyond)
    found = []
    for device, neighbours in sorted(seen.items()):
        for neighbour in neighbours:
            other = names.get(neighbour.system) or to_identifier(neighbour.system.partition(".")[0], "")
            if device not in devices or other not in devices or other == device:
                continue
            circuit: Circuit | None
            far: End | None
            circuit, far = ports.get((device, neighbour.interface)) or (None, None)
            problem = _problem(devices[device].site, devices[other].site, other, neighbour, far)
            if problem:
                expected = f"{far.device} {far.interface}".strip() if far else ""
                found.append(
                    Mismatch(
                        devices[device].site, device, neighbour.interface, circuit.id if circuit else "", problem,
                        expected, f"{other} {neighbour.port}".strip(),
                    )
                )  # fmt: skip
    return found


def _problem(site: str, other_site: str, other: str, neighbour: Neighbour, far: End | None) -> str:
    if far is None:
        return UNDOCUMENTED if site != other_site else ""
    if far.device and far.device != other:
        return WRONG_DEVICE
    said = {neighbour.port, neighbour.port_description} - {""}
    # A port that is told by its MAC address alone tells nothing of its name.
    if far.interface and said and far.interface not in said and not all(_is_mac(each) for each in said):
        return WRONG_PORT
    return ""


def _is_mac(text: str) -> bool:
    return len(text) == 17 and text.count(":") == 5
