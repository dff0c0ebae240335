"""QSFP-DD, OSFP and others with CMIS (OIF-CMIS-05.2): lower memory and page 00h; 01h, 02h and 11h by themselves."""

from __future__ import annotations

from haidang_agent.eeprom.optics import AMPERES, CELSIUS, MILLIWATTS, VOLTS, Lane, Memory, Optics

FLAT = 0x80  # byte 2: there are no pages but 00h
PAGES = (0x01, 0x02, 0x11)
_MOST_LANES = 8


def decode(memory: Memory, pages: dict[int, bytes]) -> Optics:
    """`pages` are the upper 128 bytes of PAGES that could be read. Raises TooShort."""
    optics = Optics(memory.text(129, 16), memory.text(148, 16), memory.text(166, 16))
    optics.temperature = memory.signed(14) * CELSIUS
    optics.voltage = memory.unsigned(16) * VOLTS
    if not memory.signed(14) and not memory.unsigned(16):
        optics.temperature = optics.voltage = None
    # Byte 88: host and media lanes of the first application (section 8.2.8).
    lanes = min(memory.byte(88) & 0x0F or _MOST_LANES, _MOST_LANES)
    bias = AMPERES * _bias_factor(pages)
    if 0x11 in pages:
        page = _Upper(pages[0x11])
        for lane in range(lanes):
            optics.lanes[str(lane + 1)] = Lane(
                receive_power=page.unsigned(186 + 2 * lane) * MILLIWATTS,
                transmit_power=page.unsigned(154 + 2 * lane) * MILLIWATTS,
                bias=page.unsigned(170 + 2 * lane) * bias,
            )
    if 0x02 in pages:
        page = _Upper(pages[0x02])
        optics.limits = {
            "temperature": page.limits(128, lambda raw: raw * CELSIUS, signed=True),
            "voltage": page.limits(136, lambda raw: raw * VOLTS),
            "transmit_power": page.limits(176, lambda raw: raw * MILLIWATTS),
            "bias": page.limits(184, lambda raw: raw * bias),
            "receive_power": page.limits(192, lambda raw: raw * MILLIWATTS),
        }
    return optics


class _Upper(Memory):
    """An upper page, whose first byte is called 128."""

    def take(self, at: int, size: int) -> bytes:
        return super().take(at - 128, size)


def _bias_factor(pages: dict[int, bytes]) -> int:
    # Page 01h, byte 160, bits 4-3: 1, 2 or 4 (section 8.4.12).
    if 0x01 not in pages:
        return 1
    return (1, 2, 4, 1)[_Upper(pages[0x01]).byte(160) >> 3 & 3]
