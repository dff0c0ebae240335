"""The spool's file: its schema, how it is opened, and what is done when it is damaged."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

from haidang_agent.platform.files import make_private

log = logging.getLogger(__name__)

PAGE_BYTES = 4096
# Left of max_bytes for SQLite's own log (-wal), which is folded in at this size.
LOG_PAGES = 32
_SCHEMA = """
CREATE TABLE IF NOT EXISTS reports (
    epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, source TEXT NOT NULL,
    boot TEXT NOT NULL, boot_seconds REAL NOT NULL, taken REAL NOT NULL,
    thinned INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (epoch, sequence));
CREATE INDEX IF NOT EXISTS unthinned ON reports (epoch, sequence) WHERE thinned = 0;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clocks (boot TEXT PRIMARY KEY, offset REAL NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = (
    "epoch, sequence, source, boot, boot_seconds, taken, thinned, kept, body FROM reports",
    "key, value FROM meta",
    "boot, offset FROM clocks",
)
# SQLite's words for a folder or disk that fails, or for wrong use, not for the file (Python 3.9 gives no error codes).
_NOT_DAMAGE = (
    "unable to open", "disk I/O", "database or disk is full", "attempt to write", "database is locked",
    "database table is locked", "locking protocol", "interrupted", "cannot", "Safety level",
)  # fmt: skip


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error of `open_file` is of the file itself, not of the folder, the disk or the use of it."""
    if isinstance(error, sqlite3.OperationalError):  # of a schema that is not ours
        return not str(error).startswith(_NOT_DAMAGE)
    return type(error) is sqlite3.DatabaseError


def open_or_set_aside(path: Path, max_bytes: int, *, durable: bool) -> tuple[sqlite3.Connection, Path | None]:
    """The opened file, and where a damaged one is now. One that is whole is never set aside: damage is what two looks
    find. Raises sqlite3.Error, OSError."""
    for look in (1, 2):
        try:
            return open_file(path, max_bytes, durable=durable), None
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            damage = error
            log.debug("look %d at %s: %s", look, path, damage)
    aside = set_aside(path, damage)
    return open_file(path, max_bytes, durable=durable), aside


def open_file(path: Path, max_bytes: int, *, durable: bool) -> sqlite3.Connection:
    """Open or create the file, mode 0600; every commit is forced to the disk if `durable`. Raises sqlite3.Error."""
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
    try:
        database.execute(f"PRAGMA page_size={PAGE_BYTES}")
        require_intact(database)
        database.execute("PRAGMA journal_mode=WAL")
        set_durable(database, durable=durable)
        database.execute("PRAGMA cache_size=-256")
        database.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        database.execute("PRAGMA journal_size_limit=0")
        database.execute(f"PRAGMA max_page_count={max(32, max_bytes // PAGE_BYTES - LOG_PAGES)}")
        database.executescript(_SCHEMA)
        for columns in _COLUMNS:  # a damaged schema may have other names
            database.execute(f"SELECT {columns} LIMIT 0")
    except BaseException:  # whatever it was, it is raised again
        database.close()
        raise
    make_private(path)
    return database


def set_durable(database: sqlite3.Connection, *, durable: bool) -> None:
    """Whether a commit waits for the disk. Raises sqlite3.Error."""
    database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")


def set_aside(path: Path, damage: sqlite3.Error) -> Path:
    """Move a damaged file out of the way; where it is now. Raises OSError."""
    aside = path.with_suffix(".damaged")
    # Its log first: SQLite would fold it into a new file. With its log, whoever mends it finds the newest, too.
    for part in ("-shm", "-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{part}").replace(f"{aside}{part}")
    log.error("%s is damaged (%s): set aside as %s, starting anew", path, damage, aside)
    return aside


def require_intact(database: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError with what is damaged."""
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        problem = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except UnicodeDecodeError as error:  # sqlite3's message quotes a damaged name
        raise sqlite3.DatabaseError("a name in it is damaged") from error
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)
