"""The ledger's database: SQLite in the state folder, one thread, one transaction at a time."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from haidang_wire.errors import HaidangError
from sqlalchemy.pool import StaticPool

_BUSY_MILLISECONDS = 10_000
# Primary result codes that say nothing of disk, file or locks (sqlite.org/rescode.html).
_OF_WHAT_IS_WRITTEN = frozenset(
    {
        sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE,
    }
)  # fmt: skip
T = TypeVar("T")


class LedgerError(HaidangError):
    """The database can't be opened, read or written: its disk, its file, a lock. What is wrong with that which was to
    be written is another error, and no reason to try again."""


class Ledger:
    """Opens (and migrates) `collector.db`. Commands may use it beside a running collector."""

    def __init__(self, state_dir: Path) -> None:
        """Raises LedgerError."""
        self.path = state_dir / "collector.db"
        self._engine = sa.create_engine(
            f"sqlite:///{self.path}", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        sa.event.listen(self._engine, "connect", _on_connect)
        sa.event.listen(self._engine, "begin", _on_begin)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            with self._engine.begin() as connection:
                _migrate(connection)
            self.path.chmod(0o600)
        except (sa.exc.DatabaseError, OSError) as error:
            raise LedgerError(
                f"the database can't be opened: {_cause(error)}",
                where=str(self.path),
                remedy="Check owner and free space of the folder, or restore it from its backup",
            ) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, for commands. Raises LedgerError, and what is raised within."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DatabaseError as error:
            if not is_storage(error):
                raise
            raise LedgerError(f"the database fails: {_cause(error)}", where=str(self.path)) from error

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """function(connection, *arguments) in one transaction on the ledger's thread; durable
        when this returns. Raises LedgerError, and what the function raises."""

        def call() -> T:
            with self.transaction() as connection:
                return function(connection, *arguments)

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Finish what runs and close."""
        self._thread.shutdown()
        self._engine.dispose()


def is_storage(error: BaseException) -> bool:
    """Whether an error is the database's (or the machine's), not that of what was to be written."""
    if isinstance(error, (LedgerError, MemoryError, OSError)):
        return True
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return isinstance(error, sa.exc.DatabaseError) and (code is None or code & 0xFF not in _OF_WHAT_IS_WRITTEN)


def _on_connect(connection: Any, record: Any) -> None:
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


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _cause(error: Exception) -> str:
    # SQLAlchemy's own text repeats statement and parameters; those may hold what people sent.
    return str(getattr(error, "orig", None) or type(error).__name__)
