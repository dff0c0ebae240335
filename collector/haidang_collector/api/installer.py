"""What a machine without internet installs the agent from. Open to all: nothing of it is secret."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse, PlainTextResponse, Response

from haidang_collector import installer
from haidang_collector.bodies import problems
from haidang_collector.collector import Collector
from haidang_collector.problems import Problem


def router(collector: Collector) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    text = installer.script(collector.settings.url, collector.authority.fingerprint)
    bundle = installer.Bundle(collector.settings.bundle_dir)

    @routes.get("/install.sh", response_class=PlainTextResponse)
    async def script() -> PlainTextResponse:
        """Installs, upgrades or removes the agent; believed by the checksum that comes with a token."""
        return PlainTextResponse(text, media_type="text/x-shellscript; charset=utf-8")

    @routes.get("/install/{name}", response_model=None, responses=problems(404))
    async def file(name: str) -> Response:
        """A wheel, or manifest.json: which files there are, their SHA-256, and which a kind of machine needs."""
        found = bundle.file(name)
        if found is None or not found.is_file():
            raise Problem(404, "not_found", f"{name[:100]} is not served here")
        return FileResponse(found)

    return routes
