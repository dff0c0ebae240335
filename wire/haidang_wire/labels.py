"""Identifiers that become labels: agents, sites, sources."""

from __future__ import annotations

import re
import unicodedata

IDENTIFIER = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
SOURCE = re.compile(r"[a-z][a-z0-9_]{0,31}(?::[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?)?")


def is_identifier(text: str) -> bool:
    """Whether text may name an agent, site or device: 1 to 63 of a-z 0-9 . _ - , starting
    and ending with a letter or digit (a DNS label with dots allowed)."""
    return IDENTIFIER.fullmatch(text) is not None


def to_identifier(text: str, default: str = "agent") -> str:
    """The nearest identifier to any text: diacritics folded (đ to d), the rest to '-'."""
    folded = unicodedata.normalize("NFKD", text.lower().replace("đ", "d"))
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    identifier = re.sub(r"[^a-z0-9._-]+", "-", plain)[:63].strip("._-")
    return identifier or default
