"""The ledger's database: SQLite in the state folder. What writes runs on one thread, one transaction at a time; what
reads runs beside it and waits for no write."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from haidang_wire.errors import HaidangError

from haidang_collector.ledger import sqlite

# Reads at once, those that may wait for that, and the time one has from when it is asked for, waiting included.
_READERS = 4
_MOST_READS = 256
_READ_SECONDS = 30.0
T = TypeVar("T")


class LedgerError(HaidangError):
    """The database can't be opened, read or written: its disk, its file, a lock. What is wrong with that which was to
    be written is another error, and no reason to try again."""


class LedgerBusy(LedgerError):
    """A read was given up: too many wait, or it takes longer than one may."""


class Ledger:
    """Opens (and migrates) `collector.db`. Commands may use it beside a running collector."""

    def __init__(self, state_dir: Path) -> None:
        """Raises LedgerError."""
        self.path = state_dir / "collector.db"
        self._engine = sqlite.writing(self.path)
        self._reading = sqlite.reading(self.path, _READERS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="ledger-read")
        self._reads = 0
        self._closing = False
        try:
            with self._reading.begin() as connection:  # a command beside a collector that writes waits for nothing
                is_current = _is_current(connection)
            if not is_current:
                with self._engine.begin() as connection:
                    command.upgrade(_migrations(connection), "head")
            self.path.chmod(0o600)
        except (sa.exc.DatabaseError, OSError) as error:
            raise LedgerError(
                f"the database can't be opened: {_cause(error)}",
                where=str(self.path),
                remedy="Check owner and free space of the folder, or restore it from its backup",
            ) from error

    @property
    def kind(self) -> str:
        """What database it is, as the collector says of itself."""
        return self._engine.dialect.name

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, for commands. Raises LedgerError, and what is raised within."""
        with self._failing(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self, until: float | None = None) -> Iterator[sa.Connection]:
        """One transaction that changes nothing, and waits for none that does: it sees all that was committed before it
        began, and nothing that is later. `until` (time.monotonic) is when it is given up. Raises LedgerError, and what
        is raised within."""
        with self._failing(), self._reading.begin() as connection:
            if until is None:
                yield connection
                return
            sqlite.end_when(connection, lambda: self._closing or time.monotonic() >= until)
            try:
                yield connection
            finally:
                sqlite.end_when(connection, None)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """function(connection, *arguments) in one transaction on the ledger's thread; durable
        when this returns. Raises LedgerError, and what the function raises."""

        def call() -> T:
            with self.transaction() as connection:
                return function(connection, *arguments)

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """function(connection, *arguments) in a transaction that changes nothing, beside those that write: what `run`
        had returned of by now it sees. Raises LedgerError, and what the function raises."""
        until = time.monotonic() + _READ_SECONDS

        def call() -> T:
            if time.monotonic() >= until:
                raise LedgerBusy(f"a read waited {_READ_SECONDS:.0f} s for others", where=str(self.path))
            with self.reading(until) as connection:
                return function(connection, *arguments)

        if self._reads >= _MOST_READS:
            raise LedgerBusy(f"{self._reads} reads wait already", where=str(self.path))
        self._reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, call)
        finally:
            self._reads -= 1

    def close(self) -> None:
        """Finish what is written, end what is read, and close."""
        self._closing = True
        self._readers.shutdown(cancel_futures=True)
        self._thread.shutdown()
        self._reading.dispose()
        self._engine.dispose()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            if sqlite.was_ended(error):
                raise LedgerBusy(f"a read took longer than {_READ_SECONDS:.0f} s", where=str(self.path)) from error
            if not is_storage(error):
                raise
            raise LedgerError(f"the database fails: {_cause(error)}", where=str(self.path)) from error


def is_storage(error: BaseException) -> bool:
    """Whether an error is the database's (or the machine's), not that of what was to be written."""
    if isinstance(error, (LedgerError, MemoryError, OSError)):
        return True
    return isinstance(error, sa.exc.DatabaseError) and sqlite.is_storage(error)


def _is_current(connection: sa.Connection) -> bool:
    wanted = ScriptDirectory.from_config(_migrations(connection)).get_heads()
    return MigrationContext.configure(connection).get_current_heads() == tuple(wanted)


def _migrations(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _cause(error: Exception) -> str:
    # SQLAlchemy's own text repeats statement and parameters; those may hold what people sent.
    return str(getattr(error, "orig", None) or type(error).__name__)
