"""What an agent knows of the time beside its own clock: when its program was made, what its collector told last."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

from haidang_wire import RELEASED
from haidang_wire.errors import HaidangError

from haidang_agent.platform.files import read_private, write_private

_FILE = "collector-time"
_SAVED_EVERY_SECONDS = 3600.0
# Clocks that are set by NTP differ by less.
_SLACK_SECONDS = 300.0
_YEARS_SECONDS = 2 * 365 * 86400.0
_LAST_TIME = 4_102_444_800.0  # 2100: more is no time


def is_impossible(now: float, known: float) -> bool:
    """Whether a clock that says `now` can't be right: it is before the program was made or before what the collector
    told (`known`, 0 for never), or years after that. All in Unix seconds."""
    return now < max(RELEASED, known) - _SLACK_SECONDS or (known > 0 and now > known + _YEARS_SECONDS)


def may_believe(now: float, told: float, begins: float, ends: float, known: float) -> bool:
    """Whether a certificate whose life (begins, ends) this machine's clock denies is believed all the same.

    Only where that clock can't be right, and then by the time that the holder of the certificate tells, which must be
    within its life. A certificate that ended before `known` is never believed. It may tell less than that: what the
    collector told before was wrong if its own clock was, and who has the key could tell anything. Unix seconds.
    """
    within_life = max(begins, RELEASED - _SLACK_SECONDS) <= told <= ends
    return is_impossible(now, known) and within_life and ends >= known - _SLACK_SECONDS


class KnownTime:
    """The latest time the collector told, kept in the state folder. It only grows, until this machine's own clock
    agrees with an earlier one; enrolling begins anew."""

    def __init__(self, state_dir: Path, at_least: float = 0.0) -> None:
        """`at_least`: a time known from elsewhere, as the beginning of a certificate (Unix seconds)."""
        self._file = state_dir / _FILE
        self._saved = 0.0
        with contextlib.suppress(OSError, ValueError):  # none yet, or damaged: what else is known counts
            self._saved = _checked(float(read_private(self._file, most_bytes=100)))
        self.at = max(self._saved, _checked(at_least))

    def note(self, told: float, now: float) -> None:
        """The collector told the time, over a connection that is verified, and this machine's clock says `now`. On disk
        it is an hour behind at most."""
        told = _checked(told)
        self.at = told if told and abs(told - now) < _SLACK_SECONDS else max(self.at, told)
        if abs(self.at - self._saved) > _SAVED_EVERY_SECONDS:
            self._saved = self.at
            with contextlib.suppress(HaidangError):  # a full disk: what is on it is older, and still true
                write_private(self._file, f"{self.at:.0f}\n")


def begin(state_dir: Path, told: float) -> None:
    """A new enrolment: what another collector told does not count here. Raises HaidangError."""
    write_private(state_dir / _FILE, f"{_checked(told):.0f}\n")


def _checked(told: float) -> float:
    return told if math.isfinite(told) and 0 < told < _LAST_TIME else 0.0
