"""`haidang-collector serve`: TLS in uvicorn itself, the peer's certificate in the scope."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import sys
import time

import uvicorn
from haidang_wire.errors import ConfigError

from haidang_collector import entrance, logs
from haidang_collector.app import create_app
from haidang_collector.collector import Collector
from haidang_collector.settings import Settings

log = logging.getLogger(__name__)

_CERTIFICATE_CHECK_SECONDS = 12 * 3600.0
_SWEEP_SECONDS = 0.5
_TELL_SECONDS = 60.0


class TlsProtocol(entrance.DoorProtocol):
    """Puts the certificate the TLS layer has verified where the application finds it:
    scope["extensions"]["tls"]["peer_certificate"], None without one."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        connection = self.transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert() if connection is not None else None
        self.scope["extensions"]["tls"] = {"peer_certificate": certificate or None}


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ConfigError or LedgerError."""
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings))


def _loop_factory() -> type | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop  # type: ignore[return-value]  # a factory, as Runner wants


async def _serve(settings: Settings) -> int:
    collector = Collector(settings, entrance.raise_file_limit())
    await collector.start()
    # What is here now stays; a request's thousands of short-lived samples are not worth a
    # collection each few hundred (it cost a third of the processor time of ingest).
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    ends = collector.authority.ensure_server(settings.names)
    collector.telemetry.certificate_expiry.labels("server").set(ends)
    collector.telemetry.certificate_expiry.labels("ca").set(
        collector.authority.certificate.not_valid_after_utc.timestamp()
    )
    config = uvicorn.Config(
        create_app(collector),
        http=TlsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        backlog=4096,
        ssl_certfile=collector.authority.server_file,
        ssl_ca_certs=str(collector.authority.certificate_file),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
    )
    config.load()
    assert config.ssl is not None
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    config.ssl.options |= ssl.OP_NO_RENEGOTIATION
    listener = _listen(settings)
    server = entrance.Server(config, collector.door, settings, listener)
    serving = asyncio.create_task(server.serve([listener]), name="server")
    sweeping = asyncio.create_task(_keep_door(collector), name="door")
    background = asyncio.create_task(collector.run(), name="background")
    renewing = asyncio.create_task(_renew_certificate(collector, config.ssl), name="certificate")
    port = listener.getsockname()[1]
    log.info("listening on https://%s:%d (CA %s)", settings.listen_address, port, collector.authority.fingerprint)
    try:
        done, _ = await asyncio.wait({serving, sweeping, background, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if serving not in done:  # a background task ended, which it never should
            server.should_exit = True
            await serving
    finally:
        for task in (sweeping, background, renewing):
            task.cancel()
        results = await asyncio.gather(serving, sweeping, background, renewing, return_exceptions=True)
        collector.close()
    failures = [r for r in results if isinstance(r, BaseException) and not isinstance(r, asyncio.CancelledError)]
    for failure in failures:
        log.critical("a part of the collector ended by itself", exc_info=failure)
    return 1 if failures else 0


def _listen(settings: Settings) -> socket.socket:
    try:
        return entrance.listen(settings.listen_address, settings.listen_port)
    except OSError as error:
        where = f"{settings.listen_address}:{settings.listen_port}"
        raise ConfigError(f"can't listen there: {error.strerror}", where=where, remedy="Choose another port") from error


async def _keep_door(collector: Collector) -> None:
    """End what is over its time, and say each minute what was ended, in one line."""
    door, telemetry = collector.door, collector.telemetry
    telemetry.connection_room.labels("known").set(door.room.connections)
    telemetry.connection_room.labels("unknown").set(door.room.unknown)
    told = time.monotonic()
    while True:
        before = time.monotonic()
        await asyncio.sleep(_SWEEP_SECONDS)
        now = time.monotonic()
        # After a sleep of the whole process, what waits in the sockets is read before anybody is called late.
        if now - before < 4 * _SWEEP_SECONDS:
            door.sweep()
        telemetry.connections.labels("known").set(door.known)
        telemetry.connections.labels("unknown").set(door.unknown)
        if door.ended and now > told + _TELL_SECONDS:
            told = now
            reasons = ", ".join(f"{reason} {number}" for reason, number in door.ended.most_common())
            log.warning("connections ended at the door: %s", reasons)
            door.ended.clear()


async def _renew_certificate(collector: Collector, context: ssl.SSLContext) -> None:
    while True:
        await asyncio.sleep(_CERTIFICATE_CHECK_SECONDS)
        ends = await asyncio.to_thread(collector.authority.ensure_server, collector.settings.names)
        context.load_cert_chain(collector.authority.server_file)
        collector.telemetry.certificate_expiry.labels("server").set(ends)
