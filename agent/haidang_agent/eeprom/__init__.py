"""Comes in: a transceiver's EEPROM, as the kernel's ethtool interface gives it.
Goes out: what it says of itself, and light as dBm.
Never: a value the module's own map marks as not there."""

from __future__ import annotations

from collections.abc import Callable

from haidang_agent.eeprom import cmis, sff8472, sff8636
from haidang_agent.eeprom.optics import Memory, Optics, TooShort

# SFF-8024, table 4-1.
_SFP = (0x03, 0x0B)
_QSFP = (0x0C, 0x0D, 0x11)
_CMIS = (0x18, 0x19, 0x1A, 0x1B, 0x1E, 0x1F, 0x20, 0x22)

__all__ = ["Optics", "TooShort", "decode"]


def decode(dump: bytes, read_page: Callable[[int], bytes | None]) -> Optics | None:
    """What a module says; None for a kind that has no map here.

    `read_page` gives the upper 128 bytes of a page, or None; only CMIS needs it. Raises TooShort
    for a dump that ends too early.
    """
    memory = Memory(dump)
    kind = memory.byte(0)
    if kind in _SFP:
        return sff8472.decode(memory)
    if kind in _QSFP:
        return sff8636.decode(memory)
    if kind in _CMIS:
        pages: dict[int, bytes] = {}
        if not memory.byte(2) & cmis.FLAT:
            for number in cmis.PAGES:
                page = read_page(number)
                if page is not None and len(page) >= 128:
                    pages[number] = page
        return cmis.decode(memory, pages)
    return None
