"""`haidang-collector serve`: TLS in uvicorn itself, the peer's certificate in the scope."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import sys

import uvicorn
from haidang_wire.errors import ConfigError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from haidang_collector.app import create_app
from haidang_collector.collector import Collector
from haidang_collector.settings import Settings

log = logging.getLogger(__name__)

_CERTIFICATE_CHECK_SECONDS = 12 * 3600.0
# Longer than the agents' interval: their connections stay open between two deliveries.
_KEEP_ALIVE_SECONDS = 130


class TlsProtocol(HttpToolsProtocol):
    """Puts the certificate the TLS layer has verified where the application finds it:
    scope["extensions"]["tls"]["peer_certificate"], None without one."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        connection = self.transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert() if connection is not None else None
        self.scope["extensions"] = {"tls": {"peer_certificate": certificate or None}}


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ConfigError or LedgerError."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel("WARNING")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings))


def _loop_factory() -> type | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop  # type: ignore[return-value]  # a factory, as Runner wants


async def _serve(settings: Settings) -> int:
    collector = Collector(settings)
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
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
        backlog=4096,
        ssl_certfile=collector.authority.server_file,
        ssl_ca_certs=str(collector.authority.certificate_file),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
    )
    config.load()
    assert config.ssl is not None
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    listener = _listen(settings)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]), name="server")
    background = asyncio.create_task(collector.run(), name="background")
    renewing = asyncio.create_task(_renew_certificate(collector, config.ssl), name="certificate")
    port = listener.getsockname()[1]
    log.info("listening on https://%s:%d (CA %s)", settings.listen_address, port, collector.authority.fingerprint)
    try:
        done, _ = await asyncio.wait({serving, background, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if serving not in done:  # a background task ended, which it never should
            server.should_exit = True
            await serving
    finally:
        for task in (background, renewing):
            task.cancel()
        results = await asyncio.gather(serving, background, renewing, return_exceptions=True)
        collector.close()
    failures = [r for r in results if isinstance(r, BaseException) and not isinstance(r, asyncio.CancelledError)]
    for failure in failures:
        log.critical("a part of the collector ended by itself", exc_info=failure)
    return 1 if failures else 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen_address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.listen_address, settings.listen_port))
    except OSError as error:
        where = f"{settings.listen_address}:{settings.listen_port}"
        raise ConfigError(f"can't listen there: {error.strerror}", where=where, remedy="Choose another port") from error
    listener.setblocking(False)
    return listener


async def _renew_certificate(collector: Collector, context: ssl.SSLContext) -> None:
    while True:
        await asyncio.sleep(_CERTIFICATE_CHECK_SECONDS)
        ends = await asyncio.to_thread(collector.authority.ensure_server, collector.settings.names)
        context.load_cert_chain(collector.authority.server_file)
        collector.telemetry.certificate_expiry.labels("server").set(ends)
