"""Comes in: answers and traps of devices, credentials named by the assignment, profiles (vendor knowledge as data).
Goes out: samples, facts and events of each device.
Never: a write to a device; a vendor's name in the code."""

from __future__ import annotations

from haidang_wire.errors import HaidangError


def not_installed(error: ImportError) -> HaidangError:
    """What to say where the probe's libraries are missing."""
    return HaidangError(
        f"{error.name} is not installed", remedy="Install the probe's libraries: pip install 'haidang[probe]'"
    )
