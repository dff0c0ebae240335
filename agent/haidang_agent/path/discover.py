"""The route to an address and its MTU, as tracepath(8) finds them: without rights, from the errors the
kernel queues for a UDP socket (ip(7), IP_RECVERR). The MTU is proven by echoes where errors are not let through.

Linux alone: no other system queues errors so.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from dataclasses import dataclass

from haidang_agent.path import icmp

_MOST_HOPS = 30
_SILENT_HOPS = 4
_ANSWER_SECONDS = 1.0
_TRIES = 2
_FIRST_PORT = 33434
_LARGEST_MTU, _SMALLEST_MTU = 1500, {socket.AF_INET: 576, socket.AF_INET6: 1280}
_UDP_HEADER = {socket.AF_INET: 28, socket.AF_INET6: 48}
_EMSGSIZE = 90
_TIME_EXCEEDED = {socket.AF_INET: (11,), socket.AF_INET6: (3,)}
# linux/in.h and linux/in6.h, which Python does not name.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_MSG_ERRQUEUE = 0x2000
_EXTENDED_ERROR = struct.Struct("@IBBBBII")


@dataclass(frozen=True)
class Route:
    """The addresses of the routers on the way, empty for one that does not say; the path MTU in bytes,
    None where nothing proves it; whether the end itself was seen."""

    hops: tuple[str, ...]
    mtu_bytes: int | None
    reached: bool


def discover(address: str) -> Route:
    """Find the route. Takes up to some ten seconds. Raises OSError when nothing can be sent at all."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    hops: list[str] = []
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        _dont_fragment(opened)
        opened.setsockopt(*_option(family, _IP_RECVERR, _IPV6_RECVERR), 1)
        opened.setblocking(False)
        mtu, reached = _LARGEST_MTU, False
        for ttl in range(1, _MOST_HOPS + 1):
            hop, mtu, reached = _ask(opened, address, ttl, mtu)
            if reached:
                break
            hops.append(hop)
            if len(hops) >= _SILENT_HOPS and not any(hops[-_SILENT_HOPS:]):
                break
    while hops and not hops[-1]:
        hops.pop()
    return Route(tuple(hops), _proven_mtu(address, family, mtu), reached)


def _option(family: int, for_ip: int, for_ipv6: int) -> tuple[int, int]:
    return (socket.IPPROTO_IPV6, for_ipv6) if family == socket.AF_INET6 else (socket.IPPROTO_IP, for_ip)


def _dont_fragment(opened: socket.socket) -> None:
    # Set DF and don't let what the kernel believes of the path's MTU get in the way.
    opened.setsockopt(*_option(opened.family, _IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER), _PROBE)


def _ask(opened: socket.socket, address: str, ttl: int, mtu: int) -> tuple[str, int, bool]:
    """(router at this distance or empty, MTU so far, whether the end answered)."""
    family = opened.family
    opened.setsockopt(*_option(family, socket.IP_TTL, socket.IPV6_UNICAST_HOPS), ttl)
    tries = 0
    while tries < _TRIES:
        try:
            opened.sendto(bytes(mtu - _UDP_HEADER[family]), (address, _FIRST_PORT + ttl))
        except OSError as error:
            if error.errno != _EMSGSIZE and not _errors(opened):
                raise
        smaller = None
        deadline = time.monotonic() + _ANSWER_SECONDS
        while smaller is None and (left := deadline - time.monotonic()) > 0:
            select.select([], [], [opened], left)
            for number, kind, code, info, offender in _errors(opened):
                if number == _EMSGSIZE and _SMALLEST_MTU[family] <= info < mtu:
                    smaller = info
                elif kind in _TIME_EXCEEDED[family]:
                    return offender, mtu, False
                elif number != _EMSGSIZE and offender:
                    return offender, mtu, offender == address and code in (3, 4)
        if smaller is None:
            tries += 1
        else:
            mtu = smaller
    return "", mtu, False


def _errors(opened: socket.socket) -> list[tuple[int, int, int, int, str]]:
    """(errno, ICMP type, ICMP code, info, who said it) of each queued error."""
    found: list[tuple[int, int, int, int, str]] = []
    while True:
        try:
            _, ancillary, _, _ = opened.recvmsg(64, 512, _MSG_ERRQUEUE)
        except OSError:
            return found
        for level, kind, value in ancillary:
            if (level, kind) != _option(opened.family, _IP_RECVERR, _IPV6_RECVERR):
                continue
            number, _, icmp_type, code, _, info, _ = _EXTENDED_ERROR.unpack_from(value)
            found.append((number, icmp_type, code, info, _offender(value[_EXTENDED_ERROR.size :])))


def _offender(address: bytes) -> str:
    if len(address) < 8:
        return ""
    family = struct.unpack_from("@H", address)[0]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[4:8])
    if family == socket.AF_INET6 and len(address) >= 24:
        return socket.inet_ntop(socket.AF_INET6, address[8:24])
    return ""


def _proven_mtu(address: str, family: socket.AddressFamily, at_most: int) -> int | None:
    """The largest size that comes back, at most so much; None when not even a small one does."""
    with icmp.open_socket(family) as opened:
        _dont_fragment(opened)
        opened.setblocking(False)
        smallest = _SMALLEST_MTU[family]
        if _comes_back(opened, address, at_most):
            return at_most
        if not _comes_back(opened, address, smallest):
            return None
        good, bad = smallest, at_most
        while bad - good > 1:
            middle = (good + bad) // 2
            if _comes_back(opened, address, middle):
                good = middle
            else:
                bad = middle
        return good


def _comes_back(opened: socket.socket, address: str, size: int) -> bool:
    family = opened.family
    for _ in range(_TRIES):
        payload = os.urandom(16).ljust(size - _UDP_HEADER[family], b"\0")
        packet = icmp.echo_packet(family, 0, payload + b"\0" * (len(payload) % 2))[: 8 + len(payload)]
        try:
            opened.sendto(packet, (address, 0))
        except OSError:  # larger than the interface takes
            return False
        deadline = time.monotonic() + _ANSWER_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            select.select([opened], [], [], left)
            try:
                if payload[:16] in opened.recv(2048):
                    return True
            except OSError:
                continue
    return False
