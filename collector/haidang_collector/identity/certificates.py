"""Which client certificates count now: asked at each request, also on connections that are kept.

What counts is in memory. Whether anybody changed it (also a command beside the collector) costs one small question to
the ledger, and only when somebody changed anything a look at the rows that are newer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from haidang_collector.identity import certificate_rows as kept
from haidang_collector.identity.authority import Presented
from haidang_collector.ledger.beside import Beside
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.problems import Problem

_CHANGES = (
    "SELECT change, serial, kind, name, ends, used, revoked, reason FROM certificates WHERE change > ? ORDER BY change"
)
_OF_AGENT = "SELECT serial FROM certificates WHERE kind = 'agent' AND name = ?"


@dataclass
class _Known:
    kind: str
    name: str
    until: float
    used: bool


class Certificates:
    """Reads along beside the ledger; what it learns itself (first uses, unlisted certificates) `keep` writes there."""

    def __init__(self, ledger: Ledger, look_seconds: float = 0.0) -> None:
        """`look_seconds` is how long what is known counts without a look at the ledger. Raises LedgerError."""
        self._look_seconds = look_seconds
        self._look_at = 0.0
        self._ledger = ledger
        self._beside = Beside(ledger)
        self._seen = -1
        self._change = 0
        self._known: dict[str, _Known] = {}
        self._of_agent: dict[str, set[str]] = {}
        self._used: set[str] = set()
        self._adopted: dict[str, Presented] = {}
        self.authorities: frozenset[str] = frozenset()
        """The CAs whose certificates count, by key identifier."""
        self.revision = 0
        """Grows when something has changed."""

    def require(self, shown: Presented, now: float) -> None:
        """Raises Problem 401 for a certificate that has ended or was never issued here, 403 for one that was revoked
        in whatever way."""
        # When it begins says nothing: the clock may have been ahead when it was issued here.
        if now >= shown.ends:
            when = datetime.fromtimestamp(shown.ends).astimezone()
            text = f"the certificate has ended ({when:%Y-%m-%d %H:%M %z}): the data center gives a new one"
            raise Problem(401, "identity", text)
        if shown.authority not in self.authorities:
            raise Problem(403, "identity", kept.REASONS["authority"])
        known = self._known.get(shown.serial)
        if known is None or time.monotonic() >= self._look_at:
            self.follow(now)
            self._look_at = time.monotonic() + self._look_seconds
            known = self._known.get(shown.serial) or self._adopt(shown, now)
        if known is None or known.until <= now or (known.kind, known.name) != (shown.kind, shown.name):
            raise self._refusal(shown)
        if not known.used:
            self._first_use(shown.serial, known)

    def follow(self, now: float) -> None:
        """Take over what was changed since, by anybody."""
        try:
            version = self._beside.version()
            if version == self._seen:
                return
            rows = self._beside.rows(_CHANGES, (self._change,))
            gone = self._gone(rows)
        except LedgerError:  # what is known goes on counting; the ledger's own work says what is wrong
            return
        self._seen = version
        for serial in gone:
            self._drop(serial)
        for change, serial, kind, name, ends, used, revoked, reason in rows:
            self._change = change
            if used is not None:
                self._used.discard(serial)  # it is written: what comes later is not ended by it
            until = kept.counts_until(ends, revoked, reason)
            # What has ended may count again: a clock that is ahead is set right one day.
            is_ended_long = until <= now - kept.KEPT_ENDED_SECONDS
            if not is_ended_long and not (kind == "agent" and self._is_replaced(serial, name)):
                self._add(serial, _Known(kind, name, until, used is not None or serial in self._used))
            else:
                self._drop(serial)
        self.revision += bool(rows)

    def read_again(self) -> None:
        """The clock was set: what had ended by it may count, and was passed over."""
        self._seen, self._change = -1, 0

    def _gone(self, rows: Iterable[tuple[Any, ...]]) -> list[str]:
        """Those in memory whose row was removed: nobody could list or revoke them. Rows of an agent are removed with a
        change of another of its rows. Raises LedgerError."""
        changed = defaultdict(set)
        for _, serial, kind, name, *_ in rows:
            if kind == "agent":
                changed[name].add(serial)
        found: list[str] = []
        for name, serials in changed.items():
            unchanged = self._of_agent.get(name, set()) - serials - self._adopted.keys()
            if unchanged:
                found += unchanged - {serial for (serial,) in self._beside.rows(_OF_AGENT, (name,))}
        return found

    def _is_replaced(self, serial: str, agent: str) -> bool:
        """Whether another one of the agent is in its first use, which is not written yet and will end this one."""
        return any(other in self._used for other in self._of_agent.get(agent, set()) - {serial})

    def forget_ended(self, now: float) -> None:
        """Keep the memory small."""
        ended = [(serial, known.until) for serial, known in self._known.items() if known.until <= now]
        for serial, until in ended:
            if until <= now - kept.KEPT_ENDED_SECONDS:
                self._drop(serial)
        self.revision += bool(ended)

    def ends(self, now: float) -> Iterator[tuple[str, str, float]]:
        """(kind, name, until) of those that people renew: of each name the one that counts longest."""
        longest: dict[tuple[str, str], float] = {}
        for known in self._known.values():
            if known.kind != "agent" and known.until > now:
                named = known.kind, known.name
                longest[named] = max(known.until, longest.get(named, 0.0))
        return ((kind, name, until) for (kind, name), until in longest.items())

    async def keep(self, now: float) -> None:
        """Write what was learnt since into the ledger. Raises LedgerError; it is kept for the next time then."""
        used, adopted = set(self._used), dict(self._adopted)
        if not used and not adopted:
            return

        def write(connection: sa.Connection) -> list[str]:
            refused = [serial for serial, shown in adopted.items() if not kept.adopt(connection, shown, now)]
            kept.note_used(connection, used, now)
            return refused

        for serial in await self._ledger.run(write):
            self._drop(serial)  # its name was revoked in this moment
        self._used -= used
        for serial in adopted:
            self._adopted.pop(serial, None)

    def in_first_use(self, agent: str) -> bool:
        """Whether an agent's certificate is in use and the ledger does not know yet."""
        return any((known := self._known.get(serial)) and known.name == agent for serial in self._used)

    def close(self) -> None:
        """No more questions."""
        self._beside.close()

    def _add(self, serial: str, known: _Known) -> None:
        self._known[serial] = known
        if known.kind == "agent":
            self._of_agent.setdefault(known.name, set()).add(serial)

    def _drop(self, serial: str) -> None:
        self._used.discard(serial)  # one that counts no more ends no other
        known = self._known.pop(serial, None)
        if known is not None and known.kind == "agent":
            of_agent = self._of_agent[known.name]
            of_agent.discard(serial)
            if not of_agent:
                del self._of_agent[known.name]

    def _first_use(self, serial: str, known: _Known) -> None:
        # At once, not when it is written: the one before may be in somebody else's hands.
        known.used = True
        self._used.add(serial)
        if known.kind == "agent":
            for other in self._of_agent[known.name] - {serial}:
                self._drop(other)

    def _adopt(self, shown: Presented, now: float) -> _Known | None:
        """One of a time whose certificates the ledger can't know."""
        of_name = [each for each in self._adopted.values() if (each.kind, each.name) == ("agent", shown.name)]
        if any(each.issued >= shown.issued for each in of_name if shown.kind == "agent"):
            return None
        try:
            with self._beside.engine.connect() as connection:
                until = None if kept.known(connection, shown.serial) else kept.may_count(connection, shown, now)
        except sa.exc.DatabaseError:
            return None
        if until is None:
            return None
        self._adopted[shown.serial] = shown
        known = _Known(shown.kind, shown.name, min(until, shown.ends), used=False)
        self._add(shown.serial, known)
        return known

    def _refusal(self, shown: Presented) -> Problem:
        try:
            with self._beside.engine.connect() as connection:
                row = kept.known(connection, shown.serial)
        except sa.exc.DatabaseError:
            row = None
        if row is None or (row.kind, row.name) != (shown.kind, shown.name):
            return Problem(401, "identity", "the certificate is not known here: it was never issued, or long ended")
        # What replaced it was used a moment ago, and that may not be written yet.
        replaced = shown.kind == "agent" and self.in_first_use(shown.name)
        reason = row.reason or ("replaced" if replaced else "")
        return Problem(403, "identity", kept.REASONS.get(reason, "the certificate no longer counts"))
