"""Traps on their way: from the receiver to events of devices, counts, and polls of what sent them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from haidang_wire.errors import HaidangError
from haidang_wire.report import Event

from haidang_agent.config import TrapsConfig
from haidang_agent.files import read_private, write_private
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.flood import Summary
from haidang_agent.snmp.notifications import Notification, understand
from haidang_agent.snmp.traps import OUTCOMES, Bindings, Receiver
from haidang_agent.snmp.watched import Watched
from haidang_agent.source import Deliver, Findings, instant

log = logging.getLogger(__name__)

ENGINE_FILE = "snmp-engine.json"
_FLUSH_SECONDS = 0.5
_BIND_AGAIN_SECONDS = 2.0
_EVENTS_A_REPORT = 200


class Listener:
    """`run()` listens until cancelled. What it hears of a device is a report `traps:DEVICE`."""

    def __init__(self, config: TrapsConfig, state_dir: Path, interval: float) -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self._config = config
        self._state_dir = state_dir
        self._interval = interval
        self._watched: Mapping[str, Watched] = {}
        self._owners: dict[str, str | None] = {}
        self._summary = Summary()
        self._kinds: dict[tuple[str, str], tuple[int, float]] = {}

    def assign(self, watched: Mapping[str, Watched]) -> None:
        """These devices may be heard of. An address that two of them have is nobody's."""
        self._watched = watched
        self._owners = {}
        for name, each in watched.items():
            for address in {each.device.address, *each.device.trap_addresses}:
                self._owners[address] = None if address in self._owners else name
        self._kinds = {key: value for key, value in self._kinds.items() if key[0] in watched}

    async def run(self, credentials: dict[str, Credential], deliver: Deliver) -> None:
        """Listen with these credentials."""
        engine_id, boots = _engine(self._state_dir)
        receiver = Receiver(
            self._config, credentials, self._owners_get, self._heard, self._dropped, self.counts, boots, engine_id
        )
        said = ""
        while True:
            try:
                await receiver.open()
                break
            except OSError as error:
                text = os.strerror(error.errno or 0)
                if text != said:
                    log.error("no traps at %s:%d: %s", self._config.address, self._config.port, text)
                said = text
                await asyncio.sleep(_BIND_AGAIN_SECONDS)
        try:
            said_at = time.monotonic()
            while True:
                await asyncio.sleep(_FLUSH_SECONDS)
                all_of_them = time.monotonic() - said_at >= self._interval
                if all_of_them:
                    said_at = time.monotonic()
                self._flush(deliver, all_of_them=all_of_them)
        finally:
            receiver.close()

    def _owners_get(self, address: str) -> str | None:
        return self._owners.get(address)

    def _heard(self, device: str, bindings: Bindings) -> None:
        watched = self._watched.get(device)
        if watched is not None:
            self._note(watched, understand(bindings, watched.memory.ports, watched.memory.entity_ports))

    def _dropped(self, device: str) -> None:
        # Nothing of it was read: what it would have said, a poll sees.
        watched = self._watched.get(device)
        if watched is not None:
            self._note(watched, Notification("traps_dropped", ""))

    def _note(self, watched: Watched, said: Notification) -> None:
        key = (watched.device.id, said.kind)
        self._kinds[key] = (self._kinds.get(key, (0, 0.0))[0] + 1, time.time())
        self._summary.add(watched.device.id, said)
        watched.ask()

    def _flush(self, deliver: Deliver, *, all_of_them: bool) -> None:
        events = self._summary.take()
        for device in sorted({name for name, _ in self._kinds} if all_of_them else events):
            if device in self._watched:
                self._deliver(deliver, device, events.get(device, []))

    def _deliver(self, deliver: Deliver, device: str, events: list[Event]) -> None:
        for start in range(0, max(1, len(events)), _EVENTS_A_REPORT):
            now, findings = instant(), Findings(events=events[start : start + _EVENTS_A_REPORT])
            for (name, kind), (count, last) in self._kinds.items():
                if name == device:
                    findings.add("device_traps_total", count, device=device, kind=kind)
                    findings.add("device_trap_timestamp_seconds", round(last, 3), device=device, kind=kind)
            deliver(f"traps:{device}", now, self._interval, findings)


def _engine(state_dir: Path) -> tuple[bytes, int]:
    """Our engine's id and how often it started, which only grows (RFC 3414, section 2.2): devices
    that send informs remember both."""
    file = state_dir / ENGINE_FILE
    try:
        kept = json.loads(read_private(file))
        engine_id, boots = bytes.fromhex(kept["engine_id"]), int(kept["boots"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # Format 5 is octets of our own choice (RFC 3411, SnmpEngineID).
        engine_id, boots = b"\x80\x00\x00\x00\x05" + os.urandom(8), 0
    boots = min(max(boots, 0) + 1, 2**31 - 2)
    try:
        write_private(file, json.dumps({"engine_id": engine_id.hex(), "boots": boots}))
    except HaidangError as error:
        log.warning("%s: after the next start, devices may have to learn our engine again", error)
    return engine_id, boots
