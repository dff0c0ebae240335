"""Free disk: while it is short, what can be done without is refused first, and reports before nothing can be written.

A full disk stops the database in the middle of what it does, and other programs with it (Prometheus most of all).
Agents keep what is refused: their spools are many disks.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from haidang_collector.problems import Problem
from haidang_collector.settings import Disk as Settings
from haidang_collector.telemetry import Telemetry

log = logging.getLogger(__name__)

# Taken again when there is so much more than the limit: not refused and taken by turns.
_AGAIN = 1.2
_RETRY_SECONDS = 60


class Disk:
    """`look()` each second; what it found stands in between."""

    def __init__(self, folder: Path, settings: Settings, telemetry: Telemetry) -> None:
        self._folder = folder
        self._limits = {"documents": settings.documents_free_bytes, "reports": settings.reports_free_bytes}
        self._refused = dict.fromkeys(self._limits, False)
        self._telemetry = telemetry
        self.look()

    @property
    def takes_documents(self) -> bool:
        """Whether facts and events may be kept."""
        return not self._refused["documents"]

    def look(self) -> None:
        """See how much is free. One that can't be asked is as it was."""
        try:
            found = os.statvfs(self._folder)
        except OSError as error:
            log.error("the free space of %s can't be read: %s", self._folder, error)
            return
        free = found.f_bavail * found.f_frsize
        self._telemetry.disk_free.set(free)
        for what, least in self._limits.items():
            refused = free < least * (_AGAIN if self._refused[what] else 1.0)
            if refused != self._refused[what]:
                log.error(
                    "%s are %s: %d bytes are free at %s",
                    what,
                    "refused" if refused else "taken again",
                    free,
                    self._folder,
                )
            self._refused[what] = refused
            self._telemetry.disk_refusing.labels(what).set(refused)

    def require_room(self) -> None:
        """Raises Problem 503 when reports are refused: agents keep them."""
        if self._refused["reports"]:
            self._telemetry.disk_refused.labels("reports").inc()
            raise Problem(
                503, "disk", "the collector's disk is nearly full: keep the reports and come back", retry_after=60
            )
