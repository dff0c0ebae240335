"""What each agent has in the ledger, and how much more it may put there. On the ledger's thread alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from haidang_collector.ledger.tables import facts, late, latest
from haidang_collector.quotas import DAY_SECONDS, Bucket
from haidang_collector.settings import Quotas

# What a row takes beside its texts, in its table and indexes, about.
ROW_BYTES = 200


@dataclass
class Holding:
    """Sources an agent reported from lately, its current facts and their bytes, as the ledger has them; and what it may
    still add today: `epochs` are rows of `delivered`, `kept` bytes that stay for long."""

    epochs: Bucket
    kept: Bucket
    sources: set[str] = field(default_factory=set)
    facts: int = 0
    fact_bytes: int = 0
    is_read: bool = False

    def begins(self) -> bool:
        """Whether another block of sequence numbers may begin."""
        return self.epochs.take_up_to(1, time.monotonic()) == 1

    def may_keep(self) -> bool:
        """Whether something new may be kept for long. The last of a day may be larger than what is left."""
        return self.kept.wait(time.monotonic()) == 0.0

    def keep(self, size: int) -> None:
        """Note bytes that stay."""
        self.kept.spend(size, time.monotonic())


class Holdings:
    """Those of all agents: as many as are enrolled."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._agents: dict[str, Holding] = {}

    def of(self, connection: sa.Connection, agent: str) -> Holding:
        """An agent's, read from the ledger when it was not yet, or when that has changed beside us."""
        holding = self._agents.get(agent)
        if holding is None:
            now, of = time.monotonic(), self._quotas
            holding = self._agents[agent] = Holding(
                epochs=Bucket.full(of.epochs_a_day / DAY_SECONDS, of.epochs_a_day, now),
                kept=Bucket.full(of.kept_bytes_a_day / DAY_SECONDS, of.kept_bytes_a_day, now),
            )
        if not holding.is_read:
            holding.sources = set(connection.execute(_SOURCES, {"of": agent}).scalars())
            holding.facts, holding.fact_bytes = connection.execute(_FACTS, {"of": agent}).one()
            holding.is_read = True
        return holding

    def read_again(self) -> None:
        """A transaction was rolled back, or rows were removed: what is here is no longer what the ledger has."""
        for holding in self._agents.values():
            holding.is_read = False

    def forget(self, agent: str) -> None:
        """One that may no longer speak."""
        self._agents.pop(agent, None)


class LateQueue:
    """How many bytes of late reports wait, of each agent: none may fill what is there for all."""

    def __init__(self, quotas: Quotas, queue_bytes: int) -> None:
        self.waiting = 0
        self._most = quotas.late_share * queue_bytes
        self._bytes: dict[str, int] | None = None

    def read(self, connection: sa.Connection) -> dict[str, int]:
        """Bytes by agent: read once, counted from then on."""
        if self._bytes is None:
            size = sa.func.sum(sa.func.length(late.c.report))
            rows = connection.execute(sa.select(late.c.agent, size, sa.func.count()).group_by(late.c.agent)).all()
            self._bytes = {agent: total for agent, total, _ in rows}
            self.waiting = sum(count for _, _, count in rows)
        return self._bytes

    def has_room(self, connection: sa.Connection, agent: str) -> bool:
        """Whether another report of this agent may wait."""
        return self.read(connection).get(agent, 0) < self._most

    def add(self, connection: sa.Connection, agent: str, size: int) -> None:
        """A report waits, or (a negative size) does no longer."""
        known = self.read(connection)
        known[agent] = known.get(agent, 0) + size
        self.waiting += 1 if size > 0 else -1
        if known[agent] <= 0:
            del known[agent]

    def read_again(self) -> None:
        """A transaction was rolled back."""
        self._bytes = None


_SOURCES = sa.select(latest.c.source).where(latest.c.agent == sa.bindparam("of"))
_FACTS = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(facts.c.body)), 0)).where(
    facts.c.agent == sa.bindparam("of")
)
