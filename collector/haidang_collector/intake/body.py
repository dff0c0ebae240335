"""The body of a request, within a bound, a part at a time."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request

from haidang_collector.problems import Problem


async def read(request: Request, limit: int, hold: Callable[[int], None] = lambda size: None) -> bytes:
    """The body, at most limit bytes; hold is told of each part before it is kept. Raises Problem 413 as soon as it is
    known to be more."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        if not part:
            continue
        hold(len(part))
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"the body is larger than {limit} bytes", field="body")


async def skip(request: Request, limit: int) -> None:
    """Read the body without keeping it, until it is more than limit bytes."""
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            return
