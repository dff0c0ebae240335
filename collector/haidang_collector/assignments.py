"""Who watches what, from the registry: each agent's assignment, and the site of each device."""

from __future__ import annotations

from collections.abc import Iterator

from haidang_wire.assignment import AssignedDevice, AssignedPath, AssignedService, Assignment

from haidang_collector.registry import Registry, Service, Site

_NO_DEVICES: dict[str, str] = {}


class Assignments:
    """Made anew when another registry is in force."""

    def __init__(self, registry: Registry | None = None) -> None:
        devices: dict[str, list[AssignedDevice]] = {}
        paths: dict[str, list[AssignedPath]] = {}
        self._sites: dict[str, dict[str, str]] = {}
        for device in registry.devices if registry else ():
            if device.agent:
                assigned = AssignedDevice(
                    device.id, device.address, device.port, device.credential, device.profile,
                    tuple(device.trap_addresses),
                )  # fmt: skip
                devices.setdefault(device.agent, []).append(assigned)
                self._sites.setdefault(device.agent, {})[device.id] = device.site
        for site in registry.sites if registry else ():
            if registry and site.probe:
                paths.setdefault(site.probe, []).extend(_paths(registry, site))
        services: dict[str, list[AssignedService]] = {}
        for service in registry.services if registry else ():
            if registry:
                services.setdefault(registry.asks(service), []).append(_service(service))
        last_user = bool(registry and registry.province.report_last_user)
        self._default = Assignment(last_user=last_user)
        self._of = {
            agent: Assignment(
                tuple(devices.get(agent, ())), tuple(paths.get(agent, ())), tuple(services.get(agent, ())), last_user
            )
            for agent in devices.keys() | paths.keys() | services.keys()
        }
        self._versions = {agent: assignment.version for agent, assignment in self._of.items()}

    def of(self, agent: str) -> Assignment:
        """What the agent is to watch."""
        return self._of.get(agent, self._default)

    def version(self, agent: str) -> str:
        """Of its assignment; empty when it has none."""
        return self._versions.get(agent, self._default.version)

    def devices(self, agent: str) -> dict[str, str]:
        """The devices the agent may speak for, and the site of each."""
        return self._sites.get(agent, _NO_DEVICES)


def _service(service: Service) -> AssignedService:
    documents = service.documents
    if documents is None:
        return AssignedService(service.id, service.url, service.credential)
    return AssignedService(
        service.id, service.url, service.credential, documents.url, documents.items, documents.unit, documents.count,
        documents.electronic,
    )  # fmt: skip


def _paths(registry: Registry, of: Site) -> Iterator[AssignedPath]:
    """From the center to every site, from a site to the center; from both along their circuits."""
    for site in registry.sites:
        if site.address and site.id != of.id and registry.center in (of.id, site.id):
            yield AssignedPath(site.id, site.address, site.stamp_port, site.stamp_key)
    for circuit in registry.circuits:
        for near, far in (circuit.ends, circuit.ends[::-1]):
            if near.site == of.id and far.address:
                yield AssignedPath(circuit.id, far.address)
