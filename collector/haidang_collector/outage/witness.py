"""Who may tell of what, by the registry: live, late, and of what was stored before. One place for all of it.

The gate asks the same of each delivery (rights.py), by the registry of its time; this is asked of what was let in, by
that in force. A device is told of by the agent it is assigned to, or by itself where it runs an agent; a path by the
probe that measures it; each only from the site it stands at.
"""

from __future__ import annotations

from typing import Any

from haidang_wire.report import Event
from haidang_wire.sources import SOURCES, About

from haidang_collector.intake.ingest import Prepared
from haidang_collector.registry.assignments import runs
from haidang_collector.registry.model import Registry

LINK_EVENTS = ("link_down", "link_up")
PATH_EVENTS = ("path_down", "path_up")
GASP = "dying_gasp"
# A report speaks of the time it was taken, its events of the time since the one before it: an inventory's interval is
# the longest. What comes out of a spool is older, but no older than a month.
OLDEST_EVENT_SECONDS = 86400.0
OLDEST_LATE_SECONDS = 31 * 86400.0
# However seldom a source says that it reports, what it said is current no longer.
LONGEST_CURRENT_SECONDS = 3600.0
# Clocks that are not quite the same.
AHEAD_SECONDS = 60.0


class Witnesses:
    """Who may tell of what by one registry."""

    def __init__(self, registry: Registry) -> None:
        itself = runs(registry)
        self._devices = {
            device.id: (device.site, device.id if itself[device.id] else "", device.agent)
            for device in registry.devices
        }
        self._ends = {(end.device, end.interface) for each in registry.circuits for end in each.ends if end.interface}
        self._paths: dict[tuple[str, str], set[str]] = {}
        addressed = {site.id for site in registry.sites if site.address}
        for site in registry.sites:
            if site.probe:
                targets = self._paths.setdefault((site.probe, site.id), set())
                targets |= addressed if site.id == registry.center else {registry.center}
        probes = {site.id: site.probe for site in registry.sites}
        for circuit in registry.circuits:
            for end in circuit.ends:
                if probes.get(end.site):
                    self._paths[probes[end.site], end.site].add(circuit.id)

    def of(self, device: str) -> tuple[str, ...]:
        """The site of a device and the agents that may tell of it; empty for one the registry does not have."""
        return self._devices.get(device, ())

    def is_end(self, port: tuple[str, str]) -> bool:
        """Whether a circuit ends at a port (device, interface)."""
        return port in self._ends

    def paths(self) -> set[tuple[str, str]]:
        """(agent, target) of all paths that are measured."""
        return {(agent, target) for (agent, _), targets in self._paths.items() for target in targets}

    def of_device(self, agent: str, site: str, device: str) -> bool:
        """Whether this agent, in a report of this site, may tell of a device."""
        known = self._devices.get(device)
        return known is not None and bool(agent) and site == known[0] and agent in known[1:]

    def of_path(self, agent: str, site: str, target: str) -> bool:
        """Whether this agent of this site measures the path to a site or along a circuit."""
        return target in self._paths.get((agent, site), ())

    def may_tell(self, prepared: Prepared, event: Event) -> bool:
        """Whether a report's event counts: said by a kind of source that sees such things, about what is its own.
        Events of kinds that mean nothing for outages do not."""
        report = prepared.report
        kind, _, about = report.source.partition(":")
        source = SOURCES.get(kind)
        if source is None or event.kind not in source.events or bool(about) != (source.about is About.DEVICE):
            return False
        if event.kind in PATH_EVENTS:
            return self.of_path(report.agent, prepared.site, text(event.body, "target"))
        if event.kind not in (*LINK_EVENTS, GASP):
            return False
        device = text(event.body, "device")
        return device == (about or report.agent) and self.of_device(report.agent, prepared.site, device)


def event_time(prepared: Prepared, event: Event) -> float | None:
    """When an event happened, on the collector's clock; None for a time its report can't speak of."""
    at = event.at + (prepared.taken - prepared.report.taken)
    if not prepared.taken - OLDEST_EVENT_SECONDS <= at <= prepared.taken + AHEAD_SECONDS:
        return None
    return min(at, prepared.taken)


def text(body: dict[str, Any], name: str) -> str:
    """A text of a document; empty where there is none, or something else."""
    value = body.get(name)
    return value if isinstance(value, str) else ""
