"""What each agent has in the ledger, and how much more it may put there. On the ledger's thread alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from haidang_collector.ledger.tables import facts, late, latest, links
from haidang_collector.quotas.allowances import DAY_SECONDS, Bucket
from haidang_collector.settings import Quotas, RemoteWrite

# What a row takes beside its texts, in its table and indexes, about.
ROW_BYTES = 200


@dataclass
class Holding:
    """Sources an agent reported from lately with the bytes of the newest report of each, its current facts and their
    bytes, those of the links it told, as the ledger has them; and what it may still add today: `epochs` are rows of
    `delivered`, `kept` bytes that stay for long."""

    quotas: Quotas
    epochs: Bucket
    kept: Bucket
    sources: dict[str, int] = field(default_factory=dict)
    source_bytes: int = 0
    facts: int = 0
    fact_bytes: int = 0
    link_bytes: int = 0
    is_read: bool = False

    def begins_sequences(self) -> bool:
        """Whether another block of sequence numbers may begin."""
        return self.epochs.take_up_to(1, time.monotonic()) == 1

    def speaks_from(self, source: str, size: int) -> bool:
        """Whether a report of so many bytes may be the newest of this source: one it has, or another one."""
        if source not in self.sources:
            if len(self.sources) >= self.quotas.sources:
                return False
            self.sources[source] = 0
        more = size - self.sources[source]
        return more <= 0 or self.source_bytes + more <= self.quotas.source_bytes

    def note_newest(self, source: str, size: int) -> None:
        """Note how large the newest report of a source is."""
        self.source_bytes += size - self.sources.get(source, 0)
        self.sources[source] = size

    def may_keep(self) -> bool:
        """Whether something new may be kept for long. The last of a day may be larger than what is left."""
        return self.kept.wait(time.monotonic()) == 0.0

    def keep(self, size: int) -> None:
        """Note bytes that stay."""
        if size:
            self.kept.spend(size, time.monotonic())

    def lacks(self, size: int, replaces: int | None) -> str:
        """The quota that a fact of so many characters would pass, in place of one or (None) beside all; empty when it
        may be kept."""
        if replaces is None and self.facts >= self.quotas.facts:
            return "facts_kept"
        if size > (replaces or 0) and self.fact_bytes + size - (replaces or 0) > self.quotas.fact_bytes:
            return "facts_kept"
        return "" if self.may_keep() else "kept_bytes"

    def add_fact(self, size: int) -> None:
        """Note a fact that was not there."""
        self.facts += 1
        self.fact_bytes += size
        self.keep(size + ROW_BYTES)

    def change_fact(self, size: int, before: int) -> None:
        """Note that a fact has another body: the one before goes to the history."""
        self.fact_bytes += size - before
        self.keep(before + ROW_BYTES)

    def takes_link(self, more: int) -> bool:
        """Note that links take so many bytes more, if they may."""
        if more > 0 and self.link_bytes + more > self.quotas.link_bytes:
            return False
        self.link_bytes += more
        return True


class LateQueue:
    """How many late reports wait, and their bytes, of each agent: none may fill what is there for all."""

    def __init__(self, quotas: Quotas, queue_bytes: int) -> None:
        self.most_bytes = queue_bytes
        self._share_bytes = quotas.late_share * queue_bytes
        self._count = 0
        self._bytes: Counter[str] | None = None

    def waiting(self, connection: sa.Connection) -> tuple[int, int]:
        """(reports, bytes) in all."""
        return self._count, self._read(connection).total()

    def has_room(self, connection: sa.Connection, agent: str) -> bool:
        """Whether another report of this agent may wait."""
        return self._read(connection)[agent] < self._share_bytes

    def add(self, connection: sa.Connection, agent: str, size: int) -> None:
        """Another one waits."""
        self._read(connection)[agent] += size
        self._count += 1

    def remove(self, connection: sa.Connection, agent: str, size: int) -> None:
        """One waits no more."""
        known = self._read(connection)
        known[agent] -= size
        self._count -= 1
        if known[agent] <= 0:
            del known[agent]

    def read_again(self) -> None:
        """A transaction was rolled back: what is here is no longer what the ledger has."""
        self._bytes = None

    def _read(self, connection: sa.Connection) -> Counter[str]:
        # Once, and counted from then on: to add it all up is to read the whole queue.
        if self._bytes is None:
            rows = connection.execute(_LATE).all()
            self._count = sum(count for _, _, count in rows)
            self._bytes = Counter({agent: size for agent, size, _ in rows})
        return self._bytes


class Keeper:
    """What may be kept, of whom: the holdings of all agents (as many as are enrolled), the queue of late reports, and
    whether the disk has room for facts and events."""

    def __init__(
        self,
        quotas: Quotas | None = None,
        late_bytes: int = RemoteWrite().queue_bytes,
        takes_documents: Callable[[], bool] = lambda: True,
    ) -> None:
        self.takes_documents = takes_documents
        self.late = LateQueue(quotas or Quotas(), late_bytes)
        self._quotas = quotas or Quotas()
        self._agents: dict[str, Holding] = {}

    def holding(self, connection: sa.Connection, agent: str) -> Holding:
        """An agent's, read from the ledger when it was not yet, or when that has changed beside us."""
        holding = self._agents.get(agent)
        if holding is None:
            now, of = time.monotonic(), self._quotas
            holding = self._agents[agent] = Holding(
                quotas=of,
                epochs=Bucket.full(of.epochs_a_day / DAY_SECONDS, of.epochs_a_day, now),
                kept=Bucket.full(of.kept_bytes_a_day / DAY_SECONDS, of.kept_bytes_a_day, now),
            )
        if not holding.is_read:
            holding.sources = {row.source: row.size for row in connection.execute(_SOURCES, {"of": agent})}
            holding.source_bytes = sum(holding.sources.values())
            holding.facts, holding.fact_bytes = connection.execute(_FACTS, {"of": agent}).one()
            holding.link_bytes = connection.execute(_LINKS, {"of": agent}).scalar_one()
            holding.is_read = True
        return holding

    def read_again(self) -> None:
        """A transaction was rolled back, or rows were removed: what is here is no longer what the ledger has."""
        self.late.read_again()
        for holding in self._agents.values():
            holding.is_read = False

    def forget(self, agent: str) -> None:
        """One that may no longer speak."""
        self._agents.pop(agent, None)


_LATE = sa.select(late.c.agent, sa.func.sum(sa.func.length(late.c.report)), sa.func.count()).group_by(late.c.agent)
_SOURCES = sa.select(latest.c.source, sa.func.length(latest.c.report).label("size")).where(
    latest.c.agent == sa.bindparam("of")
)
_FACTS = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(facts.c.body)), 0)).where(
    facts.c.agent == sa.bindparam("of")
)
LINK_TEXTS = ("interface", "system", "chassis", "port", "port_description")
"""What a link's bytes are, beside its row."""
_LINK_BYTES = ROW_BYTES + sum((sa.func.length(links.c[name]) for name in LINK_TEXTS), sa.literal(0))
_LINKS = sa.select(sa.func.coalesce(sa.func.sum(_LINK_BYTES), 0)).where(links.c.agent == sa.bindparam("of"))
