"""Whose a name is: at which sites an agent may stand that bears a name the registry gives a role.

Three things say where a machine stands: a site's `probe` stands there, a `host` at its site, and an agent that bears a
device's id runs on that device. An agent that devices and services name, and nothing else, may stand at any place that
is over all of them: their site, a site above it in the administration, the data center. Every other name is anybody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from haidang_collector.registry.model import Registry


@dataclass(frozen=True)
class Holder:
    """An agent and the site its token was of."""

    agent: str
    site: str


class Names:
    """Made anew when another registry is in force."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._owners: dict[str, frozenset[str]] = {}
        if registry is None:
            return
        self._owners = _over(registry, _above(registry))
        for name, said in standing(registry).items():
            # Two places are a fault of the registry: the name is nobody's until that is mended.
            self._owners[name] = frozenset(said) if len(said) == 1 else frozenset()

    def owners(self, name: str) -> frozenset[str] | None:
        """The sites that may have it; None for a name without a role, which anybody may have."""
        return self._owners.get(name)

    def may_hold(self, name: str, site: str) -> bool:
        """Whether an agent of this site may bear the name, and do what the registry gives it to do."""
        owners = self._owners.get(name)
        return owners is None or site in owners

    def foreign(self, holders: Iterable[Holder]) -> list[Holder]:
        """Agents with another site's name: they enrolled before the registry gave it a role, and don't get the role."""
        return [each for each in holders if not self.may_hold(each.agent, each.site)]

    def problem(self, holder: Holder) -> str:
        """What is wrong with an agent that bears another site's name, and what to do about it."""
        owners = " or ".join(sorted(self._owners.get(holder.agent, ()))) or "no single site"
        return (
            f"agent {holder.agent!r} of site {holder.site!r} bears a name that the registry puts at {owners}: what that"
            f" name is to do, it does not get. Free it (haidang-collector agents release {holder.agent}), and enrol the"
            " right machine with a token of its site"
        )


def standing(registry: Registry) -> dict[str, set[str]]:
    """Name → the sites where the registry says the machine of that name stands: one, unless it is at fault."""
    found: dict[str, set[str]] = {}
    for site in registry.sites:
        if site.probe:
            found.setdefault(site.probe, set()).add(site.id)
    for host in registry.hosts:
        found.setdefault(host.id, set()).add(host.site)
    for device in registry.devices:
        found.setdefault(device.id, set()).add(device.site)
    return found


def _over(registry: Registry, above: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Agent → the sites that are over everything it is named for."""
    found: dict[str, frozenset[str]] = {}
    for agent, site in _named(registry):
        places = above.get(site, frozenset())
        found[agent] = found.get(agent, places) & places
    return found


def _named(registry: Registry) -> Iterator[tuple[str, str]]:
    for device in registry.devices:
        if device.agent:
            yield device.agent, device.site
    for service in registry.services:
        if service.agent:
            yield service.agent, service.site


def _above(registry: Registry) -> dict[str, frozenset[str]]:
    """Site → itself, the sites above it, and the data center."""
    parents = {site.id: site.parent for site in registry.sites}
    center = {registry.center} if registry.center else set()
    found: dict[str, frozenset[str]] = {}
    for site in parents:
        at, passed = site, set[str]()
        while at in parents and at not in passed:
            passed.add(at)
            at = parents[at]
        found[site] = frozenset(passed | center)
    return found
