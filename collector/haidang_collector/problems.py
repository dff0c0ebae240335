"""Errors of the HTTP interface as RFC 9457 problem documents."""

from __future__ import annotations

from typing import Any

import msgspec
from haidang_wire.errors import HaidangError
from starlette.responses import Response

CONTENT_TYPE = "application/problem+json"


class Problem(HaidangError):
    """A request that is refused. `reason` is the bounded label it is counted under, `field`
    names what in the request is wrong, retry_after (seconds) when to come again."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        field: str = "",
        retry_after: int | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, where=field)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.field = field
        self.retry_after = retry_after
        self.extensions = extensions or {}

    def response(self) -> Response:
        """The application/problem+json response (RFC 9457, section 3)."""
        document: dict[str, Any] = {
            "type": f"urn:haidang:problem:{self.reason}",
            "title": self.reason,
            "status": self.status,
            "detail": self.detail,
        }
        if self.field:
            document["field"] = self.field
        document.update(self.extensions)
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(msgspec.json.encode(document), self.status, headers, CONTENT_TYPE)
