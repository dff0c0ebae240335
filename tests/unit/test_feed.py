"""What is stored goes to all who follow, once and in order, and again after a start."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.identity import agents as identities
from haidang_collector.intake.feed import Accepted, Feed
from haidang_collector.intake.ingest import Batch, Speaker, read_delivery
from haidang_collector.intake.writer import Writer
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.registry.rights import Rights
from haidang_collector.settings import Limits
from haidang_collector.supervision import Supervision
from haidang_collector.telemetry import Telemetry

from tests.conftest import delivery, report

AGENTS = ("một", "hai", "ba")


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    opened = Ledger(tmp_path)
    with opened.transaction() as connection:
        for agent in AGENTS:
            identities.add_agent(connection, Principal.itself(), agent, "xa", "t", 0.0)
    yield opened
    opened.close()


def batch(agent: str, *reports: dict[str, Any], age: float = 0.0) -> Batch:
    return read_delivery(delivery(*reports, age=age), Speaker(agent, "xa"), time.time(), Limits())


def store(ledger: Ledger, writer: Writer, *batches: Batch) -> None:
    with ledger.transaction() as connection:
        writer.write(connection, batches)
    writer.committed()


def feed(ledger: Ledger, telemetry: Telemetry | None = None) -> Feed:
    return Feed(ledger, Supervision(telemetry or Telemetry()), Limits())


def replayed(ledger: Ledger, silenced: tuple[str, ...] = (), now: float = 0.0) -> list[tuple[str, str, bool]]:
    told: list[tuple[str, str, bool]] = []
    one = feed(ledger)
    one.follow(
        "test", lambda each: told.append((each.prepared.report.agent, each.prepared.report.source, each.is_live))
    )
    rights = Rights()
    asyncio.run(
        one.replay(
            lambda agent, source: None if agent in silenced else rights.voice(agent, "xa", source), now or time.time()
        )
    )
    return told


def test_a_start_tells_what_is_current_in_the_order_it_was_stored(ledger: Ledger) -> None:
    writer = Writer(keep_late=False)
    for number, agent in enumerate(("ba", "một", "hai"), 1):
        store(ledger, writer, batch(agent, report(agent, number)))
    assert [each[0] for each in replayed(ledger)] == ["ba", "một", "hai"]
    found = asyncio.run(feed(ledger).replay(lambda *_: None, time.time()))
    assert (found.position, found.taken.keys()) == (3, {"ba", "một", "hai"})
    another = Writer(keep_late=False)
    another.position = found.position  # after a restart the order goes on where it was
    store(ledger, another, batch("ba", report("ba", 9)))
    assert replayed(ledger) == [("một", "host", True), ("hai", "host", True), ("ba", "host", True)]
    assert [each[0] for each in replayed(ledger, silenced=("hai",))] == ["một", "ba"]
    assert replayed(ledger, now=time.time() + 3600) == []  # nothing is current any more


def test_one_that_fails_keeps_the_report_from_nobody(ledger: Ledger) -> None:
    told: list[str] = []
    telemetry = Telemetry()
    one = feed(ledger, telemetry)

    def failing(accepted: Accepted) -> None:
        raise RuntimeError("a defect")

    one.follow("first", lambda each: told.append("first"))
    one.follow("bad", failing)
    one.follow("last", lambda each: told.append("last"))
    (prepared,) = batch("một", report("một")).prepared
    one.put(Accepted(prepared, time.time()))
    assert told == ["first", "last"]
    assert telemetry.unusable.labels("bad")._value.get() == 1
