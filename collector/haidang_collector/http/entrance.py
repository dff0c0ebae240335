"""Connections as they come in: accepted, counted at the door, given TLS, and read within its bounds.

uvicorn's server knows a connection only after its TLS handshake, and reads headers of any size for any time; so
connections are accepted here, and its protocol is told where each request is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from haidang_collector.http.door import (
    BODY_TOO_LARGE,
    HEADERS_TOO_LARGE,
    MALFORMED,
    PIPELINED,
    TLS,
    UPGRADE,
    Door,
    Stage,
    Visitor,
)
from haidang_collector.identity.authority import peer_name
from haidang_collector.settings import Settings

log = logging.getLogger(__name__)

# Accepted before others have their turn again: what was accepted before has its handshake meanwhile.
_ACCEPTED_AT_ONCE = 8
_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_FILES_SECONDS = 0.1
# What the kernel keeps of a connection that is not read, on either side.
_RECEIVE_BUFFER_BYTES = 32_768
_UNSENT_BYTES = 131_072
# Requests of one connection that wait for their turn: nobody honest sends more.
_PIPELINED = 8
# A body that is too large is read on for a while, so that its sender comes to read why it was refused.
_READ_ON_BYTES = 1_000_000
_REFUSED_BYTES = 262_144
# In place of how many bytes came since anything came of them: something did just now.
_FRUITFUL = -1
_HEADER_FRAME_BYTES = 4  # ": " and the end of its line


def listen(address: str, port: int) -> socket.socket:
    """A socket that does not listen yet. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit these.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    listener.bind((address, port))
    listener.setblocking(False)
    return listener


def raise_file_limit() -> int:
    """The most files the process may open, after asking for what it may ask for."""
    if sys.platform == "win32":
        return 8192
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft


class Server(uvicorn.Server):
    """uvicorn's, with connections from our entrance."""

    def __init__(self, config: uvicorn.Config, door: Door, settings: Settings, listener: socket.socket) -> None:
        super().__init__(config)
        self._door = door
        self._settings = settings
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, as uvicorn's own method does, but for accepting: that is done here, within bounds."""
        await self.lifespan.startup()

        def protocol(visitor: Visitor, accepted: socket.socket) -> DoorProtocol:
            of = cast("type[DoorProtocol]", self.config.http_protocol_class)
            made = of(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
            made.admit(self._door, visitor, accepted, self._settings)
            return made

        assert self.config.ssl is not None
        entrance = Entrance(self._listener, self._door, self.config.ssl, protocol, self._settings)
        entrance.open(self.config.backlog)
        self.servers = [entrance]  # type: ignore[list-item]  # close() and wait_closed() are what is asked of them
        self.started = True


class Entrance:
    """Accepts. Each handshake is a task, so that it can be ended when there is no room."""

    def __init__(
        self,
        listener: socket.socket,
        door: Door,
        context: ssl.SSLContext,
        protocol: Callable[[Visitor, socket.socket], asyncio.Protocol],
        settings: Settings,
    ) -> None:
        self._listener = listener
        self._door = door
        self._context = context
        self._protocol = protocol
        self._proxies = frozenset(settings.trusted_proxies)
        self._settings = settings.door
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    def open(self, backlog: int) -> None:
        """Begin to listen. Raises OSError."""
        self._listener.listen(backlog)
        self._accepting = asyncio.create_task(self._accept(), name="accept")

    def close(self) -> None:
        """Let nobody in any more."""
        for task in (self._accepting, *self._handshakes):
            if task is not None:
                task.cancel()

    async def wait_closed(self) -> None:
        """As of asyncio's servers."""
        await asyncio.gather(self._accepting or asyncio.sleep(0), *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listener)
                self._arrive(accepted, address)
                for _ in range(_ACCEPTED_AT_ONCE - 1):
                    accepted, address = self._listener.accept()
                    accepted.setblocking(False)
                    self._arrive(accepted, address)
            except BlockingIOError:
                pass
            except OSError as error:  # of one connection, or of all: no files left, no memory
                if error.errno in _NO_FILES:
                    self._door.spare()
                    await asyncio.sleep(_NO_FILES_SECONDS)
            except Exception:  # a defect with one connection must not keep everybody out
                log.exception("a connection could not be accepted")
                await asyncio.sleep(_NO_FILES_SECONDS)
            await asyncio.sleep(0)

    def _arrive(self, accepted: socket.socket, address: Any) -> None:
        visitor = self._door.arrive(str(address[0]), accepted.close, trusted=address[0] in self._proxies)
        task = asyncio.create_task(self._greet(accepted, visitor), name="handshake")
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _greet(self, accepted: socket.socket, visitor: Visitor) -> None:
        task = asyncio.current_task()
        if visitor.stage is None or task is None:  # it had to leave before its handshake began
            return
        visitor.abort = visitor.close = task.cancel
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self._protocol(visitor, accepted),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=2 * self._settings.handshake_seconds,  # the door's own comes first
                ssl_shutdown_timeout=self._settings.unread_seconds,
            )
        except (OSError, RuntimeError):  # what the peer calls TLS, or it went away
            self._door.refused(visitor, TLS)
        finally:
            if visitor.stage in (Stage.HANDSHAKE, Stage.REFUSED):  # the protocol has never been told of it
                self._door.leave(visitor)


class Refusal(Exception):
    """Why a request is refused while it is read: the HTTP status and the reason it is counted under."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _Transport:
    """What uvicorn sees of a transport: to close it is the protocol's decision."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None], is_closing: Callable[[], bool]) -> None:
        self.abort = transport.abort
        self.close = close
        self.get_extra_info = transport.get_extra_info
        self.is_closing = is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.write = transport.write


class DoorProtocol(HttpToolsProtocol):
    """uvicorn's, which tells the door where a request is, and ends what is larger than it may be."""

    def admit(self, door: Door, visitor: Visitor, accepted: socket.socket, settings: Settings) -> None:
        """Before connection_made."""
        self._door = door
        self._visitor = visitor
        self._accepted = accepted
        self._limits = settings.door
        self._most_body = settings.limits.body_bytes + settings.door.header_bytes + _READ_ON_BYTES
        self._in_headers = self._in_body = self._refused = self._closing = False
        self._header_bytes = self._headers = self._body_fed = self._fed_in_vain = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._tls = transport
        self.transport = cast("asyncio.Transport", _Transport(transport, self._close, self._is_closing))
        visitor = self._visitor
        if visitor.stage is None:  # it had to leave meanwhile
            transport.abort()
            return
        visitor.abort, visitor.close, visitor.held = self._abort, self._close, self._is_held
        # Writing stops as soon as the stream below has its fill, and goes on when all has gone there.
        transport.set_write_buffer_limits(high=1, low=0)
        certificate = transport.get_extra_info("peercert") or {}
        named = peer_name([value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"])
        # TLS does not look at the time; who has ended is a stranger.
        living = named and ssl.cert_time_to_seconds(str(certificate["notAfter"])) > time.time()
        self._door.introduce(visitor, "/".join(named) if named and living else "")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._visitor.gone = True
        self._door.leave(self._visitor)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._body_fed += len(data)
            if self._body_fed > _REFUSED_BYTES:
                self._abort()
            return
        try:
            self.parser.feed_data(data)
            self._take(len(data))
        except httptools.HttpParserUpgrade:
            self._refuse(400, UPGRADE)
        except Refusal as refusal:
            self._refuse(refusal.status, refusal.reason)
        except httptools.HttpParserError as error:
            why = error.__context__
            self._refuse(*((why.status, why.reason) if isinstance(why, Refusal) else (400, MALFORMED)))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = cast("Any", {"door": self._visitor})
        self._in_headers = True
        self._header_bytes = self._headers = self._fed_in_vain = 0
        if self.cycle is None or self.cycle.response_complete:
            self._door.enter(self._visitor, Stage.HEADERS)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._take_header(len(url), 0)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._take_header(len(name) + len(value) + _HEADER_FRAME_BYTES, 1)
        if self._in_headers:  # what follows a body is read and left
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            raise Refusal(400, UPGRADE)
        self._in_headers, self._in_body = False, True
        self._header_bytes = self._headers = 0  # of what may follow the body
        self._body_fed = 0
        super().on_headers_complete()
        if len(self.pipeline) > _PIPELINED:
            raise Refusal(400, PIPELINED)
        if not self.pipeline:
            self._door.enter(self._visitor, Stage.BODY)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._fed_in_vain = _FRUITFUL

    def on_message_complete(self) -> None:
        self._in_body = False
        self._fed_in_vain = _FRUITFUL
        super().on_message_complete()
        if self._closing:
            self._close()
        elif not self.pipeline:
            self._settle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the door has the time
        self._settle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._door.enter(self._visitor, Stage.UNREAD)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._closing:
            self._close()
        else:
            self._settle()

    def _settle(self) -> None:
        """Tell the door where the connection is, from what is still open of it."""
        if self._tls.is_closing():
            stage = Stage.CLOSING
        elif self.flow.write_paused:
            stage = Stage.UNREAD
        elif self.cycle is not None and not self.cycle.response_complete:
            stage = Stage.BODY if self._in_body and not self.pipeline else Stage.ANSWER
        elif self._in_body:
            stage = Stage.BODY
        else:
            stage = Stage.HEADERS if self._in_headers else Stage.IDLE
        self._door.enter(self._visitor, stage)

    def _take_header(self, size: int, number: int) -> None:
        self._header_bytes += size
        self._headers += number
        if self._header_bytes > self._limits.header_bytes or self._headers > self._limits.headers:
            raise Refusal(431, HEADERS_TOO_LARGE)

    def _take(self, size: int) -> None:
        if self._in_body:
            self._visitor.received += size
            self._body_fed += size
            if self._body_fed > self._most_body:
                raise Refusal(413, BODY_TOO_LARGE)
        # The parser has no bounds for a header that does not end, extensions of chunks, what follows the last chunk,
        # and empty lines.
        self._fed_in_vain = 0 if self._fed_in_vain == _FRUITFUL else self._fed_in_vain + size
        if self._fed_in_vain > self._limits.header_bytes:
            raise Refusal(431, HEADERS_TOO_LARGE)

    def _refuse(self, status: int, reason: str) -> None:
        """Say so if nothing else was said or is being said, and close soon."""
        cycle = self.cycle
        if self._closing or self.pipeline or (cycle and cycle.response_started and not cycle.response_complete):
            self._door.end(self._visitor, reason)
            return
        if cycle and not cycle.response_complete:  # the application still waits for the body, and has nothing to say
            cycle.disconnected = True
            cycle.message_event.set()
        self._refused = True
        self._body_fed = 0
        self.transport.write(STATUS_LINE[status] + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        self._door.refused(self._visitor, reason)

    def _abort(self) -> None:
        """At once, and the kernel keeps nothing of it for a peer that does not read."""
        with contextlib.suppress(OSError):
            self._accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._tls.abort()

    def _is_held(self) -> bool:
        return self.flow.read_paused

    def _is_closing(self) -> bool:
        return self._closing or self._tls.is_closing()

    def _close(self) -> None:
        """Close when what was written has gone to the stream below. A body that still comes is read on within its
        bounds: who sends it comes to read its answer only then."""
        self._closing = True
        if self.flow.write_paused or (self._in_body and not self._refused):
            self._settle()
            return
        self._tls.close()
        # TLS would read on until the peer closes, too. So nothing more is read.
        with contextlib.suppress(OSError):
            self._accepted.shutdown(socket.SHUT_RD)
        self._door.enter(self._visitor, Stage.CLOSING)
