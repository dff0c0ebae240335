"""What waits is sent in requests of a size, each made once and beside the event loop, whoever filled the queue."""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cramjam
import httpx
import pytest
import sqlalchemy as sa
from haidang_collector.exposition import remote_write
from haidang_collector.exposition.remote_write import RemoteWriter, WriteRequest
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import late
from haidang_collector.quotas.holdings import LateQueue
from haidang_collector.settings import Quotas, RemoteWrite, Settings
from haidang_collector.telemetry import Telemetry

from tests.conftest import report

# In place of ten thousand.
SAMPLES_A_REQUEST = 100


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.close()


class Receiver:
    """What the receiver answers, and what it got: the samples of each request."""

    def __init__(self, answer: Callable[[int], int] = lambda _: 200) -> None:
        self.got: list[int] = []
        self.answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        message = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(request.content)))
        self.got.append(len(message.timeseries))
        return httpx.Response(self.answer(len(self.got)))


class Queue:
    """A queue of late reports, and its writer, turn by turn."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = ledger
        self.queue = LateQueue(Quotas(), 10**9)
        self.telemetry = Telemetry()
        settings = Settings(remote_write=RemoteWrite(url="http://receiver.example/write"))
        self.writer = RemoteWriter(ledger, settings, self.telemetry, self.queue)
        self.restored: list[int] = []
        self._restore = remote_write.restore
        monkeypatch.setattr(remote_write, "restore", self._restored)
        monkeypatch.setattr(remote_write, "SAMPLES_A_REQUEST", SAMPLES_A_REQUEST)

    def _restored(self, *arguments: Any) -> Any:
        self.restored.append(threading.get_ident())
        return self._restore(*arguments)

    def add(self, reports: int, samples: int) -> None:
        made = [
            {"metric": "haidang_agent_source_up", "labels": {"source": f"s{n}"}, "value": 1} for n in range(samples)
        ]
        with self.ledger.transaction() as connection:
            for number in range(reports):
                raw = json.dumps(report(sequence=number, source="agent", samples=made)).encode()
                packed = zlib.compress(raw, 1)
                row = {"agent": "may-1", "site": "ttdl", "taken": 1e9 + number, "report": packed}
                self.queue.add(connection, "may-1", len(packed))
                connection.execute(sa.insert(late), row)

    def turns(self, receiver: Receiver, number: int) -> None:
        async def run() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as client:
                for _ in range(number):
                    await self.writer.turn(client)

        asyncio.run(run())

    def waiting(self) -> int:
        with self.ledger.transaction() as connection:
            number, size = self.queue.waiting(connection)
            assert (number == 0) == (size == 0)
            assert connection.execute(sa.select(sa.func.count()).select_from(late)).scalar() == number
        return number


@pytest.fixture
def queue(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Queue:
    return Queue(ledger, monkeypatch)


@pytest.mark.parametrize("samples", [1, 33, 40, SAMPLES_A_REQUEST, SAMPLES_A_REQUEST + 1, 499])
def test_a_request_has_no_more_than_a_receiver_likes(queue: Queue, samples: int) -> None:
    queue.add(5, samples)
    receiver = Receiver()
    queue.turns(receiver, 6)
    assert max(receiver.got) <= SAMPLES_A_REQUEST
    assert sum(receiver.got) == 5 * samples
    assert queue.waiting() == 0
    # As few as it takes, and no report read more than once in vain.
    assert len(receiver.got) <= 5 * -(-samples // SAMPLES_A_REQUEST)
    assert len(queue.restored) <= 10
    assert threading.get_ident() not in queue.restored


def test_a_receiver_that_is_away_costs_one_request_of_work(queue: Queue) -> None:
    queue.add(50, 90)
    queue.turns(Receiver(lambda _: 503), 20)
    assert len(queue.restored) <= 2
    assert queue.waiting() == 50
    receiver = Receiver()
    queue.turns(receiver, 50)
    assert sum(receiver.got) == 50 * 90
    assert queue.waiting() == 0


def test_a_receiver_that_comes_back_in_the_middle_gets_the_rest(queue: Queue) -> None:
    queue.add(1, 350)
    receiver = Receiver(lambda number: 500 if number == 3 else 200)
    queue.turns(receiver, 2)
    assert receiver.got == [100, 100, 100, 100, 50]
    assert queue.waiting() == 0
    assert queue.telemetry.remote_write_samples._value.get() == 350


def test_what_is_dropped_while_a_request_waits_is_counted_once(queue: Queue) -> None:
    queue.add(10, 10)
    queue.turns(Receiver(lambda _: 503), 1)
    queue.queue.most_bytes = 1
    queue.turns(Receiver(), 1)
    assert queue.waiting() == 0


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_halves_find_what_is_rejected(queue: Queue, bad: int) -> None:
    queue.add(8, 10)

    class Picky(Receiver):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            message = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(request.content)))
            times = {series.samples[0].timestamp // 1000 - 10**9 for series in message.timeseries}
            if bad in times:
                return httpx.Response(400)
            self.got.append(len(message.timeseries))
            return httpx.Response(200)

    receiver = Picky()
    queue.turns(receiver, 1)
    assert sum(receiver.got) == 70
    assert queue.waiting() == 0
    assert queue.telemetry.late_dropped.labels("rejected")._value.get() == 1
