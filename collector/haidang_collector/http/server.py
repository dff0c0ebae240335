"""`haidang-collector serve`: TLS in uvicorn itself, the peer's certificate in the scope."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import socket
import ssl
import sys
import time

import uvicorn
from haidang_wire.errors import ConfigError

from haidang_collector import logs
from haidang_collector.collector import Collector
from haidang_collector.http import entrance
from haidang_collector.http.app import create_app
from haidang_collector.http.door import REASONS, Door, room
from haidang_collector.http.tls import Tls
from haidang_collector.identity.authority import Presented, presented_der
from haidang_collector.settings import Settings
from haidang_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

_CERTIFICATE_CHECK_SECONDS = 12 * 3600.0
_FOLLOW_SECONDS = 1.0
_SWEEP_SECONDS = 0.5
_TELL_SECONDS = 60.0


class TlsProtocol(entrance.DoorProtocol):
    """Puts what the certificate says that the TLS layer has verified where the application finds it:
    scope["extensions"]["tls"]["peer_certificate"] is a Presented, None without one."""

    _peer: Presented | None = None
    _peer_known = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._peer_known:  # once a connection
            self._peer_known = True
            connection = self.transport.get_extra_info("ssl_object")
            certificate = connection.getpeercert(binary_form=True) if connection is not None else None
            self._peer = presented_der(certificate) if certificate else None
        self.scope["extensions"]["tls"] = {"peer_certificate": self._peer}


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
    collector = Collector(settings)
    door = Door(settings.door, room(settings.door, entrance.raise_file_limit()), collector.telemetry.count_at_door)
    await collector.start()
    # What is here now stays; a request's thousands of short-lived samples are not worth a
    # collection each few hundred (it cost a third of the processor time of ingest).
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # A large delivery is decoded in a thread of its own, which may keep the event loop waiting only so long.
    sys.setswitchinterval(0.0002)
    tls = Tls(collector.authority, settings.names)
    config = uvicorn.Config(
        create_app(collector, door),
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
    )
    config.load()
    config.ssl = tls.context
    listener = _listen(settings)
    server = entrance.Server(config, door, settings, listener)
    serving = asyncio.create_task(server.serve([listener]), name="server")
    sweep = functools.partial(_keep_door, door, collector.telemetry)
    sweeping = asyncio.create_task(collector.supervision.keep("door", sweep), name="door")
    background = asyncio.create_task(collector.run(), name="background")
    follow = functools.partial(_follow_certificates, collector, tls)
    renewing = asyncio.create_task(collector.supervision.keep("certificates", follow), name="certificates")
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


async def _keep_door(door: Door, telemetry: Telemetry) -> None:
    """End what is over its time, and say each minute what was ended, in one line."""
    for reason in REASONS:  # there before the first time, so that `increase()` sees it
        telemetry.connections_ended.labels(reason)
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


async def _follow_certificates(collector: Collector, tls: Tls) -> None:
    expiry = collector.telemetry.certificate_expiry
    checked = time.monotonic()
    while True:
        expiry.labels("server").set(tls.ends)
        expiry.labels("ca").set(collector.authority.certificate.not_valid_after_utc.timestamp())
        await asyncio.sleep(_FOLLOW_SECONDS)
        due = time.monotonic() - checked > _CERTIFICATE_CHECK_SECONDS
        try:
            tls.follow(check=due)
        except (OSError, ssl.SSLError) as error:  # what is in use goes on; the next turn tries again
            log.error("the server's certificate can't be renewed: %s", error)
        if due:
            checked = time.monotonic()
