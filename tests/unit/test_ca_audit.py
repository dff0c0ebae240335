"""No CA takes the place of another without a row in the audit, wherever a change of it is broken off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from haidang_collector.cli import main as cli
from haidang_collector.cli.backup import backup
from haidang_collector.collector import Collector
from haidang_collector.identity import authority as ca
from haidang_collector.identity.authority import Authority, fingerprint
from haidang_collector.ledger.audit import Entry, Wanted, find
from haidang_collector.ledger.database import Ledger
from haidang_collector.settings import load_settings


class Place:
    """A collector's folder, its commands, and its start."""

    def __init__(self, folder: Path) -> None:
        self.state, self.config = folder / "state", folder / "collector.toml"
        self.config.write_text(f'state_dir = "{self.state}"\nnames = ["localhost"]\n')

    def command(self, *words: str) -> int:
        return cli.main(["--config", str(self.config), *words])

    def start(self) -> None:
        collector = Collector(load_settings(self.config))
        asyncio.run(collector.start())
        collector.close()

    def trusted(self) -> list[str]:
        return [fingerprint(each) for each in Authority(self.state).trusted]

    def rows(self) -> list[Entry]:
        """The newest first."""
        ledger = Ledger(self.state)
        with ledger.transaction() as connection:
            found = find(connection, Wanted(what="ca"), 100)
        ledger.close()
        return found

    def actions(self) -> list[str]:
        return [row.action for row in self.rows()]

    def knows(self) -> bool:
        """Whether the audit's last word is what is."""
        return (self.rows()[0].after or {}).get("trusted") == self.trusted()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    assert made.command("ca", "show") == 0
    return made


def fails(error: BaseException) -> Callable[..., Any]:
    def call(*arguments: object, **named: object) -> None:
        raise error

    return call


FULL = sa.exc.OperationalError("", {}, Exception("database or disk is full"))


@pytest.mark.parametrize("command", [("ca", "rotate"), ("ca", "retire", "--force")])
@pytest.mark.parametrize(
    ("where", "error", "made"),
    [
        ("haidang_collector.ledger.audit.note", FULL, False),
        ("haidang_collector.identity.authority.write_private", OSError(28, "No space left on device"), False),
        ("haidang_collector.identity.certificate_rows.follow_authorities", FULL, True),
    ],
)
def test_a_command_that_fails_leaves_no_change_that_nobody_knows_of(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: BaseException,
    made: bool,
    command: tuple[str, ...],
) -> None:
    assert place.command("ca", "rotate") == 0
    if "rotate" in command:
        assert place.command("ca", "retire", "--force") == 0
    before, rows = place.trusted(), place.rows()
    monkeypatch.setattr(where, fails(error))
    assert place.command(*command) == 1
    monkeypatch.undo()
    assert (place.trusted() != before) is made
    assert place.knows()
    if made:
        assert len(place.rows()) == len(rows) + 1
    place.start()
    assert place.knows()
    assert place.command(*command) == (1 if made else 0)
    assert place.knows()


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("step", ["rotate", "retire"])
def test_what_was_killed_before_it_changed_anything_is_told_of_next(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str, started: bool
) -> None:
    place.command("ca", "rotate")
    if step == "rotate":
        place.command("ca", "retire", "--force")
    before = place.trusted()
    monkeypatch.setattr(Authority, "take", fails(SystemExit(9)))
    with pytest.raises(SystemExit):
        place.command("ca", step, *(["--force"] if step == "retire" else []))
    monkeypatch.undo()
    assert place.trusted() == before
    assert not place.knows()
    place.start() if started else place.command("ca", "show")
    assert place.actions()[:2] == ["ca.found", f"ca.{step}"]
    assert place.rows()[0].kind == "collector"
    assert place.knows()


def test_a_ca_that_was_put_there_is_told_of(place: Place, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar.gz"
    place.command("ca", "rotate")
    backup(place.state, saved)
    place.command("ca", "retire", "--force")
    place.start()
    assert place.actions() == ["ca.retire", "ca.rotate"]
    assert place.command("restore", "--force", str(saved)) == 0
    place.start()
    assert place.actions() == ["ca.found", "ca.retire", "ca.rotate"]
    assert place.knows()
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    (place.state / "ca.key").write_bytes(other.key_file.read_bytes())
    place.start()
    assert place.rows()[0].object == other.fingerprint
    assert len(place.rows()) == 4


def test_a_ca_that_ends_at_its_time_is_no_change(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.command("ca", "rotate", "--overlap", "30d")
    later = time.time() + 31 * 86400
    monkeypatch.setattr(ca.time, "time", lambda: later)
    assert len(place.trusted()) == 1
    place.start()
    place.command("ca", "show")
    assert place.actions() == ["ca.rotate"]


def test_two_commands_at_once_make_one_change(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Authority.take

    def another_was_first(authority: Authority, what: ca.Next) -> None:
        monkeypatch.setattr(Authority, "take", take)
        first = Authority(place.state)
        first.take(first.successor(1))
        take(authority, what)

    monkeypatch.setattr(Authority, "take", another_was_first)
    assert place.command("ca", "rotate") == 1
    assert place.actions() == ["ca.found", "ca.rotate"]
    assert place.knows()
