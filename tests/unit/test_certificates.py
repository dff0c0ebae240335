"""Which certificates count: rows, those that can have none, first uses, and what is forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from cryptography import x509
from haidang_collector.cli.backup import backup, restore
from haidang_collector.identity import agents as identities
from haidang_collector.identity import certificate_rows as kept
from haidang_collector.identity.authority import (
    LONGEST_DAYS,
    Authority,
    Issued,
    Presented,
    new_key_and_request,
    presented,
)
from haidang_collector.identity.certificates import Certificates
from haidang_collector.ledger import audit, database
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import certificates as table
from haidang_collector.principals import Principal
from haidang_collector.problems import Problem

DAY = 86400.0
WHO = Principal("command", "an", "root@tram")


class Place:
    """A state folder with a CA and a ledger, and those who ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.ledger = Ledger(folder)
        self.asked = Certificates(self.ledger)
        self.asked.authorities = frozenset(self.authority.ends())

    def make(self, kind: str, name: str, *, days: float = 90, listed: bool = True) -> Presented:
        if listed:  # as whoever issues does: what is in use is written down before
            self.keep()
        _, request = new_key_and_request(name)
        issued = self.authority.issue_client(request, kind, name, days)
        if listed:
            self.note(kind, name, issued)
        shown = presented(x509.load_pem_x509_certificate(issued.pem.encode()))
        assert shown is not None
        return shown

    def note(self, kind: str, name: str, issued: Issued) -> None:
        with self.ledger.transaction() as connection:
            kept.note_issued(connection, kind, name, issued)

    def says(self, shown: Presented, now: float | None = None) -> int:
        """What a request with it is answered."""
        try:
            self.asked.require(shown, time.time() if now is None else now)
        except Problem as problem:
            return problem.status
        return 200

    def keep(self) -> None:
        asyncio.run(self.asked.keep(time.time()))

    def again(self) -> None:
        """As after a new start."""
        self.close()
        self.__init__(self.folder)  # type: ignore[misc]  # a new one in its place

    def close(self) -> None:
        self.asked.close()
        self.ledger.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def at_revision(state: Path, revision: str, *statements: str) -> None:
    """A database as an earlier version left it."""
    engine = sa.create_engine(f"sqlite:///{state / 'collector.db'}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


IN_USE = "INSERT INTO registry (id, loaded, document) VALUES (1, 0, '{}')"


def test_what_is_not_listed_counts_nowhere(place: Place) -> None:
    for kind in LONGEST_DAYS:
        assert place.says(place.make(kind, "x")) == 200
        assert place.says(place.make(kind, "x", listed=False)) == 401
    other = place.make("operator", "x")
    assert place.says(Presented(other.serial, "operator", "y", other.begins, other.ends, other.authority)) == 401
    assert place.says(Presented(other.serial, "agent", "x", other.begins, other.ends, other.authority)) == 401
    assert place.says(Presented(other.serial, "operator", "x", other.begins, other.ends, "ab" * 20)) == 403
    assert place.says(other, other.ends) == 401
    # When it begins is what the clock said when it was issued.
    assert place.says(other, other.begins - DAY) == 200


def test_of_an_agent_the_one_in_use_counts(place: Place) -> None:
    first, elsewhere = place.make("agent", "a"), place.make("agent", "b")
    assert place.says(first) == place.says(elsewhere) == 200
    lost, second = place.make("agent", "a"), place.make("agent", "a")
    assert place.says(first) == 200
    assert place.says(lost) == 403
    assert place.says(second) == 200
    assert place.says(first) == 403
    place.again()  # before it was written down: the new one is used again
    assert place.says(second) == 200
    assert place.says(first) == 403
    place.keep()
    place.again()
    assert [place.says(each) for each in (first, lost, second, elsewhere)] == [403, 403, 200, 200]
    # People have several.
    both = [place.make("operator", "lan") for _ in range(2)]
    assert [place.says(each) for each in both] == [200, 200]


def test_a_clock_that_was_wrong_at_the_start_locks_nobody_out(place: Place) -> None:
    """All had ended by it; once it is set right they count, and what was ended in the meantime does not."""
    other, first = place.make("agent", "b"), place.make("agent", "a")
    assert place.says(first) == 200
    second = place.make("agent", "a")
    place.again()
    place.asked.follow(time.time() + 500 * DAY)
    place.asked.read_again()
    assert [place.says(each) for each in (first, second, first)] == [200, 200, 403]
    place.asked.read_again()  # before the use of the second one is written down
    assert [place.says(each) for each in (other, second, first)] == [200, 200, 403]


def test_a_command_counts_with_the_next_request(place: Place) -> None:
    shown = place.make("operator", "lan")
    assert place.says(shown) == 200
    command_of = Ledger(place.folder)  # another connection, as another process has
    with command_of.transaction() as connection:
        kept.revoke_serial(connection, WHO, shown.serial.upper())
    assert place.says(shown) == 403
    again = place.make("operator", "lan")
    assert place.says(again) == 200
    with command_of.transaction() as connection:
        assert kept.revoke_name(connection, WHO, "operator", "lan") == 1
        (row,) = audit.find(connection, audit.Wanted(object="operator/lan"), 1)
        assert (row.before, row.after) == ({"serials": [again.serial]}, {"certificates": 1})
    assert place.says(again) == 403
    with command_of.transaction() as connection, pytest.raises(kept.CertificateError):
        kept.revoke_serial(connection, WHO, again.serial)
    command_of.close()


def test_certificates_of_before_an_upgrade_count_until_a_new_one_would_not(tmp_path: Path) -> None:
    at_revision(tmp_path, "0004", IN_USE)
    place = Place(tmp_path)
    # Issued before there were rows: what is made now is dated by hand.
    made = {kind: place.make(kind, "x", days=days, listed=False) for kind, days in LONGEST_DAYS.items()}
    with place.ledger.transaction() as connection:
        connection.exec_driver_sql("UPDATE unlisted SET issued_until = issued_until + 5, until = until - 86400 * 300")
    assert {kind: place.says(shown) for kind, shown in made.items()} == dict.fromkeys(made, 200)
    later = time.time() + 100 * DAY
    place.keep()
    assert place.says(made["operator"], later) == 403
    assert place.says(made["agent"], later) == place.says(made["scraper"], later) == 200
    with place.ledger.transaction() as connection:
        rows = kept.listed(connection, now=time.time())
    assert {(row.kind, row.name, row.reason) for row in rows} == {
        ("agent", "x", "too_old"), ("operator", "x", "too_old"), ("scraper", "x", "too_old")
    }  # fmt: skip
    place.again()
    assert {kind: place.says(shown) for kind, shown in made.items()} == dict.fromkeys(made, 200)
    # A name that was revoked stays so, also with what was never seen.
    unseen = place.make("operator", "lan", listed=False)
    with place.ledger.transaction() as connection:
        assert kept.revoke_name(connection, WHO, "operator", "lan") == 0
        assert kept.revoke_name(connection, WHO, "agent", "x") == 1
    assert place.says(unseen) == 401
    assert place.says(made["agent"]) == 403
    place.close()


def test_of_an_agents_unlisted_ones_the_newest_ends_the_others(tmp_path: Path) -> None:
    at_revision(tmp_path, "0004", IN_USE)
    place = Place(tmp_path)
    with place.ledger.transaction() as connection:
        connection.exec_driver_sql("UPDATE unlisted SET issued_until = issued_until + 60")
    old = place.make("agent", "a", listed=False)
    later = Presented("ab12", "agent", "a", old.begins + 10, old.ends, old.authority)
    assert [place.says(each) for each in (old, later, old)] == [200, 200, 401]
    place.keep()
    assert [place.says(each) for each in (later, old)] == [200, 403]
    older = Presented("ab13", "agent", "a", old.begins - 10, old.ends, old.authority)
    assert place.says(older) == 401
    place.close()


def test_a_name_revoked_in_the_moment_it_is_seen(tmp_path: Path) -> None:
    at_revision(tmp_path, "0004", IN_USE)
    place = Place(tmp_path)
    with place.ledger.transaction() as connection:
        connection.exec_driver_sql("UPDATE unlisted SET issued_until = issued_until + 60")
    shown = place.make("operator", "lan", listed=False)
    assert place.says(shown) == 200
    with place.ledger.transaction() as connection:
        kept.revoke_name(connection, WHO, "operator", "lan")
    place.keep()
    assert place.says(shown) == 401
    place.close()


def test_a_new_collector_has_nothing_unlisted(place: Place) -> None:
    with place.ledger.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM unlisted").scalar() == 0


def test_agents_that_renewed_since_the_backup_are_not_locked_out(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    place = Place(state)
    before = place.make("agent", "a")
    assert place.says(before) == 200
    place.keep()
    with place.ledger.transaction() as connection:  # certificates know seconds: it is of some time ago
        connection.exec_driver_sql("UPDATE certificates SET issued = issued - 100")
    saved = tmp_path / "saved.tar.gz"
    backup(state, saved)
    renewed, person = place.make("agent", "a"), place.make("operator", "lan")
    ancient = Presented("ab14", "agent", "a", before.begins - 1000, before.ends, before.authority)
    assert place.says(renewed) == place.says(person) == 200
    place.keep()
    place.close()
    restore(state, saved, WHO, force=True)
    place = Place(state)
    assert place.says(before) == 200  # the ledger knows no better yet
    assert place.says(renewed) == 200
    assert place.says(before) == 403
    assert place.says(ancient) == 401
    assert place.says(person) == 401
    place.keep()
    place.again()
    assert [place.says(each) for each in (renewed, before)] == [200, 403]
    # What is issued from now on is listed, or counts not.
    assert place.says(Presented("ab15", "agent", "a", time.time() + 3600, before.ends, before.authority)) == 401
    place.close()


def test_an_agent_that_renews_without_end_fills_nothing(place: Place) -> None:
    most = kept._MOST_OF_AN_AGENT
    for number in range(most):
        shown = place.make("agent", "a")
        assert place.says(shown) == 200
        place.keep()
        with place.ledger.transaction() as connection:
            if number < most - 1:
                kept.require(connection, shown, time.time())
    assert len(place.asked._known) == 1
    other = place.make("agent", "b")
    with place.ledger.transaction() as connection:
        with pytest.raises(kept.CertificateError, match="was given"):
            kept.require(connection, shown, time.time())
        kept.require(connection, other, time.time())
        connection.exec_driver_sql("UPDATE certificates SET revoked = revoked - 86400 * 1.1")
        kept.require(connection, shown, time.time())
        left = sa.select(sa.func.count()).select_from(table).where(table.c.name == "a")
        assert connection.execute(left).scalar_one() == kept._KEPT_OF_AN_AGENT
    assert place.says(shown) == 200


def test_whatever_counts_can_be_listed_and_revoked(place: Place) -> None:
    """An agent's key renews faster than anybody looks: what was in memory before has its row still."""
    in_use = place.make("agent", "a")
    assert place.says(in_use) == 200
    unused = place.make("agent", "a")
    place.asked.follow(time.time())
    for _ in range(14):
        _, request = new_key_and_request("a")
        place.note("agent", "a", place.authority.issue_client(request, "agent", "a", 90))
    with place.ledger.transaction() as connection:
        assert unused.serial in {row.serial for row in kept.listed(connection, now=time.time(), ended=True)}
        kept.revoke_name(connection, WHO, "agent", "a")
    assert place.says(unused) == place.says(in_use) == 403


def test_one_whose_row_is_gone_counts_no_more(place: Place) -> None:
    first = place.make("agent", "a")
    assert place.says(first) == 200
    other = place.make("agent", "b")
    assert place.says(other) == 200
    with place.ledger.transaction() as connection:
        connection.execute(sa.delete(table).where(table.c.serial == first.serial))
    place.make("agent", "a")
    assert place.says(first) == 401
    assert place.says(other) == 200


def test_a_first_use_holds_before_it_is_written(place: Place) -> None:
    """A command that touches the row of the one before does not bring it back."""
    first = place.make("agent", "a")
    assert place.says(first) == 200
    second = place.make("agent", "a")
    assert place.says(second) == 200
    place.authority.take(place.authority.successor(30))
    with place.ledger.transaction() as connection:
        kept.follow_authorities(connection, place.authority.ends(), time.time())
    place.asked.authorities = frozenset(place.authority.ends())
    assert [place.says(each) for each in (first, second)] == [403, 200]
    place.keep()
    third = place.make("agent", "a")
    assert [place.says(each) for each in (first, second, third, second)] == [403, 200, 200, 403]


def test_one_that_was_replaced_before_its_use_was_written_ends_nothing(place: Place) -> None:
    """Two that have an agent's certificate renew at the same time: who was last has one that counts."""
    first = place.make("agent", "a")
    assert place.says(first) == 200
    second = place.make("agent", "a")
    assert place.says(second) == 200
    _, request = new_key_and_request("a")
    issued = place.authority.issue_client(request, "agent", "a", 90)
    place.note("agent", "a", issued)  # it asked before `second` was used
    shown = presented(x509.load_pem_x509_certificate(issued.pem.encode()))
    assert shown is not None
    place.keep()
    assert [place.says(each) for each in (second, shown)] == [403, 200]
    place.keep()
    place.again()
    assert [place.says(each) for each in (first, second, shown)] == [403, 403, 200]


REAL = time.time


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("looked", [False, True])
def test_what_was_revoked_while_the_clock_was_ahead_stays_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, looked: bool, again: bool
) -> None:
    person, machine, serial = place.make("operator", "lan"), place.make("agent", "a"), place.make("scraper", "p")
    assert [place.says(each) for each in (person, machine, serial)] == [200, 200, 200]
    place.keep()
    monkeypatch.setattr(time, "time", lambda: REAL() + DAY)
    with place.ledger.transaction() as connection:
        kept.revoke_name(connection, WHO, "operator", "lan")
        kept.end_name(connection, "agent", "a", "released")
        kept.revoke_serial(connection, WHO, serial.serial)
    if looked:
        assert [place.says(each) for each in (person, machine, serial)] == [403, 403, 403]
    monkeypatch.undo()
    if again:
        place.again()
    assert [place.says(each) for each in (person, machine, serial)] == [403, 403, 403]
    # Nor does its CA's end, which lies ahead, take the place of what was done.
    place.authority.take(place.authority.successor(0.5))
    with place.ledger.transaction() as connection:
        kept.follow_authorities(connection, place.authority.ends(), time.time())
        assert kept.listed(connection, now=time.time()) == []
        with pytest.raises(kept.CertificateError, match="released"):
            kept.require(connection, machine, time.time())
        with pytest.raises(kept.CertificateError):
            kept.revoke_serial(connection, WHO, serial.serial)
    assert [place.says(each) for each in (person, machine, serial)] == [403, 403, 403]


def test_a_name_that_was_released_while_the_clock_was_ahead_is_free(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.ledger.transaction() as connection:
        identities.add_agent(connection, WHO, "a", "ttdl", "t1", time.time() + 90 * DAY)
        monkeypatch.setattr(time, "time", lambda: REAL() + DAY)
        assert identities.release_agent(connection, WHO, "a")
        monkeypatch.undo()
        assert identities.enrol_again(connection, WHO, "a", "ttdl", "t2", proven=False) == "a"


@pytest.mark.parametrize("started", [False, True])
def test_what_had_ended_by_a_clock_that_was_ahead_counts_once_it_is_right(place: Place, started: bool) -> None:
    shown = place.make("operator", "lan")
    assert place.says(shown) == 200
    ahead = shown.ends + DAY
    if started:  # as a collector that starts then
        place.again()
    place.asked.follow(ahead)
    place.asked.forget_ended(ahead)
    assert place.says(shown, ahead) == 401
    assert place.says(shown) == 200


def test_an_unused_one_is_replaced_also_while_its_ca_is(place: Place) -> None:
    place.authority.take(place.authority.successor(30))
    place.asked.authorities = frozenset(place.authority.ends())
    unused = place.make("agent", "a")
    with place.ledger.transaction() as connection:
        kept.follow_authorities(connection, {unused.authority: unused.ends - DAY}, time.time())
    new = place.make("agent", "a")
    assert [place.says(each) for each in (unused, new)] == [403, 200]


def test_ended_ones_are_forgotten_and_numbers_never_given_twice(place: Place) -> None:
    now = time.time()
    for number in range(3):
        place.note("operator", f"o{number}", Issued("", now - DAY, now - 40 * DAY + number, f"c{number}", "k"))
    with place.ledger.transaction() as connection:
        kept.remove_ended(connection, now)
        assert connection.execute(sa.select(table.c.serial)).scalars().all() == ["c2"]
    shown = place.make("operator", "lan")
    assert place.says(shown) == 200
    place.asked.forget_ended(shown.ends + 31 * DAY)
    assert not place.asked._known


def test_certificates_end_with_their_ca(place: Place) -> None:
    old = place.make("agent", "a")
    person = place.make("operator", "lan")
    assert place.says(old) == place.says(person) == 200
    place.authority.take(place.authority.successor(30))
    now = time.time()
    with place.ledger.transaction() as connection:
        kept.follow_authorities(connection, place.authority.ends(), now)
    place.asked.authorities = frozenset(place.authority.ends())
    new = place.make("operator", "new")
    assert [place.says(each, now + 29 * DAY) for each in (old, person, new)] == [200, 200, 200]
    assert [place.says(each, now + 31 * DAY) for each in (old, person, new)] == [403, 403, 200]
    assert {name: round((until - now) / DAY) for _, name, until in place.asked.ends(now)} == {"lan": 30, "new": 90}
    assert {name for _, name, _ in place.asked.ends(now + 31 * DAY)} == {"new"}
    place.authority.take(place.authority.without_previous())
    with place.ledger.transaction() as connection:
        kept.follow_authorities(connection, place.authority.ends(), now)
    assert [place.says(each) for each in (old, person, new)] == [403, 403, 200]
