"""The audit: who changed what, from where, when, and what it was before.

A row is written by the function that makes the change, in the change's own transaction: both are there, or neither.
The table refuses updates and deletions (migration 0004); what is older than its time is removed by `remove_old`
alone, which leaves a row that says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa

from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import audit
from haidang_collector.principals import Principal
from haidang_collector.printable import CsvWriter, plain

# What a row may hold, so that nobody's change fills the ledger: a text, a list or object, a level, the whole.
_TEXT, _ITEMS, _DEPTH, _WHOLE = 300, 50, 4, 16_000
# No caller gives secrets; a token that somebody wrote into a free text is none of the audit's either.
_SECRET = re.compile(r"\bhd_[\w-]{20,}(\.\w+)?|-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL)


class Action(StrEnum):
    """Everything that may be done by command or over HTTP."""

    REGISTRY_LOAD = "registry.load"
    TOKEN_CREATE = "token.create"  # noqa: S105  # no secret
    TOKEN_REVOKE = "token.revoke"  # noqa: S105
    AGENT_ENROL = "agent.enrol"
    AGENT_REVOKE = "agent.revoke"
    AGENT_RELEASE = "agent.release"
    CERTIFICATE_MAKE = "certificate.make"
    CERTIFICATE_REVOKE = "certificate.revoke"
    CA_ROTATE = "ca.rotate"
    CA_RETIRE = "ca.retire"
    CA_FOUND = "ca.found"
    MAINTENANCE_PLAN = "maintenance.plan"
    MAINTENANCE_END = "maintenance.end"
    MACHINE_REMOVE = "machine.remove"
    QUARANTINE_CLEAR = "quarantine.clear"
    MACHINE_DECIDE = "machine.decide"
    STATE_RESTORE = "state.restore"
    AUDIT_REMOVE = "audit.remove"


@dataclass(frozen=True)
class Entry:
    """A row. `at` is in Unix seconds; `before` and `after` hold what changed, None for what was not or is no more."""

    id: int
    at: float
    kind: str
    name: str
    origin: str
    action: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True)
class Wanted:
    """Which rows: from `begins` until before `ends` (Unix seconds), by whom, what (`token` is all of `token.…`),
    on which object, before the row `older_than`; empty or None for all."""

    begins: float = 0.0
    ends: float | None = None
    who: str = ""
    what: str = ""
    object: str = ""
    older_than: int | None = None


def note(
    connection: sa.Connection,
    principal: Principal,
    action: Action,
    object: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """Write down a change, in its transaction. `before` and `after` are small JSON objects without secrets; what is
    too large in them is cut, and says so."""
    connection.execute(
        sa.insert(audit).values(
            at=time.time(), kind=principal.kind, name=_plain(principal.name, 63), origin=_plain(principal.origin, 200),
            action=str(action), object=_plain(object, 200), before=_document(before), after=_document(after),
        )
    )  # fmt: skip


def find(connection: sa.Connection, wanted: Wanted, limit: int) -> list[Entry]:
    """At most `limit` rows, the newest first."""
    column = audit.c
    which = [column.at >= wanted.begins]
    if wanted.ends is not None:
        which.append(column.at < wanted.ends)
    if wanted.who:
        which.append(column.name == wanted.who)
    if wanted.what:
        which.append(sa.or_(column.action == wanted.what, column.action.startswith(f"{wanted.what}.", autoescape=True)))
    if wanted.object:
        which.append(column.object == wanted.object)
    if wanted.older_than is not None:
        which.append(column.id < wanted.older_than)
    rows = connection.execute(sa.select(audit).where(*which).order_by(column.id.desc()).limit(limit))
    return [Entry(**{**row._mapping, "before": _read(row.before), "after": _read(row.after)}) for row in rows]


def remove_old(connection: sa.Connection, now: float, days: float) -> None:
    """Remove the rows of days that are older, after a row that says so: without it the table refuses."""
    limit = (datetime.fromtimestamp(now, UTC) - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    old = audit.c.at < limit.timestamp()
    count = connection.execute(sa.select(sa.func.count()).select_from(audit).where(old)).scalar_one()
    if count:
        note(connection, Principal.itself(), Action.AUDIT_REMOVE, limit.strftime("%Y-%m-%d"), {"rows": count}, None)
        connection.execute(sa.delete(audit).where(old))


def export(ledger: Ledger, wanted: Wanted, to: TextIO, form: str, chunk: int = 500) -> None:
    """Write every row that fits, the newest first: as `json`, an object a line as GET /v1/audit has them, or as
    `csv` with local times. Neither holds all of them nor keeps the collector from writing meanwhile."""
    writer = CsvWriter(to)
    names = [column.name for column in audit.columns]
    if form == "csv":
        to.write("\ufeff")
        writer.row(["id", "time", *names[2:]])
    while True:
        with ledger.reading() as connection:
            found = find(connection, wanted, chunk)
        for entry in found:
            if form == "json":
                to.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
                continue
            values = asdict(entry)
            local = datetime.fromtimestamp(values.pop("at")).astimezone().isoformat(timespec="seconds")
            before, after = (_document(values.pop(name)) or "" for name in ("before", "after"))
            writer.row([values.pop("id"), local, *values.values(), before, after])
        if len(found) < chunk:
            return
        wanted = replace(wanted, older_than=found[-1].id)


def carry(connection: sa.Connection, database: Path) -> int | None:
    """Copy the rows another database has that are not here; how many, None when it can't be read.

    Not those of after the last one here: clocks are set, and numbers are of one database.
    """
    names = ", ".join(f'"{column.name}"' for column in audit.columns if column.name != "id")
    query = f"SELECT {names} FROM audit ORDER BY id"  # noqa: S608
    here = Counter(_digest(tuple(row)) for row in connection.exec_driver_sql(query))
    rows = []
    try:
        # It is replaced because something is wrong, perhaps with it.
        with contextlib.closing(sqlite3.connect(database)) as other:
            for row in other.execute(query):
                digest = _digest(row)
                if not here[digest]:
                    rows.append(row)
                here[digest] -= here[digest] > 0
    except sqlite3.Error:
        return None
    for row in rows:
        connection.exec_driver_sql(f"INSERT INTO audit ({names}) VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
    return len(rows)


def _digest(row: tuple[Any, ...]) -> bytes:
    return hashlib.blake2b(repr(row).encode(), digest_size=16).digest()


def _document(value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    text = json.dumps(_bounded(value, _DEPTH), ensure_ascii=False)
    return text if len(text) <= _WHOLE else json.dumps({"cut": text[:_WHOLE]}, ensure_ascii=False)


def _bounded(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if not depth:
        return _plain(value, _TEXT) if isinstance(value, str) else "…"
    if isinstance(value, Mapping):
        named = list(value.items())
        told = {_plain(str(name), 100): _bounded(each, depth - 1) for name, each in named[:_ITEMS]}
        return told | ({"…": f"{len(named) - _ITEMS} more"} if len(named) > _ITEMS else {})
    if isinstance(value, list | tuple):
        items = [_bounded(each, depth - 1) for each in value[:_ITEMS]]
        return items + ([f"… {len(value) - _ITEMS} more"] if len(value) > _ITEMS else [])
    return _plain(str(value), _TEXT)


def _plain(text: str, most: int) -> str:
    """One line of at most that many characters, with no secret in it."""
    return plain(_SECRET.sub("[secret]", text), most)


def _read(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
