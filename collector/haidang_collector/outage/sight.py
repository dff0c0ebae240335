"""The province at one moment, from the evidence: which sites answer, which circuits carry nothing, since when."""

from __future__ import annotations

from dataclasses import dataclass, field

from haidang_collector.outage.evidence import Evidence
from haidang_collector.registry import Registry

# A site whose agent delivers so long after its router fell silent is reached: the router only keeps still.
_HEARD_AFTER_SECONDS = 1.0


@dataclass
class Picture:
    """Values are since when, in Unix seconds. A site that is neither up nor down is not known; `doubtful` ones are up
    and do not answer now; `heard` ones are up only because something of theirs was delivered, at that time."""

    up: dict[str, float] = field(default_factory=dict)
    down: dict[str, float] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    heard: dict[str, float] = field(default_factory=dict)
    circuits_down: dict[str, float] = field(default_factory=dict)


class Sight:
    """Looks, as often as it is asked."""

    def __init__(self, registry: Registry, evidence: Evidence) -> None:
        self.registry = registry
        self.evidence = evidence
        self._sites = {site.id: site for site in registry.sites}
        self._circuits = {circuit.id: circuit for circuit in registry.circuits}
        self._heard_since: dict[str, float] = {}
        self._forgotten: dict[str, float] = {}
        center = self._sites.get(registry.center)
        self._probe = center.probe if center else ""

    def look(self, now: float) -> Picture:
        picture = Picture()
        for name, site in self._sites.items():
            state = self.evidence.answering(self._probe, name, now) if site.address else None
            if state is None or name == self.registry.center:
                continue
            heard = self.evidence.heard.get(name, 0.0)
            if state.up:
                self._heard_since.pop(name, None)
                picture.up[name] = state.since
                if state.silent_seconds > 0:
                    picture.doubtful.add(name)
            elif heard > max(state.since + _HEARD_AFTER_SECONDS, self._forgotten.get(name, 0.0)):
                picture.up[name] = self._heard_since.setdefault(name, heard)
                picture.heard[name] = heard
            else:
                self._heard_since.pop(name, None)
                picture.down[name] = state.since
        for name in self._circuits:
            since = self.circuit_down_since(name, now)
            if since is not None:
                picture.circuits_down[name] = since
        return picture

    def forget_heard(self, site: str, until: float) -> None:
        """What was delivered until then shows nothing any more; the next delivery begins anew."""
        self._heard_since.pop(site, None)
        self._forgotten[site] = until

    def circuit_down_since(self, name: str, now: float) -> float | None:
        """Since when a circuit is known to carry nothing: a port without link tells it, or probes along it
        of which none passes."""
        dark = self.dark_since(name)
        if dark is not None:
            return dark
        along = [
            state
            for end in self._circuits[name].ends
            if (probe := self._sites[end.site].probe)
            and (state := self.evidence.answering(probe, name, now)) is not None
        ]
        if along and not any(state.up for state in along):
            return min(state.since for state in along)
        return None

    def dark_since(self, name: str) -> float | None:
        """Since when a port at either end of a circuit has had no link."""
        ports = [self.evidence.ports.get((end.device, end.interface)) for end in self._circuits[name].ends]
        return min((port.since for port in ports if port is not None and not port.up), default=None)

    def is_told_dark(self, name: str, after: float) -> bool:
        """Whether a port of a circuit was said to have no link, or still to have none, after this time."""
        ports = [self.evidence.ports.get((end.device, end.interface)) for end in self._circuits[name].ends]
        return any(port is not None and not port.up and port.seen > after for port in ports)

    def went_dark(self, name: str, after: float) -> float | None:
        """When a port of a circuit lost its link, if that was after this time."""
        ports = [self.evidence.ports.get((end.device, end.interface)) for end in self._circuits[name].ends]
        return max(
            (port.since for port in ports if port is not None and not port.up and port.since > after), default=None
        )

    def circuit_up_since(self, name: str, started: float) -> float | None:
        ports = [self.evidence.ports.get((end.device, end.interface)) for end in self._circuits[name].ends]
        known = [port.since for port in ports if port is not None and port.up]
        known += [
            state.since
            for end in self._circuits[name].ends
            if (state := self.evidence.paths.get((self._sites[end.site].probe, name))) is not None and state.up
        ]
        later = [since for since in known if since > started]
        return max(later) if later else None
