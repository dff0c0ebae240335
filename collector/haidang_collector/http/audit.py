"""/v1/audit: who changed what, for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from haidang_collector.collector import Collector
from haidang_collector.http.bodies import problems
from haidang_collector.http.operations import Time
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Entry, Wanted
from haidang_collector.principals import Right

_Text = Annotated[str, Field(max_length=200)]


class Page(BaseModel):
    """Changes, the newest first; the next page is that `older_than`, null when there is none."""

    entries: list[Entry]
    older_than: int | None


def router(collector: Collector) -> APIRouter:
    """The audit of this collector."""
    routes = APIRouter()

    @routes.get("/v1/audit", response_model=Page, responses=problems(401, 422, 503))
    async def entries(
        request: Request,
        begins: Time = 0.0,
        ends: Time | None = None,
        who: _Text = "",
        what: _Text = "",
        object: _Text = "",
        older_than: Annotated[int, Field(ge=0, le=2**53)] | None = None,
        limit: Annotated[int, Field(ge=1, le=500)] = 100,
    ) -> Page:
        """Changes by command and over HTTP: by `who` (a name), `what` (an action, or its part before the dot), on
        which `object`."""
        collector.peers.require(request.scope, Right.LOOK)
        wanted = Wanted(begins, ends, who, what, object, older_than)
        found = await collector.ledger.read(audit.find, wanted, limit)
        return Page(entries=found, older_than=found[-1].id if len(found) == limit else None)

    return routes
