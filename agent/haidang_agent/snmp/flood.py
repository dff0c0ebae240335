"""What keeps a flood of traps from becoming ours: how many are read, and how many events they make."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from haidang_wire.report import Event

from haidang_agent.bucket import Bucket
from haidang_agent.snmp.notifications import Notification

_WINDOW_SECONDS = 10.0
_MAX_REPEATING = 1000
# One device may use this share of what all may, so that one that raves hides no other.
_SHARE = 0.25


class Gate:
    """Limits how many datagrams are read: of all devices together, and of each."""

    def __init__(self, a_second: float) -> None:
        self._share = a_second * _SHARE
        self._all = Bucket(a_second)
        self._each: dict[str, Bucket] = {}

    def keep(self, devices: Collection[str]) -> None:
        """Forget all others."""
        self._each = {device: bucket for device, bucket in self._each.items() if device in devices}

    def admits(self, device: str) -> bool:
        """Devices are those of the assignment: there are no more buckets than that."""
        if device not in self._each:
            self._each[device] = Bucket(self._share)
        return self._each[device].take() and self._all.take()


@dataclass
class _Repeating:
    since: float
    last: Notification
    more: int = 0


@dataclass
class Summary:
    """Events of notifications: the first of a kind, device and interface at once, what repeats it
    within ten seconds in one event behind it that counts them."""

    _repeating: dict[tuple[str, str, str], _Repeating] = field(default_factory=dict)
    _ready: dict[str, list[Event]] = field(default_factory=dict)

    def add(self, device: str, said: Notification) -> bool:
        """Whether it is kept: as an event, or in a count."""
        key = (device, said.kind, said.interface)
        repeating = self._repeating.get(key)
        if repeating:
            repeating.more, repeating.last = repeating.more + 1, said
            return True
        if len(self._repeating) >= _MAX_REPEATING:
            return False
        self._repeating[key] = _Repeating(time.monotonic(), said)
        self._ready.setdefault(device, []).append(_event(device, said, 1))
        return True

    def take(self) -> dict[str, list[Event]]:
        """The events that are ready, by device."""
        now = time.monotonic()
        for key, repeating in list(self._repeating.items()):
            if now - repeating.since >= _WINDOW_SECONDS:
                del self._repeating[key]
                if repeating.more:
                    event = _event(key[0], repeating.last, repeating.more)
                    self._ready.setdefault(key[0], []).append(event)
        ready, self._ready = self._ready, {}
        return ready


def _event(device: str, said: Notification, count: int) -> Event:
    body = {
        "device": device, "interface": said.interface, "trap": said.trap, "count": count, "values": said.values,
    }  # fmt: skip
    return Event(said.kind, time.time(), body)
