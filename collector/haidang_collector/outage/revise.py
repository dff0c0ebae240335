"""What sites tell afterwards: late reports say when they were lost and came back, and of power and ports
meanwhile. An outage that is known better then is revised, and what it was is kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import sqlalchemy as sa

from haidang_collector.ingest import Prepared
from haidang_collector.ledger import outages as kept
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.outage.cause import Cause, Kind, clock
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.model import Downtime, Outage
from haidang_collector.outage.remarks import Remark, remark

_MOST_SIGNS = 10_000
_A_TURN = 500
# A site and the center see the same beginning and end within so much of each other.
_SAME_SECONDS = 60.0
# A difference that is one.
_BETTER_SECONDS = 0.2
_POWER_BEFORE_SECONDS = 2 * 3600.0
_TOGETHER_SECONDS = 15.0
_FAR_PORT_KINDS = (Kind.UNKNOWN, Kind.CARRIER)
_OWN_PORT_KINDS = (Kind.UNKNOWN, Kind.FIBER_CUT)


@dataclass(frozen=True)
class Sign:
    """Something a site says of a time: lost, back (its path to the center), power, or link (a port lost it)."""

    site: str
    kind: str
    at: float
    what: Remark = Remark("", "")
    port: tuple[str, str] = ("", "")
    target: str = ""


class Reviser:
    """Takes signs as they come, works on them in `turn()`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._signs: deque[Sign] = deque(maxlen=_MOST_SIGNS)

    def take(self, prepared: Prepared) -> None:
        """Note what a report says of an earlier time."""
        self._signs.extend(signs(prepared))

    async def turn(self, engine: Engine) -> None:
        """Revise what the signs of some time say better. Raises LedgerError."""
        some = [self._signs.popleft() for _ in range(min(len(self._signs), _A_TURN))]
        some = [sign for sign in some if sign.kind not in ("lost", "back") or sign.target == engine.registry.center]
        if not some:
            return
        try:
            early = await self._ledger.run(_revise, some, engine, time.time())
        except LedgerError:
            self._signs.extendleft(reversed(some))
            raise
        self._signs.extend(early)


def signs(prepared: Prepared) -> Iterator[Sign]:
    """Those of a report; times on the collector's clock."""
    report, offset = prepared.report, prepared.taken - prepared.report.taken
    for event in report.events:
        body, at = event.body, event.at + offset
        if event.kind in ("path_down", "path_up"):
            kind = "lost" if event.kind == "path_down" else "back"
            yield Sign(prepared.site, kind, at, target=str(body.get("target")))
        elif event.kind == "link_down":
            port = (str(body.get("device")), str(body.get("interface")))
            lost = remark("lost its link", port=" ".join(port))
            yield Sign(prepared.site, "link", at, remark("at", what=lost, at=clock(at)), port)
        elif event.kind == "dying_gasp":
            gasp = remark("gasp", device=body.get("device"))
            yield Sign(prepared.site, "power", at, remark("at", what=gasp, at=clock(at)))
    for sample in report.samples:
        if (sample.metric == "haidang_ups_on_battery" and sample.value) or (
            sample.metric == "haidang_host_mains_power" and not sample.value
        ):
            device = sample.labels.get("device")
            battery = remark("ups", device=device) if device else remark("battery", agent=report.agent)
            said = remark("at", what=battery, at=clock(prepared.taken))
            yield Sign(prepared.site, "power", prepared.taken, said)


def _revise(connection: sa.Connection, some: list[Sign], engine: Engine, now: float) -> list[Sign]:
    """Revise what these say better; those that came before the center saw its part are given back."""
    begins, ends = min(sign.at for sign in some) - _SAME_SECONDS, max(sign.at for sign in some) + _POWER_BEFORE_SECONDS
    found = {outage.id: outage for outage, _ in kept.between(connection, begins, ends) if outage.kind == "site"}
    if not found:
        return []
    early: list[Sign] = []
    down = [each for each in kept.downtimes_between(connection, begins, ends) if each.outage in found]
    for identifier, outage in found.items():
        own = [each for each in down if each.outage == identifier]
        now_known, reasons = outage, []
        for sign in some:
            if sign.site not in outage.sites:
                continue
            if sign.kind == "back" and now - sign.at < _SAME_SECONDS and _is_open(own, sign.site):
                early.append(sign)
            elif sign.kind in ("lost", "back"):
                own = [_moved(connection, each, sign) if each.kind == "site" else each for each in own]
            elif (better := _better_cause(now_known, sign, engine)) is not None:
                now_known = replace(now_known, cause=better)
                reasons.append(f"{sign.site}: {sign.what.en}")
        now_known = _with_times(now_known, [each for each in own if each.kind == "site"])
        if (now_known.started, now_known.ended) != (outage.started, outage.ended):
            reasons.append("the sites themselves say when")
            own = [_follow(connection, each, outage, now_known) if each.kind == "circuit" else each for each in own]
        if reasons:
            kept.revise(connection, now_known, "; ".join(reasons), now)
        _tell(engine, now_known, own)
    return early


def _is_open(own: list[Downtime], site: str) -> bool:
    return any(each.kind == "site" and each.element == site and each.ended is None for each in own)


def _moved(connection: sa.Connection, downtime: Downtime, sign: Sign) -> Downtime:
    """A site's downtime, with the time the site itself says when it is nearer to the truth: both saw the first
    probe that was not answered, or was again, and the earlier of two is."""
    if downtime.element != sign.site:
        return downtime
    started, ended = downtime.started, downtime.ended
    if sign.kind == "lost" and 0 < started - sign.at <= _SAME_SECONDS:
        started = sign.at
    if sign.kind == "back" and ended is not None and 0 < ended - sign.at <= _SAME_SECONDS and sign.at > started:
        ended = sign.at
    if (started, ended) == (downtime.started, downtime.ended):
        return downtime
    kept.move(connection, downtime, started, ended)
    return replace(downtime, started=started, ended=ended)


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
    if abs(started - outage.started) < _BETTER_SECONDS or abs(started - outage.started) > _SAME_SECONDS:
        started = outage.started
    ended = outage.ended
    over = [each.ended for each in own if each.ended is not None]
    if ended is not None and len(over) == len(own) and _BETTER_SECONDS <= abs(max(over) - ended) <= _SAME_SECONDS:
        ended = max(over)
    return replace(outage, started=started, ended=ended)


def _better_cause(outage: Outage, sign: Sign, engine: Engine) -> Cause | None:
    """The cause when a sign says more than was known; None when it does not."""
    kind, evidence = outage.cause.kind, outage.cause.evidence
    if sign.what in evidence:
        return None
    if sign.kind == "power":
        until = (outage.ended or sign.at) + _SAME_SECONDS
        if sign.site != outage.site or not outage.started - _POWER_BEFORE_SECONDS <= sign.at <= until:
            return None
        return None if kind == Kind.POWER else Cause(Kind.POWER, (*evidence, sign.what))
    if abs(sign.at - outage.started) > _TOGETHER_SECONDS:
        return None
    for circuit in engine.registry.circuits:
        for end in circuit.ends:
            if (end.device, end.interface) != sign.port:
                continue
            if circuit.id in outage.circuits and kind in _FAR_PORT_KINDS:
                said = remark("at the far end", circuit=circuit.id, what=sign.what)
                return Cause(Kind.FIBER_CUT, (*evidence, said))
            other = engine.graph.other(circuit.id, end.site)
            if circuit.id not in outage.circuits and other == outage.site and kind in _OWN_PORT_KINDS:
                # Its other links went with it: not the fiber, what they all end at.
                said = remark("together with", circuit=circuit.id, what=sign.what, site=outage.site)
                return Cause(Kind.FAR_DEVICE, (*evidence, said))
    return None


def _tell(engine: Engine, revised: Outage, own: list[Downtime]) -> None:
    """What is still open goes on from what is known now."""
    present = engine.outages.get(revised.id)
    if present is not None:
        present.started, present.cause = revised.started, revised.cause
        over = [each.ended for each in own if each.kind == "site"]
        if present.clear_since is not None and over and None not in over:
            present.clear_since = max(ended for ended in over if ended is not None)
    for each in own:
        if (each.kind, each.element) in engine.downtimes and each.ended is None:
            engine.downtimes[each.kind, each.element] = each
