"""What the engine speaks of: outages, downtimes, maintenance. Times are Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from haidang_collector.outage.cause import Cause, Kind


@dataclass(frozen=True)
class MaintenanceWindow:
    """When a site or circuit is under maintenance that was announced."""

    element: str
    begins: float
    ends: float


@dataclass
class Outage:
    """One failure. `site` and `circuit`, fixed when it begins, name it: the entry nearest the data center and the
    circuit towards it; `kind` is site, circuit (a circuit alone, all sites reached) or center. `sites` are all
    it ever cut off, `down` those it cuts off now; `planned` says that it lies in maintenance. Unix seconds."""

    id: str
    kind: str
    site: str
    circuit: str
    started: float
    circuits: tuple[str, ...]
    sites: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    cause: Cause = Cause(Kind.UNKNOWN)
    planned: bool = False
    flaps: int = 0
    clear_since: float | None = None
    ended: float | None = None

    def move(self, seconds: float, now: float) -> None:
        """The clock was set by so much and says now: what is open is as old as it was, and nothing began later."""
        if self.ended is None:
            self.started = min(self.started + seconds, now)
            self.clear_since = None if self.clear_since is None else min(self.clear_since + seconds, now)


@dataclass(frozen=True)
class Downtime:
    """A site (`kind` site) or circuit that is, or was, down; `reason` is why it ended where nothing was seen of it."""

    kind: str
    element: str
    started: float
    outage: str = ""
    ended: float | None = None
    reason: str = ""

    def moved(self, seconds: float, now: float) -> Downtime:
        """The same when the clock was set, as outages are."""
        return replace(self, started=min(self.started + seconds, now)) if self.ended is None else self


class Says(StrEnum):
    """What tells of a site or circuit: live, as the engine judged; or late reports: of the data center's probe, that a
    path to or along it answered or not; of a probe at the site or at the circuit's own end, the same (`own`); that a
    port at its end had a link or not."""

    LIVE = "live"
    UP = "up"
    DOWN = "down"
    OWN_UP = "own_up"
    OWN_DOWN = "own_down"
    LINK = "link"
    DARK = "dark"


@dataclass(frozen=True)
class Seen:
    """The time from one sight of a site or circuit to the last that followed it without a gap."""

    kind: str
    element: str
    says: Says
    begins: float
    ends: float


@dataclass
class Changes:
    """What an evaluation changed: outages that are new or other than before, by id, and downtimes that began or
    ended."""

    outages: dict[str, Outage] = field(default_factory=dict)
    downtimes: list[Downtime] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.outages or self.downtimes)
