"""Reports that were refused: of each agent, kind of source and reason the last one, with how often there was one.

Few agents fill it, and none pushes out another's: each has so many rows, and all together so many.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from haidang_collector.intake.ingest import Rejected
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.statements import Upsert, of_new
from haidang_collector.ledger.tables import quarantine
from haidang_collector.principals import Principal

_REPORT_BYTES = 65_536
_ROWS_AN_AGENT = 20
_ROWS = 2_000
_NEWEST = of_new("last", "detail", "report")
_KEEP = Upsert(
    quarantine,
    ("agent", "source", "reason"),
    lambda new: {**_NEWEST(new), "count": quarantine.c.count + 1},
)


@dataclass(frozen=True)
class Kept:
    """One of them; times in Unix seconds, `report` the first 64 KiB of its JSON."""

    agent: str
    source: str
    reason: str
    count: int
    first: float
    last: float
    detail: str
    report: bytes


def keep(connection: sa.Connection, agent: str, at: float, rejected: Iterable[Rejected]) -> None:
    """Keep what an agent's delivery had refused, and no more in all than fits."""
    for each in rejected:
        values = {
            "agent": agent, "source": each.source, "reason": each.reason, "count": 1, "first": at, "last": at,
            "detail": each.detail.replace("\0", "\ufffd"), "report": zlib.compress(each.raw[:_REPORT_BYTES], 1),
        }  # fmt: skip
        connection.execute(_KEEP.on(connection), values)
    _trim(connection, _ROWS_AN_AGENT, quarantine.c.agent == agent)
    _trim(connection, _ROWS)


def _trim(connection: sa.Connection, most: int, *which: sa.ColumnElement[bool]) -> None:
    """Keep so many of these, the last ones."""
    column = quarantine.c.last
    oldest = connection.execute(sa.select(column).where(*which).order_by(column.desc()).offset(most).limit(1)).scalar()
    if oldest is not None:
        connection.execute(sa.delete(quarantine).where(*which, column <= oldest))


def list_kept(connection: sa.Connection, agent: str = "") -> list[Kept]:
    """All (or one agent's), the last first."""
    query = sa.select(quarantine).order_by(quarantine.c.last.desc())
    if agent:
        query = query.where(quarantine.c.agent == agent)
    return [
        Kept(agent, source, reason, count, first, last, detail, zlib.decompress(report))
        for agent, source, reason, count, first, last, detail, report in connection.execute(query)
    ]


def clear(connection: sa.Connection, principal: Principal, agent: str = "") -> int:
    """Forget all (or one agent's); how many those were."""
    which = [quarantine.c.agent == agent] if agent else []
    number = connection.execute(sa.delete(quarantine).where(*which)).rowcount
    audit.note(connection, principal, Action.QUARANTINE_CLEAR, agent or "all", {"reports": number}, None)
    return number
