"""What was seen of paths, ports, power and agents, as it is now, from the reports that come in.

Only what bears on sites and circuits of the registry is kept: a port where a circuit ends, a path to a
site or along a circuit, the power of a site. All times are Unix seconds of the collector's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from haidang_wire.report import Event, Fact, Sample
from haidang_wire.sources import LINKS, PATH_STATE

from haidang_collector.intake.ingest import Prepared
from haidang_collector.outage import power
from haidang_collector.outage.remarks import Remark
from haidang_collector.outage.witness import GASP, LINK_EVENTS, LONGEST_CURRENT_SECONDS, Witnesses, event_time, text
from haidang_collector.registry.model import Registry
from haidang_collector.topology.documented import Documented
from haidang_collector.topology.links import Link, seen

Port = tuple[str, str]  # device, interface

# Below it there is no light: receivers for the longest reaches still see -30 dBm or more.
_DARK_DBM = -33.0
# Beyond these it is no power of light.
_LIGHT_DBM = (-100.0, 100.0)
# No path has been as it is for longer than a probe has run.
_LONGEST_STATE_SECONDS = 1000 * 86400.0


@dataclass
class PathState:
    """A path as the probe `agent` last said: `since` when it went up or down, `silent_seconds` of one in doubt."""

    up: bool
    since: float
    silent_seconds: float
    taken: float
    expires: float


@dataclass
class PortState:
    """A port where a circuit ends: since when it is as it is, when that was last seen and until when it is current.
    `light_dbm` is None where it is not known."""

    up: bool
    since: float
    seen: float
    expires: float
    admin_up: bool = True
    light_dbm: float | None = None
    light_taken: float = 0.0

    @property
    def dark(self) -> bool | None:
        """Whether no light comes in; None where it is not known."""
        return None if self.light_dbm is None else self.light_dbm <= _DARK_DBM


@dataclass
class PowerSign:
    """A sign that a site's power failed: when it was last true, and what said so."""

    at: float
    what: Remark


@dataclass
class Evidence:
    """Everything the engine judges by; `documented` is what devices are and see of their neighbours, `spoke` when a
    probe last told of any path and until when that is current, `disbelieved` counts what was said of times that can't
    be meant."""

    registry: Registry
    paths: dict[tuple[str, str], PathState] = field(default_factory=dict)
    ports: dict[Port, PortState] = field(default_factory=dict)
    power: dict[str, PowerSign] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    neighbours: dict[Port, bool] = field(default_factory=dict)
    documented: Documented = field(default_factory=Documented)
    spoke: dict[str, tuple[float, float]] = field(default_factory=dict)
    disbelieved: int = 0

    def __post_init__(self) -> None:
        self.witnesses = Witnesses(self.registry)
        self._sites = {site.id for site in self.registry.sites}
        self._ports = {
            (end.device, end.interface) for circuit in self.registry.circuits for end in circuit.ends if end.interface
        }
        self._sample = {
            "haidang_path_reachable": self._path,
            "haidang_interface_up": self._interface,
            "haidang_interface_admin_up": self._admin,
            "haidang_optical_receive_power_dbm": self._light,
            **dict.fromkeys(power.METRICS, self._power),
        }

    def take_over(self, before: Evidence) -> None:
        """What was seen under another registry, as far as this one knows it and from whom it would take it. What
        devices are and see is not: that stands in the ledger, to be read by this registry's rules."""

        def of_same(port: Port) -> bool:
            return port in self._ports and before.witnesses.of(port[0]) == self.witnesses.of(port[0])

        paths = self.witnesses.paths()
        self.paths = {key: state for key, state in before.paths.items() if key in paths}
        self.spoke = {agent: said for agent, said in before.spoke.items() if agent in {key[0] for key in paths}}
        self.ports = {port: state for port, state in before.ports.items() if of_same(port)}
        self.power = {site: sign for site, sign in before.power.items() if site in self._sites}
        self.heard = {site: at for site, at in before.heard.items() if site in self._sites}
        self.neighbours = {port: there for port, there in before.neighbours.items() if of_same(port)}

    def take(self, prepared: Prepared, composed: float) -> bool:
        """Note what a report that is current says, of a delivery that its site composed then; whether that may change
        anything."""
        report = prepared.report
        kind, _, target = report.source.partition(":")
        if not target and self.heard.get(prepared.site, 0.0) < composed:
            self.heard[prepared.site] = composed
        bears = False
        for index in prepared.kept_samples:
            sample = report.samples[index]
            reader: Callable[[Prepared, Sample], None] | None = self._sample.get(sample.metric)
            if reader is not None:
                reader(prepared, sample)
                bears = True
        if kind == PATH_STATE:
            bears |= self._path_details(prepared)
        for event in report.events:
            bears |= self._event(prepared, event)
        for fact in report.facts:
            if fact.key == (target or report.agent):
                self.know(fact, report.agent, prepared.site)
        return bears

    def know(self, fact: Fact, agent: str, site: str) -> None:
        """Note what a device is and sees, as an agent said in a report of a site, if it may."""
        if fact.kind == "neighbours":
            self.see(agent, site, fact.key, seen(agent, site, fact.key, fact.body))
        elif fact.kind == "device" and text(fact.body, "name") and self.witnesses.of_device(agent, site, fact.key):
            self.documented.call(fact.key, text(fact.body, "name"))

    def see(self, agent: str, site: str, device: str, links: Iterable[Link]) -> None:
        """Note what a device sees of its neighbours, as an agent said in a report of a site, if it may."""
        if not self.witnesses.of_device(agent, site, device):
            return
        texts = ((each.interface, each.system, each.port, each.port_description) for each in links)
        ports = self.documented.note(agent, device, texts)
        for port in self._ports:
            # Who never had a neighbour says nothing by having none: not every device speaks LLDP.
            if port[0] == device and (port[1] in ports or port in self.neighbours):
                self.neighbours[port] = port[1] in ports

    def answering(self, agent: str, target: str, now: float) -> PathState | None:
        """A path as it is now; None when the probe says nothing current of it."""
        state = self.paths.get((agent, target))
        return state if state and state.expires > now else None

    def expire(self, now: float) -> None:
        """Forget paths whose probe has long been silent."""
        for key in [key for key, state in self.paths.items() if state.expires < now - 3600]:
            del self.paths[key]

    # Samples

    def _path(self, prepared: Prepared, sample: Sample) -> None:
        agent, target, up = prepared.report.agent, sample.labels["target"], bool(sample.value)
        if prepared.report.source != PATH_STATE or not self.witnesses.of_path(agent, prepared.site, target):
            return
        before, expires = self.paths.get((agent, target)), _until(prepared)
        if before is None or before.taken <= prepared.taken:
            since = before.since if before and before.up == up else prepared.taken
            self.paths[agent, target] = PathState(up, since, 0.0, prepared.taken, expires)
        self.spoke[agent] = max(self.spoke.get(agent, (0.0, 0.0)), (prepared.taken, expires))

    def _path_details(self, prepared: Prepared) -> bool:
        report = prepared.report
        offset = prepared.taken - report.taken
        for index in prepared.kept_samples:
            sample = report.samples[index]
            state = self.paths.get((report.agent, sample.labels.get("target", "")))
            if state is None or state.taken != prepared.taken:
                continue
            if sample.metric == "haidang_path_change_timestamp_seconds":
                since = sample.value + offset
                if since < prepared.taken - _LONGEST_STATE_SECONDS:
                    self.disbelieved += 1
                else:
                    state.since = min(since, prepared.taken)
            elif sample.metric == "haidang_path_silent_seconds":
                state.silent_seconds = sample.value
        return True

    def _interface(self, prepared: Prepared, sample: Sample) -> None:
        port = (sample.labels["device"], sample.labels["interface"])
        self._port(port, bool(sample.value), prepared.taken, prepared)

    def _port(self, port: Port, up: bool, at: float, prepared: Prepared) -> None:
        if port not in self._ports or not self.witnesses.of_device(prepared.report.agent, prepared.site, port[0]):
            return
        known, expires = self.ports.get(port), _until(prepared)
        if known is None:
            self.ports[port] = PortState(up, at, at, expires)
        elif at >= known.seen:
            known.seen, known.expires = at, max(known.expires, expires) if known.up == up else expires
            if known.up != up:
                known.up, known.since = up, at

    def _admin(self, prepared: Prepared, sample: Sample) -> None:
        state = self._own_port(prepared, sample.labels)
        if state:
            state.admin_up = bool(sample.value)

    def _light(self, prepared: Prepared, sample: Sample) -> None:
        state, value = self._own_port(prepared, sample.labels), sample.value
        if not _LIGHT_DBM[0] <= value <= _LIGHT_DBM[1]:
            self.disbelieved += 1
            return
        # Of several lanes the brightest tells whether anything comes in.
        if state and (prepared.taken > state.light_taken or value > (state.light_dbm or value)):
            state.light_dbm, state.light_taken = value, prepared.taken

    def _own_port(self, prepared: Prepared, labels: dict[str, str]) -> PortState | None:
        """The port a sample is of, if its report may tell of it."""
        state = self.ports.get((labels["device"], labels["interface"]))
        known = state and self.witnesses.of_device(prepared.report.agent, prepared.site, labels["device"])
        return state if known else None

    def _power(self, prepared: Prepared, sample: Sample) -> None:
        sign = power.sample_sign(sample, prepared.report.agent)
        if sign is not None:
            self._power_sign(prepared.site, prepared.taken, sign)

    def _power_sign(self, site: str, at: float, what: Remark) -> None:
        known = self.power.get(site)
        if known is None or known.at <= at:
            self.power[site] = PowerSign(at, what)

    # Events

    def _event(self, prepared: Prepared, event: Event) -> bool:
        if event.kind not in (*LINK_EVENTS, GASP):
            return False
        device = text(event.body, "device")
        at = event_time(prepared, event)
        if at is None or not self.witnesses.may_tell(prepared, event):
            self.disbelieved += bool(self.witnesses.of(device))
            return False
        if event.kind == GASP:
            self._power_sign(prepared.site, at, power.gasp_sign(event))
            return True
        port = (device, text(event.body, "interface"))
        self._port(port, event.kind == "link_up", at, prepared)
        if prepared.report.source == LINKS and port in self.ports:
            self.ports[port].admin_up = event.body.get("admin_up") is not False
        return True


def _until(prepared: Prepared) -> float:
    """Until when what a report says is current."""
    return min(prepared.expires, prepared.taken + LONGEST_CURRENT_SECONDS)
