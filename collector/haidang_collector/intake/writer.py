"""A transaction of deliveries: what is new of them, and which table it goes to.

A report's bit among those of its run says whether it came before. It is shown when it is newer than what its source
shows, else it is late. What raises while documents are written is undone and costs that report alone.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from haidang_wire.kinds import WITH_TABLES
from haidang_wire.report import Fact, Report, expiry
from haidang_wire.sources import INVENTORY, LIFECYCLE

from haidang_collector.identity.agents import IdentityError, may_speak
from haidang_collector.intake import facts, quarantine
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.ingest import Batch, Prepared, unwritable
from haidang_collector.intake.time_base import redate
from haidang_collector.inventory import lan
from haidang_collector.inventory import store as inventory
from haidang_collector.inventory.claims import TooMany
from haidang_collector.ledger.database import is_storage
from haidang_collector.ledger.statements import Upsert, of_new
from haidang_collector.ledger.tables import agents, delivered, events, late, latest
from haidang_collector.problems import Problem
from haidang_collector.quotas.holdings import ROW_BYTES, Holding, Keeper
from haidang_collector.topology import store as links
from haidang_collector.topology.links import MOST_A_DEVICE, Address

log = logging.getLogger(__name__)

_CHUNK = 1024
_CHUNKS_CACHED = 50_000
_SHOWN_SECONDS = 7 * 86400.0
_NONE: frozenset[str] = frozenset()

Chunk = tuple[str, int, int]  # agent, epoch, sequence // _CHUNK


@dataclass
class Outcome:
    """What became of a batch: the reports to expose, those that can't be written or that are (or hold) more than their
    agent's quota, and counts. `problem` is why the rest of it is not stored."""

    live: list[Prepared] = field(default_factory=list)
    late: list[Prepared] = field(default_factory=list)
    unwritable: list[Prepared] = field(default_factory=list)
    over_quota: list[tuple[str, Prepared]] = field(default_factory=list)
    left_out: list[tuple[str, Prepared, int]] = field(default_factory=list)
    duplicates: int = 0
    stopped: bool | None = None
    problem: Problem | None = None

    def leave_out(self, prepared: Prepared, quotas: Counter[str]) -> None:
        """Note how much of a report that is kept otherwise is not, by quota."""
        self.left_out += [(quota, prepared, number) for quota, number in quotas.items() if number]

    def add(self, part: Outcome | Problem) -> None:
        """Add what became of the next, older piece."""
        if isinstance(part, Problem):
            self.problem = part
            return
        self.live += part.live
        self.late += part.late
        self.unwritable += part.unwritable
        self.over_quota += part.over_quota
        self.left_out += part.left_out
        self.duplicates += part.duplicates
        if self.stopped is None:
            self.stopped = part.stopped


@dataclass(frozen=True)
class Shown:
    """When a source's reports were exposed: the newest one and until when, the taking of the first of those
    that followed each other without a gap, and the life of the last one before that gap."""

    taken: float = 0.0
    until: float = 0.0
    began: float = 0.0
    last_taken: float = 0.0
    last_until: float = 0.0

    def followed_by(self, prepared: Prepared, received: float) -> Shown:
        """The same after a newer report is shown, too."""
        if received <= self.until:
            return Shown(prepared.taken, prepared.expires, self.began, self.last_taken, self.last_until)
        return Shown(prepared.taken, prepared.expires, prepared.taken, self.taken, self.until)

    def moved(self, seconds: float) -> Shown:
        """The same when the clock was set by so much."""
        return Shown(*(each + seconds for each in astuple(self)))

    def hides(self, taken: float) -> bool:
        """Whether an older report was shown at this time. To write this one's samples between those would make
        each counter of it go back, which looks like a restart of what is counted."""
        return taken > self.began or self.last_taken < taken < self.last_until


class _Interval(msgspec.Struct):
    interval: float


class Writer:
    """Runs on the ledger's thread, one transaction at a time."""

    def __init__(
        self,
        *,
        keep_late: bool,
        keeper: Keeper | None = None,
        devices: Callable[[], Mapping[Address, str]] = dict,
    ) -> None:
        """`devices` are those the registry has, by their addresses."""
        self._devices = devices
        self._keep_late = keep_late
        self._keeper = keeper or Keeper()
        self._chunks: OrderedDict[Chunk, bytes] = OrderedDict()
        self._changed: dict[Chunk, bytearray] = {}
        self._shown: dict[tuple[str, str], Shown] = {}
        self._shown_changed: dict[tuple[str, str], Shown] = {}
        self.position = 0
        """The last one given in `latest`; the feed tells what it was before a start."""
        self._now = 0.0
        self._anchor = self._dated_by = 0.0

    def follow(self, time_base: TimeBase) -> None:
        """Take over the time and its base, before each transaction."""
        self._now, self._anchor = time_base.now(), time_base.anchor

    def write(self, connection: sa.Connection, batches: Sequence[Batch]) -> list[Outcome | Problem]:
        """One outcome (or the problem of a revoked agent) for each batch."""
        rows = _Rows()
        if self._anchor != self._dated_by:
            redate(connection, self._anchor, self._now)
            moved = self._anchor - self._dated_by  # also when another dated the ledger before
            self._shown_changed.update({key: shown.moved(moved) for key, shown in self._shown.items()})
        speaking = may_speak(connection, {batch.agent for batch in batches})
        results = [self._batch(connection, batch, rows, speaking[batch.agent]) for batch in batches]
        rows.chunks = [
            {"agent": agent, "epoch": epoch, "chunk": chunk, "bits": bytes(bits), "updated": batches[-1].received}
            for (agent, epoch, chunk), bits in self._changed.items()
        ]
        rows.write(connection)
        return results

    def committed(self) -> None:
        """The transaction is durable: what was learnt in it counts."""
        for chunk, bits in self._changed.items():
            self._chunks[chunk] = bytes(bits)
            self._chunks.move_to_end(chunk)
        while len(self._chunks) > _CHUNKS_CACHED:
            self._chunks.popitem(last=False)
        self._shown.update(self._shown_changed)
        self._dated_by = self._anchor
        self._learnt_nothing()

    def roll_back(self) -> None:
        """Forget what the last transaction learnt."""
        self._learnt_nothing()
        self._keeper.read_again()

    def _learnt_nothing(self) -> None:
        self._changed.clear()
        self._shown_changed.clear()

    def forget_old(self, connection: sa.Connection, now: float) -> None:
        """What housekeeping removed from the ledger, and what was last shown so long ago that it hides nothing."""
        self._keeper.read_again()
        for key in [key for key, shown in self._shown.items() if shown.until < now - _SHOWN_SECONDS]:
            del self._shown[key]

    def _batch(
        self, connection: sa.Connection, batch: Batch, rows: _Rows, refusal: IdentityError | None
    ) -> Outcome | Problem:
        if refusal:
            return Problem(403, "identity", str(refusal))
        outcome = Outcome()
        holding = self._keeper.holding(connection, batch.agent)
        takes_documents = self._keeper.takes_documents()
        for prepared in sorted(batch.prepared, key=lambda p: p.taken, reverse=True):
            if not self._is_new(connection, batch.agent, prepared):
                outcome.duplicates += 1
            elif quota := self._over_quota(connection, prepared, holding):
                outcome.over_quota.append((quota, prepared))
            elif not takes_documents:
                outcome.leave_out(prepared, Counter(disk=_documents(prepared)))
                self._note_delivered(connection, batch.agent, prepared)
                self._store_one(connection, batch, prepared, outcome, rows, holding)
            elif (left_out := _facts_are_kept(connection, prepared, holding, self._devices())) is None:
                outcome.unwritable.append(prepared)
            else:
                outcome.leave_out(prepared, left_out + rows.add_events(batch, prepared, holding))
                self._note_delivered(connection, batch.agent, prepared)
                self._store_one(connection, batch, prepared, outcome, rows, holding)
        rejected = [*batch.rejected.values(), *(unwritable(prepared) for prepared in outcome.unwritable)]
        if rejected:
            quarantine.keep(connection, batch.agent, batch.received, rejected)
        return outcome

    def _store_one(
        self,
        connection: sa.Connection,
        batch: Batch,
        prepared: Prepared,
        outcome: Outcome,
        rows: _Rows,
        holding: Holding,
    ) -> None:
        report = prepared.report
        shown = self._shown_of(connection, batch.agent, report.source)
        newer = prepared.taken > shown.taken
        lifecycle = report.source == LIFECYCLE
        # What an agent last said of its own life stays true after the report's expiry. Whoever gave up waiting will
        # send again what it has then; what it had, nobody can say for how long it was held up.
        current = prepared.expires > max(batch.received, self._now) and not batch.abandoned
        if newer and (lifecycle or current):
            self._shown_changed[batch.agent, report.source] = shown.followed_by(prepared, batch.received)
            outcome.live.append(prepared)
            holding.note_newest(report.source, len(prepared.raw))
            self.position += 1
            rows.latest[batch.agent, report.source] = {
                "agent": batch.agent,
                "source": report.source,
                "taken": prepared.taken,
                "report": prepared.raw,
                "position": self.position,
            }
            if lifecycle:
                outcome.stopped = any(event.kind == "agent_stopped" for event in report.events)
                rows.stopped[batch.agent] = outcome.stopped
        else:
            outcome.late.append(prepared)
            if self._keep_late and report.samples and not shown.hides(prepared.taken):
                if self._keeper.late.has_room(connection, batch.agent):
                    packed = zlib.compress(prepared.raw, 1)
                    self._keeper.late.add(connection, batch.agent, len(packed))
                    rows.late.append(
                        {"agent": batch.agent, "site": prepared.site, "taken": prepared.taken, "report": packed}
                    )
                else:
                    outcome.leave_out(prepared, Counter(late=1))

    def _over_quota(self, connection: sa.Connection, prepared: Prepared, holding: Holding) -> str:
        """The quota that a report as a whole would pass, or empty."""
        if not holding.speaks_from(prepared.report.source, len(prepared.raw)):
            return "sources"
        chunk, _, _ = _place(prepared.report.agent, prepared.report)
        begun = chunk in self._changed or self._stored_bits(connection, chunk)
        return "" if begun or holding.begins_sequences() else "epochs"

    def _is_new(self, connection: sa.Connection, agent: str, prepared: Prepared) -> bool:
        chunk, byte, mask = _place(agent, prepared.report)
        bits = self._changed.get(chunk) or self._stored_bits(connection, chunk)
        return len(bits) <= byte or not bits[byte] & mask

    def _note_delivered(self, connection: sa.Connection, agent: str, prepared: Prepared) -> None:
        chunk, byte, mask = _place(agent, prepared.report)
        bits = self._changed.get(chunk)
        if bits is None:
            bits = self._changed[chunk] = bytearray(self._stored_bits(connection, chunk))
        if len(bits) <= byte:
            bits.extend(bytes(byte + 1 - len(bits)))
        bits[byte] |= mask

    def _stored_bits(self, connection: sa.Connection, chunk: Chunk) -> bytes:
        known = self._chunks.get(chunk)
        if known is not None:
            return known
        agent, epoch, number = chunk
        return connection.execute(_BITS, {"of": agent, "in": epoch, "number": number}).scalar() or b""

    def _shown_of(self, connection: sa.Connection, agent: str, source: str) -> Shown:
        key = (agent, source)
        known = self._shown_changed.get(key) or self._shown.get(key)
        if known is None:
            row = connection.execute(_LATEST, {"of": agent, "by": source}).first()
            if row is None:
                known = Shown(began=float("inf"))
            else:
                interval = msgspec.json.decode(row.report, type=_Interval).interval
                known = Shown(row.taken, expiry(row.taken, interval), row.taken)
            self._shown_changed[key] = known
        return known


def _place(agent: str, report: Report) -> tuple[Chunk, int, int]:
    """Where a report's bit is: chunk, byte in it, mask of the bit in that."""
    number, bit = divmod(report.sequence, _CHUNK)
    return (agent, report.epoch, number), bit // 8, 1 << (bit % 8)


class _Rows:
    """What one transaction writes, gathered so that each table is written once."""

    def __init__(self) -> None:
        self.chunks: list[dict[str, Any]] = []
        self.latest: dict[tuple[str, str], dict[str, Any]] = {}
        self.late: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.stopped: dict[str, bool] = {}

    def add_events(self, batch: Batch, prepared: Prepared, holding: Holding) -> Counter[str]:
        """Events of a report; their times are put on the collector's clock. How many are left out, by quota."""
        shift = prepared.taken - prepared.report.taken
        told = [(each.kind, each.at, json.dumps(each.body, ensure_ascii=False)) for each in prepared.report.events] + [
            (each.kind, each.at, each.text) for each in prepared.unknown_events
        ]
        left_out: Counter[str] = Counter()
        for kind, at, body in told:
            if not holding.may_keep():
                left_out["kept_bytes"] += 1
                continue
            holding.keep(len(body) + ROW_BYTES)
            self.events.append(
                {
                    "agent": batch.agent,
                    "site": prepared.site,
                    "kind": kind,
                    "at": at + shift,
                    "received": batch.received,
                    "body": body,
                }
            )
        return left_out

    def write(self, connection: sa.Connection) -> None:
        """Write the rows into their tables."""
        if self.chunks:
            connection.execute(_UPSERT_CHUNKS.on(connection), self.chunks)
        if self.latest:
            connection.execute(_UPSERT_LATEST.on(connection), list(self.latest.values()))
        if self.late:
            connection.execute(sa.insert(late), self.late)
        if self.events:
            connection.execute(sa.insert(events), self.events)
        for agent, stopped in self.stopped.items():
            connection.execute(sa.update(agents).where(agents.c.id == agent).values(stopped=stopped))


def _documents(prepared: Prepared) -> int:
    known = len(prepared.report.facts) + len(prepared.report.events)
    return known + len(prepared.unknown_facts) + len(prepared.unknown_events)


def _facts_are_kept(
    connection: sa.Connection, prepared: Prepared, holding: Holding, devices: Mapping[Address, str]
) -> Counter[str] | None:
    """Write the facts of a report, or refuse it: what raises here is undone and costs this report alone. How many are
    left out, by quota; None when it is refused."""
    if not (prepared.report.facts or prepared.unknown_facts or prepared.report.source == INVENTORY):
        return Counter()
    try:
        with connection.begin_nested():
            return _keep_facts(connection, prepared, holding, devices)
    except Exception as error:
        holding.is_read = False
        if is_storage(error):
            raise
        log.exception("facts of agent %s can't be written", prepared.report.agent)
        return None


def _keep_facts(
    connection: sa.Connection, prepared: Prepared, holding: Holding, devices: Mapping[Address, str]
) -> Counter[str]:
    report = prepared.report
    elsewhere = WITH_TABLES.get(report.source, _NONE)
    told = [
        (each.kind, each.key, json.dumps(each.body, ensure_ascii=False, sort_keys=True))
        for each in report.facts
        if each.kind not in elsewhere
    ]
    told += [(each.kind, each.key, each.text) for each in prepared.unknown_facts]
    left_out = facts.keep(connection, report.agent, prepared.site, prepared.taken, told, holding)
    for fact in report.facts:
        # Sources with tables speak of a machine: it may have a device's name, and not be that device.
        if fact.kind == "neighbours" and report.source not in WITH_TABLES:
            left_out += links.see(connection, report.agent, prepared.site, prepared.taken, fact, holding)
            if len(fact.body["neighbours"]) > MOST_A_DEVICE:
                prepared.refused_documents["too_many_neighbours"] += 1
    own = [each for each in report.facts if each.kind in elsewhere]
    if own and not holding.may_keep():
        left_out["kept_bytes"] += len(own)
    elif report.source == INVENTORY:
        _take_inventory(connection, prepared, own, holding)
    else:
        for fact in own:
            heard = lan.take(connection, prepared.site, prepared.taken, fact)
            holding.keep(ROW_BYTES * len(heard.new))
            left_out += links.hear(connection, report.agent, prepared.site, prepared.taken, fact, devices, holding)
            if heard.beyond:
                prepared.refused_documents["too_many_devices"] += 1
    return left_out


def _take_inventory(connection: sa.Connection, prepared: Prepared, own: list[Fact], holding: Holding) -> None:
    try:
        added = inventory.take(connection, prepared.site, prepared.report.agent, prepared.taken, own)
    except TooMany:
        prepared.refused_documents["too_many_machines"] += len(own)
        return
    if added is None and own:
        prepared.refused_documents["no_machine"] += len(own)
    holding.keep(added or 0)


_UPSERT_CHUNKS = Upsert(delivered, ("agent", "epoch", "chunk"), of_new("bits", "updated"))
_UPSERT_LATEST = Upsert(latest, ("agent", "source"), of_new("taken", "report", "position"))
_BITS = sa.select(delivered.c.bits).where(
    delivered.c.agent == sa.bindparam("of"),
    delivered.c.epoch == sa.bindparam("in"),
    delivered.c.chunk == sa.bindparam("number"),
)
_LATEST = sa.select(latest.c.taken, latest.c.report).where(
    latest.c.agent == sa.bindparam("of"), latest.c.source == sa.bindparam("by")
)
