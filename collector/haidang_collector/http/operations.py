"""/v1/outages and /v1/maintenance."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from haidang_wire.errors import HaidangError
from pydantic import BaseModel, ConfigDict, Field

from haidang_collector.collector import Collector
from haidang_collector.http.bodies import body, problems, read_model
from haidang_collector.outage import store as kept
from haidang_collector.outage.model import Outage
from haidang_collector.principals import Right
from haidang_collector.problems import Problem

_LONGEST_WORK_SECONDS = 90 * 86400.0
# RFC 3339's last year: more is no time.
Time = Annotated[float, Field(ge=0, le=253_402_300_799)]


class Work(BaseModel):
    """Planned work on a site or circuit; times in Unix seconds."""

    model_config = ConfigDict(extra="forbid")
    element: Annotated[str, Field(min_length=1, max_length=63)]
    begins: Time
    ends: Time
    text: Annotated[str, Field(max_length=500)] = ""


class PlannedWork(Work):
    """Planned work as it is kept."""

    id: int


class OutageDocument(BaseModel):
    """An outage; times in Unix seconds, `ended` null while it is open."""

    id: str
    kind: str
    site: str
    circuit: str
    circuits: list[str]
    started: float
    ended: float | None
    cause: str
    evidence: list[str]
    sites: list[str]
    officials: int
    planned: bool
    flaps: int


def router(collector: Collector) -> APIRouter:
    """The operations, on this collector."""
    routes = APIRouter()

    @routes.get("/v1/outages", response_model=list[OutageDocument], responses=problems(401, 422, 503))
    async def outages(request: Request, begins: Time = 0.0, ends: Time | None = None) -> list[dict[str, Any]]:
        """Outages that were open at any time between, the first first."""
        collector.peers.require(request.scope, Right.LOOK)
        found = await collector.ledger.read(kept.between, begins, time.time() if ends is None else ends)
        return [_document(outage, officials) for outage, officials in found]

    @routes.get("/v1/maintenance", response_model=list[PlannedWork], responses=problems(401, 503))
    async def planned(request: Request) -> list[dict[str, Any]]:
        """Planned work that is not over, the first first."""
        collector.peers.require(request.scope, Right.LOOK)
        return [asdict(each) for each in await collector.ledger.read(kept.list_maintenance, time.time())]

    @routes.post(
        "/v1/maintenance", response_model=PlannedWork, status_code=201,
        responses=problems(401, 403, 413, 415, 422, 503), openapi_extra=body(Work),
    )  # fmt: skip
    async def plan(request: Request) -> dict[str, Any]:
        """Plan work: outages of it page nobody, and its time counts in no SLA."""
        principal = collector.peers.require(request.scope, Right.CHANGE)
        work = await read_model(request, Work)
        if collector.registry is None or not collector.registry.is_site_or_circuit(work.element):
            raise Problem(422, "malformed", f"there is no site or circuit {work.element!r}", field="element")
        if work.ends - work.begins > _LONGEST_WORK_SECONDS:
            raise Problem(422, "malformed", "planned work lasts at most 90 days", field="ends")
        try:
            added = collector.ledger.run(
                kept.add_maintenance, principal, work.element, work.begins, work.ends, work.text
            )
            return asdict(await added)
        except HaidangError as error:
            raise Problem(422, "malformed", str(error), field="ends") from error

    @routes.delete(
        "/v1/maintenance/{number}", response_model=PlannedWork, responses=problems(401, 403, 404, 415, 422, 503)
    )
    async def end(request: Request, number: Annotated[int, Field(ge=0, le=2**53)]) -> dict[str, Any]:
        """The work is over now, or does not take place."""
        principal = collector.peers.require(request.scope, Right.CHANGE)
        try:
            return asdict(await collector.ledger.run(kept.end_maintenance, principal, number, time.time()))
        except kept.NoSuchMaintenance as error:
            raise Problem(404, "not_found", str(error)) from error

    return routes


def _document(outage: Outage, officials: int) -> dict[str, Any]:
    return {
        "id": outage.id, "kind": outage.kind, "site": outage.site, "circuit": outage.circuit,
        "circuits": list(outage.circuits), "started": outage.started, "ended": outage.ended,
        "cause": str(outage.cause.kind), "evidence": [said.en for said in outage.cause.evidence],
        "sites": sorted(outage.sites), "officials": officials, "planned": outage.planned, "flaps": outage.flaps,
    }  # fmt: skip
