"""Bodies of requests, read within bounds and checked against models; how both stand in the OpenAPI document."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from haidang_collector.intake.body import read
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
