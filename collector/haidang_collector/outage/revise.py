"""What sites tell afterwards: late reports say when they were lost and came back, and of power and ports
meanwhile. An outage that is known better then is revised, and what it was is kept.

The ledger's thread works out and writes what is known better; the engine, which is the event loop's, is told of it
when that is durable.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from haidang_collector.intake.ingest import Prepared
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.outage import power
from haidang_collector.outage import store as kept
from haidang_collector.outage.cause import Cause, Kind, clock
from haidang_collector.outage.coincidence import (
    PORT_SECONDS,
    POWER_AFTER_SECONDS,
    POWER_BEFORE_SECONDS,
    SAME_SECONDS,
    is_power_lost_with,
)
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.model import Downtime, Outage
from haidang_collector.outage.remarks import Remark, remark
from haidang_collector.outage.witness import (
    AHEAD_SECONDS,
    GASP,
    OLDEST_LATE_SECONDS,
    PATH_EVENTS,
    Witnesses,
    event_time,
    text,
)
from haidang_collector.registry.model import Registry
from haidang_collector.topology.graph import Topology

log = logging.getLogger(__name__)

_MOST_SIGNS = 10_000
_MOST_SIGNS_AN_AGENT = 1_000
_A_TURN = 500
# A difference that is one.
_BETTER_SECONDS = 0.2
_FAR_PORT_KINDS = (Kind.UNKNOWN, Kind.CARRIER)
_OWN_PORT_KINDS = (Kind.UNKNOWN, Kind.FIBER_CUT)


@dataclass(frozen=True)
class Sign:
    """What an agent says of a site's time: lost, back (its path to the data center), power, or link (a port's)."""

    agent: str
    site: str
    kind: str
    at: float
    what: Remark = Remark("", "")
    port: tuple[str, str] = ("", "")


@dataclass
class Revised:
    """What became of some signs: outages that are known better with their downtimes, signs that came before the data
    center saw its part, and how many outages could not be revised."""

    better: list[tuple[Outage, list[Downtime]]] = field(default_factory=list)
    early: list[Sign] = field(default_factory=list)
    unusable: int = 0


class Reviser:
    """Takes signs as they come, works on them in `turn()`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._signs: deque[Sign] = deque()
        self._waiting: Counter[str] = Counter()
        self._moved = 0.0

    def move(self, seconds: float) -> None:
        """The clock was set by so much: what was said is as old as it was."""
        self._moved += seconds
        self._signs = deque(replace(sign, at=sign.at + seconds) for sign in self._signs)

    def take(self, prepared: Prepared, witnesses: Witnesses, center: str, now: float) -> int:
        """Note what a report says of an earlier time; how much of it can't be used."""
        refused = 0
        for sign in signs(prepared, witnesses, center):
            full = len(self._signs) >= _MOST_SIGNS or self._waiting[sign.agent] >= _MOST_SIGNS_AN_AGENT
            if full or not now - OLDEST_LATE_SECONDS <= sign.at <= now + AHEAD_SECONDS:
                refused += 1
                continue
            self._put(sign)
        return refused

    def _put(self, sign: Sign) -> None:
        self._signs.append(sign)
        self._waiting[sign.agent] += 1

    async def turn(self, present: Callable[[], Engine], now: float) -> int:
        """Revise what the signs of some time say better, and tell the engine that is present then; how much could not
        be. Raises LedgerError: then the signs wait for another turn."""
        some = [self._signs.popleft() for _ in range(min(len(self._signs), _A_TURN))]
        if not some:
            return 0
        moved = self._moved
        try:
            done = await self._ledger.run(_revise, some, present().registry, present().graph, now)
        except LedgerError:
            self._signs.extendleft(replace(sign, at=sign.at + self._moved - moved) for sign in reversed(some))
            raise
        self._waiting.subtract(sign.agent for sign in some)
        self._waiting = +self._waiting
        for sign in dict.fromkeys(done.early):
            self._put(replace(sign, at=sign.at + self._moved - moved))
        # What is open has other times by now than it was revised by when the clock was set meanwhile.
        for outage, own in done.better if self._moved == moved else ():
            _tell(present(), outage, own)
        return done.unusable


def signs(prepared: Prepared, witnesses: Witnesses, center: str) -> Iterator[Sign]:
    """The signs in a report, as far as it may say such things; times on the collector's clock."""
    report, site = prepared.report, prepared.site
    for event in report.events:
        at = event_time(prepared, event)
        if at is None or not witnesses.may_tell(prepared, event):
            continue
        body = event.body
        if event.kind in PATH_EVENTS:
            if text(body, "target") == center:
                yield Sign(report.agent, site, "lost" if event.kind == "path_down" else "back", at)
        elif event.kind == "link_down":
            port = (text(body, "device"), text(body, "interface"))
            if witnesses.is_end(port):
                lost = remark("lost its link", port=" ".join(port))
                yield Sign(report.agent, site, "link", at, remark("at", what=lost, at=clock(at)), port)
        elif event.kind == GASP:
            said = remark("at", what=power.gasp_sign(event), at=clock(at))
            yield Sign(report.agent, site, "power", at, said)
    for index in prepared.kept_samples:
        failed = power.sample_sign(report.samples[index], report.agent)
        if failed is not None:
            said = remark("at", what=failed, at=clock(prepared.taken))
            yield Sign(report.agent, site, "power", prepared.taken, said)


def _revise(connection: sa.Connection, some: list[Sign], registry: Registry, graph: Topology, now: float) -> Revised:
    """Revise what these say better. An outage for which that fails stays as it was, and costs no other."""
    begins = min(sign.at for sign in some) - max(SAME_SECONDS, POWER_AFTER_SECONDS)
    ends = max(sign.at for sign in some) + POWER_BEFORE_SECONDS
    found = {outage.id: outage for outage, _ in kept.between(connection, begins, ends) if outage.kind == "site"}
    done = Revised()
    if not found:
        return done
    of_site: dict[str, list[Sign]] = {}
    for sign in some:
        of_site.setdefault(sign.site, []).append(sign)
    down: dict[str, list[Downtime]] = {}
    for each in kept.downtimes_between(connection, begins, ends):
        down.setdefault(each.outage, []).append(each)
    for outage in found.values():
        said = [sign for site in sorted(outage.sites & of_site.keys()) for sign in of_site[site]]
        if not said:
            continue
        try:
            with connection.begin_nested():
                better, early = _revise_one(connection, outage, down.get(outage.id, []), said, registry, graph, now)
        except sa.exc.OperationalError:  # the disk
            raise
        except Exception:  # whatever one outage and what is said of it bring out is no other's
            log.exception("outage %s can't be revised", outage.id)
            done.unusable += 1
            continue
        done.better.append(better)
        done.early += early
    return done


def _revise_one(
    connection: sa.Connection, outage: Outage, own: list[Downtime], said: list[Sign], registry: Registry,
    graph: Topology, now: float,
) -> tuple[tuple[Outage, list[Downtime]], list[Sign]]:  # fmt: skip
    now_known, reasons = outage, []
    early: list[Sign] = []
    for sign in said:
        if sign.kind == "back" and now - sign.at < SAME_SECONDS and _is_open(own, sign.site):
            early.append(sign)
        elif sign.kind in ("lost", "back"):
            own = _moved(connection, own, sign)
        elif (better := _better_cause(now_known, sign, registry, graph)) is not None:
            now_known = replace(now_known, cause=better)
            reasons.append(f"{sign.site}: {sign.what.en}")
    now_known = _with_times(now_known, [each for each in own if each.kind == "site"])
    if (now_known.started, now_known.ended) != (outage.started, outage.ended):
        reasons.append("the sites themselves say when")
        own = [_follow(connection, each, outage, now_known) if each.kind == "circuit" else each for each in own]
    if reasons:
        kept.revise(connection, now_known, "; ".join(reasons), now)
    return (now_known, own), early


def _is_open(own: list[Downtime], site: str) -> bool:
    return any(each.kind == "site" and each.element == site and each.ended is None for each in own)


def _moved(connection: sa.Connection, own: list[Downtime], sign: Sign) -> list[Downtime]:
    """Downtimes, with the time the site itself says of one of its own when it is nearer to the truth: both saw the
    first probe that was not answered, or was again, and the earlier of two is. It is of the nearest that began or ended
    after it, and reaches into no other."""
    mine = sorted((each for each in own if (each.kind, each.element) == ("site", sign.site)), key=lambda d: d.started)
    for before, each in zip([None, *mine], mine, strict=False):
        moved = each
        free = before is None or (before.ended is not None and before.ended < sign.at)
        if sign.kind == "lost" and free and 0 < each.started - sign.at <= SAME_SECONDS:
            moved = replace(each, started=sign.at)
        elif sign.kind == "back" and each.ended is not None and each.started < sign.at < each.ended:
            moved = replace(each, ended=sign.at) if each.ended - sign.at <= SAME_SECONDS else each
        if moved is not each:
            kept.move(connection, each, moved.started, moved.ended)
            return [moved if other is each else other for other in own]
    return own


def _follow(connection: sa.Connection, downtime: Downtime, before: Outage, after: Outage) -> Downtime:
    """A circuit's downtime that began or ended with the outage does so still."""
    started = after.started if abs(downtime.started - before.started) <= 1 else downtime.started
    ended = downtime.ended
    if ended is not None and before.ended is not None and after.ended is not None and abs(ended - before.ended) <= 1:
        ended = after.ended
    if (started, ended) != (downtime.started, downtime.ended):
        kept.move(connection, downtime, started, ended)
    return replace(downtime, started=started, ended=ended)


def _with_times(outage: Outage, own: list[Downtime]) -> Outage:
    if not own:
        return outage
    started = min(each.started for each in own)
    if abs(started - outage.started) < _BETTER_SECONDS or abs(started - outage.started) > SAME_SECONDS:
        started = outage.started
    ended = outage.ended
    over = [each.ended for each in own if each.ended is not None]
    if ended is not None and len(over) == len(own) and _BETTER_SECONDS <= abs(max(over) - ended) <= SAME_SECONDS:
        ended = max(over)
    return replace(outage, started=started, ended=ended)


def _better_cause(outage: Outage, sign: Sign, registry: Registry, graph: Topology) -> Cause | None:
    """The cause when a sign says more than was known; None when it does not."""
    kind, evidence = outage.cause.kind, outage.cause.evidence
    if sign.what in evidence:
        return None
    if sign.kind == "power":
        if kind == Kind.POWER or sign.site != outage.site or not is_power_lost_with(outage.started, sign.at):
            return None
        return Cause(Kind.POWER, (*evidence, sign.what))
    if abs(sign.at - outage.started) > PORT_SECONDS:
        return None
    for circuit in registry.circuits:
        for end in circuit.ends:
            if (end.device, end.interface) != sign.port:
                continue
            if circuit.id in outage.circuits and kind in _FAR_PORT_KINDS:
                said = remark("at the far end", circuit=circuit.id, what=sign.what)
                return Cause(Kind.FIBER_CUT, (*evidence, said))
            other = graph.other(circuit.id, end.site)
            if circuit.id not in outage.circuits and other == outage.site and kind in _OWN_PORT_KINDS:
                # Its other links went with it: not the fiber, what they all end at.
                said = remark("together with", circuit=circuit.id, what=sign.what, site=outage.site)
                return Cause(Kind.FAR_DEVICE, (*evidence, said))
    return None


def _tell(engine: Engine, revised: Outage, own: list[Downtime]) -> None:
    """What is still open goes on from what is known now."""
    present = engine.open_outages.get(revised.id)
    if present is not None:
        present.started, present.cause = revised.started, revised.cause
        over = [each.ended for each in own if each.kind == "site"]
        if present.clear_since is not None and over and None not in over:
            present.clear_since = max(ended for ended in over if ended is not None)
    for each in own:
        if (each.kind, each.element) in engine.downtimes and each.ended is None:
            engine.downtimes[each.kind, each.element] = each
