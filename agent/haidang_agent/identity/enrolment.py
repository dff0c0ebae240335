"""Who the agent is: enrolment with a token, the certificate, its renewal."""

from __future__ import annotations

import json
import math
import os
import ssl
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from haidang_wire import __version__, authorities
from haidang_wire.errors import HaidangError

from haidang_agent import known_time
from haidang_agent.identity.csr import new_key_and_request
from haidang_agent.platform.files import held, read_private, remove, write_private
from haidang_agent.transport import Answer, NetworkError, TlsError, Transport


@dataclass(frozen=True)
class Identity:
    """An enrolled agent. `begins` and `ends` are the certificate's, in Unix seconds."""

    state_dir: Path
    collector: str
    agent: str
    site: str
    begins: float
    ends: float

    @property
    def key_file(self) -> Path:
        """Private key and certificate, mode 0600."""
        return self.state_dir / "identity.pem"

    @property
    def ca_file(self) -> Path:
        """The collector's CA."""
        return self.state_dir / "ca.pem"

    def renewal_due(self, now: float) -> bool:
        """Half of the certificate's life is over; `now` is the collector's clock."""
        return now > (self.begins + self.ends) / 2


def load(state_dir: Path) -> Identity:
    """The identity in state_dir. Raises HaidangError when there is none or it can't be read."""
    try:
        document = json.loads(read_private(state_dir / "enrolment.json"))
        return _described(state_dir, document)
    except FileNotFoundError as error:
        raise HaidangError(
            "this machine is not enrolled",
            where=str(state_dir),
            remedy="Run: haidang-agent enrol --collector URL --token TOKEN",
        ) from error
    except PermissionError as error:
        raise HaidangError(
            "the agent's folder can't be read",
            where=str(state_dir),
            remedy="Run as root or as the agent's user",
        ) from error
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise HaidangError(
            f"the enrolment is damaged: {error}",
            where=str(state_dir / "enrolment.json"),
            remedy="Enrol again",
        ) from error


def _described(state_dir: Path, document: dict[str, Any]) -> Identity:
    """Raises KeyError, TypeError, ValueError for a document that is none of an enrolment."""
    collector, agent, site = (document[name] for name in ("collector", "agent", "site"))
    for text in (collector, agent, site):
        if not isinstance(text, str) or not text:
            raise ValueError(f"{text!r} is not a name")
    begins, ends = float(document["begins"]), float(document["ends"])
    if not (math.isfinite(begins) and math.isfinite(ends)):
        raise ValueError("its life is not of times")
    return Identity(state_dir, collector, agent, site, begins, ends)


def split_token(token: str) -> tuple[str, str | None]:
    """A token as printed is `SECRET.CAFINGERPRINT`: the secret and the fingerprint, if there is one."""
    secret, _, fingerprint = token.strip().partition(".")
    return secret, fingerprint or None


def normal_fingerprint(text: str) -> str:
    """64 lower-case hex digits of SHA-256, from any of the usual ways to write them.

    Raises HaidangError.
    """
    plain = text.strip().lower().replace("sha256:", "").replace(":", "")
    if len(plain) != 64 or any(c not in "0123456789abcdef" for c in plain):
        raise HaidangError("the CA's fingerprint must be 64 hexadecimal digits of SHA-256")
    return plain


def enrol(
    state_dir: Path, collector: str, token: str, *, name: str, ca_fingerprint: str | None, timeout: float
) -> Identity:
    """Buy a certificate with a token and keep it in state_dir.

    The CA comes from the collector and is believed only when its SHA-256 fingerprint is the
    pinned one; the token is sent after that. Raises HaidangError.
    """
    secret, in_token = split_token(token)
    pinned = [normal_fingerprint(each) for each in (ca_fingerprint, in_token) if each]
    if not pinned:
        raise HaidangError("the token does not hold the CA's fingerprint", remedy="Give --ca-fingerprint")
    _prepare(state_dir)
    ca = _fetch_ca(collector, pinned[0], timeout)
    # Beside the enrolment in force, which stays as it is until the new one is there.
    ca_file = state_dir / "ca.pem.candidate"
    write_private(ca_file, ca)
    try:
        if pinned[-1] != pinned[0]:
            _require_authority(collector, ca_file, pinned[-1], timeout)
        key, request = new_key_and_request(name)
        body = json.dumps({"token": secret, "name": name, "request": request, "version": __version__}).encode()
        answer = _ask(collector, ca_file, _previous(state_dir, collector, ca), body, timeout)
        if answer.status != 200:
            raise HaidangError(f"the collector refuses the enrolment: {answer.problem()}", where=collector)
        identity = _keep(state_dir, collector, key, answer, ca)
        known_time.begin(state_dir, time.time() + (answer.clock_offset or 0.0))
    finally:
        remove(ca_file)
    return identity


def previous_name(state_dir: Path) -> str | None:
    """The agent's name in the enrolment that is there, if one can be read."""
    try:
        return load(state_dir).agent
    except HaidangError:
        return None


def _previous(state_dir: Path, collector: str, ca: str) -> Path | None:
    """Key and certificate of an enrolment there or with the same CA: they show that this is the
    same machine, which then keeps its name, and with it the reports that still wait."""
    try:
        known = load(state_dir)
        same = known.collector == collector or ca in authorities.split(read_private(known.ca_file))
        if same and known.key_file.exists():
            return known.key_file
    except (HaidangError, OSError, ValueError):
        pass
    return None


def _ask(collector: str, ca_file: Path, identity_file: Path | None, body: bytes, timeout: float) -> Answer:
    headers = {"Content-Type": "application/json"}
    try:
        transport = Transport(collector, ca_file=ca_file, identity_file=identity_file, timeout=timeout)
        try:
            return transport.request("POST", "/v1/enrol", body, headers)
        finally:
            transport.close()
    except (TlsError, NetworkError):
        if identity_file is None:
            raise
        # A certificate that has ended is refused in the handshake, before the token is spent.
        return _ask(collector, ca_file, None, body, timeout)


def renew(identity: Identity, transport: Transport) -> Identity:
    """Get a new certificate, for a new key, with the old one. Raises HaidangError."""
    key, request = new_key_and_request(identity.agent)
    body = json.dumps({"request": request}).encode()
    answer = transport.request("POST", "/v1/renew", body, {"Content-Type": "application/json"})
    if answer.status != 200:
        raise HaidangError(f"the collector refuses the renewal: {answer.problem()}", where=identity.collector)
    return _keep(identity.state_dir, identity.collector, key, answer, read_private(identity.ca_file))


def authorities_version(identity: Identity) -> str:
    """Names the CAs that are trusted; empty when they can't be read."""
    try:
        return authorities.version(authorities.split(read_private(identity.ca_file)))
    except (OSError, ValueError):
        return ""


def _prepare(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HaidangError(
            f"the agent's folder can't be made: {error.strerror}", where=str(state_dir), remedy="Run as root"
        ) from error
    if not os.access(state_dir, os.W_OK):
        raise HaidangError("the agent's folder can't be written", where=str(state_dir), remedy="Run as root")


def _fetch_ca(collector: str, fingerprint: str, timeout: float) -> str:
    served = _served(collector, None, timeout)
    if fingerprint not in served:
        raise HaidangError(
            f"the CA there has the fingerprint {' or '.join(served)}, not the pinned {fingerprint}",
            where=collector,
            remedy="The data center replaced its CA since the token was made, or this is another collector, or somebody"
            " in between: nothing was sent. Check the address, and ask for a new token",
        )
    return served[fingerprint]


def _require_authority(collector: str, ca_file: Path, fingerprint: str, timeout: float) -> None:
    """The installer pins one CA and the token names another: while the CA is being replaced both may be the
    collector's, which only the collector itself can say."""
    if fingerprint not in _served(collector, ca_file, timeout):
        raise HaidangError(
            "the token and --ca-fingerprint name different collectors",
            remedy="Ask the data center for a new token",
        )


def _served(collector: str, ca_file: Path | None, timeout: float) -> dict[str, str]:
    """The CAs (PEM) a collector shows, by fingerprint."""
    transport = Transport(collector, ca_file=ca_file, timeout=timeout)
    try:
        answer = transport.request("GET", "/v1/ca.pem")
    finally:
        transport.close()
    try:
        if answer.status != 200:
            raise ValueError(answer.problem())
        pems = authorities.split(answer.body.decode("ascii"))
        return {authorities.fingerprint(pem): pem for pem in pems}
    except ValueError as error:
        raise HaidangError("no CA certificate is served there", where=collector, remedy="Check the address") from error


def _keep(state_dir: Path, collector: str, key: str, answer: Answer, ca: str) -> Identity:
    """Take over what was bought, over a connection to a CA that is trusted already (`ca`, PEM)."""
    document = answer.json()
    try:
        identity = _described(state_dir, {**document, "collector": collector})
        certificate = str(document["certificate"])
        # A collector of the first version names no CAs.
        trusted = "".join(authorities.split(str(document.get("authorities") or ca)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise HaidangError(f"the collector's answer lacks {error}", where=collector) from error
    _require_usable(identity, key + certificate, trusted)
    # First whom to trust: what was trusted so far is in it as long as it counts.
    write_private(identity.ca_file, trusted)
    # One file, one rename: key and certificate can't be of two enrolments after a crash.
    write_private(identity.key_file, key + certificate)
    described = {name: value for name, value in asdict(identity).items() if name != "state_dir"}
    write_private(state_dir / "enrolment.json", json.dumps(described, ensure_ascii=False, indent=1) + "\n")
    return identity


def _require_usable(identity: Identity, pem: str, trusted: str) -> None:
    """What OpenSSL can't use must not take the place of what works. Raises HaidangError."""
    candidate = identity.key_file.with_name("identity.pem.candidate")
    write_private(candidate, pem)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=trusted)
        with held(candidate) as file:
            context.load_cert_chain(file)
    except (OSError, ValueError) as error:
        raise HaidangError(f"the collector's certificates can't be used: {error}", where=identity.collector) from error
    finally:
        remove(candidate)


def seconds_left(identity: Identity, clock_offset: float) -> float:
    """Time until the certificate ends, on the collector's clock."""
    return identity.ends - (time.time() + clock_offset)
