"""What only SQLite knows: how it is opened, read beside, copied, and which of its errors are whose fault."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from haidang_wire.errors import HaidangError
from sqlalchemy.pool import QueuePool, StaticPool

Error = sqlite3.Error

_BUSY_MILLISECONDS = 10_000
# How often a statement is asked whether its time is over, in steps of SQLite's machine: each few milliseconds.
_STEPS = 100_000
# Primary result codes that say nothing of disk, file or locks (sqlite.org/rescode.html).
_OF_WHAT_IS_WRITTEN = frozenset(
    {
        sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE,
    }
)  # fmt: skip


class CopyError(HaidangError):
    """A database can't be copied, or is not whole."""


def writing(file: Path) -> sa.Engine:
    """One connection, whose transactions have the whole database for themselves from their beginning."""
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=StaticPool, connect_args={"check_same_thread": False})
    sa.event.listen(engine, "connect", _open_to_write)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def reading(file: Path, most: int) -> sa.Engine:
    """At most so many connections, whose transactions change nothing and, by the log beside the database, neither
    wait for one that writes nor keep it waiting: each sees what was committed before its first statement."""
    engine = sa.create_engine(
        f"sqlite:///{file}",
        poolclass=QueuePool, pool_size=most, max_overflow=0, connect_args={"check_same_thread": False},
    )  # fmt: skip
    sa.event.listen(engine, "connect", _open_to_read)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def end_when(connection: sa.Connection, is_over: Callable[[], bool] | None) -> None:
    """From now on end a statement that runs when its time is over; None for never."""
    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(is_over, _STEPS)


def was_ended(error: sa.exc.DatabaseError) -> bool:
    """Whether a statement was ended so."""
    return bool(getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT)


def is_storage(error: sa.exc.DatabaseError) -> bool:
    """Whether an error is of disk, file or locks, not of what was to be written."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _OF_WHAT_IS_WRITTEN


def beside(file: Path) -> sqlite3.Connection:
    """A connection that only reads and waits for nothing, each of its statements by itself. Raises Error."""
    uri = f"{file.resolve().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0.1, check_same_thread=False)


def version(connection: sqlite3.Connection) -> int:
    """Another one whenever another connection has committed something: a question to SQLite's shared memory. Raises
    Error."""
    (found,) = connection.execute("PRAGMA data_version").fetchone()
    return int(found)


def copy(source: Path, to: Path) -> None:
    """Copy a database as it is between two commits, also beside those who use it. Raises CopyError, also for a copy
    that is not whole."""
    try:
        # Opened as the file that must be there: sqlite3 would make an empty one.
        database = sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, timeout=30)
        copied = sqlite3.connect(to)
        try:
            database.backup(copied)
            _check(copied)
        finally:
            copied.close()
            database.close()
    except sqlite3.Error as error:
        raise CopyError(str(error)) from error


def check(file: Path) -> None:
    """Raises CopyError for a database that is not whole."""
    try:
        database = sqlite3.connect(file)
        try:
            _check(database)
        finally:
            database.close()
    except sqlite3.Error as error:
        raise CopyError(str(error)) from error


def _check(database: sqlite3.Connection) -> None:
    ((verdict,), *_) = database.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise sqlite3.DatabaseError(str(verdict))


def _open_to_write(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where pysqlite guesses
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    # An acknowledged report survives a power cut: the log is forced to disk at each commit.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA wal_autocheckpoint=4000")
    cursor.execute("PRAGMA journal_size_limit=67108864")
    cursor.execute("PRAGMA cache_size=-32000")
    cursor.close()


def _open_to_read(connection: Any, record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()
