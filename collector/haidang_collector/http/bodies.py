"""Bodies of requests, read within bounds and checked against models; how both stand in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from haidang_collector.problems import CONTENT_TYPE, Problem

M = TypeVar("M", bound=BaseModel)

_MAX_DOCUMENT_BYTES = 64 * 1024


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


_PROBLEM = {"model": ProblemDocument, "content": {CONTENT_TYPE: {}}}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation that are problems."""
    return {code: {**_PROBLEM, "description": "Problem"} for code in codes}


def body(model: type[BaseModel]) -> dict[str, Any]:
    """The body of an operation that reads it with read_model."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read(request: Request, limit: int, hold: Callable[[int], None] = lambda size: None) -> bytes:
    """The body, at most limit bytes; hold is told of each part before it is kept. Raises Problem 413 as soon as it is
    known to be more."""
    too_large = Problem(413, "too_large", f"the body is larger than {limit} bytes", field="body")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        hold(len(part))
        body += part
        if len(body) > limit:
            raise too_large
    return bytes(body)


async def skip(request: Request, limit: int) -> None:
    """Read the body without keeping it, until it is more than limit bytes."""
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            return


async def read_model(request: Request, model: type[M]) -> M:
    """A small JSON document. Raises Problem 422 that names the field; values are not repeated,
    they may be secrets."""
    body = await read(request, _MAX_DOCUMENT_BYTES)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise Problem(422, "malformed", first["msg"], field=where) from error
