"""Sockets that say when a packet came, by the kernel's clock where it tells, and with which TTL."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

# Linux's numbers (asm-generic/socket.h, linux/in.h, linux/in6.h), which Python does not name.
_SO_TIMESTAMPNS = 35
_IP_RECVTTL, _IP_TTL = 12, 2
_IPV6_RECVHOPLIMIT, _IPV6_HOPLIMIT = 51, 52
_TIMESPEC = struct.Struct("@ll")
_INT = struct.Struct("@i")
_RECEIVE_BYTES = 2048
_ANCILLARY_BYTES = 128
# Room for the answers of a hundredth of a second, even when a thousand paths come back at once.
_BUFFER_BYTES = 4 * 1024 * 1024


class Arrival(NamedTuple):
    """A packet, its sender, and the kernel's time of it (Unix nanoseconds) and its TTL, or None."""

    data: bytes
    sender: tuple[str, int]
    time_ns: int | None
    ttl: int | None


def prepare(opened: socket.socket) -> socket.socket:
    """Ask for times and TTLs where the system knows how, and don't block."""
    opened.setblocking(False)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    if sys.platform == "linux":
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
    return opened


def arrivals(opened: socket.socket, most: int) -> Iterator[Arrival]:
    """What came, at most so many."""
    for _ in range(most):
        try:
            data, ancillary, _, sender = opened.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error for something sent earlier: the packet is lost, as it will show
            continue
        time_ns = ttl = None
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, rest = _TIMESPEC.unpack_from(value)
                time_ns = seconds * 1_000_000_000 + rest
            elif kind in (_IP_TTL, _IPV6_HOPLIMIT):
                ttl = _INT.unpack_from(value)[0]
        yield Arrival(data, sender, time_ns, ttl)
