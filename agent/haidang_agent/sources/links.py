"""Links of this machine as they go down and come up: the kernel says so at once (rtnetlink(7)).

The source `host` counts interfaces now and then; who has to tell a cut fiber from a silent router can't wait.
Linux alone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator

from haidang_wire.report import Event
from haidang_wire.sources import LINKS

from haidang_agent.config import LinksConfig
from haidang_agent.schedule.source import Deliver, Findings, instant

_RTMGRP_LINK = 1
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_IFLA_IFNAME = 3
_IFF_UP, _IFF_RUNNING, _IFF_LOOPBACK = 0x1, 0x40, 0x8
_MESSAGE = struct.Struct("@IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("@BxHiII")  # ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("@HH")  # rtattr: length, type
_RECEIVE_BYTES = 65536


class Links:
    """A standing source."""

    name = LINKS

    def __init__(self, device: str, config: LinksConfig) -> None:
        self.config = config
        self.failures = {"error": 0, "timeout": 0}
        self.duration = 0.0
        self._device = device
        self._known: dict[str, tuple[bool, bool]] = {}

    def collect(self) -> Findings:
        """Nothing: what is, `host` says; this says what happens."""
        return Findings()

    async def run(self, deliver: Deliver) -> None:
        """Listen until cancelled. Raises OSError where the kernel has no rtnetlink."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as opened:
            opened.bind((0, _RTMGRP_LINK))
            opened.setblocking(False)
            while True:
                data = await loop.sock_recv(opened, _RECEIVE_BYTES)
                heard, events = instant(), self._events(data)
                if events:
                    deliver(self.name, heard, self.config.interval_seconds, Findings(events=events))

    def _events(self, data: bytes) -> list[Event]:
        events = []
        for name, admin_up, up in links(data):
            before = self._known.get(name)
            self._known[name] = (admin_up, up)
            # The first message of a link tells a change too: the kernel sends none without one.
            if before != (admin_up, up):
                body = {"device": self._device, "interface": name, "admin_up": admin_up}
                events.append(Event("link_up" if up else "link_down", time.time(), body))
        return events


def links(data: bytes) -> Iterator[tuple[str, bool, bool]]:
    """(name, administratively up, has a link) of each link an rtnetlink message speaks of, but for loopback."""
    while len(data) >= _MESSAGE.size:
        length, kind, _, _, _ = _MESSAGE.unpack_from(data)
        if length < _MESSAGE.size:
            return
        message, data = data[_MESSAGE.size : length], data[(length + 3) & ~3 :]
        if kind in (_RTM_NEWLINK, _RTM_DELLINK) and len(message) >= _LINK.size:
            _, _, _, flags, _ = _LINK.unpack_from(message)
            name = _name(message[_LINK.size :])
            if name and not flags & _IFF_LOOPBACK:
                there = kind == _RTM_NEWLINK
                admin_up = there and bool(flags & _IFF_UP)
                yield name, admin_up, admin_up and bool(flags & _IFF_RUNNING)


def _name(attributes: bytes) -> str:
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if length < _ATTRIBUTE.size:
            return ""
        if kind == _IFLA_IFNAME:
            return attributes[_ATTRIBUTE.size : length].rstrip(b"\0").decode("utf-8", "replace")
        attributes = attributes[(length + 3) & ~3 :]
    return ""
