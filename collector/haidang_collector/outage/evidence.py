"""What was seen of paths, ports, power and agents, as it is now, from the reports that come in.

Only what bears on sites and circuits of the registry is kept: a port where a circuit ends, a path to a
site or along a circuit, the power of a site. All times are Unix seconds of the collector's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from haidang_wire.report import Event, Fact

from haidang_collector.ingest import Prepared
from haidang_collector.outage.documented import Neighbour
from haidang_collector.outage.remarks import Remark, remark
from haidang_collector.registry import Registry

Port = tuple[str, str]  # device, interface

# Below it there is no light: receivers for the longest reaches still see -30 dBm or more.
_DARK_DBM = -33.0


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
    """A port where a circuit ends: since when it is as it is, when that was last seen. `light_dbm` is
    None where it is not known."""

    up: bool
    since: float
    seen: float
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
    """Everything the engine judges by; `documented` is what devices see of their neighbours."""

    registry: Registry
    paths: dict[tuple[str, str], PathState] = field(default_factory=dict)
    ports: dict[Port, PortState] = field(default_factory=dict)
    power: dict[str, PowerSign] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    neighbours: dict[Port, bool] = field(default_factory=dict)
    documented: dict[str, list[Neighbour]] = field(default_factory=dict)
    system_names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._targets = {site.id for site in self.registry.sites} | {circuit.id for circuit in self.registry.circuits}
        self._probes = {site.probe for site in self.registry.sites if site.probe}
        self._sites = {device.id: device.site for device in self.registry.devices}
        self._ports = {
            (end.device, end.interface) for circuit in self.registry.circuits for end in circuit.ends if end.interface
        }
        self._sample = {
            "haidang_path_reachable": self._path,
            "haidang_interface_up": self._interface,
            "haidang_interface_admin_up": self._admin,
            "haidang_optical_receive_power_dbm": self._light,
            "haidang_ups_on_battery": self._battery,
            "haidang_host_mains_power": self._mains,
        }

    def take_over(self, before: Evidence) -> None:
        """What was seen under another registry, as far as this one knows it."""
        self.paths = {key: state for key, state in before.paths.items() if key[1] in self._targets}
        self.ports = {key: state for key, state in before.ports.items() if key in self._ports}
        sites = {site.id for site in self.registry.sites}
        self.power = {site: sign for site, sign in before.power.items() if site in sites}
        self.heard = {site: at for site, at in before.heard.items() if site in sites}
        self.neighbours = {port: there for port, there in before.neighbours.items() if port in self._ports}
        self.documented = {device: said for device, said in before.documented.items() if device in self._sites}
        self.system_names = {name: device for name, device in before.system_names.items() if device in self._sites}

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
            reader: Callable[[Prepared, dict[str, str], float], None] | None = self._sample.get(sample.metric)
            if reader is not None:
                reader(prepared, sample.labels, sample.value)
                bears = True
        if kind == "path_state":
            bears |= self._path_details(prepared)
        for event in report.events:
            bears |= self._event(prepared, event)
        for fact in report.facts:
            if fact.key == (target or report.agent):
                self.know(fact)
        return bears

    def know(self, fact: Fact) -> None:
        """Note what a device is and sees, if the registry has it."""
        if fact.key not in self._sites:
            return
        if fact.kind == "neighbours" and isinstance(fact.body.get("neighbours"), list):
            self._neighbours(fact.key, [each for each in fact.body["neighbours"] if isinstance(each, dict)])
        elif fact.kind == "device" and _text(fact.body, "name"):
            self.system_names[_text(fact.body, "name")] = fact.key

    def answering(self, agent: str, target: str, now: float) -> PathState | None:
        """A path as it is now; None when the probe says nothing current of it."""
        state = self.paths.get((agent, target))
        return state if state and state.expires > now else None

    def expire(self, now: float) -> None:
        """Forget paths whose probe has long been silent."""
        for key in [key for key, state in self.paths.items() if state.expires < now - 3600]:
            del self.paths[key]

    # Samples

    def _path(self, prepared: Prepared, labels: dict[str, str], value: float) -> None:
        key = (prepared.report.agent, labels["target"])
        if prepared.report.source != "path_state" or key[1] not in self._targets or key[0] not in self._probes:
            return
        before = self.paths.get(key)
        if before is None or before.taken <= prepared.taken:
            since = before.since if before and before.up == bool(value) else prepared.taken
            self.paths[key] = PathState(bool(value), since, 0.0, prepared.taken, prepared.expires)

    def _path_details(self, prepared: Prepared) -> bool:
        report = prepared.report
        offset = prepared.taken - report.taken
        for sample in report.samples:
            state = self.paths.get((report.agent, sample.labels.get("target", "")))
            if state is None or state.taken != prepared.taken:
                continue
            if sample.metric == "haidang_path_change_timestamp_seconds":
                state.since = min(sample.value + offset, prepared.taken)
            elif sample.metric == "haidang_path_silent_seconds":
                state.silent_seconds = sample.value
        return True

    def _interface(self, prepared: Prepared, labels: dict[str, str], value: float) -> None:
        self._port((labels["device"], labels["interface"]), bool(value), prepared.taken)

    def _port(self, port: Port, up: bool, at: float) -> None:
        if port not in self._ports:
            return
        known = self.ports.get(port)
        if known is None:
            self.ports[port] = PortState(up, at, at)
        elif at >= known.seen:
            known.seen = at
            if known.up != up:
                known.up, known.since = up, at

    def _admin(self, prepared: Prepared, labels: dict[str, str], value: float) -> None:
        state = self.ports.get((labels["device"], labels["interface"]))
        if state:
            state.admin_up = bool(value)

    def _light(self, prepared: Prepared, labels: dict[str, str], value: float) -> None:
        state = self.ports.get((labels["device"], labels["interface"]))
        # Of several lanes the brightest tells whether anything comes in.
        if state and (prepared.taken > state.light_taken or value > (state.light_dbm or value)):
            state.light_dbm, state.light_taken = value, prepared.taken

    def _battery(self, prepared: Prepared, labels: dict[str, str], value: float) -> None:
        if value:
            self._power_sign(prepared.site, prepared.taken, remark("ups", device=labels["device"]))

    def _mains(self, prepared: Prepared, labels: dict[str, str], value: float) -> None:
        if not value:
            self._power_sign(prepared.site, prepared.taken, remark("battery", agent=prepared.report.agent))

    def _power_sign(self, site: str, at: float, what: Remark) -> None:
        known = self.power.get(site)
        if known is None or known.at <= at:
            self.power[site] = PowerSign(at, what)

    # Events and facts

    def _event(self, prepared: Prepared, event: Event) -> bool:
        device = _text(event.body, "device")
        kind, _, about = prepared.report.source.partition(":")
        if device != (about or prepared.report.agent):  # nobody speaks for another's ports
            return False
        at = min(event.at + prepared.taken - prepared.report.taken, prepared.taken)
        if event.kind == "dying_gasp":
            self._power_sign(self._sites.get(device, prepared.site), at, remark("gasp", device=device))
            return True
        if event.kind in ("link_down", "link_up"):
            port = (device, _text(event.body, "interface"))
            self._port(port, event.kind == "link_up", at)
            if kind == "links" and port in self.ports:
                self.ports[port].admin_up = event.body.get("admin_up") is not False
            return True
        return False

    def _neighbours(self, device: str, said: list[dict[str, Any]]) -> None:
        self.documented[device] = [
            Neighbour(*(_text(each, name) for name in ("interface", "system", "port", "port_description")))
            for each in said
        ]
        seen = {_text(each, "interface") for each in said}
        for port in self._ports:
            # Who never had a neighbour says nothing by having none: not every device speaks LLDP.
            if port[0] == device and (port[1] in seen or port in self.neighbours):
                self.neighbours[port] = port[1] in seen


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""
