"""The audit: what a row holds, that rows stay, and how old ones go."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from haidang_collector.cli.backup import backup, restore
from haidang_collector.identity.authority import Authority
from haidang_collector.ledger import audit, database
from haidang_collector.ledger.audit import Action, Wanted
from haidang_collector.ledger.database import Ledger
from haidang_collector.outage import store as kept
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry

from tests.conftest import REGISTRY

WHO = Principal("operator", "truc-ban", "10.0.0.7")
DAY = 86400.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def rows(ledger: Ledger, **wanted: Any) -> list[audit.Entry]:
    with ledger.transaction() as connection:
        return audit.find(connection, Wanted(**wanted), 1000)


def put(ledger: Ledger, at: float, action: str = "token.create", object: str = "x") -> None:
    """A row of another time."""
    values = {"at": at, "kind": "command", "name": "an", "origin": "root@tram", "action": action, "object": object}
    with ledger.transaction() as connection:
        connection.execute(sa.insert(audit.audit).values(**values))


def at_revision(state: Path, revision: str) -> None:
    """A database as an earlier version left it."""
    engine = sa.create_engine(f"sqlite:///{state / 'collector.db'}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_a_row_stands_or_falls_with_its_change(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        kept.add_maintenance(connection, WHO, "hub", 1000, 2000, "hàn nối")
    with pytest.raises(ZeroDivisionError), ledger.transaction() as connection:
        kept.add_maintenance(connection, WHO, "hub", 1000, 2000, "never")
        raise ZeroDivisionError
    (row,) = rows(ledger)
    assert (row.kind, row.name, row.origin) == ("operator", "truc-ban", "10.0.0.7")
    assert (row.action, row.object, row.before) == ("maintenance.plan", "1", None)
    assert row.after == {"id": 1, "element": "hub", "begins": 1000, "ends": 2000, "text": "hàn nối"}
    assert abs(row.at - time.time()) < 60


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE audit SET name = 'another'",
        "UPDATE audit SET at = 0",
        "UPDATE OR REPLACE audit SET id = 2 WHERE id = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 1",
        "REPLACE INTO audit (id, at, kind, name, origin, action, object) VALUES (1, 0, '', '', '', '', '')",
        "INSERT OR REPLACE INTO audit (id, at, kind, name, origin, action, object) VALUES (2, 0, '', '', '', '', '')",
        "INSERT INTO audit (id, at, kind, name, origin, action, object) VALUES (1, 0, '', '', '', '', '')"
        " ON CONFLICT (id) DO UPDATE SET name = 'another'",
        # What says that old rows may go opens nothing of the last year.
        "INSERT INTO audit (at, kind, name, origin, action, object)"
        " VALUES (0, 'collector', '', '', 'audit.remove', '2999-01-01');DELETE FROM audit",
    ],
)
def test_no_statement_changes_or_removes_a_row(ledger: Ledger, attempt: str) -> None:
    for element in ("hub", "r2"):
        with ledger.transaction() as connection:
            kept.add_maintenance(connection, WHO, element, 1000, 2000, "")
    before = rows(ledger)
    *first, last = attempt.split(";")
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), ledger.transaction() as connection:
        for each in first:
            connection.exec_driver_sql(each)
        connection.exec_driver_sql(last)
    assert rows(ledger) == before


def test_old_rows_go_in_their_time_and_leave_word(ledger: Ledger) -> None:
    now = time.time()
    for days in (2000, 1840, 1800, 400, 1):
        put(ledger, now - days * DAY, object=str(days))
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), ledger.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM audit WHERE object = '2000'")
    with ledger.transaction() as connection:
        audit.remove_old(connection, now, 1830)
    found = rows(ledger)
    assert [row.object for row in found[1:]] == ["1", "400", "1800"]
    assert (found[0].action, found[0].before, found[0].kind) == ("audit.remove", {"rows": 2}, "collector")
    with ledger.transaction() as connection:
        audit.remove_old(connection, now, 1830)  # nothing more to do, nothing to say
    assert rows(ledger) == found
    # A clock that is years ahead removes nothing of the last year on the system's clock.
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), ledger.transaction() as connection:
        audit.remove_old(connection, now + 3000 * DAY, 1830)
    assert rows(ledger) == found


def test_a_number_is_never_given_twice(ledger: Ledger) -> None:
    now = time.time()
    put(ledger, now - 2000 * DAY)
    with ledger.transaction() as connection:
        audit.remove_old(connection, now, 1830)
    with ledger.transaction() as connection:
        kept.add_maintenance(connection, WHO, "hub", 1000, 2000, "")
    assert [row.id for row in rows(ledger)] == [3, 2]


def test_what_a_row_holds_is_bounded_and_no_secret(ledger: Ledger) -> None:
    secret = "hd_" + "s3cret" * 8
    big = {f"n{n}": "x" * 10_000 for n in range(20)}
    deep: Any = "bottom"
    for _ in range(1000):
        deep = [deep]
    after = {
        "text": f"token {secret}.abc123 \x1b[31m\u2028\ud800", "list": list(range(5000)), "big": big, "deep": deep,
        "number": float("nan"), "key": "-----BEGIN PRIVATE KEY-----\nMII", "flag": True, "none": None,
    }  # fmt: skip
    with ledger.transaction() as connection:
        audit.note(connection, Principal("operator", "x" * 500, "y\n" * 500), Action.TOKEN_CREATE, "z" * 999, {}, after)
        audit.note(connection, WHO, Action.TOKEN_CREATE, "o", None, {f"{n}": {"a": big} for n in range(60)})
    second, first = rows(ledger)
    assert first.after
    assert len(json.dumps(first.after, ensure_ascii=False)) < 17_000
    assert first.after["text"] == "token [secret]  [31m  "
    assert first.after["key"] == "[secret]"
    assert first.after["list"] == [*range(50), "… 4950 more"]
    assert (len(first.name), len(first.origin), len(first.object)) == (63, 200, 200)
    assert "\n" not in first.origin
    assert (first.after["number"], first.after["flag"], first.after["none"]) == ("nan", True, None)
    assert second.after
    assert list(second.after) == ["cut"]
    with ledger.transaction() as connection:
        stored = connection.exec_driver_sql("SELECT max(length(after)) FROM audit").scalar_one()
    assert stored < 20_000


def test_rows_are_found_by_time_who_and_what_and_paged(ledger: Ledger) -> None:
    now = time.time()
    for number in range(5):
        put(ledger, now - 100 + number, "token.create" if number % 2 else "token_x", str(number))
    with ledger.transaction() as connection:
        kept.add_maintenance(connection, WHO, "hub", 1000, 2000, "")
    assert [row.object for row in rows(ledger, what="token")] == ["3", "1"]
    assert [row.object for row in rows(ledger, what="token.create", begins=now - 98)] == ["3"]
    assert [row.object for row in rows(ledger, who="an", ends=now - 98)] == ["1", "0"]
    assert [row.object for row in rows(ledger, object="4")] == ["4"]


@pytest.mark.parametrize("chunk", [1, 2, 5, 6, 500])
def test_all_rows_are_exported_for_programs_and_for_spreadsheets(ledger: Ledger, chunk: int) -> None:
    for number in range(5):
        put(ledger, 1_750_000_000 + number, object=f"=x;={number}")
    with ledger.transaction() as connection:
        kept.add_maintenance(connection, WHO, "hub", 1000, 2000, '";@SUM(A1)')
    lines, sheet = io.StringIO(), io.StringIO(newline="")
    audit.export(ledger, Wanted(), lines, "json", chunk)
    audit.export(ledger, Wanted(), sheet, "csv", chunk)
    documents = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [audit.Entry(**document) for document in documents] == rows(ledger)
    read = list(csv.DictReader(io.StringIO(sheet.getvalue().removeprefix("\ufeff"), newline="")))
    assert [row["id"] for row in read] == ["6", "5", "4", "3", "2", "1"]
    assert read[1]["object"] == "'=x;'=4"
    assert datetime.fromisoformat(read[1]["time"]).timestamp() == 1_750_000_004
    assert json.loads(read[0]["after"])["text"] == "\";'@SUM(A1)"


def test_a_command_says_who_ran_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    alone = Principal.of_command()
    assert alone.origin.split("@")[0] == alone.name
    monkeypatch.setenv("SUDO_USER", "nguyen.an")
    assert Principal.of_command() == Principal("command", "nguyen.an", alone.origin)


def test_a_registry_is_told_by_names_alone(ledger: Ledger) -> None:
    registry = load_registry(REGISTRY)
    changed = registry.model_copy(update={
        "sites": [
            registry.sites[0].model_copy(update={"stamp_key": "very-secret"}),
            *registry.sites[2:],
            registry.sites[0].model_copy(update={"id": "new-site", "stamp_key": "very-secret"}),
        ]
    })  # fmt: skip
    with ledger.transaction() as connection:
        registry_store.save_registry(connection, WHO, registry)
        registry_store.save_registry(connection, WHO, changed)
    second, first = rows(ledger)
    assert first.before is None
    assert first.after
    assert first.after["sites"] == len(registry.sites)
    assert second.before
    assert second.before["sites"] == len(registry.sites)
    assert second.after
    assert second.after["sites_added"] == ["new-site"]
    assert second.after["sites_removed"] == [registry.sites[1].id]
    assert second.after["sites_changed"] == [registry.sites[0].id]
    assert "circuits_added" not in second.after
    assert "secret" not in str(second)


def test_restoring_an_old_backup_loses_no_row(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "saved.tar.gz"
    state.mkdir()
    Authority(state, None)
    ledger = Ledger(state)
    with ledger.transaction() as connection:
        kept.add_maintenance(connection, WHO, "hub", 1000, 2000, "")
    ledger.close()
    backup(state, file)
    ledger = Ledger(state)
    with ledger.transaction() as connection:
        kept.add_maintenance(connection, WHO, "later", 1000, 2000, "")
    ledger.close()
    for _ in range(2):  # the second removes what the first kept beside
        restore(state, file, Principal.of_command(), force=True)
    ledger = Ledger(state)
    found = rows(ledger)
    with ledger.transaction() as connection:
        assert [work.element for work in kept.list_maintenance(connection)] == ["hub"]
    ledger.close()
    assert [row.action for row in found] == ["state.restore", "state.restore", "maintenance.plan", "maintenance.plan"]
    assert found[2].after
    assert found[2].after["element"] == "later"
    assert found[0].after == {"file": "saved.tar.gz", "carried": 2}


def test_restoring_loses_no_row_though_the_clock_was_set(tmp_path: Path) -> None:
    """A row of the backup is of a clock that was ahead; some of after it are alike, and one of those was in it."""
    state, file = tmp_path / "state", tmp_path / "saved.tar.gz"
    state.mkdir()
    Authority(state, None)
    ledger = Ledger(state)
    put(ledger, time.time() + DAY, object="ahead")
    put(ledger, 1000.0, object="alike")
    ledger.close()
    backup(state, file)
    ledger = Ledger(state)
    for object in ("alike", "later", "alike", "long ago"):
        put(ledger, 1000.0, object=object)
    ledger.close()
    for _ in range(2):
        restore(state, file, WHO, force=True)
    ledger = Ledger(state)
    found = rows(ledger)
    ledger.close()
    kept = Counter(row.object for row in found if row.action == "token.create")
    assert kept == {"ahead": 1, "alike": 3, "later": 1, "long ago": 1}
    assert [row.after and row.after["carried"] for row in found if row.action == "state.restore"] == [5, 4]


def test_a_database_that_can_not_be_read_hinders_no_restore(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "saved.tar.gz"
    state.mkdir()
    Authority(state, None)
    Ledger(state).close()
    backup(state, file)
    (state / "collector.db").write_bytes(b"no database" * 1000)
    restore(state, file, WHO, force=True)
    ledger = Ledger(state)
    (row,) = rows(ledger)
    ledger.close()
    assert row.after == {"file": "saved.tar.gz", "carried": None}


def test_a_backup_of_before_the_audit_can_be_restored(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "saved.tar.gz"
    state.mkdir()
    Authority(state, None)
    at_revision(state, "0003")
    backup(state, file)
    restore(state, file, WHO, force=True)
    ledger = Ledger(state)
    (row,) = rows(ledger)
    ledger.close()
    assert (row.action, row.after) == ("state.restore", {"file": "saved.tar.gz", "carried": None})
