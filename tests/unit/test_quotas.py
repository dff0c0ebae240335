"""What one agent may use: buckets in virtual time, who used too much, pieces of deliveries that take turns."""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from haidang_collector.disk import Disk
from haidang_collector.identity import agents as identities
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.delivery import Deliveries
from haidang_collector.intake.ingest import Batch, Speaker, pieces, read_delivery
from haidang_collector.intake.turns import Room
from haidang_collector.intake.writer import Outcome
from haidang_collector.ledger import housekeeping, tables
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.problems import Problem
from haidang_collector.quotas.allowances import WORST, Bucket, Quotas, cost
from haidang_collector.settings import Disk as DiskSettings
from haidang_collector.settings import Limits
from haidang_collector.settings import Quotas as Settings
from haidang_collector.settings import Settings as CollectorSettings
from haidang_collector.telemetry import Telemetry
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import delivery, report


def test_an_overdraft_is_given_once_and_waited_for() -> None:
    bucket = Bucket.full(rate=10, burst=100, now=0.0)
    bucket.spend(99, 0.0)
    assert bucket.wait(0.0) == 0.0
    bucket.spend(501, 0.0)  # more than there is: it passes, and is owed
    assert bucket.level == -500
    wait = bucket.wait(0.0)
    assert 50 < wait < 51
    assert bucket.wait(wait - 1) > 0
    assert bucket.wait(wait) == 0.0


@given(st.lists(st.tuples(st.floats(-10, 1000), st.floats(0, 1e6)), max_size=50))
def test_no_bucket_gives_more_than_its_rate(steps: list[tuple[float, float]]) -> None:
    """Whatever the times are, one that goes back too: what is spent is at most the burst, what came since, and once
    an overdraft."""
    bucket, now, spent, last = Bucket.full(10, 100, 0.0), 0.0, 0.0, 0.0
    for step, amount in steps:
        if bucket.wait(now + step) == 0.0:
            bucket.spend(amount, now + step)
            spent, last = spent + amount, amount
        now = max(now, now + step)
        assert spent - last <= 100 + 10 * now + 1e-3
        assert bucket.level <= 100


def test_events_are_granted_as_far_as_there_are_some() -> None:
    bucket = Bucket.full(rate=1, burst=10, now=0.0)
    assert [bucket.take_up_to(each, 0.0) for each in (4, 4, 4, 4)] == [4, 4, 2, 0]
    assert bucket.take_up_to(4, 3.0) == 3


def test_the_worst_are_named_and_no_others() -> None:
    quotas = Quotas(Settings())
    for number in range(1000):
        quotas.reached(f"pc-{number}", "bytes", now=10.0, times=number)
    assert [agent for agent, _, _ in quotas.worst(20.0)] == [f"pc-{number}" for number in range(999, 999 - WORST, -1)]
    quotas.reached("pc-5", "reports", now=700.0, times=5000)
    assert quotas.worst(701.0)[:2] == [("pc-5", "reports", 5000), ("pc-999", "bytes", 999)]
    assert quotas.worst(2000.0) == []


@pytest.mark.parametrize("text", [b"[" * 9000, b"[]," * 3000, b'"":0,' * 2000, b"{}," * 3000])
def test_structure_costs_more_than_its_length(text: bytes) -> None:
    assert cost(text) > 4 * len(text)


def test_what_is_honest_costs_little_more_than_its_length() -> None:
    labels = {"device": "sw-core-1", "interface": "GigabitEthernet1/0/48"}
    samples = [{"metric": "haidang_interface_receive_bytes_total", "labels": labels, "value": 123456789}] * 100
    body = json.dumps(samples).encode()
    assert cost(body) < 1.3 * len(body)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
@pytest.mark.parametrize("level", [0, 9])
def test_pieces_are_the_whole(size: int, level: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    packer = zlib.compressobj(level, wbits=31)
    packed = packer.compress(body) + packer.flush()
    parts = list(pieces(packed, "gzip"))
    assert b"".join(parts) == body == b"".join(pieces(body, ""))
    assert max(map(len, parts), default=0) <= 65_536
    for broken in (packed[:-1], packed[:-9], packed + b"x", b"", b"x" + packed):
        with pytest.raises(Problem):
            list(pieces(broken, "gzip"))


def test_room_is_given_back() -> None:
    room = Room(100)
    room.take(60)
    with pytest.raises(Problem) as refused:
        room.take(41)
    assert refused.value.status == 503
    room.take(40)
    room.give(100)
    room.take(100)


def batch(agent: str, count: int, **changes: Any) -> Batch:
    document = delivery(*(report(agent, number + 1, **changes) for number in range(count)))
    return read_delivery(document, Speaker(agent, "ttdl"), 1e9, Limits(reports_a_request=10_000))


def test_a_large_delivery_lets_the_others_pass(tmp_path: Path) -> None:
    """One of a thousand reports is stored over many commits; those of one report that come after it are not behind
    it. Each is whole when it is answered."""
    ledger = Ledger(tmp_path)
    with ledger.transaction() as connection:
        for agent in ("flood", "pc-1", "pc-2"):
            identities.add_agent(connection, Principal.itself(), agent, "ttdl", "t", 0.0)
    answered: list[str] = []

    async def store(deliveries: Deliveries, agent: str, count: int) -> Outcome:
        outcome = await deliveries.store(batch(agent, count))
        answered.append(agent)
        return outcome

    async def run() -> list[Outcome]:
        deliveries = Deliveries(ledger, Telemetry(), TimeBase(), limit=10, keep_late=False)
        worker = asyncio.create_task(deliveries.run())
        outcomes = await asyncio.gather(
            store(deliveries, "flood", 1000), store(deliveries, "pc-1", 1), store(deliveries, "pc-2", 3)
        )
        worker.cancel()
        return list(outcomes)

    flood, one, three = asyncio.run(run())
    ledger.close()
    assert sorted(answered[:2]) == ["pc-1", "pc-2"]
    assert answered[2] == "flood"
    assert [len(each.live) + len(each.late) for each in (flood, one, three)] == [1000, 1, 3]
    assert not any(each.problem or each.duplicates for each in (flood, one, three))


def test_what_is_stored_of_a_delivery_that_fails_is_told(tmp_path: Path) -> None:
    """The disk fails in the middle: the part before it is shown, and the whole comes again."""
    ledger = Ledger(tmp_path)
    with ledger.transaction() as connection:
        identities.add_agent(connection, Principal.itself(), "flood", "ttdl", "t", 0.0)

    async def run() -> tuple[Outcome, Outcome]:
        deliveries = Deliveries(ledger, Telemetry(), TimeBase(), limit=10, keep_late=False)
        whole = batch("flood", 1000)
        first = asyncio.create_task(deliveries.store(whole))
        await asyncio.sleep(0)  # it waits
        worker = asyncio.create_task(deliveries.run())
        await asyncio.sleep(0)  # its first piece is on the ledger's thread; what follows comes behind it
        await ledger.run(identities.revoke_agent, Principal.itself(), "flood")
        cut = await first
        await ledger.run(lambda connection: connection.exec_driver_sql("UPDATE agents SET revoked = NULL"))
        again = await deliveries.store(whole)
        worker.cancel()
        return cut, again

    cut, again = asyncio.run(run())
    ledger.close()
    assert cut.problem is not None
    assert cut.problem.status == 403
    stored = len(cut.live) + len(cut.late)
    assert 0 < stored < 1000
    assert (again.duplicates, len(again.live) + len(again.late), again.problem) == (stored, 1000 - stored, None)


def test_what_is_old_is_forgotten_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every table that agents fill: rows past their time go, those of agents that may no longer speak too, others
    stay; whatever the size of a step."""
    monkeypatch.setattr(housekeeping, "_ROWS", 3)
    monkeypatch.setattr(housekeeping, "_PAUSE_SECONDS", 0)
    ledger, now, day = Ledger(tmp_path), 2e9, 86400.0
    with ledger.transaction() as connection:
        for agent in ("here", "gone"):
            identities.add_agent(connection, Principal.itself(), agent, "ttdl", "t", 0.0)
        identities.revoke_agent(connection, Principal.itself(), "gone")
        identity: dict[str, Any] = {"agent": "here", "site": "ttdl", "kind": "a", "body": "{}"}
        for number in range(20):
            for agent, at in (("here", now - day), ("gone", now - day), ("here", now - 900 * day)):
                key = f"{agent} {at} {number}"
                mine = {**identity, "agent": agent}
                connection.execute(sa.insert(tables.facts).values(**mine, key=key, since=at, seen=at))
                connection.execute(sa.insert(tables.latest).values(agent=agent, source=key, taken=at, report=b"{}"))
                connection.execute(
                    sa.insert(tables.delivered).values(agent=agent, epoch=number, chunk=int(at), bits=b"", updated=at)
                )
            for at in (now - day, now - 900 * day):
                connection.execute(sa.insert(tables.events).values(**identity, at=at, received=at))
                connection.execute(sa.insert(tables.fact_history).values(**identity, key="k", since=at, until=at))
                connection.execute(
                    sa.insert(tables.machine_changes).values(machine=1, at=at, what="x", before="", after="")
                )
                connection.execute(
                    sa.insert(tables.outage_revisions).values(
                        outage="o", revision=1, at=at, reason="", started=at, cause="x", evidence=""
                    )
                )
                connection.execute(
                    sa.insert(tables.network_devices).values(
                        site="ttdl", mac=f"{number} {at}", address="", manufacturer="", first_seen=at, last_seen=at
                    )
                )
            names = {"version": "", "publisher": "", "source": "", "folded": ""}
            one = sa.insert(tables.software).values(name=f"there {number}", **names).returning(tables.software.c.id)
            connection.execute(
                sa.insert(tables.installed).values(machine=1, software=connection.execute(one).scalar_one())
            )
            connection.execute(sa.insert(tables.software).values(name=f"nowhere {number}", **names))
    removed = asyncio.run(housekeeping.forget_old(ledger, CollectorSettings(), now))
    with ledger.transaction() as connection:
        left = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (
                tables.facts, tables.latest, tables.delivered, tables.events, tables.fact_history,
                tables.machine_changes, tables.outage_revisions, tables.network_devices, tables.software,
            )
        }  # fmt: skip
        agents = set(connection.execute(sa.select(tables.facts.c.agent)).scalars())
        names_left = set(connection.execute(sa.select(tables.software.c.name)).scalars())
    ledger.close()
    assert left == dict.fromkeys(left, 20)
    assert agents == {"here"}
    assert all(name.startswith("there") for name in names_left)
    assert removed == 20 * (3 * 2 + 5 + 1)


def test_a_disk_that_is_short_is_asked_less_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 3000

    class Found:
        f_frsize = 1

        @property
        def f_bavail(self) -> int:
            return free

    monkeypatch.setattr(os, "statvfs", lambda folder: Found())
    telemetry = Telemetry()
    disk = Disk(tmp_path, DiskSettings(documents_free_bytes=2000, reports_free_bytes=1000), telemetry)

    def taken() -> tuple[bool, bool]:
        disk.look()
        try:
            disk.require_room()
        except Problem as problem:
            return disk.takes_documents, problem.reason != "disk" or problem.retry_after is None
        return disk.takes_documents, True

    assert taken() == (True, True)
    free = 1999
    assert taken() == (False, True)
    free = 999
    assert taken() == (False, False)
    free = 1199  # not by turns
    assert taken() == (False, False)
    free = 1201
    assert taken() == (False, True)
    free = 2399
    assert taken() == (False, True)
    free = 2401
    assert taken() == (True, True)
    assert b"haidang_collector_disk_free_bytes 2401.0" in telemetry.exposition(openmetrics=False)
