"""Late samples to Prometheus by remote write 1.0, so that the gap an outage left is filled.

They carry the labels the very same series has when it is scraped (job, instance, and the
exposition's own), and the time at which they were taken. What waits is in the ledger: it
survives a restart, is bounded, and is given up only when the receiver says it never wants it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cramjam
import httpx
import sqlalchemy as sa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from haidang_wire import __version__

from haidang_collector.ingest import Prepared, restore
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.holdings import LateQueue
from haidang_collector.ledger.tables import late
from haidang_collector.rights import stored
from haidang_collector.settings import Settings, read_secret
from haidang_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

_REPORTS_A_REQUEST = 200
_IDLE_SECONDS = 1.0
_BACKOFF_MAX_SECONDS = 30.0
# Statuses after which the same request may succeed later (remote write 1.0, "Retries & Backoff").
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


def _write_request_class() -> Any:
    """prometheus.WriteRequest with the fields remote write 1.0 needs (prompb/remote.proto, types.proto)."""
    file = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in {
        "Label": [("name", 1, kinds.TYPE_STRING, ""), ("value", 2, kinds.TYPE_STRING, "")],
        "Sample": [("value", 1, kinds.TYPE_DOUBLE, ""), ("timestamp", 2, kinds.TYPE_INT64, "")],
        "TimeSeries": [("labels", 1, kinds.TYPE_MESSAGE, "Label"), ("samples", 2, kinds.TYPE_MESSAGE, "Sample")],
        "WriteRequest": [("timeseries", 1, kinds.TYPE_MESSAGE, "TimeSeries")],
    }.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, type_name in fields:
            message.field.add(
                name=field_name,
                number=number,
                type=kind,
                label=kinds.LABEL_REPEATED if type_name else kinds.LABEL_OPTIONAL,
                type_name=f".prometheus.{type_name}" if type_name else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


WriteRequest = _write_request_class()


@dataclass(frozen=True)
class LateReport:
    """A row of the queue."""

    id: int
    agent: str
    site: str
    taken: float
    packed: bytes


class RemoteWriter:
    """The queue's other end. `run()` is the task that owns it."""

    def __init__(self, ledger: Ledger, settings: Settings, telemetry: Telemetry, queue: LateQueue) -> None:
        """Raises ConfigError when the token file can't be read."""
        self._ledger = ledger
        self._queue = queue
        self._settings = settings
        self._telemetry = telemetry
        token = read_secret(settings.remote_write.token_file)
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
            "User-Agent": f"haidang-collector/{__version__}",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token.decode()}"
        self._failures_in_a_row = 0

    async def run(self) -> None:
        """Write what waits until cancelled."""
        async with httpx.AsyncClient(timeout=self._settings.remote_write.timeout_seconds) as client:
            while True:
                try:
                    wait = await self._turn(client)
                except LedgerError as error:
                    log.warning("%s", error)
                    self._queue.read_again()
                    wait = self._failed("storage")
                await asyncio.sleep(wait)

    async def _turn(self, client: httpx.AsyncClient) -> float:
        dropped, waiting, reports = await self._ledger.run(_take, self._queue)
        self._telemetry.late_waiting.set(waiting)
        if dropped:
            log.error("late reports beyond remote_write.queue_bytes: the oldest %d are dropped", dropped)
            self._telemetry.late_dropped.labels("queue_full").inc(dropped)
        if not reports:
            return _IDLE_SECONDS
        return await self._write(client, reports)

    async def _write(self, client: httpx.AsyncClient, reports: list[LateReport]) -> float:
        """Write some reports; the seconds to wait before the next turn."""
        body, samples = self._encode(reports)
        try:
            answer = await client.post(self._settings.remote_write.url, content=body, headers=self._headers)
        except httpx.HTTPError as error:
            log.warning("remote write fails: %s", type(error).__name__)
            return self._failed("network")
        if answer.status_code in _TRY_AGAIN:
            log.warning("remote write is answered %d", answer.status_code)
            return max(self._failed("status"), _retry_after(answer))
        if answer.is_success:
            self._telemetry.remote_write_samples.inc(samples)
        elif len(reports) > 1:
            # Somewhere in it is what the receiver does not want, and it may have taken the
            # rest or not: halves find it. Samples it has already are no harm.
            middle = len(reports) // 2
            return await self._write(client, reports[:middle]) or await self._write(client, reports[middle:])
        else:
            log.warning("the receiver rejects a late report: %d %s", answer.status_code, answer.text[:200].strip())
            self._telemetry.late_dropped.labels("rejected").inc()
        self._failures_in_a_row = 0
        await self._ledger.run(_remove, self._queue, [(each.id, each.agent, len(each.packed)) for each in reports])
        return 0.0

    def _failed(self, reason: str) -> float:
        if reason != "storage":
            self._telemetry.remote_write_failures.labels(reason).inc()
        self._failures_in_a_row += 1
        highest: float = min(_BACKOFF_MAX_SECONDS, 0.5 * 2 ** min(self._failures_in_a_row, 10))
        wait: float = random.uniform(0.5, 1.0) * highest  # noqa: S311 (no secret)
        return wait

    def _encode(self, reports: Iterable[LateReport]) -> tuple[bytes, int]:
        """The request's body and how many samples it holds."""
        request = WriteRequest()
        own = [("instance", self._settings.scrape_instance), ("job", self._settings.scrape_job)]
        count = 0
        for late_report in reports:
            prepared = self._restored(late_report)
            if prepared is None:
                self._telemetry.late_dropped.labels("unusable").inc()
                continue
            timestamp = round(late_report.taken * 1000)
            for name, labels, value in prepared.kept():
                series = request.timeseries.add()
                for key, text in sorted([("__name__", name), *own, *labels.items()]):
                    series.labels.add(name=key, value=text)
                series.samples.add(value=value, timestamp=timestamp)
                count += 1
        return bytes(cramjam.snappy.compress_raw(request.SerializeToString())), count

    def _restored(self, kept: LateReport) -> Prepared | None:
        try:
            raw = zlib.decompress(kept.packed)
            return restore(raw, kept.taken, kept.agent, partial(stored, kept.agent, kept.site), self._settings.limits)
        except Exception:  # a defect that this one met: the queue behind it goes on
            log.exception("a late report of agent %s can't be read", kept.agent)
            return None


def _take(connection: sa.Connection, queue: LateQueue) -> tuple[int, int, list[LateReport]]:
    """(dropped, waiting, the newest that wait)."""
    dropped = 0
    while queue.waiting(connection)[1] > queue.most_bytes:
        columns = (late.c.id, late.c.agent, sa.func.length(late.c.report))
        rows = connection.execute(sa.select(*columns).order_by(late.c.id).limit(1000)).all()
        _remove(connection, queue, [(row[0], row[1], row[2]) for row in rows])
        dropped += len(rows)
    everything = (late.c.id, late.c.agent, late.c.site, late.c.taken, late.c.report)
    newest = connection.execute(sa.select(*everything).order_by(late.c.id.desc()).limit(_REPORTS_A_REQUEST))
    return dropped, queue.waiting(connection)[0], [LateReport(*row) for row in newest]


def _remove(connection: sa.Connection, queue: LateQueue, gone: list[tuple[int, str, int]]) -> None:
    connection.execute(sa.delete(late).where(late.c.id.in_([identifier for identifier, _, _ in gone])))
    for _, agent, size in gone:
        queue.remove(connection, agent, size)


def _retry_after(answer: httpx.Response) -> float:
    try:
        return min(300.0, float(answer.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
