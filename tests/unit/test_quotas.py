"""What one agent may use: buckets in virtual time, who used too much, pieces of deliveries that take turns."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.delivery import Deliveries, Outcome
from haidang_collector.ingest import Batch, Speaker, pieces, read_delivery
from haidang_collector.intake import Room
from haidang_collector.ledger import agents as identities
from haidang_collector.ledger.database import Ledger
from haidang_collector.problems import Problem
from haidang_collector.quotas import WORST, Bucket, Quotas, cost
from haidang_collector.settings import Limits
from haidang_collector.settings import Quotas as Settings
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
            identities.add_agent(connection, agent, "ttdl", "t", 0.0)
    answered: list[str] = []

    async def store(deliveries: Deliveries, agent: str, count: int) -> Outcome:
        outcome = await deliveries.store(batch(agent, count))
        answered.append(agent)
        return outcome

    async def run() -> list[Outcome]:
        deliveries = Deliveries(ledger, Telemetry(), limit=10, keep_late=False)
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
        identities.add_agent(connection, "flood", "ttdl", "t", 0.0)

    async def run() -> tuple[Outcome, Outcome]:
        deliveries = Deliveries(ledger, Telemetry(), limit=10, keep_late=False)
        whole = batch("flood", 1000)
        first = asyncio.create_task(deliveries.store(whole))
        await asyncio.sleep(0)  # it waits
        worker = asyncio.create_task(deliveries.run())
        await asyncio.sleep(0)  # its first piece is on the ledger's thread; what follows comes behind it
        await ledger.run(identities.revoke_agent, "flood")
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
