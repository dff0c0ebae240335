"""The HTTP interface: version 1, OpenAPI, every error an RFC 9457 problem."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from haidang_wire import __version__
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haidang_collector.collector import Collector
from haidang_collector.console import routes as console
from haidang_collector.http import agents, audit, installer, inventory, links, operations, prometheus
from haidang_collector.http.answers import InPieces
from haidang_collector.http.attempts import Pace
from haidang_collector.http.bodies import problems
from haidang_collector.http.door import Door, room
from haidang_collector.http.own_pages import OwnPages
from haidang_collector.ledger.database import LedgerBusy, LedgerError
from haidang_collector.problems import Problem
from haidang_collector.registry import store as registry_store

log = logging.getLogger(__name__)

# Of a name in a request that is told back.
_MOST_NAME = 100


def create_app(collector: Collector, door: Door | None = None) -> ASGIApp:
    """The application of one collector, behind a door (one of its own where none is kept)."""
    door = door or Door(collector.settings.door, room(collector.settings.door, 1024), collector.telemetry.count_at_door)
    telemetry = collector.telemetry

    def refuse(problem: Problem) -> Response:
        telemetry.refused_requests.labels(problem.reason).inc()
        return problem.response()

    handlers = _handlers(refuse)
    app = FastAPI(
        title="Hải Đăng collector", version=__version__, docs_url=None, redoc_url=None, exception_handlers=handlers
    )
    ready = _Ready(collector)

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> PlainTextResponse:
        """The process answers."""
        return PlainTextResponse("ok\n")

    @app.get("/readyz", response_class=PlainTextResponse, responses=problems(503))
    async def readyz() -> PlainTextResponse:
        """The database answers too."""
        await ready.ask()
        return PlainTextResponse("ready\n")

    of_agents = agents.router(collector)
    app.include_router(of_agents)
    app.include_router(prometheus.router(collector, door))
    app.include_router(operations.router(collector))
    app.include_router(audit.router(collector))
    app.include_router(inventory.router(collector))
    app.include_router(links.router(collector))
    app.include_router(installer.router(collector, door))
    app.include_router(console.router(collector))
    # Thousands of deliveries come in a second: they go past what FastAPI does for each request of a person.
    front = Starlette(
        routes=[agents.deliveries(of_agents), Mount("", app)],
        middleware=[
            Middleware(Pace, settings=collector.settings.door, refuse=refuse),
            Middleware(OwnPages, settings=collector.settings, refuse=refuse),
        ],
        exception_handlers=handlers,
    )
    return _Counted(InPieces(front), telemetry.requests.labels)


def _handlers(
    refuse: Callable[[Problem], Response],
) -> dict[Any, Callable[[Request, Any], Coroutine[Any, Any, Response]]]:
    """What is answered to each kind of error."""

    async def on_problem(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)
        return refuse(problem)

    async def on_ledger(request: Request, error: Exception) -> Response:
        log.error("%s", error)
        if isinstance(error, LedgerBusy):
            return refuse(Problem(503, "busy", "too much is asked of the database", retry_after=15))
        return refuse(Problem(503, "storage", "the database fails, see the collector's log", retry_after=15))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = Problem(error.status_code, "http", str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response

    async def on_disconnect(request: Request, error: Exception) -> Response:
        return Response(status_code=400)  # nobody reads it: the line was cut, or the door ended the connection

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]  # its message repeats no value
        where = ".".join(str(part) for part in first["loc"][1:])[:_MOST_NAME]
        return refuse(Problem(422, "malformed", first["msg"], field=where))

    return {
        Problem: on_problem,
        LedgerError: on_ledger,
        HTTPException: on_http,
        ClientDisconnect: on_disconnect,
        RequestValidationError: on_validation,
    }


class _Ready:
    """Asks the database once for all who ask meanwhile, and at most once a second: anybody may."""

    _SECONDS, _PATIENCE_SECONDS = 1.0, 10.0

    def __init__(self, collector: Collector) -> None:
        self._ledger = collector.ledger
        self._asked: asyncio.Future[float] | None = None
        self._good_until = 0.0

    async def ask(self) -> None:
        """Raises LedgerError, or Problem 503 when there is no answer in time."""
        if time.monotonic() < self._good_until:
            return
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(self._ledger.read(registry_store.registry_loaded))
        try:
            await asyncio.wait_for(asyncio.shield(self._asked), self._PATIENCE_SECONDS)
        except TimeoutError as error:
            raise Problem(503, "busy", "the database does not answer in time", retry_after=10) from error
        self._good_until = time.monotonic() + self._SECONDS


class _Counted:
    """Counts answers by route and status, outside of everything that may answer."""

    def __init__(self, app: ASGIApp, labels: Callable[..., Any]) -> None:
        self._app = app
        self._labels = labels

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                self._labels(getattr(route, "path", "other"), str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counting)
