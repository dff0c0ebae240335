"""Small questions that are asked often, at each request too: by whoever has them, without a thread or a transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from haidang_collector.ledger import sqlite
from haidang_collector.ledger.database import Ledger, LedgerError


class Beside:
    """A connection that reads what is committed, by anybody. One thread only."""

    def __init__(self, ledger: Ledger) -> None:
        """Raises LedgerError."""
        self._path = ledger.path
        try:
            self._driver = sqlite.beside(ledger.path)
        except sqlite.Error as error:
            raise self._failed(error) from error
        # The same connection, for what is asked seldom.
        self.engine = sa.create_engine(
            "sqlite://", creator=lambda: self._driver, poolclass=StaticPool, isolation_level="AUTOCOMMIT"
        )

    def version(self) -> int:
        """Another number whenever anybody has committed something since. Raises LedgerError."""
        try:
            return sqlite.version(self._driver)
        except sqlite.Error as error:
            raise self._failed(error) from error

    def rows(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """What a SELECT finds, in plain SQL with `?` for parameters. Raises LedgerError."""
        try:
            return self._driver.execute(statement, parameters).fetchall()
        except sqlite.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """No more questions."""
        self.engine.dispose()
        self._driver.close()

    def _failed(self, error: Exception) -> LedgerError:
        return LedgerError(f"the database can't be read: {error}", where=str(self._path))
