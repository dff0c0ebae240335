"""Answers on their way out, in pieces: who reads slowly holds one of them, not the whole."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PIECE_BYTES = 32_768


class InPieces:
    """Hands large bodies on a piece at a time; between two the server waits until its buffers have room."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_pieces(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) <= _PIECE_BYTES:
                await send(message)
                return
            more = message.get("more_body", False)
            view = memoryview(body)
            for at in range(0, len(view), _PIECE_BYTES):
                piece = view[at : at + _PIECE_BYTES]
                last = at + _PIECE_BYTES >= len(view)
                await send({"type": message["type"], "body": piece, "more_body": more or not last})

        await self._app(scope, receive, in_pieces)
