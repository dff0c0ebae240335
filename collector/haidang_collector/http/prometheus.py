"""What Prometheus asks: everything that is current, outages each second, and where to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from haidang_collector.collector import Collector
from haidang_collector.exposition import text as exposition
from haidang_collector.http.bodies import problems
from haidang_collector.http.door import Door, visitor_of
from haidang_collector.outage import exposition as outage_exposition
from haidang_collector.principals import Right


def router(collector: Collector, door: Door) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    telemetry = collector.telemetry

    @routes.get("/metrics", response_model=None, responses=problems(401))
    async def metrics(request: Request) -> Response:
        """The latest live value of every series (text format 0.0.4 or OpenMetrics 1.0)."""
        collector.peers.require(request.scope, Right.SCRAPE)
        openmetrics = exposition.wants_openmetrics(request.headers.get("accept", ""))
        families = exposition.expose(
            collector.latest, telemetry, openmetrics=openmetrics, beside=collector.families, now=collector.time_base.now
        )  # fmt: skip
        media_type = exposition.OPENMETRICS if openmetrics else exposition.TEXT

        async def stream() -> AsyncIterator[bytes]:
            with door.scrapes.seat(visitor_of(request.scope)):
                for block in families:
                    yield block

        return StreamingResponse(stream(), headers={"Content-Type": media_type})

    @routes.get("/metrics/outages", response_model=None, responses=problems(401))
    async def outage_metrics(request: Request) -> Response:
        """Sites, circuits and outages as they are now: small, to be asked every second."""
        collector.peers.require(request.scope, Right.SCRAPE)
        openmetrics = exposition.wants_openmetrics(request.headers.get("accept", ""))
        engine, judges = collector.engine, collector.outage_watch.engine is not None
        text = outage_exposition.expose(engine, openmetrics=openmetrics, stalled=judges and engine is None)
        return Response(text, headers={"Content-Type": exposition.OPENMETRICS if openmetrics else exposition.TEXT})

    @routes.get("/sd/collector", responses=problems(401))
    async def sd_collector(request: Request) -> JSONResponse:
        """Prometheus HTTP service discovery: this collector."""
        collector.peers.require(request.scope, Right.SCRAPE)
        host = request.headers.get("host", "")
        labels = {"instance": collector.settings.scrape_instance}
        return JSONResponse([{"targets": [host], "labels": labels}])

    return routes
