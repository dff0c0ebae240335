"""Which time the ledger has lived to, and whether a clock that is far ahead of it may be believed.

What is removed because it is old is gone for good, and only the clock says how old it is. One that was set to another
year by accident is soon set right; one of a machine that was off for months goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from haidang_collector.ledger.tables import audit, delivered, known_time

# So far ahead a clock may be at once: a machine is off for as long, seldom longer.
PLAUSIBLE_SECONDS = 30 * 86400.0
# So long a clock that is further ahead must go on, while the collector runs: longer than a weekend nobody looks.
HELD_SECONDS = 3 * 86400.0


def begin(connection: sa.Connection, now: float) -> None:
    """Note which time a ledger has lived to, by the newest it holds; once, before this clock writes into it."""
    if connection.execute(sa.select(known_time.c.id)).first() is None:
        newest = (
            connection.execute(sa.select(sa.func.max(column))).scalar() for column in (delivered.c.updated, audit.c.at)
        )
        lived_to = max(filter(None, newest), default=now)
        connection.execute(sa.insert(known_time).values(id=1, newest=lived_to, held=0.0))


@dataclass(frozen=True)
class Doubt:
    """Seconds by which a clock is ahead of what is known, and for which it must still go on before it is believed."""

    ahead: float
    left: float


def doubt(connection: sa.Connection, now: float, passed: float) -> Doubt | None:
    """What stands against believing this clock; nothing when the ledger has lived to it. `passed` are the seconds
    since the last question, by a clock nobody sets."""
    begin(connection, now)
    row = connection.execute(sa.select(known_time.c.newest, known_time.c.held)).one()
    held = row.held + passed
    if now - row.newest > PLAUSIBLE_SECONDS and held < HELD_SECONDS:
        connection.execute(sa.update(known_time).values(held=held))
        return Doubt(now - row.newest, HELD_SECONDS - held)
    connection.execute(sa.update(known_time).values(newest=now, held=0.0))
    return None
