"""What changes something is asked for by this collector's own pages, or by no page at all.

A browser sends an operator's certificate with every request to this host, also with one that another site's page
makes (cross-site request forgery). It says whose page that is in Origin, which no page can set, and sends
application/json to another site only after it has asked for leave (a CORS preflight), which is never given here.
This stands before all routes: none can forget it. Programs (curl, scripts) send no Origin and are not concerned.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haidang_collector.problems import Problem
from haidang_collector.settings import Settings

_SAFE = ("GET", "HEAD", "OPTIONS")
# No browser has an agent's key, and a token stands in the body; agents of before say nothing of what a body is.
AGENTS_ROUTES = ("/v1/reports", "/v1/enrol", "/v1/renew")
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class OwnPages:
    """Refuses what another page asks for, and says in each answer that none may show or keep it, unless a route says
    otherwise. Agents' routes are asked thousands of times a second by no browser, their answers stay as they are."""

    def __init__(self, app: ASGIApp, settings: Settings, refuse: Callable[[Problem], Response]) -> None:
        self._app = app
        self._settings = settings
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] not in _SAFE:
            problem = self._problem(scope)
            if problem is not None:
                await self._refuse(problem)(scope, receive, send)
                return
        if scope["path"] in AGENTS_ROUTES:
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in _HEADERS if each[0] not in said)]
            await send(message)

        await self._app(scope, receive, guarded)

    def _problem(self, scope: Scope) -> Problem | None:
        """Why a request that may change something is refused."""
        # `null` is a page that hides where it is from: a sandboxed frame, a file, a data: address.
        origins = _values(scope, b"origin")
        if origins and not (len(origins) == 1 and origins[0] in self._own(scope)):
            return Problem(403, "origin", "the request comes from a page of another origin", field="Origin")
        if any(site != "same-origin" for site in _values(scope, b"sec-fetch-site")):
            return Problem(403, "origin", "the request comes from a page of another site", field="Sec-Fetch-Site")
        if scope["path"] in AGENTS_ROUTES:
            return None
        kinds = _values(scope, b"content-type")
        # A form can make a POST without a body, but nothing without a preflight that is neither GET nor POST.
        bare = scope["method"] == "DELETE" and not kinds and not _has_body(scope)
        if not bare and [kind.partition(";")[0].strip() for kind in kinds] != ["application/json"]:
            return Problem(415, "content_type", "only application/json is taken here", field="Content-Type")
        return None

    def _own(self, scope: Scope) -> set[str]:
        """The origins of this collector's pages. Host is not asked: whoever makes a name point here chooses it."""
        settings = self._settings
        ports = [settings.listen_port or (scope.get("server") or ("", 0))[1]]
        if (scope.get("client") or ("", 0))[0] in settings.trusted_proxies:
            ports.append(443)  # where pages of a proxy are
        hosts = [f"[{name}]" if ":" in name else name for name in settings.names]
        found = {settings.url, settings.console.url, *(f"https://{host}:{port}" for host in hosts for port in ports)}
        return {origin.lower().removesuffix(":443") for origin in found if origin}


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for name, value in scope["headers"] if name == wanted]


def _has_body(scope: Scope) -> bool:
    lengths = _values(scope, b"content-length")
    return any(length != "0" for length in lengths) or bool(_values(scope, b"transfer-encoding"))
