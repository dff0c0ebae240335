"""A STAMP session-reflector (RFC 8762, section 4.3), stateful: whoever measures the path to this machine
learns how long packets take and in which direction they are lost."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from pathlib import Path

from haidang_wire.errors import ConfigError
from haidang_wire.sources import REFLECTOR

from haidang_agent.bucket import Bucket
from haidang_agent.config import ReflectorConfig
from haidang_agent.path import stamp
from haidang_agent.path.keys import load_keys
from haidang_agent.path.sockets import arrivals, prepare
from haidang_agent.platform.arrival import Arrival
from haidang_agent.platform.system import answer
from haidang_agent.schedule.source import Deliver, Findings, instant

log = logging.getLogger(__name__)

_MOST_SESSIONS = 1000
_READ_AT_ONCE = 100

Session = tuple[str, int, bytes]  # address, port, session id (RFC 8972, section 3)


class Reflector:
    """A standing source."""

    name = REFLECTOR

    def __init__(self, config: ReflectorConfig) -> None:
        """Raises ConfigError for networks, a key or an address that can't be used."""
        self.config = config
        self.failures = {"error": 0, "timeout": 0}
        self.duration = 0.0
        self._counts = {"reflected": 0, "refused": 0, "too_many": 0}
        self._sessions: OrderedDict[Session, int] = OrderedDict()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        try:
            self._allowed = [ipaddress.ip_network(each) for each in config.allowed.split()]
            self._family = socket.AF_INET6 if ipaddress.ip_address(config.address).version == 6 else socket.AF_INET
        except ValueError as error:
            raise ConfigError(f"sources.reflector: {error}") from error
        self._key = b""
        if config.key_name:
            keys = load_keys(Path(config.keys_file))
            if config.key_name not in keys:
                raise ConfigError(f"has no key {config.key_name!r}", where=config.keys_file)
            self._key = keys[config.key_name]

    def collect(self) -> Findings:
        """The counts."""
        findings = Findings()
        for outcome, count in self._counts.items():
            findings.add("reflector_packets_total", count, outcome=outcome)
        return findings

    async def run(self, deliver: Deliver) -> None:
        """Reflect until cancelled. Raises OSError when the port can't be had."""
        loop = asyncio.get_running_loop()
        with socket.socket(self._family, socket.SOCK_DGRAM) as opened:
            opened.bind((self.config.address, self.config.port))
            prepare(opened, answers=True)
            loop.add_reader(opened.fileno(), self._reflect, opened)
            try:
                while True:
                    deliver(self.name, instant(), self.config.interval_seconds, self.collect())
                    await asyncio.sleep(self.config.interval_seconds)
            finally:
                loop.remove_reader(opened.fileno())

    def _reflect(self, opened: socket.socket) -> None:
        for arrival in arrivals(opened, _READ_AT_ONCE):
            outcome, reply = self._answer(arrival)
            self._counts[outcome] += 1
            if reply:
                with contextlib.suppress(OSError):  # the way back is gone: the sender counts it as lost, which it is
                    answer(opened, arrival, reply)

    def _answer(self, arrival: Arrival) -> tuple[str, bytes]:
        address = arrival.sender[0].partition("%")[0]
        if not any(ipaddress.ip_address(address) in network for network in self._allowed):
            return "refused", b""
        if not self._bucket(address).take():
            return "too_many", b""
        if stamp.sender_sequence(arrival.data, self._key) is None:
            return "refused", b""
        number = self._next((address, arrival.sender[1], stamp.session_id(arrival.data, self._key)))
        now = time.time_ns()
        received = arrival.time_ns if arrival.time_ns is not None and arrival.time_ns <= now else now
        return "reflected", stamp.answer(arrival.data, number, received, now, arrival.ttl or 0, self._key)

    def _next(self, session: Session) -> int:
        """The session's next packet number: it counts for itself, so that the sender can tell directions."""
        number = self._sessions.pop(session, 0)
        self._sessions[session] = number + 1 & 0xFFFFFFFF
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return number

    def _bucket(self, address: str) -> Bucket:
        bucket = self._buckets.pop(address, None) or Bucket(self.config.a_second)
        self._buckets[address] = bucket
        if len(self._buckets) > _MOST_SESSIONS:
            self._buckets.popitem(last=False)
        return bucket
