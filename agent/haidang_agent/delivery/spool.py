"""The spool: reports on disk until the collector has answered that they are durable there.

One SQLite file, bounded in bytes and age. It survives kill -9 at any instant; after a power
cut it is intact, and while deliveries fail (when it holds the only copy) every report is
forced to the disk before the next is taken. When it is full, old reports first lose their
samples, every second one of each source in the oldest half, then whole reports go, those
with facts and events last.
What was lost is counted. When the disk takes no more, reports wait in memory, newest kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from haidang_wire.errors import HaidangError
from haidang_wire.report import Report, report_json

from haidang_agent.delivery.spool_file import (
    LOG_PAGES,
    PAGE_BYTES,
    is_damage,
    open_or_set_aside,
    require_intact,
    set_durable,
)
from haidang_agent.platform.system import boot_id, boot_seconds
from haidang_agent.schedule.source import Findings

log = logging.getLogger(__name__)

_MEMORY_REPORTS = 200
_BATCH_BYTES = 1_000_000
_MOST_EPOCH = 2**53 - 1  # what JSON has whole numbers for
_MOST_AGE_SECONDS = 1e10  # of a damaged time, which need not be finite
_THIN_BELOW = 0.9  # make room down to this share of max_bytes, so that it is not done for each report


@dataclass(frozen=True)
class Pending:
    """A report that waits: its key, its age in seconds by the best clock known, its JSON."""

    epoch: int
    sequence: int
    age: float
    body: bytes


@dataclass(frozen=True)
class SpoolState:
    """What the agent reports of its spool."""

    bytes: int
    limit_bytes: int
    reports: int
    oldest_age: float
    thinned: int
    dropped: dict[str, int]
    writable: bool


class Spool:
    """All methods may be called from any thread."""

    def __init__(self, path: Path, max_bytes: int, max_age_seconds: float) -> None:
        """Open or create the file at path. A damaged one is set aside and a new one begun.

        Raises HaidangError when the folder can't be written.
        """
        self.path = path
        self.max_bytes = max_bytes
        self.max_age_seconds = max_age_seconds
        self._lock = threading.Lock()
        self._memory: deque[tuple[int, str, int, float, float, bytes]] = deque()
        self._forgotten: set[tuple[int, int]] = set()
        self._thinned = 0
        self._dropped = {"size": 0, "age": 0, "disk": 0, "refused": 0}
        self._writable = True
        self._durable_now = False
        self._is_durable: bool | None = False  # what the file does; None when that is not known
        self._clock_offset: float | None = None
        self._clock_noted = False
        try:
            self._database, self.set_aside = open_or_set_aside(path, max_bytes, durable=False)
        except (OSError, sqlite3.Error) as error:
            raise HaidangError(
                f"the spool can't be opened: {error}",
                where=str(path),
                remedy="Check that the folder exists, belongs to the agent's user and has free space",
            ) from error
        self._boot = boot_id()
        self._sequence = 0
        # One run, one epoch: a sequence number lost in a power cut can then never be used
        # twice. Milliseconds keep it unique when the file was lost, the one after the last
        # when the clock went back.
        self.epoch = int(time.time() * 1000)
        try:
            self.epoch = max(self.epoch, self._last_epoch() + 1)
            self._note_epoch()
        except sqlite3.Error as error:
            self._not_writable(error)

    def _last_epoch(self) -> int:
        row = self._database.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        return int(row[0]) if row and _numbers(row) and row[0] < _MOST_EPOCH else 0

    def _note_epoch(self) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (self.epoch,))

    # Taking in

    def put(
        self, agent: str, source: str, taken: float, interval: float, findings: Findings, boot: float | None = None
    ) -> None:
        """Keep one report; `taken` is in Unix seconds, `boot` the same moment in seconds since boot (None: now).
        Never raises for a full or failing disk: it waits in memory then."""
        with self._lock:
            self._sequence += 1
            when = boot_seconds() if boot is None else boot
            report = Report(
                agent, self.epoch, self._sequence, source, taken, interval,
                [sample for sample in findings.samples if _numbers((sample.value,))], findings.facts, findings.events,
            )  # fmt: skip
            body = _packed(report_json(report))
            kept = int(bool(findings.facts or findings.events))
            self._memory.append((self._sequence, source, kept, when, taken, body))
            self._write_memory()

    def _write_memory(self) -> None:
        if not self._writable:
            self._make_room()
        try:
            self._make_durable()
            with self._transaction():
                for sequence, source, kept, when, taken, body in self._memory:
                    # It is there already after a commit that took effect and failed all the same.
                    self._database.execute(
                        "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)"
                        " ON CONFLICT (epoch, sequence) DO NOTHING",
                        (self.epoch, sequence, source, self._boot, when, taken, kept, body),
                    )
                self._delete(self._forgotten)
        except sqlite3.Error as error:
            self._not_writable(error)
            return
        self._memory.clear()
        self._forgotten.clear()
        if not self._writable:
            log.info("the spool %s can be written again", self.path)
            self._writable = True
        try:
            full = self._used_bytes() > self.max_bytes * 0.95
        except sqlite3.Error:
            return  # told by the next write
        if full:
            self._make_room()

    def _not_writable(self, error: sqlite3.Error) -> None:
        if not isinstance(error, sqlite3.OperationalError) or is_damage(error):
            self._look(error)
        if self._writable:
            log.error("the spool %s can't be written (%s): the newest reports wait in memory", self.path, error)
            self._writable = False
        while len(self._memory) > _MEMORY_REPORTS:
            self._memory.popleft()
            self._dropped["disk"] += 1

    def _look(self, error: sqlite3.Error) -> None:
        """Open the file anew after what may be damage that only shows where it is read, or a connection that can't go
        on. What can't be read is lost already."""
        say = log.error if self._writable else log.debug  # once, not with each report
        say("the spool %s: %s", self.path, error)
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        try:
            self._database, aside = open_or_set_aside(self.path, self.max_bytes, durable=self._durable_now)
            self._is_durable = self._durable_now
            if aside:
                self.set_aside = aside
                self._forgotten.clear()
                self._clock_noted = False
                self._note_epoch()
        except (OSError, sqlite3.Error) as again:
            say("the spool %s can't be opened again: %s", self.path, again)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._end_transaction()
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException:  # whatever it was, the transaction must not stay open; it is raised again
            with contextlib.suppress(sqlite3.Error):
                self._end_transaction()
            raise

    def _end_transaction(self) -> None:
        """The one that an error left open, and that could not be ended then."""
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    # Handing out

    def newest(self, limit: int) -> list[Pending]:
        """Up to limit waiting reports, newest first, a megabyte of JSON at the most."""
        pending: list[Pending] = []
        size = 0
        with self._lock:
            self._drop_old()
            for epoch, sequence, boot, when, taken, packed in self._waiting(limit):
                try:
                    body, age = zlib.decompress(packed), self._age(boot, when, taken)
                except (zlib.error, TypeError) as error:
                    log.error("report %s/%s of the spool is damaged (%s): dropped", epoch, sequence, error)
                    self._forgotten.add((epoch, sequence))
                    self._dropped["disk"] += 1
                    continue
                size += len(body)
                if pending and size > _BATCH_BYTES:
                    break
                pending.append(Pending(epoch, sequence, age, body))
        return pending

    def _waiting(self, limit: int) -> list[tuple[int, int, str, float, float, bytes]]:
        in_memory = [
            (self.epoch, sequence, self._boot, when, taken, body)
            for sequence, _, _, when, taken, body in reversed(self._memory)
        ]
        try:
            on_disk = self._on_disk(limit)
        except sqlite3.Error as error:
            self._not_writable(error)
            try:
                on_disk = self._on_disk(limit)
            except sqlite3.Error:
                on_disk = []  # what waits in memory can be delivered all the same
        left_out = self._forgotten.union(row[:2] for row in in_memory)
        return (in_memory + [row for row in on_disk if row[:2] not in left_out])[:limit]

    def _on_disk(self, limit: int) -> list[tuple[int, int, str, float, float, bytes]]:
        return self._database.execute(
            "SELECT epoch, sequence, boot, boot_seconds, taken, body FROM reports"
            " ORDER BY epoch DESC, sequence DESC LIMIT ?",
            (limit + len(self._forgotten) + len(self._memory),),
        ).fetchall()

    def forget(self, keys: Iterable[tuple[int, int]], *, refused: bool = False) -> None:
        """Drop reports the collector has made durable, or (refused) will never take."""
        keys = set(keys)
        with self._lock:
            if refused:
                self._dropped["refused"] += len(keys)
            self._memory = deque(row for row in self._memory if (self.epoch, row[0]) not in keys)
            try:
                with self._transaction():
                    self._delete(keys)
            except sqlite3.Error as error:
                # Remembered until the disk takes the deletion; sent again after a crash, and
                # the collector knows it has them.
                self._forgotten |= keys
                self._not_writable(error)
            else:
                self._forgotten -= keys

    def _delete(self, keys: Iterable[tuple[int, int]]) -> None:
        self._database.executemany("DELETE FROM reports WHERE epoch = ? AND sequence = ?", keys)

    def holds(self, source: str) -> bool:
        """Whether a report of a source waits here, as far as the disk tells: where it does not, one may."""
        with self._lock:
            if any(row[1] == source for row in self._memory):
                return True
            try:
                row = self._database.execute("SELECT 1 FROM reports WHERE source = ? LIMIT 1", (source,)).fetchone()
            except sqlite3.Error as error:
                self._not_writable(error)
                return True
            return row is not None

    def lost(self) -> int:
        """How many reports were lost here or refused since the agent began; whose they were is not known."""
        with self._lock:
            return sum(self._dropped.values())

    # Clocks

    def _age(self, boot: str, when: float, taken: float) -> float:
        """Seconds since a report was taken. Within this boot the clock that nobody sets
        tells; for an earlier boot the clocks are compared, each corrected by the offset the
        collector measured in that boot, and it is at least as old as this boot."""
        if boot == self._boot:
            return max(0.0, boot_seconds() - when)
        try:
            row = self._database.execute("SELECT offset FROM clocks WHERE boot = ?", (boot,)).fetchone()
        except sqlite3.Error:
            row = None  # an age by the offset of now is better than no delivery
        offset_now = self._clock_offset or 0.0
        offset_then = row[0] if row and _numbers(row) else offset_now
        return max(boot_seconds(), min(_MOST_AGE_SECONDS, (time.time() + offset_now) - (taken + offset_then)))

    def note_clock_offset(self, offset: float) -> None:
        """Remember, for this boot, how far the collector's clock is ahead of ours (seconds)."""
        with self._lock:
            same = self._clock_offset is not None and abs(offset - self._clock_offset) < 1.0
            if same and self._clock_noted:
                return
            self._clock_offset = offset
            try:
                with self._transaction():
                    self._database.execute("INSERT OR REPLACE INTO clocks VALUES (?, ?)", (self._boot, offset))
                    self._database.execute(
                        "DELETE FROM clocks WHERE boot <> ? AND boot NOT IN (SELECT boot FROM reports)",
                        (self._boot,),
                    )
            except sqlite3.Error:
                self._clock_noted = False  # noted with the next exchange
            else:
                self._clock_noted = True

    def durable_now(self, now: bool) -> None:
        """Force each report to the disk as it comes (while deliveries fail), or leave that to
        the operating system (while they succeed within a second), sparing old disks."""
        with self._lock:
            self._durable_now = now
            with contextlib.suppress(sqlite3.Error):  # tried again with the next write
                self._make_durable()

    def _make_durable(self) -> None:
        if self._is_durable != self._durable_now:
            self._end_transaction()  # within one it can't be changed
            self._is_durable = None
            set_durable(self._database, durable=self._durable_now)
            self._is_durable = self._durable_now

    # Bounds

    def _used_bytes(self) -> int:
        pages, free = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        return int((pages - free + LOG_PAGES) * PAGE_BYTES)

    def _drop_old(self) -> None:
        try:
            while rows := self._database.execute(
                "SELECT boot, boot_seconds, taken, epoch, sequence FROM reports ORDER BY epoch, sequence LIMIT 100"
            ).fetchall():
                old = [row[3:] for row in rows if self._is_old(*row[:3])]
                if old:
                    with self._transaction():
                        self._delete(old)
                    self._dropped["age"] += len(old)
                if len(old) < len(rows):
                    return
        except sqlite3.Error as error:
            self._not_writable(error)

    def _is_old(self, boot: str, when: float, taken: float) -> bool:
        # Before its clock was compared with the collector's, a wrong one could make the reports of an earlier boot
        # look old and empty the spool.
        if not _numbers((when, taken)) or (boot != self._boot and self._clock_offset is None):
            return False
        return self._age(boot, when, taken) > self.max_age_seconds

    def _make_room(self) -> None:
        """Thin, then drop, until the spool is below its bound again. On a disk that takes no
        writes at all this fails and changes nothing."""
        try:
            while self._used_bytes() > self.max_bytes * _THIN_BELOW:
                with self._transaction():
                    thinned = self._thin()
                    dropped = 0 if thinned is not None else self._drop_oldest()
                self._thinned += thinned or 0
                self._dropped["size"] += dropped
                if thinned is None and not dropped:
                    return
        except sqlite3.Error as error:
            self._not_writable(error)

    def _thin(self) -> int | None:
        """How many lost their samples; None when there is none left to look at."""
        rows = self._database.execute(
            "SELECT epoch, sequence, source, kept, body FROM reports WHERE thinned = 0 ORDER BY epoch, sequence"
            " LIMIT min(500, (SELECT count(*) FROM reports WHERE thinned = 0) / 2)"
        ).fetchall()
        keep_next: dict[str, bool] = {}
        thinned = 0
        for epoch, sequence, source, kept, body in rows:
            keep_next[source] = not keep_next.get(source, True)
            if keep_next[source] or not kept:
                self._database.execute(
                    "UPDATE reports SET thinned = 1 WHERE epoch = ? AND sequence = ?"
                    if keep_next[source]
                    else "DELETE FROM reports WHERE epoch = ? AND sequence = ?",
                    (epoch, sequence),
                )
            else:
                self._database.execute(
                    "UPDATE reports SET thinned = 1, body = ? WHERE epoch = ? AND sequence = ?",
                    (_without_samples(body), epoch, sequence),
                )
            thinned += not keep_next[source]
        return thinned if rows else None

    def _drop_oldest(self) -> int:
        rows = self._database.execute(
            "SELECT epoch, sequence FROM reports ORDER BY kept, epoch, sequence LIMIT 200"
        ).fetchall()
        self._delete(rows)
        return len(rows)

    def state(self) -> SpoolState:
        """What the spool holds now; what the disk does not tell counts as nothing."""
        with self._lock:
            count, used, age = 0, 0, 0.0
            try:
                count = self._database.execute("SELECT count(*) FROM reports").fetchone()[0]
                used = self._used_bytes()
                oldest = self._database.execute(
                    "SELECT boot, boot_seconds, taken FROM reports ORDER BY epoch, sequence LIMIT 1"
                ).fetchone()
                age = self._age(*oldest) if oldest and _numbers(oldest[1:]) else 0.0
            except sqlite3.Error as error:
                self._not_writable(error)
            return SpoolState(
                used, self.max_bytes, max(0, count - len(self._forgotten)) + len(self._memory),
                age, self._thinned, dict(self._dropped), self._writable,
            )  # fmt: skip

    def close(self) -> None:
        """Fold the log in and close the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._database.close()


def _numbers(values: tuple[object, ...]) -> bool:
    """False for a damaged row, and for what JSON has no number for."""
    try:
        return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    except OverflowError:  # an integer beyond all floats
        return False


def _packed(document: dict[str, Any]) -> bytes:
    # Names of disks and mounts are bytes; those that are no text (any user may make one) stand as question marks.
    return zlib.compress(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"), 6)


def _without_samples(body: bytes) -> bytes:
    try:
        document = json.loads(zlib.decompress(body))
    except (zlib.error, ValueError, TypeError):  # damaged: dropped where it is handed out
        return body
    document["samples"] = []
    return _packed(document)


def check(path: Path) -> SpoolState | None:
    """What the spool file at path holds, read beside a running agent; None without a file.

    Raises sqlite3.DatabaseError when it is damaged.
    """
    if not path.exists():
        return None
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        require_intact(database)
        count, oldest = database.execute("SELECT count(*), min(taken) FROM reports").fetchone()
        pages, free = (database.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "freelist_count"))
    finally:
        database.close()
    state = SpoolState((pages - free) * PAGE_BYTES, 0, count, 0.0, 0, {}, True)
    return replace(state, oldest_age=max(0.0, time.time() - oldest)) if oldest else state
