"""Sockets that say when a packet came, by the kernel's clock where it tells, and with which TTL."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from haidang_agent.platform.arrival import Arrival
from haidang_agent.platform.system import note_arrivals, receive

_RECEIVE_BYTES = 2048
# Room for the answers of a hundredth of a second, even when a thousand paths come back at once.
_BUFFER_BYTES = 4 * 1024 * 1024


def prepare(opened: socket.socket, *, answers: bool = False) -> socket.socket:
    """Ask for times and TTLs where the system knows how, and don't block; `answers`: for the address each packet
    was sent to as well. A router has many, and an answer from another is not recognised."""
    opened.setblocking(False)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    note_arrivals(opened, answers=answers)
    return opened


def arrivals(opened: socket.socket, most: int) -> Iterator[Arrival]:
    """What came, at most so many."""
    for _ in range(most):
        try:
            arrival = receive(opened, _RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error for something sent earlier: the packet is lost, as it will show
            continue
        yield arrival
