"""Inventory facts into the ledger: which machine they are of, what changed, and what is searched by.

Runs in the transaction that makes a delivery durable. Bodies come from agents: each value is read as what it should
be, or passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from haidang_wire.kinds import WITH_TABLES
from haidang_wire.report import Fact
from haidang_wire.sources import INVENTORY

from haidang_collector.inventory import changes as differences
from haidang_collector.inventory import claims, software
from haidang_collector.inventory.body import Body, dict_of, int_of, list_of, pack, text_of, texts_of, unpack
from haidang_collector.inventory.changes import Change
from haidang_collector.inventory.claims import Claimed
from haidang_collector.inventory.fold import fold
from haidang_collector.inventory.history import note
from haidang_collector.inventory.identity import Marks, likeliest
from haidang_collector.inventory.support import support_ends
from haidang_collector.ledger.tables import (
    MAX_INTEGER,
    machine_documents,
    machine_macs,
    machines,
)
from haidang_collector.quotas.holdings import ROW_BYTES


def take(connection: sa.Connection, site: str, agent: str, taken: float, facts: Iterable[Fact]) -> int | None:
    """Keep what one report says of its machine; about how many bytes that added, None when there is no machine that it
    could be of. A report that is older than what is known changes nothing. Raises TooMany, and has changed nothing
    then."""
    bodies = {fact.kind: fact.body for fact in facts if fact.kind in WITH_TABLES[INVENTORY] and fact.key == agent}
    if "machine" in bodies:
        machine = _machine_of(connection, site, agent, taken, bodies["machine"])
    else:
        machine = _last_of(connection, site, agent, taken)
    if machine is None:
        return None
    added = 0
    for kind, body in bodies.items():
        if kind == "software":
            added += software.take(connection, machine, taken, body)
        else:
            added += _take_document(connection, machine, agent, kind, taken, body)
    return added


def _last_of(connection: sa.Connection, site: str, agent: str, taken: float) -> int | None:
    """The machine this agent's last machine document was of, which is there still; None for none at its site."""
    of_agent = sa.select(machines.c.id).where(machines.c.agent == agent, machines.c.site == site)
    number = connection.execute(of_agent.order_by(machines.c.last_seen.desc()).limit(1)).scalar()
    if number is None:
        return None
    number = claims.follow(connection, number, taken)
    here = sa.update(machines).where(machines.c.id == number, machines.c.last_seen < taken)
    connection.execute(here.values(last_seen=taken, removed=None))
    return number


def _machine_of(connection: sa.Connection, site: str, agent: str, taken: float, body: Body) -> int | None:
    """The machine's number: one of its own site, or of another where nobody objects; else a new one. None for a
    document from before the machine moved elsewhere. Raises TooMany."""
    marks = _marks(body, agent)
    here = machines.c.site == site
    points, number = likeliest(marks, _candidates(connection, marks, here, machines.c.last_seen.desc()))
    elsewhere = sa.and_(machines.c.site != site, machines.c.dispute == "")
    more, other = likeliest(marks, _candidates(connection, marks, elsewhere, machines.c.id.asc()))
    older: Claimed | None = None
    if other is not None and more > points:
        if claims.came(connection, other) > taken:
            return None
        row = connection.execute(sa.select(machines.c.site, machines.c.agent).where(machines.c.id == other)).one()
        number = claims.of_site(connection, other, site)
        if number is not None:
            number = claims.follow(connection, number, taken)
        elif claims.is_gone(connection, other, taken):
            number = other
            note(connection, other, taken, [Change("moved", row.site, site)])
        else:
            older = Claimed(other, row.site, row.agent)
    elif number is not None:
        number = claims.follow(connection, number, taken)
    if number is None:
        return _new(connection, site, agent, taken, text_of(body, "name"), older)
    newest = sa.update(machines).where(machines.c.id == number, machines.c.last_seen <= taken)
    connection.execute(newest.values(site=site, agent=agent, last_seen=taken, removed=None))
    return number


def _new(connection: sa.Connection, site: str, agent: str, taken: float, name: str, older: Claimed | None) -> int:
    claims.require_room(connection, site, agent, claim=older is not None)
    values = {"site": site, "agent": agent, "first_seen": taken, "last_seen": taken}
    number = connection.execute(sa.insert(machines).values(**values).returning(machines.c.id)).scalar_one()
    note(connection, number, taken, [Change("first_seen", "", name)])
    if older is not None:
        claims.begin(connection, number, older, site, agent, taken)
    return int(number)


def _marks(body: Body, agent: str) -> Marks:
    macs = [mac[:20] for mac in texts_of(body, "macs")[:64]]
    return Marks(
        uuid=text_of(body, "uuid"), serial=text_of(body, "serial"), model=text_of(body, "model"),
        macs=frozenset(macs),
        machine_id=text_of(body, "machine_id"), agent=agent,
    )  # fmt: skip


def _candidates(
    connection: sa.Connection, marks: Marks, where: sa.ColumnElement[bool], order: sa.ColumnElement[Any]
) -> list[tuple[int, Marks]]:
    """Machines that share any mark. Of other sites the first ones, which later claims can't push out."""
    shared = [
        getattr(machines.c, name) == value
        for name in ("uuid", "serial", "machine_id", "agent")
        if (value := getattr(marks, name))
    ]
    with_card = sa.select(machine_macs.c.machine).where(machine_macs.c.mac.in_(marks.macs))
    query = sa.select(machines).where(where, sa.or_(*shared, machines.c.id.in_(with_card)))
    rows = connection.execute(query.order_by(order).limit(500)).all()
    cards: dict[int, set[str]] = {}
    of_these = machine_macs.c.machine.in_([row.id for row in rows])
    for mac, machine in connection.execute(sa.select(machine_macs.c.mac, machine_macs.c.machine).where(of_these)):
        cards.setdefault(machine, set()).add(mac)
    return [
        (row.id, Marks(row.uuid, row.serial, row.model, frozenset(cards.get(row.id, ())), row.machine_id, row.agent))
        for row in rows
    ]


def _take_document(connection: sa.Connection, machine: int, agent: str, kind: str, taken: float, body: Body) -> int:
    table = machine_documents.c
    which = (table.machine == machine, table.kind == kind)
    known = connection.execute(sa.select(table.body, table.since, table.seen).where(*which)).first()
    if known is not None and taken < known.seen:
        return 0
    packed = pack(body)
    added = len(packed) + ROW_BYTES
    if known is None:
        values = {"machine": machine, "kind": kind, "body": packed, "since": taken, "seen": taken}
        connection.execute(sa.insert(machine_documents).values(**values))
    else:
        before = unpack(known.body)
        if before == body:
            connection.execute(sa.update(machine_documents).where(*which).values(seen=taken))
            return 0
        connection.execute(sa.update(machine_documents).where(*which).values(body=packed, since=taken, seen=taken))
        added += note(connection, machine, taken, differences.changes(kind, before, body))
    columns = _columns(kind, agent, body)
    if columns:
        connection.execute(sa.update(machines).where(machines.c.id == machine).values(**columns))
    if kind == "machine":
        connection.execute(sa.delete(machine_macs).where(machine_macs.c.machine == machine))
        macs = _marks(body, "").macs
        if macs:
            connection.execute(sa.insert(machine_macs), [{"mac": mac, "machine": machine} for mac in macs])
    return added


def _columns(kind: str, agent: str, body: Body) -> dict[str, Any]:
    """What is searched by, out of a document."""
    if kind == "machine":
        texts = ("name", "manufacturer", "model", "serial", "uuid", "machine_id", "chassis")
        values = {name: text_of(body, name) for name in texts}
        memory = int_of(dict_of(body, "memory"), "total_bytes") or None
        return {**values, "memory_bytes": memory, "folded": fold(" ".join((*values.values(), agent)))}
    if kind == "disks":
        disks, volumes = list_of(body, "disks"), list_of(body, "volumes")
        free = [
            ratio for each in volumes if isinstance(ratio := each.get("free_ratio"), (int, float)) and 0 <= ratio <= 1
        ]
        return {
            "disk_bytes": min(sum(int_of(disk, "size_bytes") for disk in disks), MAX_INTEGER) or None,
            "disks_failing": sum(disk.get("healthy") is False for disk in disks),
            "least_free_ratio": min(free, default=None),
        }
    if kind == "system":
        ends, updates = support_ends(body), dict_of(body, "updates").get("pending")
        version = " ".join(filter(None, (text_of(body, "release") or text_of(body, "version"), text_of(body, "build"))))
        return {
            "system": text_of(body, "name"), "version": version[:100], "support_ends": ends,
            "updates_pending": updates if isinstance(updates, int) and 0 <= updates < 2**31 else None,
        }  # fmt: skip
    if kind == "security":
        antivirus, volumes = body.get("antivirus"), list_of(body, "encryption")
        return {
            "antivirus_on": any(each.get("on") is True for each in list_of(body, "antivirus"))
            if isinstance(antivirus, list)
            else None,
            "encrypted": all(each.get("encrypted") is True for each in volumes) if volumes else None,
        }
    return {}
