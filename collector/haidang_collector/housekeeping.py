"""Removing what is old: each six hours, and only by a clock that can be right."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from haidang_collector.identity import certificate_rows as kept
from haidang_collector.identity.certificates import Certificates
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.delivery import Deliveries
from haidang_collector.ledger import audit, known_time
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.housekeeping import forget_old
from haidang_collector.settings import Settings

log = logging.getLogger(__name__)

_EACH_SECONDS = 6 * 3600.0
# A machine's clock may be wrong when it starts, and is set a moment later.
_FIRST_SECONDS = 1800.0
_DOUBT_SECONDS = 3600.0


class Housekeeping:
    """`run()` is the task that owns it."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        certificates: Certificates,
        deliveries: Deliveries,
        time_base: TimeBase,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._certificates = certificates
        self._deliveries = deliveries
        self._time_base = time_base
        self._asked = time_base.read().seconds

    async def run(self) -> None:
        """Remove what is old each six hours, until cancelled."""
        pause = _FIRST_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = _EACH_SECONDS
            try:
                if not await self.turn():
                    pause = _DOUBT_SECONDS
            except LedgerError as error:
                log.error("%s", error)

    async def turn(self) -> bool:
        """Remove what is old; whether the clock is believed. Raises LedgerError."""
        now, asked = self._time_base.now(), self._time_base.read().seconds
        doubt = await self._ledger.run(known_time.doubt, now, asked - self._asked)
        self._asked = asked
        if doubt:
            log.warning(
                "nothing old is removed: the clock says %s, %.0f days after what was known. Set it right if it is"
                " wrong; if it goes on like this for %.0f hours it is believed",
                datetime.fromtimestamp(now).astimezone().isoformat(timespec="minutes"),
                doubt.ahead / 86400,
                doubt.left / 3600,
            )
            return False
        await self._ledger.run(audit.remove_old, now, self._settings.audit_retention_days)
        await self._ledger.run(kept.remove_ended, now)
        self._certificates.forget_ended(now)
        removed = await forget_old(self._ledger, self._settings, now)
        await self._deliveries.forget_old(now)
        log.info("%d old rows of the database are removed", removed)
        return True
