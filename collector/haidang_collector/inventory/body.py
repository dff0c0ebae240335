"""Documents come from agents: each value is read as what it should be, or as nothing."""

from __future__ import annotations

import json
import zlib
from typing import Any

Body = dict[str, Any]


def dict_of(body: Body, name: str) -> Body:
    """An object, or an empty one."""
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def list_of(body: Body, name: str) -> list[Body]:
    """The objects of a list."""
    value = body.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text_of(body: Body, name: str, most: int = 200) -> str:
    """A text, or an empty one, cut at so many characters."""
    value = body.get(name)
    return value[:most] if isinstance(value, str) else ""


def texts_of(body: Body, name: str) -> list[str]:
    """The texts of a list."""
    value = body.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def int_of(body: Body, name: str) -> int:
    """A number, or 0."""
    value = body.get(name)
    return int(value) if isinstance(value, (int, float)) and abs(value) < 2**60 else 0


def pack(body: Body) -> bytes:
    """A document as it is kept."""
    return zlib.compress(json.dumps(body, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace"), 6)


def unpack(data: bytes) -> Body:
    """A kept document."""
    body = json.loads(zlib.decompress(data))
    return body if isinstance(body, dict) else {}
