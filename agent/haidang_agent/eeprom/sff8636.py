"""QSFP+ and QSFP28: SFF-8636 (rev 2.11): lower memory, then upper pages 00h to 03h, 128 bytes each."""

from __future__ import annotations

import contextlib

from haidang_agent.eeprom.optics import AMPERES, CELSIUS, MILLIWATTS, VOLTS, Lane, Memory, Optics, TooShort

_LANES = 4
_FLAT = 0x04  # byte 2: there are no upper pages but 00h
_TRANSMIT_POWER = 0x04  # byte 220: transmitted power is measured
_PAGE_3 = 4 * 128  # where byte 128 of page 03h stands


def decode(memory: Memory) -> Optics:
    """Raises TooShort."""
    optics = Optics(memory.text(148, 16), memory.text(168, 16), memory.text(196, 16))
    optics.temperature = memory.signed(22) * CELSIUS
    optics.voltage = memory.unsigned(26) * VOLTS
    if not memory.signed(22) and not memory.unsigned(26):
        # A cable of copper measures nothing: all of it is 0.
        optics.temperature = optics.voltage = None
        return optics
    measures_transmit = bool(memory.byte(220) & _TRANSMIT_POWER)
    for lane in range(_LANES):
        optics.lanes[str(lane + 1)] = Lane(
            receive_power=memory.unsigned(34 + 2 * lane) * MILLIWATTS,
            transmit_power=memory.unsigned(50 + 2 * lane) * MILLIWATTS if measures_transmit else None,
            bias=memory.unsigned(42 + 2 * lane) * AMPERES,
        )
    if not memory.byte(2) & _FLAT:
        with contextlib.suppress(TooShort):  # some drivers hand out 256 bytes: no limits then
            optics.limits = _limits(memory)
    return optics


def _limits(memory: Memory) -> dict[str, dict[str, float]]:
    return {
        "temperature": memory.limits(_PAGE_3, lambda raw: raw * CELSIUS, signed=True),
        "voltage": memory.limits(_PAGE_3 + 16, lambda raw: raw * VOLTS),
        "receive_power": memory.limits(_PAGE_3 + 48, lambda raw: raw * MILLIWATTS),
        "bias": memory.limits(_PAGE_3 + 56, lambda raw: raw * AMPERES),
        "transmit_power": memory.limits(_PAGE_3 + 64, lambda raw: raw * MILLIWATTS),
    }
