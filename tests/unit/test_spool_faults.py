"""The spool over an SQLite that fails: at any statement, before or after it took effect, with any error. Nothing is lost
that the collector did not acknowledge, no report changes, and a healthy file is never set aside."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.delivery.spool import Spool
from haidang_agent.schedule.source import Findings
from haidang_wire.report import Event, Sample
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

DAY = 86400.0
NAMES = {"FULL": 2, "NORMAL": 1}
ERRORS: list[Callable[[], BaseException]] = [
    lambda: sqlite3.OperationalError("disk I/O error"),
    lambda: sqlite3.OperationalError("database or disk is full"),
    lambda: sqlite3.OperationalError("database is locked"),
    lambda: sqlite3.OperationalError("interrupted"),
    lambda: sqlite3.OperationalError("no such table: reports"),
    lambda: sqlite3.DatabaseError("database disk image is malformed"),
    lambda: sqlite3.IntegrityError("UNIQUE constraint failed: reports.epoch, reports.sequence"),
    lambda: sqlite3.ProgrammingError("Cannot operate on a closed database."),
    lambda: sqlite3.InterfaceError("bad parameter or other API misuse"),
    lambda: KeyboardInterrupt(),
    lambda: MemoryError(),
]


@dataclass
class Fault:
    """One that comes after so many statements, and how often."""

    after: int
    takes_effect: bool
    error: Callable[[], BaseException]
    times: int = 1


class Faulty(sqlite3.Connection):
    """A connection whose statements fail as told."""

    fault: Fault | None = None

    def _run(self, statement: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        fault = Faulty.fault
        if fault is None:
            return statement()
        if fault.after > 0:
            fault.after -= 1
            return statement()
        fault.times -= 1
        if fault.times <= 0:
            Faulty.fault = None
        if fault.takes_effect:
            statement()
        raise fault.error()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        return self._run(lambda: super(Faulty, self).execute(*arguments))

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        return self._run(lambda: super(Faulty, self).executemany(*arguments))

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:
        return self._run(lambda: super(Faulty, self).executescript(*arguments))


@pytest.fixture(autouse=True)
def _faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{"factory": Faulty, **k}))
    monkeypatch.setattr(Faulty, "fault", None)


def put(spool: Spool, mark: int) -> None:
    samples = [Sample("haidang_host_processes", {}, float(mark))]
    spool.put("a", "host", 1.0, 15, Findings(samples, [], [Event("boot", 1.0)] if mark % 3 == 0 else []))


def marks(spool: Spool, limit: int = 10_000) -> dict[tuple[int, int], float]:
    pending = spool.newest(limit)
    found = {(p.epoch, p.sequence): json.loads(p.body)["samples"][0]["value"] for p in pending}
    assert len(found) == len(pending), "a report twice in one delivery"
    return found


class Machine(RuleBasedStateMachine):
    """What a spool holds, and what it must hold."""

    @initialize()
    def begin(self) -> None:
        self._real = sqlite3.connect
        sqlite3.connect = lambda *a, **k: self._real(*a, **{"factory": Faulty, **k})  # type: ignore[assignment, misc]
        Faulty.fault = None
        self.folder = Path(tempfile.mkdtemp())
        self.mark = 0
        self.known: dict[tuple[int, int], float] = {}  # everything ever put
        self.owed: set[tuple[int, int]] = set()  # not acknowledged, and not lost with a crash
        self.acknowledged: set[tuple[int, int]] = set()
        self.durable = False
        self.spool = Spool(self.folder / "s.db", 10**8, 1e6 * DAY)

    @rule(
        after=st.integers(0, 14), takes_effect=st.booleans(), error=st.sampled_from(ERRORS),
        times=st.sampled_from([1, 1, 1, 2, 6]),
    )  # fmt: skip
    def arm(self, after: int, takes_effect: bool, error: Callable[[], BaseException], times: int) -> None:
        # Damage that each of two looks finds is damage: of that error one comes at a time.
        times = 1 if isinstance(error(), sqlite3.DatabaseError) and "malformed" in str(error()) else times
        times = 1 if "no such table" in str(error()) else times
        Faulty.fault = Fault(after, takes_effect, error, times)

    def _allowed(self, action: Callable[[], Any]) -> Any:
        """Only what is no error of SQLite comes through."""
        try:
            return action()
        except (KeyboardInterrupt, MemoryError):
            return None

    @rule()
    def put(self) -> None:
        self.mark += 1
        key = (self.spool.epoch, self.spool._sequence + 1)
        self._allowed(lambda: put(self.spool, self.mark))
        if self.spool._sequence == key[1]:
            self.known[key] = float(self.mark)
            self.owed.add(key)

    @rule(limit=st.integers(1, 8), share=st.sampled_from([0, 1, 2]), refused=st.booleans())
    def deliver(self, limit: int, share: int, refused: bool) -> None:
        pending = self._allowed(lambda: marks(self.spool, limit))
        if pending is None:
            return
        for key, value in pending.items():
            assert self.known[key] == value, "another report under the same key"
        keys = list(pending)[: len(pending) * share // 2]
        self._allowed(lambda: self.spool.forget(keys, refused=refused))
        self.owed -= set(keys)
        self.acknowledged |= set(keys)

    @rule(now=st.booleans())
    def fsync(self, now: bool) -> None:
        self.durable = now
        self._allowed(lambda: self.spool.durable_now(now))

    @rule(offset=st.floats(-100, 100))
    def clock(self, offset: float) -> None:
        self._allowed(lambda: self.spool.note_clock_offset(offset))

    @rule()
    def ask(self) -> None:
        self._allowed(lambda: self.spool.state())
        self._allowed(lambda: self.spool.holds("host"))

    @rule()
    def crash(self) -> None:
        """kill -9: what waits in memory is lost, what is on disk is not."""
        Faulty.fault = None
        in_memory = {(self.spool.epoch, row[0]) for row in self.spool._memory}
        self.spool._database.close()
        self.owed -= in_memory
        self.spool = Spool(self.folder / "s.db", 10**8, 1e6 * DAY)
        self.spool.durable_now(self.durable)

    @precondition(lambda self: hasattr(self, "spool"))
    @rule()
    def whole(self) -> None:
        """Once SQLite is well again everything owed is there, and fsync as it was asked for."""
        Faulty.fault = None
        self.put()
        held = marks(self.spool)
        assert self.owed <= set(held), "a report is lost"
        assert all(self.known[key] == value for key, value in held.items())
        assert not set(held) - self.owed - self.acknowledged - set(self.known)
        assert self.spool.state().writable
        (synchronous,) = self.spool._database.execute("PRAGMA synchronous").fetchone()
        assert synchronous == NAMES["FULL" if self.durable else "NORMAL"]

    @invariant()
    def healthy_files_stay(self) -> None:
        if hasattr(self, "spool"):
            assert self.spool.set_aside is None
            assert not list(self.folder.glob("*.damaged*"))

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            try:
                self.whole()
            finally:
                sqlite3.connect = self._real
                self.spool.close()
                shutil.rmtree(self.folder)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyFault = Machine.TestCase


@pytest.mark.parametrize("takes_effect", [True, False])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error()) or repr(error()))
def test_each_statement_of_a_put_fails_once(
    tmp_path: Path, takes_effect: bool, error: Callable[[], BaseException]
) -> None:
    for after in range(8):
        folder = tmp_path / str(after)
        folder.mkdir()
        spool = Spool(folder / "s.db", 10**8, DAY * 1e6)
        put(spool, 1)
        Faulty.fault = Fault(after, takes_effect, error)
        with contextlib.suppress(KeyboardInterrupt, MemoryError):
            put(spool, 2)
        Faulty.fault = None
        put(spool, 3)
        assert list(marks(spool).values()) == [3.0, 2.0, 1.0]
        assert spool.state().writable
        assert spool.state().reports == 3
        spool.forget(marks(spool))
        assert marks(spool) == {}
        spool.close()
        assert marks(Spool(folder / "s.db", 10**8, DAY * 1e6)) == {}
        assert not list(folder.glob("*.damaged*"))


def test_damage_is_set_aside_with_its_log_and_fsync_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    spool = Spool(path, 10**7, DAY * 1e6)
    for mark in range(50):
        put(spool, mark)
    spool.durable_now(True)
    spool._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    put(spool, 50)
    raw = bytearray(path.read_bytes())
    raw[:4096] = bytes(4096)
    path.write_bytes(bytes(raw))
    spool._database.close()  # as damage that makes SQLite give up
    put(spool, 51)
    put(spool, 52)
    assert spool.set_aside == tmp_path / "s.damaged"
    assert list(marks(spool).values()) == [52.0, 51.0]
    assert spool._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert sorted(each.name for each in tmp_path.iterdir() if "wal" not in each.name and "shm" not in each.name) == [
        "s.damaged", "s.db",
    ]  # fmt: skip


def test_a_closed_connection_is_no_damage(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", 10**7, DAY * 1e6)
    spool.durable_now(True)
    put(spool, 1)
    spool._database.close()
    put(spool, 2)
    put(spool, 3)
    assert spool.set_aside is None
    assert list(marks(spool).values()) == [3.0, 2.0, 1.0]
    assert spool._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_waits_in_memory_is_delivered_without_a_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", 10**7, DAY * 1e6)
    Faulty.fault = Fault(0, False, ERRORS[0], times=10**6)
    for mark in range(3):
        put(spool, mark)
    assert list(marks(spool).values()) == [2.0, 1.0, 0.0]
    spool.durable_now(True)
    spool.note_clock_offset(5.0)
    spool.forget(marks(spool, 1))
    assert list(marks(spool).values()) == [1.0, 0.0]
    assert not spool.state().writable
    Faulty.fault = None
    put(spool, 3)
    assert list(marks(spool).values()) == [3.0, 1.0, 0.0]
    # The offset of this boot is noted once that can be done: ages of the next boot stand on it.
    spool.note_clock_offset(5.0)
    assert spool._database.execute("SELECT offset FROM clocks").fetchall() == [(5.0,)]


@pytest.mark.parametrize("epoch", ["x", 1e300, 2**62, None, b"\xff"])
def test_a_damaged_epoch_is_none(tmp_path: Path, epoch: Any) -> None:
    first = Spool(tmp_path / "s.db", 10**7, DAY)
    first._database.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,))
    first.close()
    second = Spool(tmp_path / "s.db", 10**7, DAY)
    put(second, 1)
    assert 1e12 < second.epoch < 2**53
    assert len(marks(second)) == 1


def test_no_name_or_number_ends_a_source(tmp_path: Path) -> None:
    """Anybody may mount something under bytes that are no text; a device may count in numbers that are none."""
    spool = Spool(tmp_path / "s.db", 10**7, DAY)
    values = [1.0, float("nan"), float("inf"), 10**400]
    samples = [Sample("haidang_host_filesystem_size_bytes", {"mount": "/media/\udcff"}, value) for value in values]
    spool.put("a", "host", 1.0, 15, Findings(samples, [], [Event("x", 1.0, {"name": "\ud800"})]))
    (pending,) = spool.newest(10)
    document = json.loads(pending.body.decode("utf-8"))
    assert [sample["value"] for sample in document["samples"]] == [1.0]
    assert document["samples"][0]["labels"] == {"mount": "/media/?"}


def test_times_that_are_none_are_given_as_numbers(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", 10**7, DAY)
    put(spool, 1)
    for taken in (float("inf"), float("-inf"), -1e308, 1e308):
        spool._database.execute("UPDATE reports SET boot = 'another', taken = ?, boot_seconds = ?", (taken, taken))
        for pending in spool.newest(10):
            assert 0 <= pending.age < 1e11
            assert zlib.compress(pending.body)


def test_many_threads_and_faults(tmp_path: Path) -> None:
    """Sources put while the uplink delivers, and each statement may fail."""
    spool = Spool(tmp_path / "s.db", 10**8, DAY * 1e6)
    delivered: dict[tuple[int, int], float] = {}
    over = threading.Event()

    def deliver() -> None:
        while not over.is_set():
            found = marks(spool, 7)
            for key, value in found.items():
                assert delivered.setdefault(key, value) == value
            spool.forget(found)

    def put_some(first: int) -> None:
        for mark in range(first, first + 60):
            put(spool, mark)
            if mark % 7 == 0:
                Faulty.fault = Fault(mark % 5, mark % 2 == 0, ERRORS[mark % 9])

    uplink = threading.Thread(target=deliver)
    sources = [threading.Thread(target=put_some, args=(first,)) for first in (0, 1000, 2000)]
    for thread in (uplink, *sources):
        thread.start()
    for thread in sources:
        thread.join()
    over.set()
    uplink.join()
    Faulty.fault = None
    put(spool, 5000)
    delivered.update(marks(spool))
    assert sorted(delivered.values()) == sorted(
        float(mark) for mark in (*range(60), *range(1000, 1060), *range(2000, 2060), 5000)
    )
    assert spool.set_aside is None
