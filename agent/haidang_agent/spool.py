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
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from haidang_wire.errors import HaidangError
from haidang_wire.report import Report, report_json

from haidang_agent.source import Findings
from haidang_agent.spool_file import LOG_PAGES, PAGE_BYTES, is_damage, open_file, require_intact, set_aside
from haidang_agent.system import boot_id, boot_seconds

log = logging.getLogger(__name__)

_MEMORY_REPORTS = 200
_BATCH_BYTES = 1_000_000
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
        self._dropped_known = 0
        self._writable = True
        self._durable_now = False
        self._clock_offset: float | None = None
        self.set_aside: Path | None = None
        try:
            self._database = open_file(path, max_bytes)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise HaidangError(
                    f"the spool can't be opened: {error}",
                    where=str(path),
                    remedy="Check that the folder exists, belongs to the agent's user and has free space",
                ) from error
            self.set_aside = set_aside(path, error)
            self._database = open_file(path, max_bytes)
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
        return int(row[0]) if row and _numbers(row) else 0

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
                findings.samples, findings.facts, findings.events,
            )  # fmt: skip
            body = zlib.compress(json.dumps(report_json(report), ensure_ascii=False).encode(), 6)
            kept = int(bool(findings.facts or findings.events))
            self._memory.append((self._sequence, source, kept, when, taken, body))
            self._write_memory()

    def _write_memory(self) -> None:
        if not self._writable:
            self._make_room()
        try:
            with self._transaction():
                for sequence, source, kept, when, taken, body in self._memory:
                    self._database.execute(
                        "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
                        (self.epoch, sequence, source, self._boot, when, taken, kept, body),
                    )
                self._delete(self._forgotten)
            full = self._used_bytes() > self.max_bytes * 0.95
        except sqlite3.Error as error:
            self._not_writable(error)
            return
        self._memory.clear()
        self._forgotten.clear()
        if not self._writable:
            log.info("the spool %s can be written again", self.path)
            self._writable = True
        if full:
            self._make_room()

    def _not_writable(self, error: sqlite3.Error) -> None:
        if is_damage(error):
            # Damage that only shows where it is read: what can't be read is lost already.
            try:
                self._database.close()
                self.set_aside = set_aside(self.path, error)
                self._database = open_file(self.path, self.max_bytes)
                self._note_epoch()
            except (OSError, sqlite3.Error) as again:
                log.error("the spool %s can't be begun anew: %s", self.path, again)
        if self._writable:
            log.error("the spool %s can't be written (%s): the newest reports wait in memory", self.path, error)
            self._writable = False
        while len(self._memory) > _MEMORY_REPORTS:
            self._memory.popleft()
            self._dropped["disk"] += 1

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:  # whatever it was, the transaction must not stay open; it is raised again
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    # Handing out

    def newest(self, limit: int) -> list[Pending]:
        """Up to limit waiting reports, newest first, a megabyte of JSON at the most."""
        pending: list[Pending] = []
        size = 0
        with self._lock:
            self._drop_old()
            try:
                waiting = self._waiting(limit)
            except sqlite3.DatabaseError as error:
                self._not_writable(error)
                waiting = self._waiting(limit)
            for epoch, sequence, boot, when, taken, packed in waiting:
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
        on_disk = self._database.execute(
            "SELECT epoch, sequence, boot, boot_seconds, taken, body FROM reports"
            " ORDER BY epoch DESC, sequence DESC LIMIT ?",
            (limit + len(self._forgotten),),
        ).fetchall()
        return [row for row in in_memory + on_disk if row[:2] not in self._forgotten][:limit]

    def forget(self, keys: Iterable[tuple[int, int]], *, refused: bool = False) -> None:
        """Drop reports the collector has made durable, or (refused) will never take."""
        keys = set(keys)
        with self._lock:
            if refused:
                self._dropped["refused"] += len(keys)
            in_memory = {(self.epoch, row[0]) for row in self._memory}
            self._memory = deque(row for row in self._memory if (self.epoch, row[0]) not in keys)
            try:
                with self._transaction():
                    self._delete(keys - in_memory)
            except sqlite3.Error as error:
                # Remembered until the disk takes the deletion; sent again after a crash, and
                # the collector knows it has them.
                self._forgotten |= keys - in_memory
                self._not_writable(error)

    def _delete(self, keys: Iterable[tuple[int, int]]) -> None:
        self._database.executemany("DELETE FROM reports WHERE epoch = ? AND sequence = ?", keys)

    def is_delivered(self, source: str) -> bool:
        """Whether nothing of a source waits here, and nothing was lost since this was asked last: what it told, the
        collector has. (Whose report was lost is not known; to say it again costs little.)"""
        with self._lock:
            if sum(self._dropped.values()) > self._dropped_known or any(row[1] == source for row in self._memory):
                self._dropped_known = sum(self._dropped.values())
                return False
            try:
                row = self._database.execute("SELECT 1 FROM reports WHERE source = ? LIMIT 1", (source,)).fetchone()
            except sqlite3.Error as error:
                self._not_writable(error)
                return False
            return row is None

    # Clocks

    def _age(self, boot: str, when: float, taken: float) -> float:
        """Seconds since a report was taken. Within this boot the clock that nobody sets
        tells; for an earlier boot the clocks are compared, each corrected by the offset the
        collector measured in that boot, and it is at least as old as this boot."""
        if boot == self._boot:
            return max(0.0, boot_seconds() - when)
        row = self._database.execute("SELECT offset FROM clocks WHERE boot = ?", (boot,)).fetchone()
        offset_now = self._clock_offset or 0.0
        offset_then = row[0] if row and _numbers(row) else offset_now
        return max(boot_seconds(), (time.time() + offset_now) - (taken + offset_then))

    def note_clock_offset(self, offset: float) -> None:
        """Remember, for this boot, how far the collector's clock is ahead of ours (seconds)."""
        with self._lock:
            if self._clock_offset is not None and abs(offset - self._clock_offset) < 1.0:
                return
            self._clock_offset = offset
            with contextlib.suppress(sqlite3.Error):  # learnt again at the next exchange
                self._database.execute("INSERT OR REPLACE INTO clocks VALUES (?, ?)", (self._boot, offset))
                self._database.execute(
                    "DELETE FROM clocks WHERE boot <> ? AND boot NOT IN (SELECT boot FROM reports)",
                    (self._boot,),
                )

    def durable_now(self, now: bool) -> None:
        """Force each report to the disk as it comes (while deliveries fail), or leave that to
        the operating system (while they succeed within a second), sparing old disks."""
        with self._lock:
            if now != self._durable_now:
                self._durable_now = now
                self._database.execute(f"PRAGMA synchronous={'FULL' if now else 'NORMAL'}")

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
                # Before its clock was compared with the collector's, a wrong one could make
                # the reports of an earlier boot look old and empty the spool.
                old = [
                    row[3:]
                    for row in rows
                    if (row[0] == self._boot or self._clock_offset is not None)
                    and _numbers(row[1:3])
                    and self._age(*row[:3]) > self.max_age_seconds
                ]
                self._delete(old)
                self._dropped["age"] += len(old)
                if len(old) < len(rows):
                    return
        except sqlite3.Error as error:
            self._not_writable(error)

    def _make_room(self) -> None:
        """Thin, then drop, until the spool is below its bound again. On a disk that takes no
        writes at all this fails and changes nothing."""
        try:
            while self._used_bytes() > self.max_bytes * _THIN_BELOW:
                with self._transaction():
                    if not self._thin() and not self._drop_oldest():
                        return
        except sqlite3.Error as error:
            self._not_writable(error)

    def _thin(self) -> bool:
        rows = self._database.execute(
            "SELECT epoch, sequence, source, kept, body FROM reports WHERE thinned = 0 ORDER BY epoch, sequence"
            " LIMIT min(500, (SELECT count(*) FROM reports WHERE thinned = 0) / 2)"
        ).fetchall()
        keep_next: dict[str, bool] = {}
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
            self._thinned += not keep_next[source]
        return bool(rows)

    def _drop_oldest(self) -> bool:
        rows = self._database.execute(
            "SELECT epoch, sequence FROM reports ORDER BY kept, epoch, sequence LIMIT 200"
        ).fetchall()
        self._delete(rows)
        self._dropped["size"] += len(rows)
        return bool(rows)

    def state(self) -> SpoolState:
        """What the spool holds now."""
        with self._lock:
            count, used = (
                self._database.execute("SELECT count(*) FROM reports").fetchone()[0],
                self._used_bytes(),
            )
            oldest = self._database.execute(
                "SELECT boot, boot_seconds, taken FROM reports ORDER BY epoch, sequence LIMIT 1"
            ).fetchone()
            age = self._age(*oldest) if oldest and _numbers(oldest[1:]) else 0.0
            return SpoolState(
                used, self.max_bytes, count + len(self._memory) - len(self._forgotten),
                age, self._thinned, dict(self._dropped), self._writable,
            )  # fmt: skip

    def close(self) -> None:
        """Fold the log in and close the file."""
        with self._lock:
            self._database.close()


def _numbers(values: tuple[object, ...]) -> bool:
    """False for a damaged row."""
    return all(isinstance(value, (int, float)) for value in values)


def _without_samples(body: bytes) -> bytes:
    try:
        document = json.loads(zlib.decompress(body))
    except (zlib.error, ValueError, TypeError):  # damaged: dropped where it is handed out
        return body
    document["samples"] = []
    return zlib.compress(json.dumps(document, ensure_ascii=False).encode(), 6)


def check(path: Path) -> SpoolState | None:
    """What the spool file at path holds, read beside a running agent; None without a file.

    Raises sqlite3.DatabaseError when it is damaged.
    """
    if not path.exists():
        return None
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        require_intact(database)
        count, oldest = database.execute("SELECT count(*), min(taken) FROM reports").fetchone()
        pages, free = (database.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "freelist_count"))
    finally:
        database.close()
    state = SpoolState((pages - free) * PAGE_BYTES, 0, count, 0.0, 0, {}, True)
    return replace(state, oldest_age=max(0.0, time.time() - oldest)) if oldest else state
