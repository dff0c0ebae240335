"""Facts on their way into the ledger: each is kept once or named as not kept, and no report makes others wait for it.
How long something takes is counted in steps of SQLite's machine, the same on every computer."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from haidang_collector.identity import agents as identities
from haidang_collector.intake import facts
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.delivery import Deliveries
from haidang_collector.intake.ingest import Batch, Speaker, read_delivery
from haidang_collector.intake.writer import Outcome, Writer
from haidang_collector.inventory import lan
from haidang_collector.ledger import tables
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.quotas.holdings import Keeper
from haidang_collector.settings import Limits, Quotas
from haidang_collector.telemetry import Telemetry
from haidang_wire.report import Fact

from tests.conftest import delivery, report

COMMITS = "haidang_collector_commit_duration_seconds_count"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    with opened.transaction() as connection:
        identities.add_agent(connection, Principal.itself(), "pc", "ttdl", "t", 0.0)
    yield opened
    opened.close()


def batch(*reports: dict[str, Any], age: float = 0.0) -> Batch:
    return read_delivery(delivery(*reports, age=age), Speaker("pc", "ttdl"), time.time(), Limits())


def fact(kind: str, body: Any, key: str = "pc") -> dict[str, Any]:
    return {"kind": kind, "key": key, "body": body}


def counting(connection: sa.Connection) -> list[int]:
    """Hundreds of steps of SQLite's machine from now on, one entry each."""
    steps: list[int] = []
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.set_progress_handler(lambda: steps.append(1), 100)
    return steps


def store(ledger: Ledger, writer: Writer, *batches: Batch) -> list[Outcome]:
    with ledger.transaction() as connection:
        outcomes = writer.write(connection, batches)
    writer.committed()
    assert all(isinstance(each, Outcome) for each in outcomes)
    return [each for each in outcomes if isinstance(each, Outcome)]


def test_a_fact_is_taken_once_a_report(ledger: Ledger) -> None:
    """A thousand documents of one thing are one, and the others are counted; they are not even read."""
    told = [fact("x", {"n": number}) for number in range(1000)]
    told[5]["body"] = {"long": "x" * 20_000}  # more than a document of an unknown kind may have
    one = batch(report("pc", facts=told), report("pc", 2, facts=[fact("x", {"n": 7}), fact("y", {}), fact("x", {})]))
    assert [dict(each.refused_documents) for each in one.prepared] == [{"repeated": 999}, {"repeated": 1}]
    assert [len(json.loads(each.raw)["facts"]) for each in one.prepared] == [1, 2]
    store(ledger, Writer(keep_late=False), one)
    with ledger.transaction() as connection:
        rows = connection.execute(sa.select(tables.facts.c.kind, tables.facts.c.body)).all()
    assert sorted(row.kind for row in rows) == ["x", "y"]


def devices(count: int, first: int = 0) -> dict[str, Any]:
    numbers = range(first, first + count)
    return {"devices": [{"mac": f"00:00:0c:00:{n >> 8:02x}:{n & 255:02x}", "address": "10.0.0.1"} for n in numbers]}


def on_networks(ledger: Ledger) -> int:
    with ledger.transaction() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(tables.network_devices)).scalar_one()


def test_a_look_at_networks_costs_what_it_tells(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many devices the site has: those that are told are asked for, and makers of new ones looked up."""
    looked_up: list[str] = []
    maker = lan.maker
    monkeypatch.setattr(lan, "maker", lambda mac: looked_up.append(mac) or maker(mac))
    with ledger.transaction() as connection:
        for first in range(0, 20_000, 4000):
            told = Fact("network", "pc", devices(4000, first))
            assert lan.take(connection, "ttdl", 1000.0, told).beyond == 0
        assert len(looked_up) == 20_000
        steps = counting(connection)
        heard = lan.take(connection, "ttdl", 2000.0, Fact("network", "pc", devices(10)))
        assert (len(heard.new), len(steps) < 10, len(looked_up)) == (0, True, 20_000)


def test_devices_beyond_what_is_kept_are_told(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(keep_late=False)
    monkeypatch.setattr(lan, "_MOST", 30)
    monkeypatch.setattr(lan, "_MOST_A_SITE", 50)
    for number, (first, count, kept, beyond) in enumerate(((0, 30, 30, 0), (10, 31, 40, 1), (30, 30, 50, 1)), 1):
        one = batch(report("pc", number, source="lan", samples=[], facts=[fact("network", devices(count, first))]))
        (outcome,) = store(ledger, writer, one)
        assert len(outcome.live) == 1
        assert (on_networks(ledger), one.prepared[0].refused_documents["too_many_devices"]) == (kept, beyond)


def test_networks_are_stored_by_turns(ledger: Ledger) -> None:
    """Looks at large networks are a commit each: a report of another that comes after them is not behind them."""
    with ledger.transaction() as connection:
        identities.add_agent(connection, Principal.itself(), "other", "ttdl", "t", 0.0)
    looks = [
        report("pc", number, source="lan", samples=[], facts=[fact("network", devices(1000, 1000 * number))])
        for number in range(1, 6)
    ]
    answered: list[tuple[str, float | None]] = []

    async def run() -> None:
        telemetry = Telemetry()
        deliveries = Deliveries(ledger, telemetry, TimeBase(), limit=10, keep_late=False)

        async def answer(name: str, one: Batch) -> None:
            assert len((await deliveries.store(one)).live) == 1
            answered.append((name, telemetry.registry.get_sample_value(COMMITS)))

        worker = asyncio.create_task(deliveries.run())
        other = read_delivery(delivery(report("other")), Speaker("other", "ttdl"), time.time(), Limits())
        await asyncio.gather(answer("pc", batch(*looks)), answer("other", other))
        worker.cancel()

    asyncio.run(run())
    assert answered == [("other", 1), ("pc", 5)]
    assert on_networks(ledger) == 5000


def test_an_older_version_is_put_in_its_place_without_a_look_at_all(ledger: Ledger) -> None:
    """With so many as a collector had that did not count them yet."""
    identity = {"agent": "pc", "site": "ttdl", "kind": "x", "key": "pc"}
    with ledger.transaction() as connection:
        rows = [{**identity, "body": f"{n}", "since": n, "until": n + 1.0} for n in range(1, 20_001)]
        connection.execute(sa.insert(tables.fact_history), rows)
        connection.execute(sa.insert(tables.facts).values(**identity, body="{}", since=20_001.0, seen=20_001.0))
        steps = counting(connection)
        holding = Keeper().holding(connection, "pc")
        for taken in (19_900.5, 19_000.5, 1.5):
            facts.keep(connection, "pc", "ttdl", taken, [("x", "pc", "another")], holding)
        assert len(steps) < 300
        query = sa.select(tables.fact_history.c.since, tables.fact_history.c.until)
        found = connection.execute(query.where(tables.fact_history.c.body == "another")).all()
    assert found == [(19_900.5, 19_901.0)]  # the others are older than the thousand that are kept


@pytest.mark.parametrize("order", [1, -1])
def test_a_fact_has_so_many_versions_and_they_are_the_newest(ledger: Ledger, order: int) -> None:
    left_out: Counter[str] = Counter()
    with ledger.transaction() as connection:
        holding = Keeper(Quotas(fact_versions=10)).holding(connection, "pc")
        for taken in range(1, 101)[::order]:
            left_out += facts.keep(connection, "pc", "ttdl", float(taken), [("x", "pc", f"{taken}")], holding)
        (current,) = connection.execute(sa.select(tables.facts.c.body)).scalars()
        versions = connection.execute(sa.select(tables.fact_history.c.body)).scalars().all()
    assert (current, sorted(map(int, versions))) == ("100", list(range(90, 100)))
    assert left_out == ({} if order == 1 else {"fact_versions": 89})


def test_migrations_make_the_tables(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


@pytest.mark.parametrize(
    ("source", "kind", "body"),
    [
        ("inventory", "batteries", {"x": 1}),
        ("inventory", "device", {"vendor": "v"}),
        ("inventory", "network", devices(1)),
        ("lan", "wifi", {"x": 1}),
        ("lan", "machine", {"name": "pc"}),
        ("host", "network", devices(1)),
        ("host", "machine", {"name": "pc"}),
    ],
)
def test_a_fact_that_nobody_expects_there_is_kept(ledger: Ledger, source: str, kind: str, body: Any) -> None:
    """Of a kind that is not known, or that is another source's: as anybody's facts, and as no machine or device."""
    one = batch(report("pc", source=source, samples=[], facts=[fact(kind, body)]))
    (outcome,) = store(ledger, Writer(keep_late=False), one)
    assert (len(outcome.live), outcome.left_out, dict(one.prepared[0].refused_documents)) == (1, [], {})
    with ledger.transaction() as connection:
        rows = connection.execute(sa.select(tables.facts.c.kind, tables.facts.c.key, tables.facts.c.body)).all()
        assert connection.execute(sa.select(tables.machines)).all() == []
    assert [(row.kind, row.key, json.loads(row.body)) for row in rows] == [(kind, "pc", body)]
    assert on_networks(ledger) == 0


def test_what_is_of_no_machine_that_is_known_is_told(ledger: Ledger) -> None:
    writer = Writer(keep_late=False)
    security, machine = fact("security", {"firewall": True}), fact("machine", {"name": "pc", "uuid": "u-1"})
    for number, (told, refused) in enumerate((([security], 1), ([], 0), ([security, machine], 0), ([security], 0)), 1):
        one = batch(report("pc", number, source="inventory", samples=[], facts=told))
        store(ledger, writer, one)
        assert one.prepared[0].refused_documents == ({"no_machine": refused} if refused else {})


def test_what_passes_the_quota_of_a_day_is_left_out_by_number(ledger: Ledger) -> None:
    """One report, two tables: the fact that is anybody's is the last that fits."""
    told = [fact("machine", {"name": "pc", "uuid": "u-1"}), fact("batteries", {"x": 1}), fact("disks", {"disks": []})]
    one = batch(report("pc", source="inventory", samples=[], facts=told))
    keeper = Keeper(Quotas(kept_bytes_a_day=100))
    (outcome,) = store(ledger, Writer(keep_late=False, keeper=keeper), one)
    assert [(quota, number) for quota, _, number in outcome.left_out] == [("kept_bytes", 2)]
