"""Optical power, as fiber people say it."""

from __future__ import annotations

import math


def milliwatts_to_dbm(milliwatts: float) -> float | None:
    """dBm of a power; None for no power, which is no light and has no dBm."""
    return 10 * math.log10(milliwatts) if milliwatts > 0 else None
