"""Questions about machines: filters, order, pages; what is installed where; what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from haidang_collector.inventory.body import unpack
from haidang_collector.inventory.claims import OPEN
from haidang_collector.inventory.fold import fold
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.tables import installed, machine_changes, machine_documents, machines, software
from haidang_collector.principals import Principal

MISSING_SECONDS = 30 * 86400.0
LOW_FREE_RATIO = 0.1
SORTS = ("name", "site", "model", "serial", "system", "last_seen", "first_seen", "memory_bytes", "least_free_ratio")
_CHUNK = 500


@dataclass(frozen=True)
class Filter:
    """Which machines. Texts are looked for anywhere, in any case, without diacritics; None asks for nothing."""

    text: str = ""
    sites: tuple[str, ...] = ()
    chassis: str = ""
    system: str = ""
    software: str = ""
    software_version: str = ""
    antivirus_on: bool | None = None
    encrypted: bool | None = None
    support_ended: bool | None = None
    low_disk: bool | None = None
    failing_disk: bool | None = None
    missing: bool | None = None
    disputed: bool | None = None
    removed: bool = False
    now: float = field(default=0.0)


_CLAIM = machines.alias("claim")
_IS_CLAIMED = sa.exists(sa.select(1).where(_CLAIM.c.claims == machines.c.id, _CLAIM.c.dispute == OPEN))
_IS_DISPUTED = sa.or_(machines.c.dispute == OPEN, _IS_CLAIMED)
# A machine as it is told: `dispute` is open or refused of one that claims to be another, claimed of that one.
_TOLD = (
    *(column for column in machines.c if column.name != "dispute"),
    sa.case((machines.c.dispute != "", machines.c.dispute), (_IS_CLAIMED, "claimed"), else_="").label("dispute"),
)


def _conditions(wanted: Filter) -> Iterator[sa.ColumnElement[bool]]:
    table = machines.c
    yield table.removed.is_not(None) if wanted.removed else table.removed.is_(None)
    if wanted.text:
        yield table.folded.like(_anywhere(wanted.text), escape="\\")
    if wanted.sites:
        yield table.site.in_(wanted.sites)
    if wanted.chassis:
        yield table.chassis == wanted.chassis
    if wanted.system:
        full = table.system + " " + table.version
        yield full.ilike(_anywhere(wanted.system), escape="\\")
    if wanted.software:
        found = sa.select(software.c.id).where(software.c.folded.like(_anywhere(wanted.software), escape="\\"))
        if wanted.software_version:
            found = found.where(software.c.version == wanted.software_version)
        yield table.id.in_(sa.select(installed.c.machine).where(installed.c.software.in_(found)))
    for column, value in ((table.antivirus_on, wanted.antivirus_on), (table.encrypted, wanted.encrypted)):
        if value is not None:
            yield column.is_(value)
    if wanted.support_ended is not None:
        yield table.support_ends < wanted.now if wanted.support_ended else table.support_ends >= wanted.now
    if wanted.low_disk is not None:
        low = table.least_free_ratio < LOW_FREE_RATIO
        yield low if wanted.low_disk else sa.not_(low)
    if wanted.failing_disk is not None:
        yield table.disks_failing > 0 if wanted.failing_disk else table.disks_failing == 0
    if wanted.disputed is not None:
        yield _IS_DISPUTED if wanted.disputed else sa.not_(_IS_DISPUTED)
    if wanted.missing is not None:
        gone = table.last_seen < wanted.now - MISSING_SECONDS
        yield gone if wanted.missing else sa.not_(gone)


def _anywhere(text: str) -> str:
    text = fold(text)
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def find(
    connection: sa.Connection,
    wanted: Filter,
    *,
    sort: str = "name",
    descending: bool = False,
    offset: int = 0,
    limit: int = 50,
) -> tuple[int, list[dict[str, Any]]]:
    """(how many there are, those of the page)."""
    conditions = list(_conditions(wanted))
    count = connection.execute(sa.select(sa.func.count()).select_from(machines).where(*conditions)).scalar_one()
    column = machines.c[sort]
    order = (column.desc() if descending else column.asc(), machines.c.id)
    rows = connection.execute(sa.select(*_TOLD).where(*conditions).order_by(*order).offset(offset).limit(limit))
    return count, [dict(row._mapping) for row in rows]


def chunk_after(connection: sa.Connection, wanted: Filter, after: int) -> list[dict[str, Any]]:
    """The next machines by number, for an export that holds none of them long."""
    query = sa.select(*_TOLD).where(*_conditions(wanted), machines.c.id > after).order_by(machines.c.id).limit(_CHUNK)
    return [dict(row._mapping) for row in connection.execute(query)]


def machine(connection: sa.Connection, number: int) -> dict[str, Any] | None:
    """One machine with its documents, and its software."""
    row = connection.execute(sa.select(*_TOLD).where(machines.c.id == number)).first()
    if row is None:
        return None
    table = machine_documents.c
    documents = {
        kind: {"since": since, "seen": seen, "body": unpack(body)}
        for kind, body, since, seen in connection.execute(
            sa.select(table.kind, table.body, table.since, table.seen).where(table.machine == number)
        )
    }
    columns = [software.c[name] for name in ("name", "version", "publisher", "source")]
    query = sa.select(*columns).join(installed, installed.c.software == software.c.id)
    rows = connection.execute(query.where(installed.c.machine == number).order_by(software.c.name))
    return {**row._mapping, "documents": documents, "software": [dict(each._mapping) for each in rows]}


def changes(
    connection: sa.Connection,
    *,
    machine: int | None = None,
    what: str = "",
    begins: float = 0.0,
    offset: int = 0,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """What changed, the newest first, with the machine's name and site."""
    table = machine_changes.c
    query = sa.select(machine_changes, machines.c.name, machines.c.site).join(machines, machines.c.id == table.machine)
    if machine is not None:
        query = query.where(table.machine == machine)
    if what:
        query = query.where(table.what == what)
    query = query.where(table.at >= begins).order_by(table.at.desc(), table.id.desc()).offset(offset).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query)]


def software_counts(connection: sa.Connection, text: str, *, offset: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """Software by name and version, and on how many machines each is."""
    count = sa.func.count(installed.c.machine)
    columns = [software.c[name] for name in ("name", "version", "publisher", "source")]
    query = sa.select(*columns, count.label("machines")).join(installed, installed.c.software == software.c.id)
    if text:
        query = query.where(software.c.folded.like(_anywhere(text), escape="\\"))
    query = query.group_by(software.c.id).order_by(count.desc(), software.c.name, software.c.version)
    return [dict(row._mapping) for row in connection.execute(query.offset(offset).limit(limit))]


def remove(connection: sa.Connection, principal: Principal, number: int, now: float) -> bool:
    """Take a machine out of use: it is no longer counted nor missed, until it is seen again."""
    columns = [machines.c[name] for name in ("site", "name", "agent", "removed")]
    row = connection.execute(sa.select(*columns).where(machines.c.id == number)).first()
    if row is None:
        return False
    connection.execute(sa.update(machines).where(machines.c.id == number).values(removed=now))
    before = dict(row._mapping)
    audit.note(connection, principal, Action.MACHINE_REMOVE, str(number), before, {**before, "removed": now})
    return True


def disputed(connection: sa.Connection) -> dict[str, int]:
    """Site → how many of its machines are in dispute with another site's."""
    query = sa.select(machines.c.site, sa.func.count().label("number")).where(
        _IS_DISPUTED, machines.c.removed.is_(None)
    )
    return {row.site: row.number for row in connection.execute(query.group_by(machines.c.site))}


def clones(connection: sa.Connection, since: float) -> list[tuple[str, int]]:
    """(site, number) of each machine seen since then whose system or agent is also another such machine's. Of two
    sites' the later one is the copy: what one site says makes no machine of another a clone."""
    seen = sa.and_(machines.c.last_seen > since, machines.c.removed.is_(None), machines.c.dispute == "")
    found: set[tuple[str, int]] = set()
    # Marks that several have first, then who has them: pairs of a thousand machines of one image are a million.
    for mark in (machines.c.machine_id, machines.c.agent):
        marked = sa.and_(seen, mark != "")
        several = sa.select(mark.label("mark"), sa.func.min(machines.c.id).label("first")).where(marked)
        shared = several.group_by(mark).having(sa.func.count() > 1).subquery()
        query = sa.select(machines.c.site, machines.c.id, shared.c.mark, shared.c.first)
        rows = connection.execute(query.join(shared, mark == shared.c.mark).where(marked)).all()
        of_site = Counter((row.site, row.mark) for row in rows)
        found.update((row.site, row.id) for row in rows if row.id > row.first or of_site[row.site, row.mark] > 1)
    return sorted(found)
