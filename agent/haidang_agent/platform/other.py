"""Systems without a file of their own: what psutil and the standard library know."""

from __future__ import annotations

import time

import psutil


def boot_id() -> str:
    """A text that is another one after each boot; the boot time, to ten seconds, because
    some systems compute it anew from a clock that is set meanwhile."""
    return f"boot-{psutil.boot_time() // 10:.0f}"


def boot_seconds() -> float:
    """Seconds on a clock nobody sets."""
    return time.monotonic()


def default_gateway() -> str | None:
    """Unknown here: name the gateway as a target in the configuration."""
    return None


def interface_kind(name: str) -> str:
    """Unknown here."""
    return "unknown"
