"""Texts as they are looked for: in any case, and without the marks people leave out when they type."""

from __future__ import annotations

import unicodedata


def fold(text: str) -> str:
    """`Máy Đức` as `may duc`."""
    if text.isascii():  # most names of software: thousands of them come at once
        return text.lower()
    plain = unicodedata.normalize("NFD", text.casefold().replace("đ", "d"))
    return "".join(c for c in plain if not unicodedata.combining(c))
