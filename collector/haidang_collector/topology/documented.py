"""Whether cables run as the registry says: its circuits against what devices see of their neighbours (LLDP, CDP)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from haidang_wire.labels import to_identifier

from haidang_collector.registry.model import Circuit, End, Registry

WRONG_DEVICE, WRONG_PORT, UNDOCUMENTED = "wrong_device", "wrong_port", "undocumented"


# Of LLDP's own texts none is longer; a switch has fewer ports; a probe polls some hundred of them.
_MOST_TEXT = 255
_MOST_NEIGHBOURS = 1000
_MOST_CHARACTERS_AN_AGENT = 4_000_000
# What a neighbour takes beside its texts, in characters.
_OVERHEAD = 100


@dataclass(frozen=True)
class Neighbour:
    """What a device sees at its own `interface`: the other's system name, and its port by id and description.
    `identifier` is the device that bears this name as its id, if one does."""

    interface: str
    system: str
    port: str = ""
    port_description: str = ""
    identifier: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identifier", to_identifier(self.system.partition(".")[0], ""))


@dataclass
class _Share:
    """What is kept of what an agent said of a device's neighbours, in characters."""

    agent: str
    characters: int


class Documented:
    """What devices see of their neighbours, by device, and what they call themselves: kept within bounds, so that no
    agent has more of the collector's memory than its share."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Neighbour]] = {}
        self.names: dict[str, str] = {}
        self._shares: dict[str, _Share] = {}

    @property
    def system_names(self) -> dict[str, str]:
        """Names devices give themselves, to their ids; one that two of them have is nobody's."""
        seen = Counter(self.names.values())
        return {name: device for device, name in self.names.items() if seen[name] == 1}

    def call(self, device: str, name: str) -> None:
        """Note what a device calls itself."""
        self.names[device] = name[:_MOST_TEXT]

    def note(self, agent: str, device: str, said: Iterable[tuple[str, str, str, str]]) -> set[str]:
        """Note what a device sees, by the texts of a Neighbour; at which of its interfaces that is."""
        beside = (share for name, share in self._shares.items() if name != device and share.agent == agent)
        room = _MOST_CHARACTERS_AN_AGENT - sum(share.characters for share in beside)
        texts, used = [], 0
        for each in islice(said, _MOST_NEIGHBOURS):
            cut = tuple(text[:_MOST_TEXT] for text in each)
            used += _OVERHEAD + sum(map(len, cut))
            if used > room:
                break
            texts.append(cut)
        self._shares[device] = _Share(agent, min(used, room))
        present = self.seen.get(device)
        # What is said again stays the same object: it need not be compared again.
        if present is None or [_texts(each) for each in present] != texts:
            self.seen[device] = [Neighbour(*each) for each in texts]
        return {interface for interface, *_ in texts}


def _texts(neighbour: Neighbour) -> tuple[str, ...]:
    return neighbour.interface, neighbour.system, neighbour.port, neighbour.port_description


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


class Cables:
    """Compares what devices see with a registry, each device again only when it sees something else."""

    def __init__(self, registry: Registry) -> None:
        self._devices = {device.id: device.site for device in registry.devices}
        self._ports: dict[tuple[str, str], tuple[Circuit, End]] = {}
        for each in registry.circuits:
            for near, beyond in (each.ends, each.ends[::-1]):
                if near.interface:
                    self._ports[near.device, near.interface] = (each, beyond)
        self._names: Mapping[str, str] = {}
        self._found: dict[str, tuple[Sequence[Neighbour], list[Mismatch]]] = {}

    def mismatches(self, seen: Mapping[str, Sequence[Neighbour]], names: Mapping[str, str]) -> list[Mismatch]:
        """All there are. `seen` is by device; `names` the system names devices give themselves, to their ids; one that
        is not there is taken for the device of the same id. Neighbours the registry does not know say nothing."""
        if names != self._names:
            self._found.clear()
        self._names = names
        for device, neighbours in seen.items():
            known = self._found.get(device)
            if known is None or known[0] is not neighbours:
                self._found[device] = (neighbours, list(self._of_device(device, neighbours)))
        return [mismatch for device in sorted(seen) for mismatch in self._found[device][1]]

    def _of_device(self, device: str, neighbours: Sequence[Neighbour]) -> Iterator[Mismatch]:
        site = self._devices.get(device)
        if site is None:
            return
        for neighbour in neighbours:
            other = self._names.get(neighbour.system) or neighbour.identifier
            if other not in self._devices or other == device:
                continue
            circuit, far = self._ports.get((device, neighbour.interface)) or (None, None)
            problem = _problem(site, self._devices[other], other, neighbour, far)
            if problem:
                expected = f"{far.device} {far.interface}".strip() if far else ""
                yield Mismatch(
                    site, device, neighbour.interface, circuit.id if circuit else "", problem, expected,
                    f"{other} {neighbour.port}".strip(),
                )  # fmt: skip


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
