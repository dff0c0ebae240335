"""Who watches what, from the registry: each agent's assignment, and what it may therefore speak of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from haidang_wire.assignment import AssignedDevice, AssignedPath, AssignedService, Assignment

from haidang_collector.registry import rights
from haidang_collector.registry.model import Registry, Service, Site
from haidang_collector.registry.names import Names
from haidang_collector.registry.rights import Rights


class Assignments:
    """Made anew when another registry is in force. What a name is to do is done by an agent of a site that may have
    the name: one of another site is assigned nothing, and speaks of itself alone."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.names = Names(registry)
        devices: dict[str, list[AssignedDevice]] = {}
        paths: dict[str, list[AssignedPath]] = {}
        polled: dict[str, dict[str, str]] = {}
        for device in registry.devices if registry else ():
            if device.agent:
                assigned = AssignedDevice(
                    device.id, device.address, device.port, device.credential, device.profile,
                    tuple(device.trap_addresses),
                )  # fmt: skip
                devices.setdefault(device.agent, []).append(assigned)
                polled.setdefault(device.agent, {})[device.id] = device.site
        for site in registry.sites if registry else ():
            if registry and site.probe:
                paths.setdefault(site.probe, []).extend(_paths(registry, site))
        services: dict[str, list[AssignedService]] = {}
        asked: dict[str, dict[str, rights.Service]] = {}
        for service in registry.services if registry else ():
            if registry and (agent := registry.asks(service)):
                services.setdefault(agent, []).append(_service(service))
                asked.setdefault(agent, {})[service.id] = rights.Service(_units(service))
        last_user = bool(registry and registry.province.report_last_user)
        self._default = Assignment(last_user=last_user)
        self._of = {
            agent: Assignment(
                tuple(devices.get(agent, ())), tuple(paths.get(agent, ())), tuple(services.get(agent, ())), last_user
            )
            for agent in devices.keys() | paths.keys() | services.keys()
        }
        self._versions = {agent: assignment.version for agent, assignment in self._of.items()}
        sites = frozenset(site.id for site in registry.sites) if registry else frozenset[str]()
        self._rights = {
            agent: Rights(
                devices=polled.get(agent, {}), targets=frozenset(path.target for path in assignment.paths),
                services=asked.get(agent, {}), sites=sites,
            )
            for agent, assignment in self._of.items()
        }  # fmt: skip
        self._runs = runs(registry) if registry else {}

    def of(self, agent: str, site: str) -> Assignment:
        """What an agent of this site is to watch."""
        return self._of.get(agent, self._default) if self.names.may_hold(agent, site) else self._default

    def version(self, agent: str, site: str) -> str:
        """The version of an agent's assignment; empty when it has none."""
        known = self._versions.get(agent) if self.names.may_hold(agent, site) else None
        return self._default.version if known is None else known

    def rights(self, agent: str, site: str) -> Rights:
        """What an agent of this site may speak of."""
        if not self.names.may_hold(agent, site):
            return _NOBODY if agent in self._runs else _ITSELF
        known = self._rights.get(agent, _ITSELF)
        return known if self._runs.get(agent, True) else replace(known, itself=False)

    def speaks_for(self, agent: str, site: str, device: str) -> bool:
        """Whether an agent of this site may say anything of a device: it polls it, or runs on it."""
        known = self.rights(agent, site)
        return device in known.devices or (device == agent and known.itself)


_ITSELF, _NOBODY = Rights(), Rights(itself=False)


def runs(registry: Registry) -> dict[str, bool]:
    """Device → whether an agent of its name is believed to run on it: nobody polls it, or the registry has a probe or
    a host of that name as well."""
    machines = {site.probe for site in registry.sites} | {host.id for host in registry.hosts}
    return {each.id: each.agent in ("", each.id) or each.id in machines for each in registry.devices}


def _units(service: Service) -> frozenset[str] | None:
    """The sites whose documents it counts; None for every site's."""
    if service.documents is None:
        return frozenset()
    return None if service.serves == "all" else frozenset({"", service.site})


def _service(service: Service) -> AssignedService:
    documents = service.documents
    if documents is None:
        return AssignedService(service.id, service.url, service.credential)
    return AssignedService(
        service.id, service.url, service.credential, documents.url, documents.items, documents.unit, documents.count,
        documents.electronic,
    )  # fmt: skip


def _paths(registry: Registry, of: Site) -> Iterator[AssignedPath]:
    """From the data center to every site, from a site to the data center; from both along their circuits."""
    for site in registry.sites:
        if site.address and site.id != of.id and registry.center in (of.id, site.id):
            yield AssignedPath(site.id, site.address, site.stamp_port, site.stamp_key)
    for circuit in registry.circuits:
        for near, far in (circuit.ends, circuit.ends[::-1]):
            if near.site == of.id and far.address:
                yield AssignedPath(circuit.id, far.address)
