"""The collector as an installation asks it: believed by its CA's fingerprint, within bounds of size and time."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import math
import re
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .texts import Failure, printable, tell

# X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h): a clock that says less than when this was made can't be right.
NO_CHECK_TIME = 0x200000
# Who answers may be anybody, before the CA is believed and on the line after it: what an answer may cost is bounded.
PATIENCE = 15.0  # seconds of one operation
WHOLE = 60.0  # of one answer, and what its size takes over a line of 32 kbit/s
SLOWEST = 4_000
MOST_BYTES = 64 * 2**10
MOST_OF_MANIFEST = 2**20
MOST_ADDRESSES = 8


class Limited(ssl.SSLSocket):
    """No operation takes longer than PATIENCE, and none goes on beyond `ends` (steady clock): a limit of each is none
    of the whole."""

    ends = math.inf

    def hurry(self) -> None:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        self.settimeout(min(PATIENCE, left))

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.hurry()
        return super().recv_into(*arguments, **named)

    def send(self, *arguments: Any, **named: Any) -> int:
        self.hurry()
        return super().send(*arguments, **named)


class Line(http.client.HTTPSConnection):
    """A connection with an end as a whole, from the first address that is tried."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        context.sslsocket_class = Limited
        super().__init__(host, port, timeout=PATIENCE, context=context)
        self._tls = context
        self.ends = time.monotonic() + 2 * PATIENCE

    def end_in(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        if isinstance(self.sock, Limited):
            self.sock.ends = self.ends

    def connect(self) -> None:
        plain = self._dial()
        try:
            plain.settimeout(min(PATIENCE, max(0.001, self.ends - time.monotonic())))  # of the whole handshake
            wrapped = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:  # whatever it was, it is raised again
            plain.close()
            raise
        assert isinstance(wrapped, Limited)
        wrapped.ends, self.sock = self.ends, wrapped

    def _dial(self) -> socket.socket:
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found[:MOST_ADDRESSES]:  # a name may have thousands
            left = self.ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("no address answers in time")
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(min(PATIENCE, left))
                plain.connect(address)
                return plain
            except OSError as error:
                failure = error
                plain.close()
        raise failure


class Collector:
    """The collector, believed by the fingerprint of its CA."""

    def __init__(self, url: str, fingerprint: str, released: float) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 443
        self._connection = self._connect(ssl._create_unverified_context())  # noqa: S323  # believed by its fingerprint
        served = self._get("/v1/ca.pem").decode("ascii", "replace")
        self._connection.close()
        context = ssl.create_default_context(cadata=self._pinned(served, fingerprint))
        impossible = time.time() < released
        if impossible:
            context.verify_flags |= NO_CHECK_TIME
        self._connection = self._connect(context)
        if impossible:
            self._require_life(released)

    def _pinned(self, served: str, fingerprint: str) -> str:
        """The CA of the fingerprint: while the collector's CA is being replaced it shows two."""
        pems: list[str] = re.findall("-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", served)
        try:
            seen = {hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(): pem for pem in pems}
        except ValueError:
            seen = {}
        if not seen:
            raise Failure("not ours", host=self.host, port=self.port, detail="no CA")
        if fingerprint not in seen:
            raise Failure("other CA", host=self.host)
        return seen[fingerprint]

    def _require_life(self, released: float) -> None:
        """This machine's clock can't be right: then the collector's own time must lie in its certificate's life."""
        assert isinstance(self._connection.sock, ssl.SSLSocket)
        certificate = self._connection.sock.getpeercert() or {}
        begins, ends = (ssl.cert_time_to_seconds(str(certificate[name])) for name in ("notBefore", "notAfter"))
        self._get("/healthz")
        try:
            told = parsedate_to_datetime(self.date).timestamp()
        except (ValueError, TypeError):
            told = 0.0
        if not max(begins, released) <= told <= ends:
            raise Failure("not ours", host=self.host, port=self.port, detail="certificate has expired")

    def _connect(self, context: ssl.SSLContext) -> Line:
        where: dict[str, Any] = {"host": self.host, "port": self.port}
        connection = Line(self.host, self.port, context)
        try:
            connection.connect()
        except socket.gaierror as error:
            raise Failure("unknown host", **where) from error
        except ConnectionRefusedError as error:
            raise Failure("closed", **where) from error
        except ssl.SSLCertVerificationError as error:
            key = "time" if error.verify_code in (9, 10) else "not ours"  # not begun, has ended
            raise Failure(key, detail=error.verify_message, **where) from error
        except ssl.SSLError as error:
            raise Failure("not ours", detail=error.reason or str(error), **where) from error
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
                raise Failure("no route", **where) from error
            raise Failure("silent", seconds=int(PATIENCE), **where) from error
        return connection

    def _get(self, path: str, most: int = MOST_BYTES) -> bytes:
        seconds = WHOLE + most / SLOWEST
        self._connection.end_in(seconds)
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            body = answer.read(most + 1)
            if answer.length and len(body) <= most:  # read() of so many bytes says nothing of an end before them
                raise http.client.IncompleteRead(body, answer.length)
        except (TimeoutError, socket.timeout) as error:
            raise Failure("slow", host=self.host, path=path, seconds=int(seconds)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure("broken off", host=self.host, detail=printable(error)) from error
        if len(body) > most:
            raise Failure("large", host=self.host, path=path, most=most)
        self.date = answer.headers.get("Date", "")
        if answer.status == 404 and path == "/install/manifest.json":
            raise Failure("no bundle")
        if answer.status != 200:
            raise Failure("not ours", host=self.host, port=self.port, detail=f"HTTP {answer.status}")
        return body

    def manifest(self) -> dict[str, Any]:
        """What there is to install."""
        try:
            return dict(json.loads(self._get("/install/manifest.json", MOST_OF_MANIFEST)))
        except (ValueError, TypeError, RecursionError) as error:
            raise Failure("not ours", host=self.host, port=self.port, detail="no manifest") from error

    def fetch(self, name: str, checksum: str, most: int, to: Path) -> None:
        """A file of at most so many bytes into the folder, if it is what was announced."""
        body = self._get(f"/install/{name}", most)
        if hashlib.sha256(body).hexdigest() != checksum:
            raise Failure("checksum", name=name)
        (to / name).write_bytes(body)

    def warn_of_clock(self) -> None:
        """The collector's time is in its answer."""
        with contextlib.suppress(ValueError, TypeError):
            wrong = time.time() - parsedate_to_datetime(self.date).timestamp()
            if abs(wrong) > 60:
                tell("clock", seconds=round(wrong))
