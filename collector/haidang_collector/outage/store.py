"""Outages, downtimes and maintenance in the ledger. Every function runs in a transaction of its caller's."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from haidang_wire.errors import HaidangError

from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.statements import Upsert, greater, of_new
from haidang_collector.ledger.tables import downtimes, maintenance, outage_revisions, outages
from haidang_collector.outage import spans as measured
from haidang_collector.outage.cause import Cause, Kind
from haidang_collector.outage.model import Changes, Downtime, MaintenanceWindow, Outage
from haidang_collector.outage.remarks import Remark
from haidang_collector.outage.sla import Record
from haidang_collector.principals import Principal
from haidang_collector.registry.model import Registry

log = logging.getLogger(__name__)

GONE = "the registry no longer has it"

# Kept of one outage: a few agents tell better, and nobody tells without end.
_MOST_REVISIONS = 50
# Its beginning may have been said better by a late report, or was dated anew when the clock was set.
_OF_NEW_OUTAGE = of_new(*(column.name for column in outages.c if column.name not in ("id", "revision", "started")))
_SAVE_OUTAGE = Upsert(
    outages, ("id",), lambda new: {**_OF_NEW_OUTAGE(new), "ended": greater(new.ended, outages.c.started)}
)
_SAVE_DOWNTIME = Upsert(
    downtimes,
    ("kind", "element", "started"),
    lambda new: {"ended": greater(new.ended, downtimes.c.started), "outage": new.outage},
)


class NoSuchMaintenance(HaidangError):
    """There is no maintenance of this number."""


@dataclass(frozen=True)
class Maintenance:
    """Maintenance of a site or circuit that was announced, as the ledger has it."""

    id: int
    element: str
    begins: float
    ends: float
    text: str


def save(connection: sa.Connection, changes: Changes, officials: dict[str, int], now: float) -> None:
    """Write what an evaluation changed. `officials` are those of each outage's sites."""
    for outage in changes.outages.values():
        values = {**_values(outage), "officials": officials[outage.id], "revision": 0, "updated": now}
        connection.execute(_SAVE_OUTAGE.on(connection), values)
    for downtime in changes.downtimes:
        values = {
            "kind": downtime.kind, "element": downtime.element, "started": downtime.started,
            "ended": downtime.ended, "outage": downtime.outage, "reason": downtime.reason,
        }  # fmt: skip
        ended = {"ended": greater(downtime.ended, downtimes.c.started), "outage": downtime.outage}
        # An element is down once at a time: what is open of it is this one, whenever it is known to have begun.
        opened = (
            downtimes.c.kind == downtime.kind,
            downtimes.c.element == downtime.element,
            downtimes.c.ended.is_(None),
        )
        if connection.execute(sa.update(downtimes).where(*opened).values(**ended)).rowcount:
            continue
        connection.execute(_SAVE_DOWNTIME.on(connection), values)


def load_open(connection: sa.Connection) -> tuple[list[Outage], list[Downtime], int]:
    """What had not ended when the collector did, and how many outages of it can't be read."""
    found, unusable = [], 0
    for row in connection.execute(sa.select(outages).where(outages.c.ended.is_(None))):
        try:
            found.append(_outage(row))
        except (LookupError, RecursionError, TypeError, ValueError):
            log.exception("outage %s can't be read", row.id)
            unusable += 1
    rows = connection.execute(sa.select(downtimes).where(downtimes.c.ended.is_(None)))
    return found, [Downtime(row.kind, row.element, row.started, row.outage) for row in rows], unusable


def end_gone(connection: sa.Connection, registry: Registry, at: float) -> None:
    """End outages and downtimes of what the registry no longer has, at a time: nothing will be seen of it any more. The
    center is where all is looked from, and not down."""
    known = {"site": {site.id for site in registry.sites}, "circuit": {circuit.id for circuit in registry.circuits}}
    opened = connection.execute(sa.select(downtimes).where(downtimes.c.ended.is_(None))).all()
    for row in opened:
        if row.element not in known.get(row.kind, ()) or row.element == registry.center:
            connection.execute(
                sa.update(downtimes)
                .where(*_same(Downtime(row.kind, row.element, row.started)))
                .values(ended=max(at, row.started), reason=GONE)
            )
    for outage in connection.execute(sa.select(outages).where(outages.c.ended.is_(None))).all():
        here = outage.site == registry.center if outage.kind == "center" else outage.site in known["site"]
        if here and known["circuit"].issuperset(_names(outage.circuits)):
            continue
        _keep_revision(connection, outage, GONE, at)
        values = {"ended": max(at, outage.started), "revision": outage.revision + 1, "updated": at}
        connection.execute(sa.update(outages).where(outages.c.id == outage.id).values(**values))
        # What is still down of it is so without an outage, until one is found for it.
        connection.execute(
            sa.update(downtimes)
            .where(downtimes.c.outage == outage.id, downtimes.c.ended.is_(None))
            .values(outage="")
        )  # fmt: skip


def between(connection: sa.Connection, begins: float, ends: float) -> list[tuple[Outage, int]]:
    """(outage, officials) of those that were open at any time between, the first first."""
    rows = connection.execute(
        sa.select(outages)
        .where(outages.c.started < ends, sa.or_(outages.c.ended.is_(None), outages.c.ended > begins))
        .order_by(outages.c.started)
    )
    return [(_outage(row), row.officials) for row in rows]


def downtimes_between(connection: sa.Connection, begins: float, ends: float) -> list[Downtime]:
    """Downtimes of any time between, the first first."""
    rows = connection.execute(
        sa.select(downtimes)
        .where(downtimes.c.started < ends, sa.or_(downtimes.c.ended.is_(None), downtimes.c.ended > begins))
        .order_by(downtimes.c.started)
    )
    return [Downtime(row.kind, row.element, row.started, row.outage, row.ended) for row in rows]


def revise(connection: sa.Connection, outage: Outage, reason: str, now: float) -> None:
    """Write an outage as it is known now, keep what it was, and move its downtimes' ends with it."""
    row = connection.execute(sa.select(outages).where(outages.c.id == outage.id)).one()
    if row.revision < _MOST_REVISIONS:
        _keep_revision(connection, row, reason, now)
    connection.execute(
        sa.update(outages)
        .where(outages.c.id == outage.id)
        .values(
            started=outage.started, ended=outage.ended, cause=outage.cause.kind,
            evidence=json.dumps(outage.cause.evidence, ensure_ascii=False), revision=row.revision + 1, updated=now,
        )
    )  # fmt: skip


def _keep_revision(connection: sa.Connection, row: sa.Row[tuple[object, ...]], reason: str, now: float) -> None:
    connection.execute(
        sa.insert(outage_revisions).values(
            outage=row.id, revision=row.revision, at=now, reason=reason, started=row.started, ended=row.ended,
            cause=row.cause, evidence=row.evidence,
        )
    )  # fmt: skip


def move(connection: sa.Connection, downtime: Downtime, started: float, ended: float | None) -> None:
    """Correct when a downtime began and ended."""
    connection.execute(sa.update(downtimes).where(*_same(downtime)).values(started=started, ended=ended))


def _same(downtime: Downtime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        downtimes.c.kind == downtime.kind,
        downtimes.c.element == downtime.element,
        downtimes.c.started == downtime.started,
    )


def record(connection: sa.Connection, begins: float, ends: float) -> Record:
    """All that a period's figures are made of."""
    downs = downtimes_between(connection, begins, ends)
    return Record(downs, windows(connection, begins, ends), measured.between(connection, begins, ends))


def add_maintenance(
    connection: sa.Connection, principal: Principal, element: str, begins: float, ends: float, text: str
) -> Maintenance:
    """Announce maintenance of a site or circuit. Raises HaidangError for one that ends before it begins."""
    if ends <= begins:
        raise HaidangError("the work ends before it begins", remedy="Give an end after the beginning")
    values = {"element": element, "begins": begins, "ends": ends, "text": text, "created": time.time()}
    done = connection.execute(sa.insert(maintenance).values(**values).returning(maintenance.c.id))
    added = Maintenance(done.scalar_one(), element, begins, ends, text)
    audit.note(connection, principal, Action.MAINTENANCE_PLAN, str(added.id), None, asdict(added))
    return added


def list_maintenance(connection: sa.Connection, begins: float = 0.0, ends: float = float("inf")) -> list[Maintenance]:
    """Maintenance of any time between, the first first."""
    rows = connection.execute(
        sa.select(maintenance)
        .where(maintenance.c.begins < ends, maintenance.c.ends > begins)
        .order_by(maintenance.c.begins)
    )
    return [Maintenance(row.id, row.element, row.begins, row.ends, row.text) for row in rows]


def end_maintenance(connection: sa.Connection, principal: Principal, identifier: int, now: float) -> Maintenance:
    """Maintenance is over now, or does not take place. Raises NoSuchMaintenance."""
    row = connection.execute(sa.select(maintenance).where(maintenance.c.id == identifier)).one_or_none()
    if row is None:
        raise NoSuchMaintenance(
            f"there is no planned work {identifier}", remedy="See: haidang-collector maintenance list"
        )
    which = maintenance.c.id == identifier
    was = Maintenance(row.id, row.element, row.begins, row.ends, row.text)
    ended = replace(was, ends=min(now, row.ends))
    takes_place = row.begins < now
    if takes_place:
        connection.execute(sa.update(maintenance).where(which).values(ends=ended.ends))
    else:
        connection.execute(sa.delete(maintenance).where(which))
    after = asdict(ended) if takes_place else None
    audit.note(connection, principal, Action.MAINTENANCE_END, str(identifier), asdict(was), after)
    return ended


def windows(connection: sa.Connection, begins: float, ends: float = float("inf")) -> list[MaintenanceWindow]:
    """When there is maintenance, of any time between."""
    announced = list_maintenance(connection, begins, ends)
    return [MaintenanceWindow(each.element, each.begins, each.ends) for each in announced]


def _values(outage: Outage) -> dict[str, object]:
    return {
        "id": outage.id, "kind": outage.kind, "site": outage.site, "circuit": outage.circuit,
        "started": outage.started, "ended": outage.ended, "cause": str(outage.cause.kind),
        "evidence": json.dumps(outage.cause.evidence, ensure_ascii=False),
        "sites": json.dumps(sorted(outage.sites)), "circuits": json.dumps(outage.circuits),
        "planned": outage.planned, "flaps": outage.flaps,
    }  # fmt: skip


def _outage(row: sa.Row[tuple[object, ...]]) -> Outage:
    sites: Iterable[str] = json.loads(row.sites)
    return Outage(
        row.id, row.kind, row.site, row.circuit, row.started, tuple(json.loads(row.circuits)), set(sites),
        cause=Cause(Kind(row.cause), _evidence(row.evidence)), planned=row.planned, flaps=row.flaps,
        ended=row.ended,
    )  # fmt: skip


def _names(text: str) -> list[str]:
    try:
        return [str(each) for each in json.loads(text)]
    except (RecursionError, TypeError, ValueError):
        return []


def _evidence(text: str) -> tuple[Remark, ...]:
    """A list of remarks, each in English and Vietnamese; ledgers of before had them in English alone."""
    return tuple(Remark(each, each) if isinstance(each, str) else Remark(*each) for each in json.loads(text))
