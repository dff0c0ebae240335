"""What the rooms ask of the database, two databases understand; what only SQLite knows stands in one room."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import haidang_collector
import pytest
import sqlalchemy as sa
from haidang_collector.ledger import statements
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.statements import Only, Plain, Upsert, greater, of_new
from haidang_collector.ledger.tables import measured, metadata, plan_figures
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import ClauseElement

PACKAGE = Path(haidang_collector.__file__).parent
DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.psycopg.dialect()}
ONLY_SQLITE = re.compile(
    r"\b(?:PRAGMA|BEGIN IMMEDIATE|BEGIN EXCLUSIVE|json_each|group_concat|OR IGNORE|OR REPLACE|rowid|GLOB|VACUUM|ATTACH"
    r"|sqlite_master|sqlite_schema|last_insert_rowid|julianday|unixepoch|ifnull|strftime\(\s*['\"])\b",
    re.IGNORECASE,
)
ONLY_SQLITE_FUNCTIONS = {"group_concat", "ifnull", "json_each", "total", "strftime", "julianday", "unixepoch", "instr"}


def constants() -> Iterator[tuple[str, Any]]:
    """(module and name, object) of all that modules of the collector hold."""
    for module in pkgutil.walk_packages(haidang_collector.__path__, "haidang_collector."):
        if ".migrations" in module.name or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            yield f"{module.name}.{name}", value


FOUND = dict(constants())
UPSERTS = {name: value for name, value in FOUND.items() if isinstance(value, Upsert)}
PLAINS = {name: value for name, value in FOUND.items() if isinstance(value, Plain)}
CLAUSES = {
    name: value
    for name, value in FOUND.items()
    if isinstance(value, ClauseElement) and not isinstance(value, (sa.Table, sa.sql.selectable.Alias))
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_statement_is_one_of_both_databases(dialect: str) -> None:
    assert len(UPSERTS) >= 8
    assert PLAINS
    assert len(CLAUSES) >= 10
    to = DIALECTS[dialect]
    for upsert in UPSERTS.values():
        text = str(upsert._made[dialect].compile(dialect=to))
        assert "ON CONFLICT" in text
        assert "DO UPDATE SET" in text
    for plain in PLAINS.values():
        assert ("?" in plain._made[dialect]) == (dialect == "sqlite")
        assert ("%s" in plain._made[dialect]) == (dialect == "postgresql")
    for name, clause in CLAUSES.items():
        # Those of ledger/ may be one database's.
        if ".ledger." not in name:
            assert str(clause.compile(dialect=to)), name
    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=to))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=to))


def test_a_lock_is_one_where_transactions_are_not_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        """Notes what is executed."""

        def __init__(self, name: str) -> None:
            self.dialect, self.executed = DIALECTS[name], list[str]()

        def execute(self, statement: sa.TextClause, parameters: dict[str, int]) -> None:
            self.executed.append(str(statement.bindparams(**parameters).compile(dialect=self.dialect)))

    with_locks, without = Connection("postgresql"), Connection("sqlite")
    for each in Only:
        statements.lock(with_locks, each)  # type: ignore[arg-type]  # no database is needed to see what it is asked
        statements.lock(without, each)  # type: ignore[arg-type]
    assert len(with_locks.executed) == len(Only)
    assert all("pg_advisory_xact_lock" in each for each in with_locks.executed)
    assert without.executed == []
    row = sa.select(measured).with_for_update()
    assert "FOR UPDATE" in str(row.compile(dialect=DIALECTS["postgresql"]))
    assert "FOR UPDATE" not in str(row.compile(dialect=DIALECTS["sqlite"]))


def test_an_upsert_writes_or_changes(tmp_path: Path) -> None:
    longer = Upsert(
        measured, ("kind", "element", "says", "begins"), lambda new: {"ends": greater(new.ends, measured.c.ends)}
    )
    figures = Upsert(
        plan_figures, ("day", "level", "site", "figure"), of_new("ratio"),
        where=lambda new: new.ratio > plan_figures.c.ratio, returning=[plan_figures.c.ratio],
    )  # fmt: skip
    key = {"kind": "site", "element": "x", "says": "up", "begins": 1.0}
    figure = {"day": "d", "level": "l", "site": "s", "figure": "f"}
    ledger = Ledger(tmp_path)
    with ledger.transaction() as connection:
        for ends in (5.0, 3.0, 7.0, 7.0):
            connection.execute(longer.on(connection), [{**key, "ends": ends}])
        assert connection.execute(sa.select(measured.c.ends)).scalars().all() == [7.0]
        written = [
            connection.execute(figures.on(connection), {**figure, "ratio": ratio}).scalar() for ratio in (0.5, 0.4, 0.6)
        ]
        assert written == [0.5, None, 0.6]
        pairs = [(1.0, 2.0), (2.0, 1.0), (2.0, 2.0), (None, 2.0)]
        found = [connection.execute(sa.select(greater(one, sa.literal(other)))).scalar() for one, other in pairs]
        assert found == [2.0, 2.0, 2.0, None]
    ledger.close()


def rooms() -> Iterator[Path]:
    for file in PACKAGE.rglob("*.py"):
        # The installer's program runs on agents' machines.
        if file.relative_to(PACKAGE).parts[0] not in ("ledger", "installer"):
            yield file


def documentation(tree: ast.AST) -> set[ast.AST]:
    """The nodes of texts that are for people."""
    return {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def faults(tree: ast.AST) -> Iterator[str]:
    """What of a module only SQLite would understand."""
    spared = documentation(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
        else:
            names = []
        yield from (name for name in names if name.startswith(("sqlite3", "sqlalchemy.dialects", "psycopg")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in spared:
            yield from ONLY_SQLITE.findall(node.value)
        if isinstance(node, ast.keyword) and (node.arg or "").startswith("sqlite_"):
            yield str(node.arg)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            if isinstance(of, ast.Attribute) and of.attr == "func":
                several = node.func.attr in ("max", "min") and len(node.args) > 1
                if several or node.func.attr in ONLY_SQLITE_FUNCTIONS:
                    yield f"func.{node.func.attr}"


def test_what_only_sqlite_knows_stands_in_the_ledgers_room() -> None:
    found = {
        str(file.relative_to(PACKAGE)): told
        for file in rooms()
        if (told := [*faults(ast.parse(file.read_text(encoding="utf-8")))])
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "import sqlite3",
        "from sqlalchemy.dialects import postgresql",
        "from sqlalchemy.dialects.sqlite import insert",
        "x = 'PRAGMA user_version'",
        "x.prefix_with('OR IGNORE')",
        "sa.func.max(a, b)",
        "sa.Table(sqlite_autoincrement=True)",
    ],
)
def test_that_would_be_found_elsewhere(text: str) -> None:
    assert [*faults(ast.parse(text))]
