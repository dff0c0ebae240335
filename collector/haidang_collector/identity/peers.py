"""Who is at the other end of a request: from the TLS layer, or from a trusted proxy."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography import x509
from haidang_wire.errors import HaidangError

from haidang_collector.identity.authority import Authority, Presented, presented
from haidang_collector.identity.certificates import Certificates
from haidang_collector.principals import Principal, Right
from haidang_collector.problems import Problem
from haidang_collector.settings import Settings, read_secret

HEADER = b"client-cert"
_NEEDED = {
    Right.REPORT: "an agent's client certificate of this collector's CA is needed",
    Right.SCRAPE: "the scrape token or a scraper's certificate is needed",
    Right.LOOK: "an operator's certificate of this collector's CA is needed",
    Right.CHANGE: "an operator's certificate of this collector's CA is needed",
}


class Peers:
    """Answers who somebody is and what he may read."""

    def __init__(self, settings: Settings, authority: Authority, certificates: Certificates) -> None:
        """Raises ConfigError for a token file that can't be read."""
        self._authority = authority
        self._certificates = certificates
        self._proxies = frozenset(settings.trusted_proxies)
        self._token = read_secret(settings.metrics_token_file)

    def of(self, scope: Mapping[str, Any]) -> Presented | None:
        """Whom a request's certificate names, as long as it counts; None without one. A header counts only from a
        trusted proxy. Raises Problem 401 or 403 for a certificate that is not ours or does not count (any more)."""
        client = (scope.get("client") or ("", 0))[0]
        shown: Presented | None
        if client in self._proxies:
            header = next((value for name, value in scope["headers"] if name == HEADER), None)
            shown = self._of_proxy(header) if header is not None else None
        else:
            # The TLS layer has verified the chain, but not its time.
            shown = scope.get("extensions", {}).get("tls", {}).get("peer_certificate")
        if shown is not None:
            self._certificates.require(shown, time.time())
        return shown

    def _of_proxy(self, value: bytes) -> Presented | None:
        try:
            certificate = _parse(value)
            self._authority.verify(certificate)
            return presented(certificate)
        except (ValueError, binascii.Error, HaidangError) as error:
            raise Problem(401, "identity", f"the certificate the proxy passed on is not accepted: {error}") from error

    def principal(self, scope: Mapping[str, Any]) -> Principal:
        """Who asks: as a certificate or the scrape token says, else nobody. Raises Problem 401 or 403 for a
        certificate that does not count."""
        shown = self.of(scope)
        kind, name = (shown.kind, shown.name) if shown else ("nobody", "")
        return Principal(kind, name, self.origin(scope))

    def require(self, scope: Mapping[str, Any], right: Right) -> Principal:
        """Who asks, when he may. Raises Problem 401 or 403."""
        if right is Right.SCRAPE and self._scrapes(scope):
            return Principal("scraper", "", self.origin(scope))
        principal = self.principal(scope)
        if not principal.may(right):
            raise Problem(401, "identity", _NEEDED[right])
        return principal

    def proven_agent(self, scope: Mapping[str, Any]) -> str | None:
        """The agent whose certificate came with a request that needs none, if it counts."""
        try:
            principal = self.principal(scope)
        except Problem:
            return None
        return principal.name if principal.kind == "agent" else None

    def origin(self, scope: Mapping[str, Any]) -> str:
        """The address a request comes from; behind a trusted proxy what the proxy says, and the proxy."""
        client = str((scope.get("client") or ("", 0))[0])
        if client not in self._proxies:
            return client
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        # The proxy adds the address it sees behind what its client claims.
        last = said[-1].rpartition(b",")[2].strip().decode("latin-1") if said else ""
        return f"{last} via {client}" if _is_address(last) else client

    def _scrapes(self, scope: Mapping[str, Any]) -> bool:
        """Whether /metrics and /sd may be read without a certificate: with the scrape token, or, where there is none,
        by this machine itself."""
        client = (scope.get("client") or ("", 0))[0]
        if not self._token:
            return client not in self._proxies and _is_loopback(client)
        wanted = b"Bearer " + self._token
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return any(hmac.compare_digest(value, wanted) for value in given)


def _parse(value: bytes) -> x509.Certificate:
    """RFC 9440's `:base64 DER:`, or URL-encoded PEM as nginx's $ssl_client_escaped_cert gives it."""
    if value.startswith(b":") and value.endswith(b":"):
        return x509.load_der_x509_certificate(base64.b64decode(value[1:-1], validate=True))
    return x509.load_pem_x509_certificate(unquote_to_bytes(value))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)
