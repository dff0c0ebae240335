"""Why sites are cut off: one cause from the evidence, with the evidence listed. Pure functions.

Near end without link and without light: the fiber is cut. Light, but no link or no neighbour: the device
at the far end. Signs of failed power there: power. Several links of one site lost at once, or dead with their
ports up: its device. Link and neighbour, but nothing passes: the carrier, or routing. Nothing seen: unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from haidang_collector.outage.coincidence import LINKS_SECONDS, PORT_SECONDS, is_power_lost_with
from haidang_collector.outage.evidence import Evidence, PortState
from haidang_collector.outage.remarks import Remark, remark
from haidang_collector.registry.model import Circuit, End
from haidang_collector.topology.graph import Region


class Kind(StrEnum):
    """Causes."""

    FIBER_CUT = "fiber_cut"
    FAR_DEVICE = "far_device"
    POWER = "power"
    CARRIER = "carrier"
    CENTER = "center"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Cause:
    """A cause and what speaks for it."""

    kind: Kind
    evidence: tuple[Remark, ...] = ()


def of_region(region: Region, circuits: dict[str, Circuit], evidence: Evidence, started: float, feeder: str) -> Cause:
    """The cause for sites that are cut off since `started` (Unix seconds). `feeder` is the power line sites of other
    regions lost at the same time hang on too, empty when there is none."""
    power = [
        remark("of site", site=site, what=remark("at", what=sign.what, at=clock(sign.at)))
        for site in region.entries
        if (sign := evidence.power.get(site)) is not None and is_power_lost_with(started, sign.at)
    ]
    if feeder:
        power.append(remark("feeder", feeder=feeder))
    if not region.frontier:
        return Cause(Kind.POWER if power else Kind.UNKNOWN, (*power, remark("no circuit")))
    seen = [_near_end(circuits[name], region.sites, evidence, started) for name in region.frontier]
    said = tuple(each.remark for each in seen if each.remark)
    if power:
        return Cause(Kind.POWER, (*power, *said))
    together = _lost_together(each.down_since for each in seen)
    if len(seen) > 1 and together:
        lost = remark("lost together", sites=", ".join(region.entries), seconds=LINKS_SECONDS)
        return Cause(Kind.FAR_DEVICE, (lost, *said))
    kinds = [each.kind for each in seen]
    if len(seen) > 1 and set(kinds) == {Kind.CARRIER}:
        return Cause(Kind.FAR_DEVICE, (remark("all pass nothing", sites=", ".join(region.entries)), *said))
    # One circuit that is known to be dead for a reason of its own leaves the others to explain the rest.
    for kind in (Kind.FIBER_CUT, Kind.FAR_DEVICE, Kind.CARRIER):
        if kind in kinds:
            return Cause(kind, said)
    return Cause(Kind.UNKNOWN, said)


def of_circuit(circuit: Circuit, evidence: Evidence, started: float) -> Cause:
    """The cause for a circuit that carries nothing while the sites at its ends are reached another way."""
    ends = [_end(circuit, end, evidence, started) for end in circuit.ends]
    said = tuple(each.remark for each in ends if each.remark)
    kinds = [each.kind for each in ends]
    for kind in (Kind.FIBER_CUT, Kind.FAR_DEVICE, Kind.CARRIER):
        if kind in kinds:
            return Cause(kind, said)
    return Cause(Kind.UNKNOWN, said)


@dataclass(frozen=True)
class _Seen:
    kind: Kind
    remark: Remark | None
    down_since: float | None = None


def _near_end(circuit: Circuit, sites: frozenset[str], evidence: Evidence, started: float) -> _Seen:
    near = next((end for end in circuit.ends if end.site not in sites), None)
    if near is None:
        return _Seen(Kind.UNKNOWN, None)
    return _end(circuit, near, evidence, started)


def _end(circuit: Circuit, end: End, evidence: Evidence, started: float) -> _Seen:
    port: PortState | None = evidence.ports.get((end.device, end.interface)) if end.interface else None
    if port is None:
        return _Seen(Kind.UNKNOWN, remark("port unknown", circuit=circuit.id, site=end.site))
    if not port.up and port.since >= started - PORT_SECONDS:
        return _down(circuit, end, port)
    known = {"circuit": circuit.id, "port": f"{end.device} {end.interface}"}
    if not port.up:
        return _Seen(Kind.UNKNOWN, remark("port down before", **known, at=clock(port.since)))
    if port.seen < started:
        return _Seen(Kind.UNKNOWN, remark("port last seen", **known, at=clock(port.seen)))
    if port.since > started:
        return _Seen(Kind.UNKNOWN, remark("port up again", **known, at=clock(port.since)))
    if evidence.neighbours.get((end.device, end.interface)) is False:
        return _Seen(Kind.FAR_DEVICE, remark("no neighbour", **known))
    if port.light_dbm is None:
        return _Seen(Kind.CARRIER, remark("nothing passes", **known))
    return _Seen(Kind.CARRIER, remark("nothing passes, light", **known, light_dbm=port.light_dbm))


def _down(circuit: Circuit, end: End, port: PortState) -> _Seen:
    known = {"circuit": circuit.id, "port": f"{end.device} {end.interface}", "at": clock(port.since)}
    if not port.admin_up:
        return _Seen(Kind.FAR_DEVICE, remark("shut down", **known), port.since)
    fresh = port.light_taken >= port.since
    if port.dark is False and fresh:
        return _Seen(Kind.FAR_DEVICE, remark("light, no link", **known, light_dbm=port.light_dbm), port.since)
    key = "no light" if port.dark and fresh else "no link"
    return _Seen(Kind.FIBER_CUT, remark(key, **known, site=end.site), port.since)


def _lost_together(since: Iterable[float | None]) -> bool:
    times = list(since)
    known = [each for each in times if each is not None]
    return bool(known) and len(known) == len(times) and max(known) - min(known) <= LINKS_SECONDS


def clock(at: float) -> str:
    """A time of day, of the collector's time zone, for people; a dash for what is no time."""
    try:
        return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return "–"
