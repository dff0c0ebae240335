"""One assigned device: what polls of it remember, and when the next one is due."""

from __future__ import annotations

import asyncio
import time

from haidang_wire.assignment import AssignedDevice

from haidang_agent.schedule.grid import Grid
from haidang_agent.snmp.device import Memory
from haidang_agent.snmp.poll import EVERYTHING_SECONDS

# A device that sends traps without end is not polled without end, nor all of it each time.
_AGAIN_SECONDS = 5.0
_EVERYTHING_AGAIN_SECONDS = 60.0


class Watched:
    """A device and the state between its polls."""

    def __init__(self, device: AssignedDevice, interval: float) -> None:
        self.device = device
        self.memory = Memory()
        self.said: list[str] = []
        self._grid = Grid(interval, device.id)
        self._asked = asyncio.Event()
        self._polled_at = 0.0

    def ask(self) -> None:
        """Poll it now, and all of it: something happened to it."""
        read = self.memory.everything_due - EVERYTHING_SECONDS
        if time.monotonic() > read + _EVERYTHING_AGAIN_SECONDS:
            self.memory.everything_due = 0.0
        self._asked.set()

    async def due(self, *, first: bool) -> None:
        """Return when it is to be polled: at once at first, then by its grid, or when somebody asked."""
        if not first:
            now = time.monotonic()
            try:
                await asyncio.wait_for(self._asked.wait(), self._grid.after(now) - now)
            except asyncio.TimeoutError:
                pass
            else:
                await asyncio.sleep(max(0.0, self._polled_at + _AGAIN_SECONDS - time.monotonic()))
        self._asked.clear()
        self._polled_at = time.monotonic()
