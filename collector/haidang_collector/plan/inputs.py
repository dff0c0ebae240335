"""What the plan's figures are made of, as current reports say it. Times are Unix seconds on the collector's clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from haidang_wire.sources import SERVICES, SNMP

from haidang_collector.intake.ingest import Prepared
from haidang_collector.outage.engine import Engine
from haidang_collector.registry.model import Registry

DAY = 86400.0
# No office has more documents: beyond it, or below none, it is no count.
_MOST_DOCUMENTS = 1e12


@dataclass
class Appliance:
    """A security appliance: when it was last polled with success, and whether what it says of itself is good."""

    answered: float = 0.0
    answers: bool = False
    ok: dict[str, bool] = field(default_factory=dict)


@dataclass
class Inputs:
    """What reports say of appliances, services and documents, and what the outage engine says of circuits.

    `appliances` are those of the registry: what other devices say is not looked at, nor what an agent says of a service
    that it is not to ask. `disbelieved` counts what can be no count.
    """

    appliances: dict[str, Appliance] = field(default_factory=dict)
    services: dict[str, tuple[bool, float]] = field(default_factory=dict)
    documents: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    electronic: dict[tuple[str, str], float] = field(default_factory=dict)
    circuits_up: dict[str, float] = field(default_factory=dict)
    disbelieved: int = 0
    _asks: dict[str, str] = field(default_factory=dict)
    _units: set[str] = field(default_factory=set)

    def use(self, registry: Registry | None) -> None:
        """Look at the appliances and services of this registry from now on; what is known of them stays."""
        devices = [device.id for device in registry.devices if device.role == "appliance"] if registry else []
        self.appliances = {name: self.appliances.get(name, Appliance()) for name in devices}
        self._asks = {service.id: registry.asks(service) for service in registry.services} if registry else {}
        self._units = {"", *(site.id for site in registry.sites)} if registry else set()
        services = self._asks.keys()
        self.services = {name: state for name, state in self.services.items() if name in services}
        self.documents = {key: counts for key, counts in self.documents.items() if key[0] in services}
        self.electronic = {key: count for key, count in self.electronic.items() if key[0] in services}

    def move(self, seconds: float) -> None:
        """The clock was set by so much: what was seen is as old as it was."""
        for appliance in self.appliances.values():
            appliance.answered += seconds if appliance.answered else 0.0
        self.services = {name: (up, at + seconds) for name, (up, at) in self.services.items()}
        self.documents = {key: (count, at + seconds) for key, (count, at) in self.documents.items()}
        self.circuits_up = {name: at + seconds for name, at in self.circuits_up.items()}

    def take(self, prepared: Prepared) -> None:
        """Note what a report says."""
        kind, _, device = prepared.report.source.partition(":")
        if kind == SNMP and device in self.appliances:
            self._device(prepared, device)
        elif kind == SERVICES:
            self._services(prepared)

    def _device(self, prepared: Prepared, device: str) -> None:
        ok: dict[str, bool] = {}
        answers = False
        for index in prepared.kept_samples:
            name, value = prepared.report.samples[index].metric, prepared.report.samples[index].value
            if name == "haidang_device_up":
                answers = bool(value)
            elif name in ("haidang_appliance_ha_ok", "haidang_appliance_license_ok"):
                ok[name] = ok.get(name, True) and bool(value)
        known = self.appliances[device]
        known.answers = answers
        if answers:
            known.answered, known.ok = prepared.taken, ok

    def _services(self, prepared: Prepared) -> None:
        for name, labels, value in prepared.kept():
            service, unit = labels.get("service", ""), labels.get("unit", "")
            if not service or self._asks.get(service) != prepared.report.agent:
                continue
            if name == "haidang_service_up":
                self.services[service] = (bool(value), prepared.taken)
            elif unit not in self._units or not 0 <= value <= _MOST_DOCUMENTS:
                self.disbelieved += name in ("haidang_service_documents", "haidang_service_documents_electronic")
            elif name == "haidang_service_documents":
                self.documents[service, unit] = (value, prepared.taken)
            elif name == "haidang_service_documents_electronic":
                self.electronic[service, unit] = value

    def look(self, engine: Engine | None, now: float) -> None:
        """Note which circuits carry traffic: those that are known to be up, between sites that are reached."""
        if engine is None:
            return
        for circuit in engine.registry.circuits:
            ends = {engine.site_states.get(end.site) for end in circuit.ends}
            if engine.circuit_states.get(circuit.id) == "up" and not ends & {"unknown", "down", None}:
                self.circuits_up[circuit.id] = now
