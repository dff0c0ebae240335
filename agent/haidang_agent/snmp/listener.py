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
from haidang_wire.sources import TRAPS

from haidang_agent.config import TrapsConfig
from haidang_agent.platform.files import read_private, write_private
from haidang_agent.schedule.source import Deliver, Findings, instant
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.device import Polled
from haidang_agent.snmp.flood import Summary
from haidang_agent.snmp.fresh import Fresh
from haidang_agent.snmp.notifications import Notification, understand
from haidang_agent.snmp.traps import OUTCOMES, Bindings, Receiver, Sender
from haidang_agent.snmp.watched import Watched

log = logging.getLogger(__name__)

ENGINE_FILE = "snmp-engine.json"
_FLUSH_SECONDS = 0.5
_BIND_AGAIN_SECONDS = 2.0
_EVENTS_A_REPORT = 200
# What devices said is kept for the next start so often, and when listening ends.
_KEEP_SECONDS = 600.0
# And so soon once one was heard: who ends this process in between hears it again.
_KEEP_HEARD_SECONDS = 5.0


class Listener:
    """`run()` listens until cancelled. What it hears of a device is a report `traps:DEVICE`."""

    def __init__(self, config: TrapsConfig, state_dir: Path, interval: float) -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self._config = config
        self._state_dir = state_dir
        self._interval = interval
        self._watched: Mapping[str, Watched] = {}
        self._owners: dict[str, str | None] = {}
        self._receiver: Receiver | None = None
        self._fresh = Fresh()
        self._polled: dict[str, Polled] = {}  # what was told of each device
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
        if self._receiver:
            self._receiver.keep(watched)

    async def run(self, credentials: dict[str, Credential], deliver: Deliver) -> None:
        """Listen with these credentials."""
        engine = _Engine(self._state_dir)
        self._receiver = receiver = Receiver(
            self._config, credentials, self._sender, self._heard, self._dropped, self.counts, engine.boots,
            engine.engine_id, engine.fresh, self._strange,
        )  # fmt: skip
        self._fresh, self._polled = engine.fresh, {}
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
            said_at = kept_at = durable_at = time.monotonic()
            while True:
                await asyncio.sleep(_FLUSH_SECONDS)
                for watched in self._watched.values():
                    self._note_poll(watched)
                now = time.monotonic()
                durable = now - durable_at >= _KEEP_SECONDS
                if durable or (self._fresh.unkept and now - kept_at >= _KEEP_HEARD_SECONDS):
                    engine.keep(durable=durable)
                    kept_at, durable_at = now, now if durable else durable_at
                all_of_them = time.monotonic() - said_at >= self._interval
                if all_of_them:
                    said_at = time.monotonic()
                self._flush(deliver, all_of_them=all_of_them)
        finally:
            self._receiver = None
            receiver.close()
            engine.keep()

    def _sender(self, address: str) -> Sender | None:
        watched = self._watched.get(self._owners.get(address) or "")
        if watched is None:
            return None
        self._note_poll(watched)
        return Sender(watched.device.id, watched.device.credential)

    def _note_poll(self, watched: Watched) -> None:
        """What a poll learnt of a device's engine since this was last asked."""
        device, said = watched.device, watched.memory.engine
        if said is not None and self._polled.get(device.id) is not said:
            self._polled[device.id] = said
            self._fresh.note_poll(device.id, device.credential, device.address, said)

    def _heard(self, device: str, bindings: Bindings) -> None:
        watched = self._watched.get(device)
        if watched is not None:
            self._note(watched, understand(bindings, watched.memory.ports, watched.memory.entity_ports))

    def _strange(self, device: str) -> None:
        # It may have been replaced: a poll says which engine it is now.
        watched = self._watched.get(device)
        if watched is not None:
            watched.ask()

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
            deliver(f"{TRAPS}:{device}", now, self._interval, findings)


class _Engine:
    """Our engine's id and how often it started, which only grows (RFC 3414, section 2.2): devices that send informs
    remember both. And the same of theirs, so that nothing they said before our start is believed after it."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / ENGINE_FILE
        try:
            kept = json.loads(read_private(self._file))
            self.engine_id, boots = bytes.fromhex(kept["engine_id"]), int(kept["boots"])
            self.fresh = Fresh.of(kept.get("devices", {}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            # Format 5 is octets of our own choice (RFC 3411, SnmpEngineID).
            self.engine_id, boots, self.fresh = b"\x80\x00\x00\x00\x05" + os.urandom(8), 0, Fresh()
        self.boots = min(max(boots, 0) + 1, 2**31 - 2)
        self.keep()

    def keep(self, *, durable: bool = True) -> None:
        """Keep engine, boots and what was heard on disk, for the next start."""
        kept = {"engine_id": self.engine_id.hex(), "boots": self.boots, "devices": self.fresh.kept()}
        try:
            write_private(self._file, json.dumps(kept), durable=durable)
        except HaidangError as error:
            log.warning("%s: after the next start, devices may have to learn our engine again", error)
