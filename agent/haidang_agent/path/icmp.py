"""ICMP echo (RFC 792, RFC 4443) to several addresses at once, one socket a family."""

from __future__ import annotations

import os
import secrets
import select
import socket
import struct
import time

_SPACING_SECONDS = 0.25
ECHO_REQUEST: dict[int, int] = {socket.AF_INET: 8, socket.AF_INET6: 128}
ECHO_REPLY: dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 129}
_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}


def open_socket(family: int) -> socket.socket:
    """A socket for echoes: the unprivileged kind where the kernel allows it
    (net.ipv4.ping_group_range), else a raw one (CAP_NET_RAW).

    Raises PermissionError when neither is allowed.
    """
    try:
        return socket.socket(family, socket.SOCK_DGRAM, _PROTOCOL[socket.AddressFamily(family)])
    except OSError:
        return socket.socket(family, socket.SOCK_RAW, _PROTOCOL[socket.AddressFamily(family)])


def echo(targets: dict[str, str], count: int, timeout: float) -> dict[str, list[float]]:
    """Send `count` echo requests to each target (name to address or host name).

    Returns the round-trip times in seconds of those answered within `timeout`, by name.
    """
    rounds = _Rounds(count)
    try:
        for name, address in targets.items():
            rounds.add(name, address)
        for number in range(count):
            rounds.send(number)
            rounds.receive(timeout if number == count - 1 else _SPACING_SECONDS)
    finally:
        rounds.close()
    return rounds.answers


class _Rounds:
    def __init__(self, count: int) -> None:
        self.answers: dict[str, list[float]] = {}
        self._count = count
        self._destinations: list[tuple[str, int, tuple[object, ...]]] = []
        self._sockets: dict[int, socket.socket] = {}
        self._waiting: dict[bytes, tuple[str, float, str]] = {}

    def add(self, name: str, address: str) -> None:
        self.answers[name] = []
        try:
            family, _, _, _, destination = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)[0]
        except (OSError, UnicodeError):
            return
        if family not in self._sockets:
            try:
                self._sockets[family] = open_socket(family)
            except PermissionError:
                raise
            except OSError:  # this machine does not speak IPv6: no answer, and no loss of the others'
                return
            self._sockets[family].setblocking(False)
        self._destinations.append((name, family, destination))

    def send(self, number: int) -> None:
        for name, family, destination in self._destinations:
            # A random payload makes each echo its own, whatever the kernel does to identifiers.
            payload = secrets.token_bytes(16)
            packet = echo_packet(family, number, payload)
            self._waiting[payload] = (name, time.perf_counter(), str(destination[0]).partition("%")[0])
            try:
                self._sockets[family].sendto(packet, destination)
            except OSError:  # no route, or the interface is down: not answered
                del self._waiting[payload]

    def receive(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        sockets = list(self._sockets.values())
        while sockets:
            # The spacing between rounds is kept even when all have answered; the last wait is not.
            left = deadline - time.perf_counter()
            if left <= 0 or (not self._waiting and seconds != _SPACING_SECONDS):
                return
            for ready in select.select(sockets, [], [], left)[0]:
                self._take(ready)

    def _take(self, ready: socket.socket) -> None:
        try:
            data, sender = ready.recvfrom(2048)
        except OSError:  # an ICMP error queued on the socket
            return
        now = time.perf_counter()
        if ready.type == socket.SOCK_RAW and ready.family == socket.AF_INET:
            data = data[(data[0] & 0x0F) * 4 :] if data else b""  # the IP header comes along
        if len(data) < 24 or data[0] != ECHO_REPLY[ready.family]:
            return
        waiting = self._waiting.get(data[8:24])
        if waiting and waiting[2] == str(sender[0]).partition("%")[0]:
            del self._waiting[data[8:24]]
            self.answers[waiting[0]].append(now - waiting[1])

    def close(self) -> None:
        for opened in self._sockets.values():
            opened.close()


def echo_packet(family: int, number: int, payload: bytes) -> bytes:
    """An echo request with an even number of octets of payload."""
    header = struct.pack("!BBHHH", ECHO_REQUEST[family], 0, 0, os.getpid() & 0xFFFF, number)
    if family == socket.AF_INET6:  # the kernel fills in ICMPv6's checksum (RFC 3542, section 3.1)
        return header + payload
    return with_checksum(header + payload)


def with_checksum(data: bytes) -> bytes:
    """An ICMP message, its checksum 0 and its length even, with the checksum of RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return data[:2] + struct.pack("!H", ~total & 0xFFFF) + data[4:]
