"""What changed on a machine, kept with its time."""

from __future__ import annotations

import sqlalchemy as sa

from haidang_collector.inventory.changes import Change
from haidang_collector.ledger.tables import machine_changes
from haidang_collector.quotas.holdings import ROW_BYTES

_MOST_CHANGES = 2_000


def note(connection: sa.Connection, machine: int, at: float, found: list[Change]) -> int:
    """Keep these, of more than 2,000 the first; about how many bytes that added."""
    rows = [
        {"machine": machine, "at": at, "what": change.what, "before": change.before[:500], "after": change.after[:500]}
        for change in found[:_MOST_CHANGES]
    ]
    if rows:
        connection.execute(sa.insert(machine_changes), rows)
    return sum(len(change.before[:500]) + len(change.after[:500]) + ROW_BYTES for change in found[:_MOST_CHANGES])
