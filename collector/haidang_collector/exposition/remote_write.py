"""Late samples to Prometheus by remote write 1.0, so that the gap an outage left is filled.

They carry the labels the very same series has when it is scraped (job, instance, and the
exposition's own), and the time at which they were taken. What waits is in the ledger: it
survives a restart, is bounded, and is given up only when the receiver says it never wants it.
A request is made beside the event loop, of no more samples than a receiver likes, and once however often it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cramjam
import httpx
import sqlalchemy as sa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from haidang_wire import __version__
from haidang_wire.backoff import backoff_seconds, retry_after_seconds

from haidang_collector.intake.ingest import Prepared, restore
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.tables import late
from haidang_collector.quotas.holdings import LateQueue
from haidang_collector.registry.rights import stored
from haidang_collector.settings import Settings, read_secret
from haidang_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

# A request ends with the report that passes one of these; one report of more samples is several requests.
_REPORTS_A_REQUEST = 200
_PACKED_BYTES_A_REQUEST = 1_000_000
SAMPLES_A_REQUEST = 10_000
_IDLE_SECONDS = 1.0
_BACKOFF_SECONDS = (1.0, 30.0)
_LONGEST_RETRY_SECONDS = 300.0
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


@dataclass
class Request:
    """Reports of the queue as what is sent for them: `bodies` are what the receiver has not taken yet."""

    reports: list[LateReport]
    bodies: deque[bytes]
    samples: int


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
        self._request: Request | None = None

    async def run(self) -> None:
        """Write what waits until cancelled."""
        async with httpx.AsyncClient(timeout=self._settings.remote_write.timeout_seconds) as client:
            while True:
                try:
                    wait = await self.turn(client)
                except LedgerError as error:
                    log.warning("%s", error)
                    self._queue.read_again()
                    wait = self._failed("storage")
                await asyncio.sleep(wait)

    async def turn(self, client: httpx.AsyncClient) -> float:
        """Write a request's worth of what waits; the seconds until the next turn. Raises LedgerError."""
        dropped, waiting = await self._ledger.run(_drop_oldest, self._queue)
        self._telemetry.late_waiting.set(waiting)
        if dropped:
            log.error("late reports beyond remote_write.queue_bytes: the oldest %d are dropped", dropped)
            self._telemetry.late_dropped.labels("queue_full").inc(dropped)
        if self._request is None:
            reports = await self._ledger.read(_newest)
            if not reports:
                return _IDLE_SECONDS
            self._request = await self._made(reports)
        wait = await self._write(client, self._request)
        if not wait:
            self._request = None
        return wait

    async def _made(self, reports: list[LateReport]) -> Request:
        return await asyncio.to_thread(self._encode, reports)

    async def _write(self, client: httpx.AsyncClient, request: Request) -> float:
        """Write some reports; the seconds to wait before it is tried again, 0 when they are dealt with."""
        while request.bodies:
            try:
                answer = await client.post(
                    self._settings.remote_write.url, content=request.bodies[0], headers=self._headers
                )
            except httpx.HTTPError as error:
                log.warning("remote write fails: %s", type(error).__name__)
                return self._failed("network")
            if answer.status_code in _TRY_AGAIN:
                log.warning("remote write is answered %d", answer.status_code)
                asked = retry_after_seconds(answer.headers.get("retry-after"), _LONGEST_RETRY_SECONDS)
                return max(self._failed("status"), asked)
            if not answer.is_success:
                return await self._refused(client, request, answer)
            request.bodies.popleft()
        await self._done(request)
        self._telemetry.remote_write_samples.inc(request.samples)
        return 0.0

    async def _refused(self, client: httpx.AsyncClient, request: Request, answer: httpx.Response) -> float:
        if len(request.reports) > 1:
            # Somewhere in it is what the receiver does not want, and it may have taken the
            # rest or not: halves find it. Samples it has already are no harm.
            self._request = None
            middle = len(request.reports) // 2
            for half in (request.reports[:middle], request.reports[middle:]):
                while half:
                    made = await self._made(half)
                    wait = await self._write(client, made)
                    if wait:
                        return wait
                    half = half[len(made.reports) :]
            return 0.0
        log.warning("the receiver rejects a late report: %d %s", answer.status_code, answer.text[:200].strip())
        self._telemetry.late_dropped.labels("rejected").inc()
        await self._done(request)
        return 0.0

    async def _done(self, request: Request) -> None:
        self._failures_in_a_row = 0
        await self._ledger.run(_remove, self._queue, [each.id for each in request.reports])

    def _failed(self, reason: str) -> float:
        if reason != "storage":
            self._telemetry.remote_write_failures.labels(reason).inc()
        self._failures_in_a_row += 1
        return backoff_seconds(self._failures_in_a_row, *_BACKOFF_SECONDS)

    def _encode(self, reports: Sequence[LateReport]) -> Request:
        """A request of the first of these reports."""
        made = Request([], deque(), 0)
        message = WriteRequest()
        own = [("instance", self._settings.scrape_instance), ("job", self._settings.scrape_job)]
        for late_report in reports:
            prepared = self._restored(late_report)
            if prepared is None:
                self._telemetry.late_dropped.labels("unusable").inc()
                made.reports.append(late_report)
                continue
            samples = len(prepared.kept_samples)
            if made.samples and made.samples + samples > SAMPLES_A_REQUEST:
                break
            timestamp = round(late_report.taken * 1000)
            for name, labels, value in prepared.kept():
                series = message.timeseries.add()
                for key, text in sorted([("__name__", name), *own, *labels.items()]):
                    series.labels.add(name=key, value=text)
                series.samples.add(value=value, timestamp=timestamp)
                if len(message.timeseries) >= SAMPLES_A_REQUEST:
                    made.bodies.append(_packed(message))
                    message = WriteRequest()
            made.reports.append(late_report)
            made.samples += samples
        if message.timeseries:
            made.bodies.append(_packed(message))
        return made

    def _restored(self, kept: LateReport) -> Prepared | None:
        try:
            raw = zlib.decompress(kept.packed)
            return restore(raw, kept.taken, kept.agent, partial(stored, kept.agent, kept.site), self._settings.limits)
        except Exception:  # a defect that this one met: the queue behind it goes on
            log.exception("a late report of agent %s can't be read", kept.agent)
            return None


def _packed(message: Any) -> bytes:
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def _drop_oldest(connection: sa.Connection, queue: LateQueue) -> tuple[int, int]:
    """(dropped, waiting) reports: as many of the oldest as are beyond the queue's bytes are dropped."""
    dropped = 0
    while queue.waiting(connection)[1] > queue.most_bytes:
        oldest = connection.execute(sa.select(late.c.id).order_by(late.c.id).limit(1000)).scalars().all()
        dropped += _remove(connection, queue, oldest)
    return dropped, queue.waiting(connection)[0]


def _newest(connection: sa.Connection) -> list[LateReport]:
    """The newest that wait, as many as may be one request; one at least."""
    sizes = sa.select(late.c.id, sa.func.length(late.c.report)).order_by(late.c.id.desc()).limit(_REPORTS_A_REQUEST)
    wanted: list[int] = []
    total = 0
    for number, size in connection.execute(sizes):
        total += size
        if wanted and total > _PACKED_BYTES_A_REQUEST:
            break
        wanted.append(number)
    columns = (late.c.id, late.c.agent, late.c.site, late.c.taken, late.c.report)
    rows = connection.execute(sa.select(*columns).where(late.c.id.in_(wanted)).order_by(late.c.id.desc()))
    return [LateReport(*row) for row in rows]


def _remove(connection: sa.Connection, queue: LateQueue, gone: Sequence[int]) -> int:
    """Take these out of the queue; how many were still in it."""
    statement = sa.delete(late).where(late.c.id.in_(gone))
    rows = connection.execute(statement.returning(late.c.agent, sa.func.length(late.c.report))).all()
    for agent, size in rows:
        queue.remove(connection, agent, size)
    return len(rows)
