"""The ledger's database: SQLite in the state folder, one thread, one transaction at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from haidang_wire.errors import HaidangError

from haidang_collector.ledger import sqlite

T = TypeVar("T")


class LedgerError(HaidangError):
    """The database can't be opened, read or written: its disk, its file, a lock. What is wrong with that which was to
    be written is another error, and no reason to try again."""


class Ledger:
    """Opens (and migrates) `collector.db`. Commands may use it beside a running collector."""

    def __init__(self, state_dir: Path) -> None:
        """Raises LedgerError."""
        self.path = state_dir / "collector.db"
        self._engine = sqlite.writing(self.path)
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

    @property
    def kind(self) -> str:
        """What database it is, as the collector says of itself."""
        return self._engine.dialect.name

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, for commands. Raises LedgerError, and what is raised within."""
        with self._failing(), self._engine.begin() as connection:
            yield connection

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

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            if not is_storage(error):
                raise
            raise LedgerError(f"the database fails: {_cause(error)}", where=str(self.path)) from error


def is_storage(error: BaseException) -> bool:
    """Whether an error is the database's (or the machine's), not that of what was to be written."""
    if isinstance(error, (LedgerError, MemoryError, OSError)):
        return True
    return isinstance(error, sa.exc.DatabaseError) and sqlite.is_storage(error)


def _migrate(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _cause(error: Exception) -> str:
    # SQLAlchemy's own text repeats statement and parameters; those may hold what people sent.
    return str(getattr(error, "orig", None) or type(error).__name__)
