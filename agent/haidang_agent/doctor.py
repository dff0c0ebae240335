"""`haidang-agent doctor`: finds what keeps an agent from reporting, and says what to do."""

from __future__ import annotations

import math
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from haidang_wire.errors import HaidangError

from haidang_agent import status
from haidang_agent.config import AgentConfig, PathsConfig, SnmpConfig, load_config
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.delivery.spool_look import look
from haidang_agent.identity import enrolment as identities
from haidang_agent.identity.enrolment import Identity
from haidang_agent.known_time import KnownTime
from haidang_agent.path import icmp
from haidang_agent.path.keys import load_keys
from haidang_agent.platform.files import as_owner, is_private
from haidang_agent.platform.system import privacy_command
from haidang_agent.service import SPOOL_FILE
from haidang_agent.snmp import not_installed
from haidang_agent.texts import say
from haidang_agent.transport import Answer, NetworkError, TlsError, Transport

OK, WARN, FAIL = "OK", "WARN", "FAIL"
_LOW_DISK_BYTES = 200 * 1024 * 1024
_CLOCK_SECONDS = 60.0
_SPOOL_HOURS = 1.0


@dataclass(frozen=True)
class Check:
    """One finding: its subject, OK, WARN or FAIL, and a sentence."""

    name: str
    verdict: str
    text: str


class Doctor:
    """The checks, in the order in which one depends on the other."""

    def __init__(self, config_file: Path | None, state_dir: Path | None, language: str) -> None:
        self._config_file = config_file
        self._state_dir = state_dir
        self._language = language

    def checks(self) -> Iterator[Check]:
        """Every finding, each as soon as it is known."""
        try:
            config = load_config(self._config_file)
        except HaidangError as error:
            yield Check("configuration", FAIL, str(error))
            config = AgentConfig()
        else:
            key = "config ok" if self._config_file else "config default"
            yield self._check("configuration", OK, key, file=self._config_file)
        state_dir = self._state_dir or Path(config.state_dir)
        yield self._echo()
        yield self._disk(state_dir)
        yield self._spool(state_dir)
        try:
            identity = identities.load(state_dir)
        except HaidangError as error:
            yield Check("certificate", FAIL, str(error))
            return
        yield from self._permissions(identity)
        yield from self._network(identity, config.uplink.timeout_seconds)
        yield from self._devices(state_dir, config.sources.snmp)
        yield from self._paths(state_dir, config.sources.paths)
        yield self._agent(state_dir)

    def _check(self, name: str, verdict: str, key: str, **values: object) -> Check:
        return Check(name, verdict, say(key, self._language, **values))

    def _echo(self) -> Check:
        try:
            icmp.open_socket(socket.AF_INET).close()
        except OSError:
            return self._check("echo", WARN, "echo forbidden")
        return self._check("echo", OK, "echo ok")

    def _disk(self, state_dir: Path) -> Check:
        try:
            free = shutil.disk_usage(state_dir).free
        except OSError as error:
            return Check("disk", FAIL, f"{state_dir}: {error.strerror}")
        low = free < _LOW_DISK_BYTES
        values = {"free": free // 2**20, "path": state_dir}
        return self._check("disk", WARN if low else OK, "disk low" if low else "disk ok", **values)

    def _spool(self, state_dir: Path) -> Check:
        try:
            state = look(state_dir / SPOOL_FILE)
        except (sqlite3.Error, OSError) as error:
            return self._check("spool", FAIL, "spool damaged", error=error)
        if state is None:
            return self._check("spool", WARN, "spool none")
        hours = state.oldest_age / 3600
        if hours > _SPOOL_HOURS:
            return self._check("spool", WARN, "spool old", reports=state.reports, hours=hours)
        return self._check("spool", OK, "spool ok", reports=state.reports, bytes=state.bytes // 1024)

    def _permissions(self, identity: Identity) -> Iterator[Check]:
        for path in (identity.key_file, identity.ca_file):
            if not path.exists():
                yield self._check("permissions", FAIL, "permissions missing", path=path)
                return
        with as_owner(identity.state_dir):  # what the agent can do, not root
            writable = os.access(identity.state_dir, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
        if not is_private(identity.key_file):
            remedy = privacy_command(identity.key_file)
            yield self._check("permissions", FAIL, "permissions open", path=identity.key_file, remedy=remedy)
        elif not writable:
            yield self._check("permissions", FAIL, "permissions write", path=identity.state_dir)
        else:
            yield self._check("permissions", OK, "permissions ok", path=identity.state_dir)

    def _network(self, identity: Identity, timeout: float) -> Iterator[Check]:
        try:
            transport = Transport(
                identity.collector, ca_file=identity.ca_file, identity_file=identity.key_file, timeout=timeout,
                known_time=KnownTime(identity.state_dir, at_least=identity.begins),
            )  # fmt: skip
        except HaidangError as error:
            yield Check("tls", FAIL, str(error))
            return
        if transport.proxied:
            yield self._check("route", OK, "route proxy")
        else:
            checks = [self._dns(transport), self._route(transport, timeout)]
            yield from checks
            if checks[-1].verdict == FAIL:
                for name in ("tls", "clock"):
                    yield self._check(name, WARN, "not checked", why=say("check route", self._language))
                yield self._certificate(identity, 0.0)
                return
        try:
            answer = transport.request("GET", "/v1/assignment")
        except HaidangError as error:
            verdict = WARN if isinstance(error, NetworkError) else FAIL
            key = f"tls {error.reason}" if isinstance(error, TlsError) and error.reason else "tls failed"
            yield self._check("tls", verdict, key, error=error.what if key != "tls failed" else error)
            yield self._certificate(identity, 0.0)
            return
        finally:
            transport.close()
        yield self._tls(answer)
        offset = answer.clock_offset or 0.0
        wrong = abs(offset) > _CLOCK_SECONDS
        if wrong:
            yield self._check("clock", WARN, "clock wrong", offset=offset)
        else:
            yield self._check("clock", OK, "clock ok", amount=math.ceil(abs(offset)))
        yield self._certificate(identity, offset)

    def _dns(self, transport: Transport) -> Check:
        try:
            address = socket.getaddrinfo(transport.host, None)[0][4][0]
        except (OSError, UnicodeError):
            return self._check("dns", FAIL, "dns failed", host=transport.host)
        return self._check("dns", OK, "dns ok", host=transport.host, address=address)

    def _route(self, transport: Transport, timeout: float) -> Check:
        where = {"host": transport.host, "port": transport.port}
        started = time.perf_counter()
        try:
            socket.create_connection((transport.host, transport.port), timeout).close()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            return self._check("route", FAIL, "route failed", error=why, **where)
        return self._check("route", OK, "route ok", ms=(time.perf_counter() - started) * 1000, **where)

    def _tls(self, answer: Answer) -> Check:
        if answer.status != 200:
            return self._check("tls", FAIL, "tls refused", error=answer.problem())
        return self._check("tls", OK, "tls ok")

    def _certificate(self, identity: Identity, offset: float) -> Check:
        days = identities.seconds_left(identity, offset) / 86400
        if days < 0:
            return self._check("certificate", FAIL, "certificate ended", days=-days)
        late = days < (identity.ends - identity.begins) / 86400 / 4
        return self._check(
            "certificate", WARN if late else OK, "certificate late" if late else "certificate ok", days=days
        )

    def _devices(self, state_dir: Path, config: SnmpConfig) -> Iterator[Check]:
        """Checks SNMP where this agent is a probe, or was assigned devices without being one."""
        devices = Assignments(state_dir).current.devices
        if not config.enabled:
            if devices:
                yield self._check("devices", WARN, "devices no probe", count=len(devices))
            return
        try:
            from haidang_agent.snmp.credentials import load_credentials
            from haidang_agent.snmp.session import Session  # noqa: F401 (is its library there?)
        except ImportError as error:
            yield Check("devices", FAIL, str(not_installed(error)))
            return
        try:
            known = load_credentials(Path(config.credentials_file)) if devices else {}
        except HaidangError as error:
            yield Check("devices", FAIL, str(error))
            return
        without = sorted({device.credential for device in devices if device.credential not in known})
        if without:
            names = ", ".join(without)
            yield self._check("devices", FAIL, "devices credential", names=names, file=config.credentials_file)
        else:
            yield self._check("devices", OK, "devices ok", count=len(devices))

    def _paths(self, state_dir: Path, config: PathsConfig) -> Iterator[Check]:
        """Checks WAN paths where this agent measures them, or was assigned some without doing so."""
        paths = Assignments(state_dir).current.paths
        if not config.enabled:
            if paths:
                yield self._check("paths", WARN, "paths not enabled", count=len(paths))
            return
        wanted = {path.stamp_key for path in paths if path.stamp_key}
        try:
            known = load_keys(Path(config.keys_file)) if wanted else {}
        except HaidangError as error:
            yield Check("paths", FAIL, str(error))
            return
        without = ", ".join(sorted(wanted - known.keys()))
        if without:
            yield self._check("paths", FAIL, "paths key", names=without, file=config.keys_file)
        else:
            yield self._check("paths", OK if paths else WARN, "paths ok", count=len(paths))

    def _agent(self, state_dir: Path) -> Check:
        now = status.read(state_dir)
        since = time.time() - now.written if now else 0.0
        if now is None or since > 180:
            return self._check("agent", WARN, "not running", seconds=since)
        failing = [name for name, up in now.sources.items() if up is False]
        if failing:
            return self._check("agent", WARN, "agent sources", names=", ".join(failing))
        return self._check("agent", OK, "agent ok")
