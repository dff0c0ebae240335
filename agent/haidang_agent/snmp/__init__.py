"""Devices over SNMP: session (the wire), profile (vendor knowledge as data), poll (one device once)."""

from __future__ import annotations

from haidang_wire.errors import HaidangError


def not_installed(error: ImportError) -> HaidangError:
    """What to say where the probe's libraries are missing."""
    return HaidangError(
        f"{error.name} is not installed", remedy="Install the probe's libraries: pip install 'haidang[probe]'"
    )
