"""What agents ask: deliveries, enrolment, renewal, assignment, time, the CA."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
from fastapi import APIRouter, Request
from haidang_wire.assignment import Assignment, assignment_json
from haidang_wire.errors import HaidangError
from haidang_wire.labels import to_identifier
from haidang_wire.report import CONTENT_TYPE as REPORTS_TYPE
from haidang_wire.report import Report
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from haidang_collector.collector import Collector
from haidang_collector.http.attempts import Turns
from haidang_collector.http.bodies import body, problems, read_model
from haidang_collector.http.door import origin as whose
from haidang_collector.http.door import visitor_of
from haidang_collector.identity import agents as identities
from haidang_collector.identity.authority import Issued
from haidang_collector.identity.certificate_rows import CertificateError
from haidang_collector.ledger.database import LedgerError
from haidang_collector.principals import Right
from haidang_collector.problems import Problem

log = logging.getLogger(__name__)

DELIVERIES = "/v1/reports"
_MAX_PEM = 16 * 1024
# No agent gives up on what it composed so short a time ago.
_HELD_UP_SECONDS = 1.0
# XML and terminals choke on these, and no name of a machine has them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class EnrolRequest(BaseModel):
    """What buys a certificate: a token, and a certificate request (PEM) for the agent's own key."""

    model_config = ConfigDict(extra="forbid")
    token: Annotated[str, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    request: Annotated[str, Field(min_length=1, max_length=_MAX_PEM)]
    version: Annotated[str, Field(max_length=50)] = ""


class RenewRequest(BaseModel):
    """A certificate request (PEM) for a new key."""

    model_config = ConfigDict(extra="forbid")
    request: Annotated[str, Field(min_length=1, max_length=_MAX_PEM)]


class Certificate(BaseModel):
    """A client certificate (PEM), its life in Unix seconds, and the CAs (PEM) that are to be trusted from now on."""

    agent: str
    site: str
    certificate: str
    begins: float
    ends: float
    authorities: str


@dataclass(frozen=True, kw_only=True)
class AssignmentDocument(Assignment):
    """What an agent is, what it is to watch, and whether it may say who was logged on last."""

    # An answer leaves nothing out, so what has a default in the wire's types is required of it all the same.
    __pydantic_config__: ClassVar = ConfigDict(json_schema_serialization_defaults_required=True)

    agent: str
    site: str


def _delivery_schema() -> dict[str, Any]:
    """The schema of a delivery, with the report where ingest keeps it raw, in one piece."""
    (schema,), definitions = msgspec.json.schema_components([Report], ref_template="#/$defs/{name}")
    envelope = {
        "type": "object",
        "required": ["age", "report"],
        "properties": {"age": {"type": "number"}, "report": {**schema, "$defs": definitions}},
    }
    return {
        "type": "object",
        "required": ["sent", "reports"],
        "properties": {
            "sent": {"type": "number"},
            "reference": {
                "type": "object",
                "description": "A reading of the collector's clock, and how many seconds ago the agent had it.",
                "required": ["clock", "seconds", "ago"],
                "properties": {
                    "clock": {"type": "string"},
                    "seconds": {"type": "number", "minimum": 0},
                    "ago": {"type": "number", "minimum": 0},
                },
            },
            "reports": {"type": "array", "items": envelope, "minItems": 1},
        },
    }


def deliveries(routes: APIRouter) -> Route:
    """The route of deliveries once more, without what FastAPI does for each request before and after its endpoint."""
    (route,) = [each for each in routes.routes if isinstance(each, Route) and each.path == DELIVERIES]
    return Route(DELIVERIES, route.endpoint, methods=["POST"])


def router(collector: Collector) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    telemetry = collector.telemetry
    enrolment_turns = Turns(collector.settings.door.enrolment_failures_a_second)

    def certificate(agent: str, site: str, issued: Issued) -> Certificate:
        return Certificate(
            agent=agent, site=site, certificate=issued.pem, begins=issued.begins, ends=issued.ends,
            authorities=collector.authority.pem,
        )  # fmt: skip

    @routes.post(
        DELIVERIES,
        response_model=None,
        responses=problems(400, 401, 403, 409, 413, 415, 422, 429, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {REPORTS_TYPE: {"schema": _delivery_schema()}},
            }
        },
    )
    async def reports(request: Request) -> Response:
        """Take reports in (compressed with gzip or not). Answered when what it holds is durable."""
        agent = collector.peers.require(request.scope, Right.REPORT).name
        speaker = collector.speaker(agent)
        collector.disk.require_room()
        async with collector.intake.turn(agent, request) as turn:
            batch = await turn.batch(speaker)
            if batch.received - batch.composed > _HELD_UP_SECONDS:
                await asyncio.sleep(0)  # a turn of the loop, in which it sees who hung up
                batch.abandoned = (visitor := visitor_of(request.scope)) is not None and visitor.gone
            receipt = await collector.take(batch, turn.allowance)
        if receipt.accepted + receipt.duplicates == 0:
            extensions = msgspec.to_builtins(receipt)
            raise Problem(422, "refused", receipt.refused[0].detail, field="$.reports", extensions=extensions)
        return Response(msgspec.json.encode(receipt), media_type="application/json")

    @routes.post(
        "/v1/enrol",
        response_model=Certificate,
        responses=problems(400, 403, 413, 422, 429, 503),
        openapi_extra=body(EnrolRequest),
    )
    async def enrol(request: Request) -> Certificate:
        """Buy a client certificate with a token."""
        wanted = await read_model(request, EnrolRequest)
        name = to_identifier(_CONTROL.sub("", wanted.name))
        known = collector.peers.proven_agent(request.scope)
        try:
            origin = collector.peers.origin(request.scope)
            async with enrolment_turns.turn(whose(origin)) as failed:
                try:
                    agent, site, issued = await collector.enrol(
                        wanted.token.strip(), name, wanted.request, known, origin
                    )
                except HaidangError as error:
                    if not isinstance(error, LedgerError):
                        failed()
                    raise
        except HaidangError as error:
            telemetry.enrolments.labels("refused").inc()
            if isinstance(error, LedgerError | Problem):
                raise
            reason = error.reason if isinstance(error, identities.IdentityError) else "request"
            telemetry.refused_enrolments.labels(reason).inc()
            if reason in ("name", "quota"):  # somebody with a good token; others could fill the log
                log.warning("an enrolment as %s is refused: %s", name, error)
            status = 400 if reason == "request" else 403
            raise Problem(status, "enrolment", str(error)) from error
        telemetry.enrolments.labels("accepted").inc()
        log.info("enrolled agent %s of site %s", agent, site)
        return certificate(agent, site, issued)

    @routes.post(
        "/v1/renew",
        response_model=Certificate,
        responses=problems(400, 401, 403, 413, 422, 429, 503),
        openapi_extra=body(RenewRequest),
    )
    async def renew(request: Request) -> Certificate:
        """A new certificate for the agent whose certificate the request came with."""
        agent = collector.peers.require(request.scope, Right.REPORT).name
        shown = collector.peers.of(request.scope)
        assert shown is not None  # what may report has a certificate
        wanted = await read_model(request, RenewRequest)
        collector.intake.require_renewal(agent)
        try:
            site, issued = await collector.renew(shown, wanted.request)
        except HaidangError as error:
            telemetry.renewals.labels("refused").inc()
            if isinstance(error, LedgerError):
                raise
            status = 403 if isinstance(error, identities.IdentityError | CertificateError) else 400
            raise Problem(status, "renewal", str(error)) from error
        telemetry.renewals.labels("accepted").inc()
        return certificate(agent, site, issued)

    @routes.get("/v1/assignment", response_model=AssignmentDocument, responses=problems(401, 403, 503))
    async def assignment(request: Request) -> Response:
        """Who the agent is here, and what it is to watch. A receipt names the version (ETag) that is in force."""
        agent = collector.peers.require(request.scope, Right.REPORT).name
        site = collector.site_of(agent)
        wanted = collector.assignments.of(agent, site)
        headers = {"ETag": f'"{wanted.version}"', "Cache-Control": "no-cache"}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return JSONResponse({"agent": agent, "site": site, **assignment_json(wanted)}, headers=headers)

    @routes.get("/v1/time", response_model=None, responses=problems(401, 403))
    async def read_clock(request: Request) -> Response:
        """A reading of the collector's steady clock, for the reference of an agent's next delivery."""
        collector.peers.require(request.scope, Right.REPORT)
        return Response(msgspec.json.encode({"clock": collector.time_base.read()}), media_type="application/json")

    @routes.get("/v1/ca.pem", response_class=PlainTextResponse)
    async def ca() -> PlainTextResponse:
        """The CA's certificate, and that of the one before while it is being replaced: each to be believed only by its
        fingerprint."""
        return PlainTextResponse(collector.authority.pem, media_type="application/x-pem-file")

    return routes
