"""What devices send, as numbers and text. None stands for what has no meaning; nothing here raises."""

from __future__ import annotations

import ipaddress
import math
import re
from datetime import datetime, timedelta, timezone

from haidang_agent.snmp.session import Value

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
_LARGEST = 1e300  # SNMP's largest is 2**64; NaN is below nothing
_DATE = re.compile(
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[ T]\d{1,2}:\d{2}(?::\d{2})?)?|[A-Za-z]{3} +\d{1,2},? (?:\d\d:\d\d:\d\d )?\d{4}"
    r"|\d{1,2} [A-Za-z]{3} \d{4}"
)
_DATE_FORMATS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%b %d %Y", "%b %d %H:%M:%S %Y", "%d %b %Y",
)  # fmt: skip
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


def bit(value: Value, place: int) -> bool:
    """A bit of a bit string; those beyond its end are 0 (RFC 2578, section 8.3)."""
    at = place // 8
    return isinstance(value, bytes) and at < len(value) and bool(value[at] >> (7 - place % 8) & 1)


def timestamp(value: Value) -> float | None:
    """Unix seconds of a DateAndTime (RFC 2579; UTC where it names no zone) or of the date in a text."""
    if isinstance(value, bytes) and len(value) in (8, 11):
        found = _date_and_time(value)
        if found is not None:
            return found
    match = _DATE.search(text(value))
    if match is None:
        return None
    written = " ".join(match.group().replace("/", "-").replace("T", " ").replace(",", "").split())
    for shape in _DATE_FORMATS:
        try:
            return datetime.strptime(written, shape).replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            continue
    return None


def _date_and_time(raw: bytes) -> float | None:
    year, (month, day, hour, minute, second) = int.from_bytes(raw[:2], "big"), raw[2:7]
    try:
        zone = timezone.utc
        if len(raw) == 11:
            away = timedelta(hours=raw[9], minutes=raw[10])
            zone = timezone(-away if raw[8:9] == b"-" else away)
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None


def address(parts: list[str]) -> str:
    """The address an index holds as InetAddressType, length, octets (RFC 4001); what can't be read is
    the index itself."""
    try:
        octets = bytes(int(part) for part in parts[2 : 2 + int(parts[1])])
        return str(ipaddress.ip_address(octets[:16] if len(octets) > 8 else octets[:4]))
    except (ValueError, IndexError):
        return ".".join(parts)
