"""HTTPS to the collector: one kept connection, pinned CA, proxies, and clocks that are wrong.

Only `http.client` and `ssl`: an agent at rest stays small (docs/decisions has the figures).
"""

from __future__ import annotations

import email.utils
import http.client
import json
import logging
import os
import select
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from haidang_wire.errors import HaidangError

from haidang_agent import deadline
from haidang_agent.known_time import KnownTime, is_impossible, may_believe
from haidang_agent.platform.files import held
from haidang_agent.platform.system import boot_seconds
from haidang_agent.texts import shown

log = logging.getLogger(__name__)

# X509_V_FLAG_NO_CHECK_TIME and the two verify codes about time (openssl/x509_vfy.h).
_NO_CHECK_TIME = 0x200000
_NOT_YET_VALID, _HAS_EXPIRED = 9, 10
# Its other codes for a chain that leads to no CA we trust.
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
# Whoever answers may be anybody who got hold of the collector: what an answer may cost is bounded.
_MOST_BYTES = 256 * 1024
_MOST_BYTES_OF = {"/v1/assignment": 2 * 1024 * 1024}
_MOST_TEXT = 300
# A whole exchange, of a large delivery over a slow line, takes so many times what one operation may.
_WHOLE = 8


class NetworkError(HaidangError):
    """The collector can't be reached: no route, name, connection, or it went away."""


class TlsError(HaidangError):
    """The other end is not our collector, or does not accept us as an agent. `reason` is `authority` (it is of a CA
    we don't know), `certificate` (it does not take ours), `time` (its certificate has ended or not begun) or empty."""

    reason = ""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, headers by lower-case name, body, the collector's clock
    minus ours in seconds by its Date header (to a second), and when it was asked for and
    was here, in seconds since boot."""

    status: int
    headers: dict[str, str]
    body: bytes
    clock_offset: float | None
    asked: float = 0.0
    heard: float = 0.0

    def json(self) -> Any:
        """The body as JSON; raises HaidangError when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise HaidangError("the collector's answer is not JSON", remedy="Is it really a collector?") from error

    def problem(self) -> str:
        """What an RFC 9457 problem document says, or the status."""
        try:
            document = json.loads(self.body)
            return printable(document.get("detail") or document.get("title") or self.status)
        except (ValueError, AttributeError, RecursionError):
            return f"HTTP status {self.status}"


def printable(text: object) -> str:
    """A text of somebody else's for a log or a terminal: one line, of a bounded length."""
    short = str(text)[:_MOST_TEXT] if isinstance(text, (str, int, float)) else type(text).__name__
    return shown(short)


def _seconds_ahead(date: str, now: float) -> float | None:
    """A clock minus ours, by a Date header (RFC 9110, section 6.6.1)."""
    try:
        parsed = email.utils.parsedate_tz(date)
        return email.utils.mktime_tz(parsed) + 0.5 - now if parsed else None
    except (ValueError, TypeError, IndexError, OverflowError):  # of digits that are no date
        return None


class Transport:
    """Requests to one collector over one kept connection. Not for two threads at a time."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None,
        identity_file: Path | None = None,
        timeout: float = 15,
        known_time: KnownTime | None = None,
    ) -> None:
        """ca_file None verifies nothing: only to fetch the CA that a fingerprint then proves. known_time is what is
        known of the time where this machine's clock is wrong.

        Raises HaidangError for a URL that is none, TlsError for files that can't be read.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise HaidangError("is not a collector's address", where=url, remedy="Give it as https://HOST") from error
        try:
            port = parts.port or 443
        except ValueError as error:
            raise HaidangError("the port is not a number", where=url) from error
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise HaidangError(
                "is not a collector's address",
                where=url,
                remedy="Give it as https://HOST or https://HOST:PORT",
            )
        self.url = url
        self.host = parts.hostname
        self.port = port
        self._timeout = timeout
        self._ca_file = ca_file
        self._identity_file = identity_file
        self._known_time = known_time
        self._connection: http.client.HTTPSConnection | None = None
        self._context = self._make_context(check_time=True)

    def _make_context(self, *, check_time: bool) -> ssl.SSLContext:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._ca_file is None:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            else:
                with held(self._ca_file) as file:
                    context.load_verify_locations(file)
            if self._identity_file is not None:
                with held(self._identity_file) as file:
                    context.load_cert_chain(file)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"the certificate files can't be used: {error}",
                where=str(self._identity_file or self._ca_file),
                remedy="Check their owner and mode, or enrol again",
            ) from error
        if not check_time:
            context.verify_flags |= _NO_CHECK_TIME
        return context

    def connect(self) -> bool:
        """Open the connection if there is none that the other end has left open; whether that was done.
        Raises NetworkError, TlsError."""
        if self._connection is not None:
            # Nothing was asked: what can be read is the end of the connection.
            if not select.select([self._connection.sock], [], [], 0)[0]:
                return False
            self.close()
        try:
            self._connection = self._open()
        except ssl.SSLCertVerificationError as error:
            known = self._known_time.at if self._known_time else 0.0
            if error.verify_code not in (_NOT_YET_VALID, _HAS_EXPIRED) or not is_impossible(time.time(), known):
                raise self._tls_error(error) from error
            self._connect_with_wrong_clock(error)
        return True

    def _connect_with_wrong_clock(self, cause: ssl.SSLCertVerificationError) -> None:
        # A machine with a dead clock battery wakes years away from the certificate's life.
        # CA and name are still verified, and before anything is said the collector's own
        # time must lie in its certificate's life, which must not have ended before what is
        # known already. What this gives up: on such a machine the key of a certificate of our CA that ended since
        # the collector was last heard would be believed.
        self._context = self._make_context(check_time=False)
        try:
            self._connection = self._open()
            assert isinstance(self._connection.sock, ssl.SSLSocket)
            certificate = self._connection.sock.getpeercert() or {}
            answer = self._exchange("GET", "/healthz", None, {})
        except (ssl.SSLError, OSError, http.client.HTTPException) as error:
            self.close()
            raise self._wrap(error) from error
        finally:
            self._context = self._make_context(check_time=True)
        begins = ssl.cert_time_to_seconds(str(certificate["notBefore"]))
        ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        now, known = time.time(), self._known_time.at if self._known_time else 0.0
        if answer.clock_offset is None or not may_believe(now, now + answer.clock_offset, begins, ends, known):
            self.close()
            raise self._tls_error(cause)
        log.warning("this machine's clock is wrong by %.0f s: set it", answer.clock_offset)

    def _open(self) -> http.client.HTTPSConnection:
        proxy = self._proxy()
        host, port = proxy or (self.host, self.port)
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=self._timeout, context=self._context)
        connection.auto_open = False  # only we connect, with an end
        opened = None
        try:
            opened = deadline.dial(host, port, self._timeout, time.monotonic() + 2 * self._timeout)
            if proxy:
                deadline.tunnel(opened, self.host, self.port)
            connection.sock = deadline.wrap(opened, self._context, self.host)
            return connection
        except ssl.SSLCertVerificationError:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._wrap(error) from error
        finally:
            if opened is not None and connection.sock is None:
                opened.close()

    @property
    def proxied(self) -> bool:
        """Whether a proxy of the environment stands in between. Raises HaidangError."""
        return self._proxy() is not None

    def _proxy(self) -> tuple[str, int] | None:
        if not any(name.lower().endswith("_proxy") for name in os.environ):
            return None
        from urllib.request import (  # type: ignore[attr-defined]  # one of them is missing in typeshed
            getproxies_environment,
            proxy_bypass_environment,
        )

        proxies = getproxies_environment()
        proxy = proxies.get("https") or proxies.get("all")
        if not proxy or proxy_bypass_environment(f"{self.host}:{self.port}", proxies):
            return None
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        if not parts.hostname or parts.scheme not in ("", "http"):
            # The value may hold a password: it is not repeated.
            raise HaidangError("the proxy of the environment can't be used", remedy="Give it as http://HOST:PORT")
        return parts.hostname, parts.port or 80

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One exchange. A kept connection the collector has closed meanwhile is opened again once.

        Raises NetworkError or TlsError; every HTTP status is an answer.
        """
        kept = self._connection is not None
        try:
            self.connect()
            return self._exchange(method, path, body, headers or {})
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            if not kept or isinstance(error, TimeoutError):
                raise self._wrap(error) from error
        return self.request(method, path, body, headers)

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        assert self._connection is not None
        assert isinstance(self._connection.sock, deadline.Tls)
        self._connection.sock.ends = time.monotonic() + _WHOLE * self._timeout
        asked = boot_seconds()
        self._connection.request(method, path, body, {"User-Agent": "haidang-agent", **headers})
        response = self._connection.getresponse()
        most = _MOST_BYTES_OF.get(path, _MOST_BYTES)
        data = response.read(most + 1)
        if len(data) > most:
            self.close()
            raise HaidangError(f"an answer of more than {most} bytes", where=self.url)
        heard, now = boot_seconds(), time.time()
        names = {name.lower(): value for name, value in response.getheaders()}
        offset = _seconds_ahead(names.get("date", ""), now)
        if response.will_close or not response.isclosed():
            self.close()
        return Answer(response.status, names, data, offset, asked, heard)

    def close(self) -> None:
        """Close the connection, if there is one; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _wrap(self, error: Exception) -> HaidangError:
        if isinstance(error, HaidangError):
            return error
        if isinstance(error, ssl.SSLError):
            return self._tls_error(error)
        if isinstance(error, socket.gaierror):
            return NetworkError(f"the name {self.host} does not resolve", where=self.url, remedy="Check DNS")
        if isinstance(error, ConnectionRefusedError):
            remedy = "Is the collector running, and the port open in firewalls?"
            return NetworkError("connection refused", where=self.url, remedy=remedy)
        if isinstance(error, TimeoutError):
            return NetworkError("no answer in time", where=self.url, remedy="Check the WAN link and firewalls")
        return NetworkError(
            printable(str(error) or type(error).__name__), where=self.url, remedy="Check the WAN link and routes"
        )

    def _tls_error(self, error: ssl.SSLError) -> TlsError:
        said = getattr(error, "verify_message", "") or error.reason or "handshake failed"
        code = getattr(error, "verify_code", 0)
        if code in _UNKNOWN_AUTHORITY:
            reason, remedy = "authority", (
                "The data center replaced its CA while this machine was away, or something else answers there. Ask the"
                " data center, and with a token of it run: haidang-agent enrol --force"
            )  # fmt: skip
        elif code in (_NOT_YET_VALID, _HAS_EXPIRED):
            reason, remedy = "time", "Set this machine's clock; if it is right, tell the data center"
        elif "ALERT" in said.upper() and ("CERTIFICATE" in said.upper() or "UNKNOWN_CA" in said.upper()):
            reason, remedy = "certificate", (
                "The collector does not accept this agent's certificate (any more). Ask the data center, and with a"
                " token of it run: haidang-agent enrol --force"
            )  # fmt: skip
        else:
            reason, remedy = "", "Check the address and the CA's fingerprint"
        made = TlsError(f"TLS: {said}", where=self.url, remedy=remedy)
        made.reason = reason
        return made
