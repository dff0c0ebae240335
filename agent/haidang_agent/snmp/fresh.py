"""What a device said before, over SNMP version 3: nobody who recorded it may say it again."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

# A message may be so old (RFC 3414, section 2.2.3), and so long the very same one is none.
_WINDOW_SECONDS = 150
_MOST_SEEN = 4096
_ENGINES_A_DEVICE = 2
_LAST_BOOTS = 2**31 - 1


class Repeated(Exception):
    """A message that was heard already."""


@dataclass
class _Clock:
    """An engine's boots and time (RFC 3414, section 2.2.2), as last heard, and when by our steady clock."""

    boots: int
    seconds: int
    at: float


@dataclass
class _Heard:
    clocks: OrderedDict[bytes, _Clock] = field(default_factory=OrderedDict)
    seen: OrderedDict[bytes, float] = field(default_factory=OrderedDict)


class Fresh:
    """Of each device: how far its engines' times are, and what it said lately."""

    def __init__(self) -> None:
        self._devices: dict[str, _Heard] = {}

    def is_new(self, device: str, engine_id: bytes, boots: int, seconds: int, polled_seconds: float | None) -> bool:
        """Whether a message of a sending engine, whose authenticity was verified, is not of an earlier time (RFC 3414,
        section 3.2.7 b). An engine that does not count its boots is believed again where the device's own engine time,
        as polled, is that of the message."""
        clocks = self._devices.setdefault(device, _Heard()).clocks
        known, now = clocks.get(engine_id), time.monotonic()
        if boots >= _LAST_BOOTS or (known and boots < known.boots):
            return False
        if known and boots == known.boots:
            if seconds < known.seconds + now - known.at - _WINDOW_SECONDS:
                if polled_seconds is None or abs(seconds - polled_seconds) > _WINDOW_SECONDS:
                    return False
            elif seconds <= known.seconds:
                return True
        clocks[engine_id] = _Clock(boots, seconds, now)
        clocks.move_to_end(engine_id)
        if len(clocks) > _ENGINES_A_DEVICE:
            clocks.popitem(last=False)
        return True

    def note(self, device: str, datagram: bytes) -> None:
        """Remember it. Raises Repeated."""
        seen, now = self._devices.setdefault(device, _Heard()).seen, time.monotonic()
        while seen and (len(seen) >= _MOST_SEEN or now - next(iter(seen.values())) > 2 * _WINDOW_SECONDS):
            seen.popitem(last=False)
        digest = hashlib.sha256(datagram).digest()[:16]
        if digest in seen:
            raise Repeated
        seen[digest] = now

    def keep(self, devices: Collection[str]) -> None:
        """Forget all others."""
        self._devices = {name: heard for name, heard in self._devices.items() if name in devices}

    def kept(self) -> dict[str, dict[str, list[int]]]:
        """The engines' times now, for the next start: device → engine id → [boots, time]."""
        now = time.monotonic()
        return {
            device: {
                engine_id.hex(): [clock.boots, int(clock.seconds + now - clock.at)]
                for engine_id, clock in heard.clocks.items()
            }
            for device, heard in self._devices.items()
            if heard.clocks
        }

    @classmethod
    def of(cls, kept: Any) -> Fresh:
        """Out of what was kept; nothing of it where it is damaged."""
        fresh, now = cls(), time.monotonic()
        try:
            for device, engines in kept.items():
                for engine_id, (boots, seconds) in engines.items():
                    clock = _Clock(int(boots), int(seconds), now)
                    fresh._devices.setdefault(str(device), _Heard()).clocks[bytes.fromhex(engine_id)] = clock
        except (AttributeError, TypeError, ValueError, OverflowError):
            return cls()
        return fresh
