"""What the ledger forgets: a few rows at a time, so that deliveries don't wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import sqlalchemy as sa

from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import (
    agents,
    delivered,
    events,
    fact_history,
    facts,
    installed,
    latest,
    links,
    machine_changes,
    measured,
    network_devices,
    outage_revisions,
    software,
)
from haidang_collector.settings import Settings

_DAY_SECONDS = 86400.0
# Rows looked at in a transaction, and the time that others have between two.
_ROWS = 5000
_PAUSE_SECONDS = 0.05
# No spool keeps reports so long: an older epoch's sequences are never sent again.
_DELIVERED_DAYS = 400.0
# A source that was silent for longer is one that is there no more; what it shows expired long ago.
_LATEST_DAYS = 35.0

_rowid: sa.ColumnElement[int] = sa.literal_column("rowid", sa.Integer)


async def forget_old(ledger: Ledger, settings: Settings, now: float) -> int:
    """Remove what was kept for as long as it is to be; how many rows. Raises LedgerError."""
    removed = 0
    for table, old in _rules(settings, now):
        after = 0
        while True:
            after, gone = await ledger.run(_look, table, old, after)
            removed += gone
            if not after:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
    return removed


def _rules(settings: Settings, now: float) -> Iterator[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """(table, which of its rows are old)."""
    kept_since = now - settings.event_retention_days * _DAY_SECONDS
    speaking = sa.select(agents.c.id).where(agents.c.revoked.is_(None))
    yield events, events.c.received < kept_since
    yield fact_history, fact_history.c.until < kept_since
    yield machine_changes, machine_changes.c.at < kept_since
    yield measured, measured.c.ends < kept_since
    yield outage_revisions, outage_revisions.c.at < kept_since
    seen_since = now - settings.fact_retention_days * _DAY_SECONDS
    yield facts, sa.or_(facts.c.seen < seen_since, facts.c.agent.not_in(speaking))
    silent = sa.or_(links.c.last_seen < seen_since, links.c.agent.not_in(speaking))
    yield links, sa.and_(links.c.source != "registry", silent)
    yield network_devices, network_devices.c.last_seen < seen_since
    yield latest, sa.or_(latest.c.taken < now - _LATEST_DAYS * _DAY_SECONDS, latest.c.agent.not_in(speaking))
    sent_since = now - _DELIVERED_DAYS * _DAY_SECONDS
    yield delivered, sa.or_(delivered.c.updated < sent_since, delivered.c.agent.not_in(speaking))
    yield software, ~sa.exists().where(installed.c.software == software.c.id)


def _look(connection: sa.Connection, table: sa.Table, old: sa.ColumnElement[bool], after: int) -> tuple[int, int]:
    """Remove what is old of the rows behind one; (the last that was looked at, 0 at the end; how many are gone)."""
    some = sa.select(_rowid.label("row")).select_from(table).where(_rowid > after).order_by(_rowid).limit(_ROWS)
    last = connection.execute(sa.select(sa.func.max(sa.text("row"))).select_from(some.subquery())).scalar()
    if last is None:
        return 0, 0
    done = connection.execute(sa.delete(table).where(_rowid > after, _rowid <= last, old))
    return int(last), done.rowcount
