"""Statements that databases spell differently, each made once for all of them; `on` picks the connection's.

A savepoint is `connection.begin_nested()`, a row that is read to be changed `select(...).with_for_update()`:
SQLAlchemy spells those itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS: Mapping[str, Callable[[sa.Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_PARAMETERS = {"sqlite": "?", "postgresql": "%s"}

Columns = Any  # sa.ColumnCollection, whose items mypy knows by no name
Changes = Callable[[Columns], Mapping[str, Any]]


class Upsert:
    """Write a row, or over the one that has its key. `changes` is what of that row changes, made of the columns of the
    one that was to be written; where `where` is not true of both, it stays as it is."""

    def __init__(
        self,
        table: sa.Table,
        keys: Iterable[str],
        changes: Changes,
        *,
        where: Callable[[Columns], sa.ColumnElement[bool]] | None = None,
        returning: Iterable[sa.Column[Any]] = (),
    ) -> None:
        self._made: dict[str, sa.Insert] = {}
        for name, insert in _INSERTS.items():
            statement = insert(table)
            new = statement.excluded
            made = statement.on_conflict_do_update(
                index_elements=list(keys), set_=dict(changes(new)), where=None if where is None else where(new)
            )
            self._made[name] = made.returning(*returning) if returning else made

    def on(self, connection: sa.Connection) -> sa.Insert:
        """The statement of this connection's database."""
        return self._made[connection.dialect.name]


class Plain:
    """SQL that is everybody's but for the mark of a parameter, here `?`; for thousands of rows at once, past SQLAlchemy
    (`exec_driver_sql`)."""

    def __init__(self, text: str) -> None:
        self._made = {name: text.replace("?", mark) for name, mark in _PARAMETERS.items()}

    def on(self, connection: sa.Connection) -> str:
        """The text for this connection's database."""
        return self._made[connection.dialect.name]


def of_new(*names: str) -> Changes:
    """An upsert's changes: these columns, as the row that was to be written has them."""
    return lambda new: {name: new[name] for name in names}


def greater(one: Any, other: sa.ColumnElement[float]) -> sa.ColumnElement[float]:
    """The greater of two, NULL when one is: databases have functions of several names for it, and disagree on NULL."""
    value = one if isinstance(one, sa.ColumnElement) else sa.literal(one, sa.Float)
    return sa.case((value > other, value), (value <= other, other))


class Only(IntEnum):
    """What one transaction at a time may change, because it first looks at what others have left."""

    AGENTS = 1  # names that are free, the number of the last change
    CERTIFICATES = 2  # the number of the last change
    REGISTRY = 3


_LOCK = sa.text("SELECT pg_advisory_xact_lock(:number)")


def lock(connection: sa.Connection, what: Only) -> None:
    """Until this transaction ends, nobody else gets past here; whoever needs several takes them in this order. One of
    SQLite that writes has the whole database anyway."""
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK, {"number": int(what)})
