"""Whether the province's services answer: name, connection, certificate, status; and the document systems' counts."""

from __future__ import annotations

import http.client
import json
import logging
import math
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from haidang_wire import __version__
from haidang_wire.assignment import AssignedService
from haidang_wire.errors import ConfigError, HaidangError
from haidang_wire.sources import SERVICES

from haidang_agent import deadline
from haidang_agent.config import ServicesConfig, load_tables
from haidang_agent.platform.files import refuse_readable
from haidang_agent.schedule.source import Findings

log = logging.getLogger(__name__)

_MOST_BYTES = 2**20
_MOST_UNITS = 2_000
_AT_ONCE = 8


@dataclass(frozen=True)
class Credential:
    """One `[NAME]` of the credentials file. The token is not shown by repr()."""

    bearer: str = field(default="", repr=False, metadata={"doc": "Token of `Authorization: Bearer`.", "minimum": None})


@dataclass(frozen=True)
class _Answer:
    status: int
    seconds: float
    body: bytes
    certificate_ends: float | None


class Services:
    """One question a service and round; a service that hangs holds up no other."""

    name = SERVICES

    def __init__(self, config: ServicesConfig, assigned: Callable[[], tuple[AssignedService, ...]]) -> None:
        self._config = config
        self._assigned = assigned
        self._said: dict[str, str] = {}

    def collect(self) -> Findings:
        """Samples of every service. Raises ConfigError for a credentials file that can't be used."""
        services = self._assigned()
        findings = Findings()
        if not services:
            return findings
        from concurrent.futures import ThreadPoolExecutor  # most agents have no services

        named = any(service.credential for service in services)
        credentials = load_credentials(Path(self._config.credentials_file)) if named else {}
        context = ssl.create_default_context()
        if self._config.ca_file:
            context.load_verify_locations(self._config.ca_file)
        with ThreadPoolExecutor(min(_AT_ONCE, len(services)), thread_name_prefix="service") as pool:
            for found in pool.map(lambda service: self._ask(service, credentials, context), services):
                findings.samples += found.samples
        return findings

    def _ask(self, service: AssignedService, credentials: dict[str, Credential], context: ssl.SSLContext) -> Findings:
        found, headers = Findings(), {}
        if service.credential in credentials:
            headers["Authorization"] = f"Bearer {credentials[service.credential].bearer}"
        problem = ""
        try:
            answer = _get(service.url, {}, context, self._config.answer_seconds)
            found.add("service_up", int(answer.status < 500), service=service.id)
            found.add("service_response_seconds", round(answer.seconds, 4), service=service.id)
            found.add("service_status_code", answer.status, service=service.id)
            ends = answer.certificate_ends
        except Exception as error:  # whatever a service brings out is its own, and no answer
            log.debug("service %s", service.id, exc_info=True)
            problem = str(error) or type(error).__name__
            found.add("service_up", 0, service=service.id)
            ends = _certificate_ends(service.url, self._config.answer_seconds) if _is_certificate(error) else None
        if ends is not None:
            found.add("service_certificate_ends_timestamp_seconds", ends, service=service.id)
        if service.documents_url and not problem:
            problem = self._documents(service, headers, context, found)
        if problem != self._said.get(service.id, ""):  # said once, not every minute
            log.warning("service %s: %s", service.id, problem or "answers again")
            self._said[service.id] = problem
        return found

    def _documents(
        self, service: AssignedService, headers: dict[str, str], context: ssl.SSLContext, found: Findings
    ) -> str:
        """Add the counts; what is wrong with them, or nothing."""
        try:
            answer = _get(service.documents_url, headers, context, self._config.answer_seconds)
            if answer.status != 200:
                return f"its counts of documents answer {answer.status}"
            for unit, count, electronic in counts(json.loads(answer.body), service):
                found.add("service_documents", count, service=service.id, unit=unit)
                found.add("service_documents_electronic", electronic, service=service.id, unit=unit)
        except Exception as error:  # as above
            log.debug("documents of service %s", service.id, exc_info=True)
            return f"its counts of documents can't be read: {str(error) or type(error).__name__}"
        return ""


def load_credentials(path: Path) -> dict[str, Credential]:
    """The credentials of a file, by name. Raises ConfigError with file and key, and for one others may read."""
    found: dict[str, Credential] = load_tables(path, Credential)
    try:
        refuse_readable(path)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(path)) from error
    return found


def counts(document: Any, service: AssignedService) -> list[tuple[str, float, float]]:
    """(unit, documents, electronic ones) of each unit. Raises HaidangError naming the path that leads nowhere."""
    items = _at(document, service.documents_items) if service.documents_items else [document]
    if not isinstance(items, list):
        raise HaidangError(f"{service.documents_items} is no list")
    found: dict[str, tuple[str, float, float]] = {}
    for item in items[:_MOST_UNITS]:
        unit = str(_at(item, service.documents_unit)) if service.documents_unit else ""
        count, electronic = _at(item, service.documents_count), _at(item, service.documents_electronic)
        for name, value in ((service.documents_count, count), (service.documents_electronic, electronic)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
                raise HaidangError(f"{name} is {value!r}, no count of documents")
        found[unit[:100]] = (unit[:100], count, electronic)
    return list(found.values())


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise HaidangError(f"there is no {path}")
        value = value[name]
    return value


def _connected(url: str, context: ssl.SSLContext, ends: float) -> http.client.HTTPConnection:
    """A connection on which nothing goes on beyond an end (steady clock). Raises OSError, ValueError."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    opened = deadline.dial(host, port, (ends - time.monotonic()) / 2, ends)  # a second address has a turn
    opened.patience = math.inf
    try:
        if secure:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, context=context)
            connection.sock = deadline.wrap(opened, context, host)
        else:
            connection = http.client.HTTPConnection(host, port)
            connection.sock = opened
    except BaseException:  # whatever it was, it is raised again
        opened.close()
        raise
    return connection


def _get(url: str, headers: dict[str, str], context: ssl.SSLContext, seconds: float) -> _Answer:
    """One GET, in so many seconds as a whole. Raises OSError, HTTPException, ValueError (a URL that is none), and
    whatever the library raises for an answer that nobody thought of."""
    parts = urlsplit(url)
    started = time.monotonic()
    # A server that gives a byte now and then must not hold this up for ever.
    connection = _connected(url, context, started + seconds)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": f"haidang-agent/{__version__}", **headers})
        ends = _ends_of(connection.sock)
        response = connection.getresponse()
        body = bytearray()
        while (block := response.read1(65536)) and len(body) < _MOST_BYTES:
            body += block
        return _Answer(response.status, time.monotonic() - started, bytes(body), ends)
    finally:
        connection.close()


def _ends_of(connected: socket.socket | None) -> float | None:
    """When the certificate of the other end ends; None where there is none, or one that can't be read."""
    if not isinstance(connected, ssl.SSLSocket):
        return None
    from cryptography import x509

    data = connected.getpeercert(binary_form=True)
    try:
        return x509.load_der_x509_certificate(data).not_valid_after_utc.timestamp() if data else None
    except Exception:  # of an odd certificate the library raises errors of its own, as InvalidVersion
        log.debug("a certificate that can't be read", exc_info=True)
        return None


def _is_certificate(error: Exception) -> bool:
    return isinstance(error, ssl.SSLCertVerificationError)


def _certificate_ends(url: str, seconds: float) -> float | None:
    """When a certificate that does not count ends: it may be that it has. Nothing is asked over this connection."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        connection = _connected(url, context, time.monotonic() + seconds)
    except (OSError, ValueError):
        return None
    try:
        return _ends_of(connection.sock)
    finally:
        connection.close()
