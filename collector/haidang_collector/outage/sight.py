"""The province at one moment, from the evidence: which sites answer, which circuits carry nothing, since when."""

from __future__ import annotations

from dataclasses import dataclass, field

from haidang_collector.outage.coincidence import ROUTERS_SECONDS
from haidang_collector.outage.evidence import Evidence, PathState, PortState
from haidang_collector.registry.model import Registry
from haidang_collector.topology.graph import of_registry, reached, ways

Told = tuple[float, float]  # taken, expires

# A site whose agent delivers so long after its router fell silent is reached: the router only keeps still.
_HEARD_AFTER_SECONDS = 1.0


@dataclass
class Picture:
    """Values are since when, in Unix seconds. A site that is neither up nor down is not known; `doubtful` ones are up
    and do not answer now; `heard` ones are up only because something of theirs was delivered, at that time, by whatever
    way, and `silent` is since when their routers do not answer; `up_again` has those that are up and those that are
    taken for it, because nothing can tell of them. `sites_told` and `circuits_told` are those of which something
    current tells: when it was seen, and until when that is current."""

    up: dict[str, float] = field(default_factory=dict)
    down: dict[str, float] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    heard: dict[str, float] = field(default_factory=dict)
    silent: dict[str, float] = field(default_factory=dict)
    up_again: dict[str, float] = field(default_factory=dict)
    circuits_down: dict[str, float] = field(default_factory=dict)
    sites_told: dict[str, Told] = field(default_factory=dict)
    circuits_told: dict[str, Told] = field(default_factory=dict)

    @property
    def answering(self) -> set[str]:
        """The sites whose routers answer: they alone show that the circuits to them carry something."""
        return self.up.keys() - self.heard.keys()


class Sight:
    """Looks, as often as it is asked."""

    def __init__(self, registry: Registry, evidence: Evidence) -> None:
        self.registry = registry
        self.evidence = evidence
        self._sites = {site.id: site for site in registry.sites}
        self._circuits = {circuit.id: circuit for circuit in registry.circuits}
        self._graph = of_registry(registry)
        self._ways = ways(self._graph)
        self._heard_since: dict[str, float] = {}
        self._forgotten: dict[str, float] = {}
        center = self._sites.get(registry.center)
        self._probe = center.probe if center else ""
        # Those of which something could tell, as the registry stands.
        self.sites_watched = {site.id for site in registry.sites if site.address and self._probe}
        self.circuits_watched = {name for site in self.sites_watched for name in self._ways.get(site, ())}
        for circuit in registry.circuits:
            for near, far in (circuit.ends, circuit.ends[::-1]):
                if near.interface or (self._sites[near.site].probe and far.address):
                    self.circuits_watched.add(circuit.id)

    def look(self, now: float) -> Picture:
        picture = Picture()
        for name, site in self._sites.items():
            state = self.evidence.answering(self._probe, name, now) if site.address else None
            if state is None or name == self.registry.center:
                continue
            picture.sites_told[name] = (state.taken, state.expires)
            heard = self.evidence.heard.get(name, 0.0)
            if state.up:
                self._heard_since.pop(name, None)
                picture.up[name] = state.since
                if state.silent_seconds > 0:
                    picture.doubtful.add(name)
            elif heard > max(state.since + _HEARD_AFTER_SECONDS, self._forgotten.get(name, 0.0)):
                picture.up[name] = self._heard_since.setdefault(name, heard)
                picture.heard[name], picture.silent[name] = heard, state.since
            else:
                self._heard_since.pop(name, None)
                picture.down[name] = state.since
        center = self.evidence.spoke.get(self._probe, (0.0, 0.0))
        if center[1] > now:
            picture.sites_told[self.registry.center] = center
        self._look_at_circuits(picture, now)
        return picture

    def _look_at_circuits(self, picture: Picture, now: float) -> None:
        for name in self._circuits:
            since = self.circuit_down_since(name, now)
            if since is not None:
                picture.circuits_down[name] = since
            told = [(port.seen, port.expires) for port in self._ports(name) if port.expires > now]
            told += [(state.taken, state.expires) for state in self._along(name, now)]
            if told:
                picture.circuits_told[name] = max(told)
        # A site that answers was reached over every circuit without which it can't be. One that is only heard may have
        # delivered by any other way: a telephone, a laptop at home.
        for site in picture.answering:
            for name in self._ways.get(site, ()):
                if site in picture.sites_told and name not in picture.circuits_told:
                    picture.circuits_told[name] = picture.sites_told[site]

    def unreached(self, picture: Picture) -> set[str]:
        """Heard sites behind a failure or at it: what they deliver moves it nowhere. A router keeps only still where
        the way to it is reached, and where it did not fall silent with one next to it."""
        together = {
            site
            for site, since in picture.silent.items()
            for _, other in self._graph.neighbours[site]
            if other in picture.down and abs(picture.down[other] - since) <= ROUTERS_SECONDS
        }
        return picture.heard.keys() - reached(self._graph, picture.down.keys() | together, ())

    def forget_heard(self, site: str, until: float) -> None:
        """What was delivered until then shows nothing any more; the next delivery begins anew."""
        self._heard_since.pop(site, None)
        self._forgotten[site] = until

    def circuit_down_since(self, name: str, now: float) -> float | None:
        """Since when a circuit is known to carry nothing: a port without link tells it, or probes along it
        of which none passes."""
        along = self._along(name, now)
        dark = self._dark_since(name, now, answered=any(state.up for state in along))
        if dark is not None:
            return dark
        if along and not any(state.up for state in along):
            return min(state.since for state in along)
        return None

    def _dark_since(self, name: str, now: float, *, answered: bool) -> float | None:
        """Since when a port at either end of a circuit has had no link. What was said of one long ago stays true until
        something newer shows that the circuit carries: a port at its other end, or probes along it."""
        ports = self._ports(name)
        dark = [port for port in ports if not port.up]
        carries = answered or any(port.up and port.expires > now for port in ports)
        if carries and not any(port.expires > now for port in dark):
            return None
        return min((port.since for port in dark), default=None)

    def _ports(self, name: str) -> list[PortState]:
        """The ports at a circuit's ends, as far as they are known."""
        if name not in self._circuits:
            return []
        ports = (self.evidence.ports.get((end.device, end.interface)) for end in self._circuits[name].ends)
        return [port for port in ports if port is not None]

    def _along(self, name: str, now: float) -> list[PathState]:
        """What probes at a circuit's ends say of it now."""
        ends = self._circuits[name].ends
        states = (self.evidence.answering(self._sites[end.site].probe, name, now) for end in ends)
        return [state for state in states if state is not None]

    def is_told_dark(self, name: str, after: float) -> bool:
        """Whether a port of a circuit was said to have no link, or still to have none, after this time."""
        return any(not port.up and port.seen > after for port in self._ports(name))

    def went_dark(self, name: str, after: float) -> float | None:
        """When a port of a circuit lost its link, if that was after this time."""
        return max((port.since for port in self._ports(name) if not port.up and port.since > after), default=None)

    def circuit_up_since(self, name: str, started: float) -> float | None:
        """Since when a circuit that was down since `started` carries something again; None while nothing says so."""
        if name not in self._circuits:
            return None
        known = [port.since for port in self._ports(name) if port.up]
        known += [
            state.since
            for end in self._circuits[name].ends
            if (state := self.evidence.paths.get((self._sites[end.site].probe, name))) is not None and state.up
        ]
        later = [since for since in known if since > started]
        return max(later) if later else None
