"""Connections with an end. A time limit of each operation is none of the whole: who hands on a byte now and then, or
whose name has many addresses, would hold for hours whoever waits for the next one."""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import time
from typing import Any

# A name may have many addresses; more than this are not tried.
_MOST_ADDRESSES = 8


class _Limited:
    """Time limits of a socket: `patience` seconds for each operation, and `ends` (steady clock) for all of them."""

    patience: float = 15.0
    ends: float = math.inf

    def hurry(self) -> None:
        """Set the time limit of the next operation. Raises TimeoutError when none is left."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        self.settimeout(min(self.patience, left))  # type: ignore[attr-defined]  # a socket's


class _Plain(_Limited, socket.socket):
    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.hurry()
        return super().recv_into(*arguments, **named)

    def sendall(self, *arguments: Any, **named: Any) -> None:
        self.hurry()
        super().sendall(*arguments, **named)


class Tls(_Limited, ssl.SSLSocket):
    """What `wrap` makes."""

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.hurry()
        return super().recv_into(*arguments, **named)

    def send(self, *arguments: Any, **named: Any) -> int:  # sendall() comes here for each piece
        self.hurry()
        return super().send(*arguments, **named)


def dial(host: str, port: int, patience: float, ends: float) -> _Plain:
    """A TCP connection to the first address of a host that takes one. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from error
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, protocol, _, address in found[:_MOST_ADDRESSES]:
        opened = None
        try:
            opened = _Plain(family, kind, protocol)
            opened.patience, opened.ends = patience, ends
            opened.hurry()
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
        except OSError as error:
            failure = error
            if opened is not None:
                opened.close()
    raise failure


def tunnel(opened: _Plain, host: str, port: int) -> None:
    """Ask a proxy for a way to a host (RFC 9110, section 9.3.6). Raises OSError, HTTPException."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    opened.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
    response = http.client.HTTPResponse(opened, method="CONNECT")
    try:
        response.begin()
        if response.status != 200:
            raise OSError(f"the proxy gives no way to {target}: {response.status} {response.reason[:100]!r}")
    finally:
        response.close()


def wrap(opened: _Plain, context: ssl.SSLContext, host: str) -> Tls:
    """TLS over it. Raises OSError (ssl.SSLError)."""
    patience, ends = opened.patience, opened.ends
    context.sslsocket_class = Tls
    opened.hurry()
    wrapped = context.wrap_socket(opened, server_hostname=host)
    assert isinstance(wrapped, Tls)
    wrapped.patience, wrapped.ends = patience, ends
    return wrapped
