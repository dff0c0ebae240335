"""What devices send, as numbers and text. None stands for what has no meaning; nothing here raises."""

from __future__ import annotations

import math
import re

from haidang_agent.snmp.session import Value

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
_LARGEST = 1e300  # SNMP's largest is 2**64; NaN is below nothing
_COMMA = re.compile(r"\s*[-+]?\d+,\d+(?![\d,])")


def text(value: Value) -> str:
    """Text of an OCTET STRING (UTF-8, else Latin-1), a number or an OID; control characters and
    what surrounds it removed. What is no text at all is written as hexadecimal digits."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        raw = value.rstrip(b"\0")
        try:
            decoded = raw.decode("utf-8")
        except UnicodeDecodeError:
            decoded = raw.decode("latin-1")
            if not all(character.isprintable() or character.isspace() for character in decoded):
                return raw.hex()
        value = decoded
    return " ".join("".join(c if c.isprintable() or c.isspace() else " " for c in str(value)).split())


def mac(value: Value) -> str:
    """A hardware address as aa:bb:cc:dd:ee:ff, or nothing."""
    return value.hex(":") if isinstance(value, bytes) and len(value) == 6 and any(value) else ""


def number(value: Value) -> float | None:
    """A finite number: an integer, a float, or the number a text begins with ("-6.5 dBm", "43,2")."""
    if isinstance(value, (int, float)):
        return float(value) if -_LARGEST < value < _LARGEST else None
    written = text(value)
    if _COMMA.match(written):
        written = written.replace(",", ".", 1)
    match = _NUMBER.match(written)
    found = float(match.group(1)) if match else math.nan
    return found if math.isfinite(found) else None


def milliwatts_to_dbm(milliwatts: float) -> float | None:
    """dBm of a power; None for no power, which is no light and has no dBm."""
    return 10 * math.log10(milliwatts) if milliwatts > 0 else None
