"""A packet as a system's socket gave it."""

from __future__ import annotations

from typing import NamedTuple


class Arrival(NamedTuple):
    """A packet, its sender, and the kernel's time of it (Unix nanoseconds) and its TTL, or None. `answer_from`
    makes an answer come from the address the packet was sent to, where that was asked for."""

    data: bytes
    sender: tuple[str, int]
    time_ns: int | None
    ttl: int | None
    answer_from: list[tuple[int, int, bytes]]
