"""The server's side of TLS: its certificate, and which CAs clients may be of; both change while it runs."""

from __future__ import annotations

import ssl
import time

from haidang_collector.identity.authority import Authority

# X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h).
_NO_CHECK_TIME = 0x200000


class Tls:
    """`context` is what listens; each new connection gets the newest certificates."""

    def __init__(self, authority: Authority, names: tuple[str, ...]) -> None:
        """Raises OSError, ssl.SSLError."""
        self._authority = authority
        self._names = names
        self._current = self._make()
        self.context = self._make()
        # Trust can be added to a context but not taken away, and a listener keeps its own: so each connection is
        # given another one as it begins. OpenSSL asks for clients that name no server, too.
        self.context.sni_callback = self._give

    def _make(self) -> ssl.SSLContext:
        self._begins, self.ends = self._authority.ensure_server(self._names)
        self._version = self._authority.version
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(self._authority.server_file)
        context.load_verify_locations(cadata=self._authority.pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        # Of time the ledger judges, in words: what was issued while the clock was ahead counts before it has "begun".
        context.verify_flags |= _NO_CHECK_TIME
        return context

    def _give(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current

    def follow(self, *, check: bool = False) -> None:
        """Take over another CA, and with `check` a certificate of the server that is due. One that has not begun is
        always: the clock was ahead when it was made. Raises OSError, ssl.SSLError."""
        if check or self._version != self._authority.version or time.time() < self._begins:
            self._current = self._make()
