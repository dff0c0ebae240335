"""/console: the status page and its two files; /runbooks: what to do about each alert."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from importlib import resources
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from haidang_collector.collector import Collector
from haidang_collector.console.boards import Boards, PrometheusError, load, names
from haidang_collector.console.runbooks import runbook, runbooks
from haidang_collector.console.texts import LANGUAGES, TEXTS
from haidang_collector.console.view import view
from haidang_collector.principals import Right
from haidang_collector.problems import Problem

_STATIC = {"style.css": "text/css", "script.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}


def router(collector: Collector) -> APIRouter:
    """The status page of this collector."""
    pages = Environment(
        loader=PackageLoader("haidang_collector.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    routes = APIRouter(include_in_schema=False)
    asked = Boards(collector.settings.console.prometheus_url) if collector.settings.console.prometheus_url else None

    def signed_in(request: Request) -> Response | None:
        """The page that says how to sign in, for whoever has not."""
        try:
            collector.peers.require(request.scope, Right.LOOK)
        except Problem:
            return _page(pages, request, "sign_in.html", 401)
        return None

    @routes.get("/")
    async def home() -> Response:
        return RedirectResponse("/console/")

    @routes.get("/console/")
    async def status(request: Request) -> Response:
        refused = signed_in(request)
        if refused:
            return refused
        language, now = _language(request), time.time()
        shown = view(collector.registry, collector.engine, collector.latest.agents)
        return _page(
            pages, request, "status.html", view=shown, iso=_iso, local=_local, names=names(language) if asked else {},
            age=lambda since: _age(now - since, language),
        )  # fmt: skip

    @routes.get("/console/boards/{name}")
    async def board(request: Request, name: str, hours: Annotated[float, Query(gt=0, le=24 * 400)] = 0) -> Response:
        refused = signed_in(request)
        if refused:
            return refused
        language = _language(request)
        document = load(name, language)
        if document is None or asked is None:
            raise Problem(404, "not_found", f"there is no dashboard {name[:50]!r}, or no console.prometheus_url")
        given = {key[4:]: value for key, value in request.query_params.items() if key.startswith("var-")}
        shown_hours = hours or {"now-6h": 6, "now-24h": 24, "now-30d": 720}.get(document["time"]["from"], 6)
        try:
            page = await asked.draw(document, given, shown_hours, time.time())
        except PrometheusError as error:
            raise Problem(503, "prometheus", str(error), retry_after=5) from error
        other = {**request.query_params, "language": next(each for each in LANGUAGES if each != language)}
        return _page(
            pages, request, "board.html", page=page, name=name, names=names(language), hours=shown_hours,
            in_other=urlencode(other),
        )  # fmt: skip

    @routes.get("/console/static/{name}")
    async def static(name: str) -> Response:
        if name not in _STATIC:
            raise Problem(404, "not_found", f"there is no {name[:50]}")
        content = (resources.files("haidang_collector.console") / "static" / name).read_bytes()
        return Response(content, 200, {**_HEADERS, "Cache-Control": "no-cache"}, f"{_STATIC[name]}; charset=utf-8")

    @routes.get("/runbooks/")
    async def all_runbooks(request: Request) -> Response:
        return _page(pages, request, "runbook.html", page=None, all=runbooks(_language(request)))

    @routes.get("/runbooks/{alert}")
    async def one_runbook(request: Request, alert: str) -> Response:
        found = runbook(alert, _language(request))
        if found is None:
            raise Problem(404, "not_found", f"there is no runbook of {alert[:50]!r}")
        return _page(pages, request, "runbook.html", page=found)

    return routes


def _page(pages: Environment, request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A template with what all of them use."""
    language, now = _language(request), time.time()
    other = next(each for each in LANGUAGES if each != language)
    known = {"language": language, "other": other, "t": TEXTS[language], "now_iso": _iso(now), "now_text": _local(now)}
    text = pages.get_template(template).render({**known, **values})
    return Response(text, status, _HEADERS, "text/html; charset=utf-8")


def _language(request: Request) -> str:
    """The language that is asked for, else the browser's, else Vietnamese."""
    wanted = request.query_params.get("language") or request.headers.get("accept-language", "")[:2].lower()
    return wanted if wanted in LANGUAGES else "vi"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _local(at: float) -> str:
    """A time in the time zone of the collector's machine."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _age(seconds: float, language: str) -> str:
    minutes = max(0, int(seconds // 60))
    days, hours = minutes // 1440, minutes // 60 % 24
    text = TEXTS[language]["age_days" if days else "age_hours" if hours else "age_minutes"]
    return text.format(days=days, hours=hours, minutes=minutes % 60)
