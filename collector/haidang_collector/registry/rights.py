"""Who may say what. One place, asked by the gate for each report, sample, fact and event.

| a report of the source          | may name                                                                           |
|---------------------------------|------------------------------------------------------------------------------------|
| `snmp:DEVICE`, `traps:DEVICE`   | that device, which the registry has this agent poll                                |
| any other                       | as a device itself: its own ports. If a device of the registry bears its name, it  |
|                                 | must be that device, by the registry                                               |
| `path_state`, `paths`, `routes` | the sites and circuits to which the registry has this agent measure                |
| `services`                      | the services it asks, and documents of the units these serve                       |
| `inventory`, `lan`              | itself: its machine, and the networks of its own site                              |

Sites are never named: the collector adds the agent's own, or the device's. Pure; the hot path asks two dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from haidang_wire.kinds import EVENTS
from haidang_wire.metrics import CATALOGUE, samples_of
from haidang_wire.sources import ROUTES, SOURCES, About

ABOUT_DEVICES = tuple(kind for kind, each in SOURCES.items() if each.about is About.DEVICE)
"""Sources whose target is a device; no other source has a target."""
OWN_EVENTS = frozenset({"network_device_new", "machine_disputed"})
"""Kinds of events that the collector tells, and no agent."""

_OF_MACHINES = frozenset(kind for kind, each in SOURCES.items() if each.about is About.MACHINE)
# Sources whose `target` is the registry's; reachability's targets are of the agent's own choice.
_OF_PATHS = frozenset(kind for kind, each in SOURCES.items() if each.about is About.PATHS)
# What these are about, they must say.
_NEEDED = {kind: each.names for kind, each in EVENTS.items() if each.names}
_NONE: frozenset[str] = frozenset()
DEVICE = ("device",)
"""The labels of almost every sample that names something."""


@dataclass(frozen=True)
class Service:
    """A service an agent asks. `units` are the sites whose documents it counts; None for every site's; empty for a
    service that counts none."""

    units: frozenset[str] | None = _NONE


@dataclass(frozen=True)
class Rights:
    """What an agent may speak of: by default of itself alone.

    `itself`: whether ports under its own name are its own (else a device bears that name, and it is not that device).
    `devices`: those it polls, and the site of each; `targets`: of its paths; `sites`: all of the registry.
    """

    itself: bool = True
    devices: Mapping[str, str] = field(default_factory=dict)
    targets: frozenset[str] = _NONE
    services: Mapping[str, Service] = field(default_factory=dict)
    sites: frozenset[str] = _NONE

    def voice(self, agent: str, site: str, source: str) -> Voice | None:
        """What a report of this source may speak of; None for one that may not be: about a device that is not
        assigned to this agent, or with a target where there is none."""
        kind, colon, target = source.partition(":")
        if not colon:
            return Voice(self, agent, site, kind, agent, agent if self.itself else None)
        if kind not in ABOUT_DEVICES or target not in self.devices:
            return None
        return Voice(self, agent, self.devices[target], kind, target, target)


@dataclass(slots=True)
class Voice:
    """One report's: of `site`, about `subject` (the device it polls, or the agent). `device` is the one name its
    `device` labels may hold."""

    rights: Rights
    agent: str
    site: str
    kind: str
    subject: str
    device: str | None

    def sample(self, names: tuple[str, ...], labels: Mapping[str, str]) -> str:
        """Why a sample may not be said, empty when it may; `names` are those of NAMING."""
        for name in names:
            value = labels[name]
            if name == "device":
                if value != self.device:
                    return "foreign_device"
            elif name == "target":
                if value not in self.rights.targets:
                    return "foreign_path"
            elif name == "service":
                if value not in self.rights.services:
                    return "foreign_service"
            elif not self._counts(labels["service"], value):
                return "foreign_unit"
        return ""

    def _counts(self, service: str, unit: str) -> bool:
        units = self.rights.services[service].units
        # A unit that is no site of the registry is nobody's.
        return units is None or unit in units or bool(units and unit not in self.rights.sites)

    def fact(self, kind: str, key: str) -> str:
        """Why a fact may not be said, empty when it may."""
        if self.kind == ROUTES:
            return "" if key in self.rights.targets else "foreign_path"
        if key != self.subject:
            return "foreign_key"
        return "" if self.device is not None or self.kind in _OF_MACHINES else "foreign_device"

    def event(self, kind: str, body: Mapping[str, Any]) -> str:
        """Why an event may not be said, empty when it may."""
        if kind in OWN_EVENTS:
            return "reserved_kind"
        if _NEEDED.get(kind, kind) not in body and kind in _NEEDED:
            return "nameless"
        for name, reason, allowed in (
            ("device", "foreign_device", (self.device,)),
            ("target", "foreign_path", self.rights.targets),
            ("service", "foreign_service", self.rights.services),
            ("site", "foreign_site", (self.site,)),
            ("agent", "foreign_agent", (self.agent,)),
        ):
            # What is no text is nothing an agent may name either.
            if name in body and not (isinstance(body[name], str) and body[name] in allowed):
                return reason
        return ""


class Stored(Voice):
    """The voice of a report that was checked when it came, whatever its agent may say by now."""

    def sample(self, names: tuple[str, ...], labels: Mapping[str, str]) -> str:
        return "foreign_device" if labels.get("device", self.subject) != self.subject else ""

    def fact(self, kind: str, key: str) -> str:
        return ""

    def event(self, kind: str, body: Mapping[str, Any]) -> str:
        return ""


def stored(agent: str, site: str, source: str) -> Voice:
    """The voice a stored report had, of the site it was stored for."""
    kind, _, target = source.partition(":")
    subject = target or agent
    return Stored(Rights(), agent, site, kind, subject, subject)


def _naming(kinds: tuple[str, ...], labels: tuple[str, ...]) -> tuple[str, ...]:
    asked = ("device", "service", "unit", *(("target",) if _OF_PATHS.intersection(kinds) else ()))
    found = tuple(name for name in asked if name in labels)
    return DEVICE if found == DEVICE else found


NAMING: dict[str, tuple[str, ...]] = {
    sample: _naming(metric.sources, tuple(labels))
    for metric in CATALOGUE.values()
    for sample, labels in samples_of(metric).items()
}
"""Sample → those of its labels that name something which may be somebody else's; for most there is none."""
