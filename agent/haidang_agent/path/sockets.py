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
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_IN_PKTINFO = struct.Struct("@i4s4s")  # interface, source to use, destination that was in the header
_IN6_PKTINFO = struct.Struct("@16sI")  # address, interface
_LINK_LOCAL = b"\xfe\x80"
_TIMESPEC = struct.Struct("@ll")
_INT = struct.Struct("@i")
_RECEIVE_BYTES = 2048
_ANCILLARY_BYTES = 128
# Room for the answers of a hundredth of a second, even when a thousand paths come back at once.
_BUFFER_BYTES = 4 * 1024 * 1024


class Arrival(NamedTuple):
    """A packet, its sender, and the kernel's time of it (Unix nanoseconds) and its TTL, or None. `answer_from`
    makes sendmsg() answer from the address the packet was sent to, where prepare() asked for it."""

    data: bytes
    sender: tuple[str, int]
    time_ns: int | None
    ttl: int | None
    answer_from: list[tuple[int, int, bytes]]


def prepare(opened: socket.socket, *, answers: bool = False) -> socket.socket:
    """Ask for times and TTLs where the system knows how, and don't block; `answers`: for the address each packet
    was sent to as well. A router has many, and an answer from another is not recognised."""
    opened.setblocking(False)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    if sys.platform == "linux":
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        if answers:
            where = (socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO), (socket.IPPROTO_IP, _IP_PKTINFO)
            opened.setsockopt(*where[opened.family == socket.AF_INET], 1)
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
        answer_from: list[tuple[int, int, bytes]] = []
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, rest = _TIMESPEC.unpack_from(value)
                time_ns = seconds * 1_000_000_000 + rest
            elif kind in (_IP_TTL, _IPV6_HOPLIMIT):
                ttl = _INT.unpack_from(value)[0]
            elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                _, _, ours = _IN_PKTINFO.unpack_from(value)
                answer_from = [(level, kind, _IN_PKTINFO.pack(0, ours, ours))]
            elif level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
                address, interface = _IN6_PKTINFO.unpack_from(value)
                # Only a link-local address needs its interface: others are routed.
                interface = interface if address.startswith(_LINK_LOCAL) else 0
                answer_from = [(level, kind, _IN6_PKTINFO.pack(address, interface))]
        yield Arrival(data, sender, time_ns, ttl, answer_from)
