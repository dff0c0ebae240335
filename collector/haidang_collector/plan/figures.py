"""From what reports say to figures. Pure of clocks and files.

A figure of a site is a share from 0 to 1, or absent where nothing tells. Over a level and the province it is that of
all its sites together: yes-or-no figures count sites, workstations count officials, documents count documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haidang_collector.plan.inputs import DAY, Inputs
from haidang_collector.registry.model import Registry, Site

FIGURES = (
    "fiber",
    "appliance",
    "workstation",
    "document_system",
    "online_services",
    "electronic_documents",
    "it_officer",
)
ALL = "all"
# A service or appliance nobody has heard of for so long is not there.
_FRESH_SECONDS = 600.0
# Counts of documents change by the day; a night without them is no loss.
_COUNTS_SECONDS = 2 * DAY


@dataclass(frozen=True)
class Share:
    """A part and the whole it is of."""

    part: float
    whole: float

    @property
    def ratio(self) -> float:
        """0 to 1."""
        return max(0.0, min(1.0, self.part / self.whole))


@dataclass
class Figures:
    """`sites` by (site, figure), `levels` by (level, figure) with the province as level `all`."""

    sites: dict[tuple[str, str], Share] = field(default_factory=dict)
    levels: dict[tuple[str, str], Share] = field(default_factory=dict)


def compute(registry: Registry, inputs: Inputs, workstations: Mapping[str, int], now: float) -> Figures:
    """All figures. `workstations` are the desktops, laptops and tablets of each site that are in use."""
    found = Figures()
    reading = _Reading(registry, inputs, now)
    totals: dict[tuple[str, str], list[float]] = {}
    for site in registry.sites:
        if site.level == "other":  # no agency: a mast, a store
            continue
        shares = {
            "fiber": reading.fiber(site),
            "appliance": reading.appliance(site),
            "workstation": _workstation(site, workstations.get(site.id, 0)),
            "document_system": reading.service(site, ("document_system",)),
            "online_services": reading.service(site, ("portal", "one_stop", "public_service")),
            "electronic_documents": reading.documents(site),
            "it_officer": Share(int(site.it_officer is not None), 1),
        }
        for figure, share in shares.items():
            if share is None:
                continue
            found.sites[site.id, figure] = share
            for level in (site.level, ALL):
                total = totals.setdefault((level, figure), [0.0, 0.0])
                # What is above its whole at one site makes up for no other.
                weight = share.whole if figure in ("workstation", "electronic_documents") else 1.0
                total[0] += share.ratio * weight
                total[1] += weight
    found.levels = {key: Share(part, whole) for key, (part, whole) in totals.items()}
    return found


def _workstation(site: Site, number: int) -> Share | None:
    return Share(number, site.officials) if site.officials else None


class _Reading:
    def __init__(self, registry: Registry, inputs: Inputs, now: float) -> None:
        self._inputs = inputs
        self._now = now
        self._fibers: dict[str, list[str]] = {}
        for circuit in registry.circuits:
            if circuit.medium == "fiber":
                for end in circuit.ends:
                    self._fibers.setdefault(end.site, []).append(circuit.id)
        self._appliances: dict[str, list[str]] = {}
        for device in registry.devices:
            if device.role == "appliance":
                self._appliances.setdefault(device.site, []).append(device.id)
        self._services = registry.services

    def _within(self, seconds: float, at: float) -> bool:
        """Whether that was so lately: what is of the future is of a clock that was wrong."""
        return 0 <= self._now - at <= seconds

    def fiber(self, site: Site) -> Share:
        """A fiber circuit that carried traffic within the last 24 hours."""
        seen = (self._inputs.circuits_up.get(circuit, 0.0) for circuit in self._fibers.get(site.id, ()))
        return Share(int(any(self._within(DAY, at) for at in seen)), 1)

    def appliance(self, site: Site) -> Share:
        """One that is there, answers, and finds nothing wrong with itself."""
        for name in self._appliances.get(site.id, ()):
            known = self._inputs.appliances.get(name)
            fresh = known and known.answers and self._within(_FRESH_SECONDS, known.answered)
            if known and fresh and all(known.ok.values()):
                return Share(1, 1)
        return Share(0, 1)

    def service(self, site: Site, kinds: tuple[str, ...]) -> Share | None:
        """Those of these kinds that serve the site, and answer. An agency without a document system does not meet
        the figure; one without services of its own for citizens has nothing to meet."""
        mine = [
            each for each in self._services if each.kind in kinds and (each.serves == "all" or each.site == site.id)
        ]
        if not mine:
            return Share(0, 1) if kinds == ("document_system",) else None
        states = (self._inputs.services.get(each.id, (False, 0.0)) for each in mine)
        up = sum(answers and self._within(_FRESH_SECONDS, at) for answers, at in states)
        # One document system is enough; each service counts.
        return Share(min(up, 1), 1) if kinds == ("document_system",) else Share(up, len(mine))

    def documents(self, site: Site) -> Share | None:
        """Electronic documents among all, by the counts of document systems."""
        part = whole = 0.0
        for service in self._services:
            if service.documents is None or (service.serves == "site" and service.site != site.id):
                continue
            for unit in (site.id, "") if service.site == site.id else (site.id,):
                count, at = self._inputs.documents.get((service.id, unit), (0.0, 0.0))
                if self._within(_COUNTS_SECONDS, at) and (service.id, unit) in self._inputs.electronic:
                    part += min(self._inputs.electronic[service.id, unit], count)
                    whole += count
        return Share(part, whole) if whole else None
