"""Linux: when a packet came by the kernel's clock, with which TTL, to which address (ip(7), ipv6(7), socket(7))."""

from __future__ import annotations

import socket
import struct

from haidang_agent.platform.arrival import Arrival

# asm-generic/socket.h, linux/in.h and linux/in6.h, which Python does not name.
_SO_TIMESTAMPNS = 35
_IP_RECVTTL, _IP_TTL = 12, 2
_IPV6_RECVHOPLIMIT, _IPV6_HOPLIMIT = 51, 52
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_IN_PKTINFO = struct.Struct("@i4s4s")  # interface, source to use, destination that was in the header
_IN6_PKTINFO = struct.Struct("@16sI")  # address, interface
_LINK_LOCAL = b"\xfe\x80"
_TIMESPEC = struct.Struct("@ll")
_INT = struct.Struct("@i")
_ANCILLARY_BYTES = 128


def note_arrivals(opened: socket.socket, *, answers: bool) -> None:
    """Ask for times and TTLs; `answers`: for the address each packet was sent to as well."""
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
    if answers:
        where = (socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO), (socket.IPPROTO_IP, _IP_PKTINFO)
        opened.setsockopt(*where[opened.family == socket.AF_INET], 1)


def receive(opened: socket.socket, most_bytes: int) -> Arrival:
    """One packet. Raises BlockingIOError when there is none, OSError for an ICMP error."""
    data, ancillary, _, sender = opened.recvmsg(most_bytes, _ANCILLARY_BYTES)
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
    return Arrival(data, sender, time_ns, ttl, answer_from)


def answer(opened: socket.socket, arrival: Arrival, reply: bytes) -> None:
    """Send a reply to whom a packet came from, from the address it was sent to. Raises OSError."""
    opened.sendmsg([reply], arrival.answer_from, 0, arrival.sender)
