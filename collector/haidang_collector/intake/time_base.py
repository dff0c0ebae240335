"""What time the current reports are dated by, and how they are dated anew when the clock was set."""

from __future__ import annotations

import sqlalchemy as sa

from haidang_collector.intake.clock import SET_SECONDS, boot
from haidang_collector.ledger.tables import (
    downtimes,
    facts,
    latest,
    links,
    machine_documents,
    machines,
    network_devices,
    outages,
    software_lists,
    time_base,
)

_OPEN = (outages, downtimes)
_SEEN = (
    facts.c.seen,
    links.c.last_seen,
    machines.c.last_seen,
    machine_documents.c.seen,
    software_lists.c.seen,
    network_devices.c.last_seen,
)


def redate(connection: sa.Connection, anchor: float, now: float) -> float:
    """Date by another time base; the seconds by which the clock was set, here or while nothing ran. What is current or
    open is as old as it was then. After another boot nobody can say; but nothing is of the future, where it would be
    newer than all that comes."""
    present, moved = boot(), 0.0
    known = connection.execute(sa.select(time_base.c.boot, time_base.c.anchor)).first()
    if known is not None and present and known.boot == present and abs(anchor - known.anchor) >= SET_SECONDS:
        moved = anchor - known.anchor
        connection.execute(sa.update(latest).values(taken=latest.c.taken + moved))
        for table in _OPEN:
            _date_open(connection, table, table.c.started + moved)
    connection.execute(sa.update(latest).where(latest.c.taken > now).values(taken=0.0))
    connection.execute(sa.delete(time_base))
    connection.execute(sa.insert(time_base).values(id=1, boot=present, anchor=anchor))
    for table in _OPEN:
        _date_open(connection, table, sa.literal(now), table.c.started > now)
    for seen in _SEEN:
        connection.execute(sa.update(seen.table).where(seen > now).values({seen.name: now}))
    return moved


def _date_open(
    connection: sa.Connection, table: sa.Table, started: sa.ColumnElement[float], *which: sa.ColumnElement[bool]
) -> None:
    free: list[sa.ColumnElement[bool]] = []
    if table.c.started.primary_key:
        # Of a downtime it is part of the key: one that began at the very same time and is over stays as it is.
        other = table.alias()
        taken = [other.c[each.name] == (started if each.name == "started" else each) for each in table.primary_key]
        free.append(~sa.exists().where(*taken))
    connection.execute(sa.update(table).where(table.c.ended.is_(None), *which, *free).values(started=started))
