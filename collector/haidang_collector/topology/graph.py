"""The province as a graph of sites and circuits, and the frontier: the circuits nearest the data center
whose failure explains every site that is cut off. Pure functions."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from haidang_collector.registry.model import Registry
from haidang_collector.topology import links
from haidang_collector.topology.links import Link


@dataclass(frozen=True)
class Topology:
    """Sites joined by circuits. `ends` are the two sites of each circuit, `neighbours` the circuits of
    each site with the site at the other end, `depth` the fewest circuits between a site and the data center."""

    center: str
    ends: dict[str, tuple[str, str]]
    neighbours: dict[str, tuple[tuple[str, str], ...]]
    depth: dict[str, int] = field(default_factory=dict)

    def other(self, circuit: str, site: str) -> str:
        """The site at the other end."""
        one, two = self.ends[circuit]
        return two if site == one else one


def topology(center: str, sites: Iterable[str], ends: dict[str, tuple[str, str]]) -> Topology:
    """The graph of sites and circuits, by the two ends of each circuit."""
    neighbours: dict[str, list[tuple[str, str]]] = {site: [] for site in sites}
    for circuit, (one, two) in ends.items():
        neighbours[one].append((circuit, two))
        neighbours[two].append((circuit, one))
    joined = {site: tuple(around) for site, around in neighbours.items()}
    return Topology(center, dict(ends), joined, _depth(center, joined))


def of_links(center: str, sites: Iterable[str], said: Iterable[Link]) -> Topology:
    """Of sites and the circuits among links. What devices see makes no circuit: it is compared with them."""
    ends: dict[str, tuple[str, str]] = {}
    for link in said:
        if link.circuit:
            ends.setdefault(link.circuit, (link.site, link.far_site))
    return topology(center, sites, ends)


def of_registry(registry: Registry) -> Topology:
    """The registry's sites and circuits."""
    return of_links(registry.center, (site.id for site in registry.sites), links.of_registry(registry))


def _depth(center: str, neighbours: dict[str, tuple[tuple[str, str], ...]]) -> dict[str, int]:
    depth = {center: 0} if center in neighbours else {}
    waiting = deque(depth)
    while waiting:
        site = waiting.popleft()
        for _, other in neighbours[site]:
            if other not in depth:
                depth[other] = depth[site] + 1
                waiting.append(other)
    return depth


@dataclass(frozen=True)
class Region:
    """Sites cut off together. `frontier` are the circuits between them and the rest, `entries` the sites
    of the region at these, `near` the sites of the rest: all failures that explain the region lie there. A site
    without circuits is a region with itself as entry and nothing beyond it."""

    sites: frozenset[str]
    frontier: tuple[str, ...]
    entries: tuple[str, ...]
    near: tuple[str, ...]


def regions(
    graph: Topology, down: Collection[str], cut: Collection[str], unknown: Collection[str] = ()
) -> list[Region]:
    """The regions of the sites that are down.

    `cut` are circuits known to carry nothing: what lies behind one is a region of its own, for it would
    be cut off by that circuit alone. `unknown` sites are measured by nobody: one counts as down when
    only such as are down lie behind it.
    """
    lost = set(down) | _lost_unknown(graph, set(down), set(unknown))
    found: list[Region] = []
    seen: set[str] = set()
    for site in sorted(lost, key=lambda each: (graph.depth.get(each, len(graph.neighbours)), each)):
        if site not in seen:
            region = _region(graph, site, lost, cut)
            seen |= region.sites
            found.append(region)
    return found


def _region(graph: Topology, first: str, lost: set[str], cut: Collection[str]) -> Region:
    sites, waiting = {first}, [first]
    while waiting:
        for circuit, other in graph.neighbours[waiting.pop()]:
            if other in lost and other not in sites and circuit not in cut:
                sites.add(other)
                waiting.append(other)
    crossing = [
        (circuit, site, other)
        for site in sorted(sites)
        for circuit, other in graph.neighbours[site]
        if other not in sites
    ]
    # What is cut between two regions explains one of them only when nothing nearer does.
    outward = [each for each in crossing if each[2] not in lost] or crossing
    return Region(
        frozenset(sites),
        tuple(sorted({circuit for circuit, _, _ in outward})),
        tuple(sorted({site for _, site, _ in outward})) or (first,),
        tuple(sorted({other for _, _, other in outward})),
    )


def _lost_unknown(graph: Topology, down: set[str], unknown: set[str]) -> set[str]:
    """Sites nobody measures that are taken for down, farthest from the data center first."""
    lost: set[str] = set()
    for site in sorted(unknown - {graph.center}, key=lambda each: -graph.depth.get(each, 0)):
        behind = {other for _, other in graph.neighbours[site] if graph.depth.get(other, 0) > graph.depth.get(site, 0)}
        if behind and behind <= down | lost:
            lost.add(site)
    return lost


def reached(graph: Topology, failed_sites: Collection[str], failed_circuits: Collection[str]) -> set[str]:
    """The sites the data center reaches when these have failed."""
    if graph.center in failed_sites or graph.center not in graph.neighbours:
        return set()
    found, waiting = {graph.center}, [graph.center]
    while waiting:
        for circuit, other in graph.neighbours[waiting.pop()]:
            if other not in found and other not in failed_sites and circuit not in failed_circuits:
                found.add(other)
                waiting.append(other)
    return found


def ways(graph: Topology) -> dict[str, tuple[str, ...]]:
    """The circuits on every way from the data center to each site that is joined to it: without one of them it is not
    reached (the bridges of the graph, by Tarjan's lowest links)."""
    if graph.center not in graph.neighbours:
        return {}
    order, lowest = {graph.center: 0}, {graph.center: 0}
    came = {graph.center: ""}  # the circuit each site was first reached over, in the order they were
    waiting = [(graph.center, iter(graph.neighbours[graph.center]))]
    while waiting:
        site, around = waiting[-1]
        for circuit, other in around:
            if other not in order:
                order[other] = lowest[other] = len(order)
                came[other] = circuit
                waiting.append((other, iter(graph.neighbours[other])))
                break
            if circuit != came[site]:
                lowest[site] = min(lowest[site], order[other])
        else:
            waiting.pop()
            if waiting:
                before = waiting[-1][0]
                lowest[before] = min(lowest[before], lowest[site])
    found: dict[str, tuple[str, ...]] = {graph.center: ()}
    for site, circuit in came.items():
        if circuit:
            before = graph.other(circuit, site)
            found[site] = (*found[before], circuit) if lowest[site] > order[before] else found[before]
    return found
