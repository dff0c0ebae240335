"""What is old is removed by a clock that can be right, and not by one that is a year ahead since this morning."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from haidang_collector import housekeeping as module
from haidang_collector.housekeeping import Housekeeping
from haidang_collector.identity.certificates import Certificates
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.delivery import Deliveries
from haidang_collector.ledger import known_time, tables
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.settings import Settings
from haidang_collector.telemetry import Telemetry

UNIX = 1.7e9
HOUR, DAY = 3600.0, 86400.0


def _add(connection: sa.Connection, table: str, **values: Any) -> None:
    connection.execute(sa.insert(tables.metadata.tables[table]).values(**values))


class Center:
    """A collector's ledger and housekeeping; `seconds` passes, `set_by` is what the wall clock was set by."""

    def __init__(self, folder: Path) -> None:
        self.seconds = self.set_by = 0.0
        self.ledger = Ledger(folder)
        with self.ledger.transaction() as connection:
            _add(connection, "agents", id="pc", site="ttdl", token="t", enrolled=UNIX, certificate_ends=UNIX)
            _add(connection, "audit", at=UNIX, kind="command", name="x", origin="", action="x", object="")
            for day in range(100):
                _add(
                    connection, "events", agent="pc", site="ttdl", kind="x", at=0.0, body="{}",
                    received=UNIX - day * DAY,
                )  # fmt: skip
                _add(connection, "delivered", agent="pc", epoch=day, chunk=1, bits=b"1", updated=UNIX - day * DAY)
            for number in (1, 2):
                _add(
                    connection, "certificates", serial=f"{number}", kind="agent", name=f"pc-{number}", authority="a",
                    issued=UNIX, ends=UNIX + 90 * DAY, reason="", change=number,
                )  # fmt: skip
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.base = TimeBase(steady=lambda: self.seconds, wall=lambda: UNIX + self.seconds + self.set_by)
        with self.ledger.transaction() as connection:
            known_time.begin(connection, self.base.now())
        self.certificates = Certificates(self.ledger)
        deliveries = Deliveries(self.ledger, Telemetry(), self.base, limit=9, keep_late=False)
        settings = Settings(event_retention_days=400.0, audit_retention_days=400.0)
        self.housekeeping = Housekeeping(self.ledger, settings, self.certificates, deliveries, self.base)

    def end(self) -> None:
        self.certificates.close()
        self.ledger.close()

    def turn(self, after: float = 0.0) -> bool:
        self.seconds += after
        self.base.follow()
        return asyncio.run(self.housekeeping.turn())

    def rows(self) -> list[int]:
        """Certificates, chunks of sequences, events, changes in the audit."""
        counted = (tables.certificates, tables.delivered, tables.events, tables.audit)
        with self.ledger.transaction() as connection:
            return [connection.execute(sa.select(sa.func.count()).select_from(each)).scalar_one() for each in counted]


@pytest.fixture
def center(tmp_path: Path) -> Iterator[Center]:
    made = Center(tmp_path)
    yield made
    made.end()


ALL = [2, 100, 100, 1]


def test_a_clock_that_is_a_year_ahead_removes_nothing(center: Center, caplog: pytest.LogCaptureFixture) -> None:
    """At its start or while it runs, however often it asks."""
    center.turn()
    for starts in (True, False):
        center.set_by = 500 * DAY
        if starts:
            center.begin()
        assert [center.turn(after=HOUR) for _ in range(40)] == [False] * 40
        assert center.rows() == ALL
        center.set_by = 0.0
        assert center.turn(after=HOUR)
        assert center.rows() == ALL
    assert "500 days after what was known" in caplog.text


def test_a_clock_of_which_nothing_is_known_yet_is_compared_with_what_is_there(center: Center) -> None:
    """A ledger of before this was noted: it has lived to its newest delivery."""
    with center.ledger.transaction() as connection:
        connection.execute(sa.delete(tables.known_time))
    center.set_by = 500 * DAY
    center.begin()
    assert not center.turn()
    assert center.rows() == ALL


def test_a_machine_that_was_off_for_long_goes_on_after_three_days(center: Center) -> None:
    """Also one that runs for some hours a day, and is a new process each time."""
    center.turn()
    center.set_by = 500 * DAY
    believed = []
    while not any(believed) and len(believed) < 100:
        center.begin()
        believed += [center.turn(after=HOUR) for _ in range(8)]
        center.set_by += 16 * HOUR
    assert believed.index(True) == 72 - 1
    assert center.rows() == [1, 0, 0, 1]  # the newest certificate's number stays, and a row says what the audit lost
    assert center.turn(after=6 * HOUR)


def test_a_month_is_believed_at_once(center: Center) -> None:
    center.turn()
    center.set_by = 29 * DAY
    center.begin()
    assert center.turn()
    center.set_by -= 20 * DAY
    assert center.turn()  # and a clock that goes back removes no more
    center.set_by += 40 * DAY
    assert not center.turn()


def test_nothing_is_removed_at_once_after_a_start(center: Center, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is wrong at the start has time to be set; a database that fails ends nothing."""
    steps: list[object] = []
    results: list[bool | BaseException] = [False, True, LedgerError("full"), asyncio.CancelledError()]

    async def sleep(seconds: float) -> None:
        steps.append(seconds / HOUR)

    async def turn() -> bool:
        result = results.pop(0)
        steps.append(result)
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(center.housekeeping, "turn", turn)
    failure, end = results[2:]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(center.housekeeping.run())
    assert steps == [0.5, False, 1.0, True, 6.0, failure, 6.0, end]
