"""Bytes of tools in any encoding into text, and text into values."""

from __future__ import annotations

import codecs
import re
from datetime import datetime, timezone
from typing import Any

# What firmware says where its maker filled nothing in.
_PLACEHOLDER = re.compile(
    r"(?:to be filled by o\.?\s?e\.?m\.?|not (?:specified|available|present|applicable|provided|set)|unknow(?:n|er)"
    r"|none|n/?a|null|undefined|default string|system (?:serial number|manufacturer|product name|version|uuid)"
    r"|(?:base ?board|chassis|mother ?board) serial number|serial ?number|o\.?e\.?m\.?|invalid|empty"
    r"|no (?:dimm|enclosure|asset tag|asset information)|asset ?tag ?\d*|asset-?1234567890"
    r"|sernum\d*|partnum\d*|modulepartnumber\d*"
    r"|manufacturer\d*|\[?(?:empty|unknown)\]?|x{4,}|\.+|0+|f{6,}|-+|#?a?0?123456789\d*|1234567890\d*|9876543210)",
    re.IGNORECASE,
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> str:
    """Text of UTF-8 or UTF-16 (with or without a mark), else of the commonest Windows code page. Never raises."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    # Zeros at odd places only: UTF-16 whose mark was lost. Cut off in a character it is read all the same.
    head = data[:400]
    if len(head) > 3 and head[1::2].count(0) > len(head) // 4 > head[::2].count(0) * 2:
        return data.decode("utf-16-le", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start >= len(data) - 3:  # cut off in its last character
            return data[: error.start].decode("utf-8", "replace")
    return data.decode("cp1252", "replace")


def cleaned(value: object) -> str | None:
    """One line of text without what terminals choke on; None for nothing."""
    if value is None:
        return None
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return " ".join(text.split()) or None


def given(value: object) -> str | None:
    """A text somebody meant; None for what firmware says when nobody filled it in."""
    text = cleaned(value)
    return None if text is None or _PLACEHOLDER.fullmatch(text) else text


def number(value: object) -> int | None:
    """The first whole number of a text, grouped as any language does (`480,103,981,056`); None without one."""
    found = re.search(r"\d{1,3}(?:[ ,.\u00a0\u202f]\d{3})+(?!\d)|\d+", str(value)) if value is not None else None
    return int(re.sub(r"\D", "", found[0])) if found and len(found[0]) < 40 else None


_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def size_bytes(value: object) -> int | None:
    """`8 GB`, `16384 MB`, `4,6 MB` in bytes, units of 1024 as firmware and package tools mean them."""
    found = re.match(r"\s*(\d+(?:[.,]\d+)?)\s*([KMGTP]?)i?(?:B|bytes)?\b", str(value or ""), re.IGNORECASE)
    if not found:
        return None
    return round(float(found[1].replace(",", ".")) * float(1024 ** _UNITS[found[2].upper()]))


def moment(text: object, *forms: str) -> int | None:
    """Unix seconds of a text in one of these forms (strptime), UTC where it says no zone; None for no such time."""
    for form in forms:
        try:
            found = datetime.strptime(str(text).strip(), form)
            return int((found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp())
        except (ValueError, OverflowError):
            continue
    return None


def present(**values: Any) -> dict[str, Any]:
    """The values without those that are None."""
    return {name: value for name, value in values.items() if value is not None}
