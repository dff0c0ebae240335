"""Which display is connected, out of its EDID (VESA E-EDID 1.4, section 3)."""

from __future__ import annotations

import re
from typing import Any

from haidang_agent.inventory.text import cleaned, present

_HEADER = b"\x00\xff\xff\xff\xff\xff\xff\x00"


def display(data: bytes) -> dict[str, Any] | None:
    """manufacturer (its three letters of the PNP registry), model, serial, made (`2020-W28`, or `2020`),
    size_millimetres; `data` is binary or hexadecimal. None for what is no EDID."""
    data = _binary(data)
    if len(data) < 128 or data[:8] != _HEADER:
        return None
    texts = _texts(data)
    serial_number = int.from_bytes(data[12:16], "little")
    week, year = data[16], 1990 + data[17]
    letters = int.from_bytes(data[8:10], "big")
    manufacturer = "".join(chr(64 + (letters >> shift & 31)) for shift in (10, 5, 0))
    size = [data[21] * 10, data[22] * 10]
    return present(
        manufacturer=manufacturer if manufacturer.isalpha() else None,
        # Panels of laptops have texts without a name; those are all there is.
        model=texts.get(0xFC) or texts.get(0xFE) or f"{int.from_bytes(data[10:12], 'little'):04x}",
        serial=texts.get(0xFF) or (f"{serial_number:08x}" if serial_number not in (0, 0x01010101) else None),
        # Week 0 is not told, 255 is a model year (section 3.4.4).
        made=f"{year}-W{week:02d}" if 1 <= week <= 54 else str(year),
        size_millimetres=size if all(size) else None,
    )


def _binary(data: bytes) -> bytes:
    if data[:8] == _HEADER:
        return data
    text = re.sub(rb"\s|0x|,", b"", data)
    try:
        return bytes.fromhex(text.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return b""


def _texts(data: bytes) -> dict[int, str]:
    """The descriptors that are texts: FF serial, FE anything, FC name. Several of a kind are one text."""
    found: dict[int, str] = {}
    for at in range(54, 126, 18):
        block = data[at : at + 18]
        if block[:3] == b"\x00\x00\x00" and block[3] in (0xFF, 0xFE, 0xFC):
            text = cleaned(block[5:].split(b"\n")[0].decode("cp437"))
            if text:
                found[block[3]] = f"{found[block[3]]} {text}" if block[3] in found else text
    return found
