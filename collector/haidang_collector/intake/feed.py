"""Accepted reports, in the order in which they became durable: to all who show or judge by them.

Whoever follows is told each report once when it is stored, and what is current again after a start, from the ledger and
by the same call. One that fails at a report fails alone, and goes on with the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from haidang_collector.intake.ingest import Prepared, restore
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import latest
from haidang_collector.registry.rights import Voice
from haidang_collector.settings import Limits
from haidang_collector.supervision import Supervision


@dataclass(frozen=True)
class Accepted:
    """A stored report of a delivery that was composed then (Unix seconds). `is_live` says that it is the newest of its
    source and was current when it was stored; the others are late."""

    prepared: Prepared
    composed: float
    is_live: bool = True


@dataclass
class Replayed:
    """What a start found in the ledger: the last position there, and when what is known of each agent was taken."""

    position: int = 0
    taken: dict[str, float] = field(default_factory=dict)


Follower = Callable[[Accepted], None]
VoiceOf = Callable[[str, str], Voice | None]


class Feed:
    """Who follows is told in the order in which they were added."""

    def __init__(self, ledger: Ledger, supervision: Supervision, limits: Limits) -> None:
        self._ledger = ledger
        self._attempt = supervision.attempt
        self._limits = limits
        self._followers: list[tuple[str, Follower]] = []

    def follow(self, name: str, follower: Follower) -> None:
        """Tell this one too; its failures are counted by its name."""
        self._followers.append((name, follower))

    def put(self, accepted: Accepted) -> None:
        """It is stored: whatever fails now, that stays."""
        report = accepted.prepared.report
        what = f"{report.source} of {report.agent}"
        for name, follower in self._followers:
            self._attempt(name, what, follower, accepted)

    async def replay(self, voice_of: VoiceOf, now: float) -> Replayed:
        """Tell again what is current, as far as its agent (by name and source) may still say it. Raises LedgerError."""
        found = Replayed()
        query = sa.select(latest).order_by(latest.c.position)
        for row in await self._ledger.run(lambda connection: connection.execute(query).all()):
            found.position = row.position
            found.taken[row.agent] = max(row.taken, found.taken.get(row.agent, 0.0))
            self._attempt("start", f"{row.source} of {row.agent}", self._tell_again, row, voice_of, now)
        return found

    def _tell_again(self, row: sa.Row[Any], voice_of: VoiceOf, now: float) -> None:
        prepared = restore(row.report, row.taken, row.agent, lambda source: voice_of(row.agent, source), self._limits)
        if prepared and prepared.expires > now:
            self.put(Accepted(prepared, row.taken))
