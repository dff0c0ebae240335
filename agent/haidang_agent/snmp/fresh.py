"""Whose an engine is and what it said before, over SNMP version 3: nobody who recorded it may say it again, nor as
another device. Devices often share a credential, so a message that is authentic is not yet of its sender's address."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from haidang_agent.snmp.device import Polled

# A message may be so old (RFC 3414, section 2.2.3), and so long the very same one is none.
_WINDOW_SECONDS = 150
_MOST_SEEN = 4096
_LAST_BOOTS = 2**31 - 1
# Who speaks at an address after the engine there was silent for so long, and can't be polled, is its successor.
_GONE_SECONDS = 7 * 86400.0
# A polled time is cut to seconds, and was true some time before it was here.
_POLL_SECONDS = 2


class Repeated(Exception):
    """A message that was heard already."""


class Strange(Exception):
    """A message of an engine that is not the device's, as far as is known."""


@dataclass
class _Engine:
    """An engine's boots and time (RFC 3414, section 2.2.2) as last heard or polled, and when by our steady clock;
    when it was last heard of; and the boots and time until which all was said before our start."""

    engine_id: bytes
    boots: int
    seconds: int
    at: float
    last: float
    before: tuple[int, int] = (-1, -1)
    polled: bool = False


@dataclass
class _Device:
    """The engine at each address of a device, and what was heard of it lately."""

    credential: str
    engines: dict[str, _Engine] = field(default_factory=dict)
    seen: OrderedDict[bytes, float] = field(default_factory=OrderedDict)

    def find(self, engine_id: bytes) -> _Engine | None:
        return next((each for each in self.engines.values() if each.engine_id == engine_id), None)


class Fresh:
    """Of each device: its engines, how far their times are, and what it said lately. `kin` maps names of credentials
    to one name for those with the same user and key. `unkept` is whether something was heard that `kept` has not said.
    """

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}
        self._began = time.monotonic()
        self.kin: dict[str, str] = {}
        self.unkept = False

    def note_poll(self, device: str, credential: str, address: str, said: Polled) -> None:
        """The device answered at its address with an engine's id and time: the engine there is this one, and what is
        known of its time is what it says."""
        mine = self._of(device, credential)
        engine = mine.engines.get(address)
        if engine is None or engine.engine_id != said.engine_id:
            for other in self._kin_of(device, credential):
                # What was only heard is another's no longer: this is the stronger proof.
                other.engines = {
                    where: each
                    for where, each in other.engines.items()
                    if each.polled or each.engine_id != said.engine_id
                }
            found = mine.find(said.engine_id)
            engine = found or _Engine(said.engine_id, said.boots, said.seconds, said.at, said.at)
            mine.engines[address] = engine
        start = (said.boots, int(said.seconds - (said.at - self._began)) - _POLL_SECONDS)
        expected = engine.seconds + said.at - engine.at - _WINDOW_SECONDS
        # An engine may begin anew without counting it, or with another count.
        back = (said.boots, said.seconds) < (engine.boots, expected)
        engine.before = start if back else max(engine.before, start)
        engine.boots, engine.seconds, engine.at, engine.last = said.boots, said.seconds, said.at, said.at
        engine.polled = True

    def is_new(self, device: str, credential: str, address: str, engine_id: bytes, boots: int, seconds: int) -> bool:
        """Whether a message of a sending engine, whose authenticity was verified, is not of an earlier time (RFC 3414,
        section 3.2.7 b). The first engine that is heard at an address is the device's there. Raises Strange."""
        mine, now = self._of(device, credential), time.monotonic()
        engine = mine.find(engine_id)
        if boots >= _LAST_BOOTS:
            return False
        if engine is None:
            here = mine.engines.get(address)
            if self.is_anothers(device, credential, engine_id) or (here and now - here.last < _GONE_SECONDS):
                raise Strange
            mine.engines[address] = _Engine(engine_id, boots, seconds, now, now)
            self.unkept = True
            return True
        if boots < engine.boots or (boots, seconds) <= engine.before:
            return False
        if boots == engine.boots and seconds < engine.seconds + now - engine.at - _WINDOW_SECONDS:
            return False
        if (boots, seconds) > (engine.boots, engine.seconds):
            engine.boots, engine.seconds, engine.at = boots, seconds, now
        engine.last, self.unkept = now, True
        return True

    def is_anothers(self, device: str, credential: str, engine_id: bytes) -> bool:
        """Whether an engine is known as that of another device whose messages this one's key verifies too."""
        return any(other.find(engine_id) for other in self._kin_of(device, credential))

    def note(self, device: str, credential: str, datagram: bytes) -> None:
        """Remember it. Raises Repeated, whichever device said it."""
        mine, now = self._of(device, credential), time.monotonic()
        seen = mine.seen
        while seen and (len(seen) >= _MOST_SEEN or now - next(iter(seen.values())) > 2 * _WINDOW_SECONDS):
            seen.popitem(last=False)
        digest = hashlib.sha256(datagram).digest()[:16]
        if digest in seen or any(digest in other.seen for other in self._kin_of(device, credential)):
            raise Repeated
        seen[digest] = now

    def _of(self, device: str, credential: str) -> _Device:
        found = self._devices.setdefault(device, _Device(credential))
        found.credential = credential
        return found

    def _kin_of(self, device: str, credential: str) -> Iterator[_Device]:
        key = self.kin.get(credential, credential)
        for name, each in self._devices.items():
            if name != device and self.kin.get(each.credential, each.credential) == key:
                yield each

    def keep(self, devices: Collection[str]) -> None:
        """Forget all others."""
        self._devices = {name: each for name, each in self._devices.items() if name in devices}

    def kept(self) -> dict[str, Any]:
        """The engines' times now, for the next start."""
        now, self.unkept = time.monotonic(), False
        return {
            name: {
                "credential": device.credential,
                "engines": {
                    address: [
                        each.engine_id.hex(), each.boots, int(each.seconds + now - each.at), int(now - each.last),
                        each.polled,
                    ]
                    for address, each in device.engines.items()
                },
            }
            for name, device in self._devices.items()
            if device.engines
        }  # fmt: skip

    @classmethod
    def of(cls, kept: Any) -> Fresh:
        """Out of what was kept; nothing of it where it is damaged."""
        fresh, now = cls(), time.monotonic()
        try:
            for name, device in kept.items():
                mine = fresh._of(str(name), str(device["credential"]))
                for address, (engine_id, boots, seconds, silent, polled) in device["engines"].items():
                    engine_id, until = bytes.fromhex(engine_id), (int(boots), int(seconds))
                    mine.engines[str(address)] = mine.find(engine_id) or _Engine(
                        engine_id, *until, now, now - int(silent), until, bool(polled)
                    )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return cls()
        return fresh
