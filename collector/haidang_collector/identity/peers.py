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
from haidang_collector.ledger.audit import Principal
from haidang_collector.problems import Problem
from haidang_collector.settings import Settings, read_secret

HEADER = b"client-cert"


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

    def require_agent(self, scope: Mapping[str, Any]) -> Presented:
        """The agent. Raises Problem 401 or 403."""
        peer = self.of(scope)
        if peer is None or peer.kind != "agent":
            raise Problem(401, "identity", "an agent's client certificate of this collector's CA is needed")
        return peer

    def proven_agent(self, scope: Mapping[str, Any]) -> str | None:
        """The agent whose certificate came with a request that needs none, if it counts."""
        try:
            peer = self.of(scope)
        except Problem:
            return None
        return peer.name if peer and peer.kind == "agent" else None

    def require_operator(self, scope: Mapping[str, Any]) -> Principal:
        """The operator, for the audit of what he changes. Raises Problem 401 or 403."""
        peer = self.of(scope)
        if peer is None or peer.kind != "operator":
            raise Problem(401, "identity", "an operator's certificate of this collector's CA is needed")
        return Principal("operator", peer.name, self.origin(scope))

    def origin(self, scope: Mapping[str, Any]) -> str:
        """The address a request comes from; behind a trusted proxy what the proxy says, and the proxy."""
        client = str((scope.get("client") or ("", 0))[0])
        if client not in self._proxies:
            return client
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        # The proxy adds the address it sees behind what its client claims.
        last = said[-1].rpartition(b",")[2].strip().decode("latin-1") if said else ""
        return f"{last} via {client}" if _is_address(last) else client

    def require_reader(self, scope: Mapping[str, Any]) -> None:
        """Whether /metrics and /sd may be read: by this machine itself, with the scrape token,
        or with a scraper's certificate. Raises Problem 401 or 403."""
        client = (scope.get("client") or ("", 0))[0]
        if self._token:
            wanted = b"Bearer " + self._token
            for name, value in scope["headers"]:
                if name == b"authorization" and hmac.compare_digest(value, wanted):
                    return
        elif client not in self._proxies and _is_loopback(client):
            return
        peer = self.of(scope)
        if peer is None or peer.kind != "scraper":
            raise Problem(401, "identity", "the scrape token or a scraper's certificate is needed")


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
