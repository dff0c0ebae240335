"""Whether cables run as the registry says: its circuits against what devices see of their neighbours (LLDP, CDP)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from haidang_collector.registry.model import Registry
from haidang_collector.topology.links import MOST_A_DEVICE, MOST_TEXT, Link, Neighbour, device_of, of_registry

WRONG_DEVICE, WRONG_PORT, UNDOCUMENTED = "wrong_device", "wrong_port", "undocumented"

# A probe polls some hundred switches.
_MOST_CHARACTERS_AN_AGENT = 4_000_000
# What a neighbour takes beside its texts, in characters.
_OVERHEAD = 100


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
        self.names[device] = name[:MOST_TEXT]

    def note(self, agent: str, device: str, said: Iterable[tuple[str, str, str, str]]) -> set[str]:
        """Note what a device sees, by the texts of a Neighbour; at which of its interfaces that is."""
        beside = (share for name, share in self._shares.items() if name != device and share.agent == agent)
        room = _MOST_CHARACTERS_AN_AGENT - sum(share.characters for share in beside)
        texts, used = [], 0
        for each in islice(said, MOST_A_DEVICE):
            cut = tuple(text[:MOST_TEXT] for text in each)
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
    """Compares what devices see with the registry's links, each device again only when it sees something else."""

    def __init__(self, registry: Registry) -> None:
        self._devices = {device.id: device.site for device in registry.devices}
        self._documented = {(link.device, link.interface): link for link in of_registry(registry) if link.interface}
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
                found = compare(device, neighbours, self._documented, self._devices, names)
                self._found[device] = (neighbours, list(found))
        return [mismatch for device in sorted(seen) for mismatch in self._found[device][1]]


def compare(
    device: str,
    seen: Iterable[Neighbour],
    documented: Mapping[tuple[str, str], Link],
    sites: Mapping[str, str],
    names: Mapping[str, str],
) -> Iterator[Mismatch]:
    """What a device sees against the link that is documented at each (device, interface). `sites` is by the id of each
    device of the registry, `names` as of Cables."""
    if device not in sites:
        return
    for neighbour in seen:
        other = device_of(neighbour, sites, names)
        if not other or other == device:
            continue
        link = documented.get((device, neighbour.interface))
        if problem := _problem(neighbour, other, link, is_other_site=sites[device] != sites[other]):
            yield Mismatch(
                sites[device], device, neighbour.interface, link.circuit if link else "", problem,
                f"{link.far_device} {link.port}".strip() if link else "", f"{other} {neighbour.port}".strip(),
            )  # fmt: skip


def _problem(neighbour: Neighbour, other: str, link: Link | None, *, is_other_site: bool) -> str:
    if link is None:
        return UNDOCUMENTED if is_other_site else ""
    if link.far_device and link.far_device != other:
        return WRONG_DEVICE
    said = {neighbour.port, neighbour.port_description} - {""}
    # A port that is told by its MAC address alone tells nothing of its name.
    if link.port and said and link.port not in said and not all(_is_mac(each) for each in said):
        return WRONG_PORT
    return ""


def _is_mac(text: str) -> bool:
    return len(text) == 17 and text.count(":") == 5
