"""What a machine without internet installs the agent from. Open to all: nothing of it is secret."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from haidang_collector import installer
from haidang_collector.collector import Collector
from haidang_collector.http.bodies import problems
from haidang_collector.http.door import Door, Seats, Visitor, visitor_of
from haidang_collector.identity.authority import fingerprint
from haidang_collector.problems import Problem

# A cache of the agency's own may keep it.
_CACHED = {"Cache-Control": "no-cache"}


def router(collector: Collector, door: Door) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    bundle = installer.Bundle(collector.settings.bundle_dir)

    @routes.get("/install.sh", response_class=PlainTextResponse)
    async def script(ca: Annotated[str, Query(max_length=64)] = "") -> PlainTextResponse:
        """Installs, upgrades or removes the agent; believed by the checksum that comes with a token. `ca` begins the
        fingerprint of the CA it is to pin: while that is being replaced, lines of before go on working."""
        trusted = [fingerprint(each) for each in collector.authority.trusted]
        pinned = next((each for each in trusted if ca and each.startswith(ca)), trusted[0])
        text = installer.script(collector.settings.url, pinned)
        return PlainTextResponse(text, 200, _CACHED, "text/x-shellscript; charset=utf-8")

    @routes.get("/install/{name}", response_model=None, responses=problems(404))
    async def file(request: Request, name: str) -> Response:
        """A wheel, or manifest.json: which files there are, their SHA-256, and which a kind of machine needs."""
        found = bundle.file(name)
        if found is None or not found.is_file():
            raise Problem(404, "not_found", f"{name[:100]} is not served here")
        return _Seated(found, door.downloads, visitor_of(request.scope))

    return routes


class _Seated(FileResponse):
    """A file, while there is a seat for who reads it: it is open meanwhile."""

    def __init__(self, path: Path, seats: Seats, visitor: Visitor | None) -> None:
        super().__init__(path, headers=_CACHED)
        self._seats = seats
        self._visitor = visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seats.seat(self._visitor):
            await super().__call__(scope, receive, send)
