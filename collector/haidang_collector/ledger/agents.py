"""Tokens, agents and the registry in the ledger. Every function takes the connection of a transaction; one that
changes something for somebody also takes who that is, and notes it in the audit."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa
from haidang_wire.errors import HaidangError

from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity.authority import Issued
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action, Principal
from haidang_collector.ledger.tables import agents, latest, registry, tokens
from haidang_collector.registry.changes import difference
from haidang_collector.registry.model import Registry


class IdentityError(HaidangError):
    """A token or agent that does not (or no longer) count; `reason` is what a refused enrolment is counted under."""

    reason = "token"


@dataclass(frozen=True)
class Token:
    """An enrolment token as listed; the secret itself is nowhere."""

    id: str
    site: str
    uses_left: int | None
    expires: float
    revoked: float | None


@dataclass(frozen=True)
class Agent:
    """An enrolled agent. `revoked` is when, or None."""

    id: str
    site: str
    enrolled: float
    certificate_ends: float
    stopped: bool
    revoked: float | None


def save_registry(connection: sa.Connection, principal: Principal, value: Registry) -> None:
    """Make this registry the one in force."""
    _, was = load_registry(connection)
    audit.note(connection, principal, Action.REGISTRY_LOAD, value.province.name, *difference(was, value))
    connection.execute(sa.delete(registry))
    connection.execute(sa.insert(registry).values(id=1, loaded=time.time(), document=value.model_dump_json()))


def load_registry(connection: sa.Connection) -> tuple[float, Registry | None]:
    """When the registry in force was loaded, and it; (0, None) before the first."""
    row = connection.execute(sa.select(registry.c.loaded, registry.c.document)).first()
    return (row.loaded, Registry.model_validate_json(row.document)) if row else (0.0, None)


def registry_loaded(connection: sa.Connection) -> float:
    """When the registry in force was loaded: cheap to ask often."""
    return connection.execute(sa.select(registry.c.loaded)).scalar() or 0.0


def create_token(
    connection: sa.Connection, principal: Principal, site: str, *, uses: int | None, life_seconds: float
) -> tuple[Token, str]:
    """A new token for a site of the registry, and its secret, which is not kept.

    Raises IdentityError for a site that is not in the registry.
    """
    _, known = load_registry(connection)
    if known is None or known.site(site) is None:
        raise IdentityError(
            f"there is no site {site!r} in the registry", remedy="Load one with: haidang-collector registry load FILE"
        )
    # The prefix tells what it is, and keeps a leading `-` from looking like an option.
    secret = "hd_" + secrets.token_urlsafe(32)
    token = Token(secrets.token_hex(4), site, uses, time.time() + life_seconds, None)
    connection.execute(
        sa.insert(tokens).values(
            id=token.id,
            secret_sha256=_hash(secret),
            site=site,
            uses_left=uses,
            created=time.time(),
            expires=token.expires,
        )
    )
    made = {"site": site, "uses": uses, "expires": token.expires}
    audit.note(connection, principal, Action.TOKEN_CREATE, token.id, None, made)
    return token, secret


def list_tokens(connection: sa.Connection) -> list[Token]:
    """All tokens, newest first."""
    columns = (tokens.c.id, tokens.c.site, tokens.c.uses_left, tokens.c.expires, tokens.c.revoked)
    return [Token(*row) for row in connection.execute(sa.select(*columns).order_by(tokens.c.created.desc()))]


def revoke_token(connection: sa.Connection, principal: Principal, identifier: str) -> None:
    """No enrolment with this token from now on. Raises IdentityError when there is none."""
    row = connection.execute(sa.select(tokens).where(tokens.c.id == identifier)).first()
    if row is None:
        raise IdentityError(f"there is no token {identifier!r}")
    now = time.time()
    connection.execute(sa.update(tokens).where(tokens.c.id == identifier).values(revoked=now))
    before = {"site": row.site, "uses_left": row.uses_left, "expires": row.expires, "revoked": row.revoked}
    audit.note(connection, principal, Action.TOKEN_REVOKE, identifier, before, {**before, "revoked": now})


def spend_token(connection: sa.Connection, secret: str) -> tuple[str, str]:
    """Use a token once: its id and its site. Raises IdentityError with the reason."""
    row = connection.execute(sa.select(tokens).where(tokens.c.secret_sha256 == _hash(secret))).first()
    if row is None:
        raise IdentityError("the token is unknown", remedy="Check that it was copied whole")
    remedy = "Ask the data center for a new one"
    if row.revoked is not None:
        raise IdentityError("the token was revoked", remedy=remedy)
    if row.expires < time.time():
        raise IdentityError("the token has expired", remedy=remedy)
    if row.uses_left is not None:
        if row.uses_left < 1:
            raise IdentityError("the token was used already", remedy=remedy)
        connection.execute(sa.update(tokens).where(tokens.c.id == row.id).values(uses_left=row.uses_left - 1))
    return row.id, row.site


def add_agent(
    connection: sa.Connection, principal: Principal, name: str, site: str, token: str, certificate_ends: float
) -> str:
    """A new agent, under a name that was never given. Returns the name."""
    connection.execute(
        sa.insert(agents).values(
            id=name, site=site, token=token, enrolled=time.time(), certificate_ends=certificate_ends, stopped=False
        )
    )
    audit.note(connection, principal, Action.AGENT_ENROL, name, None, {"site": site, "token": token})
    return name


def enrol_again(
    connection: sa.Connection, principal: Principal, identifier: str, site: str, token: str, *, proven: bool
) -> str | None:
    """The same agent with another token, so that what waits in its spool still counts.

    None when there is none of that name and site, when it is revoked, and when neither its
    certificate came with the request (proven) nor has that certificate ended: another machine
    may be using the name.
    """
    same = sa.and_(agents.c.id == identifier, agents.c.site == site, agents.c.revoked.is_(None))
    if not proven:
        same = sa.and_(same, agents.c.certificate_ends < time.time())
    row = connection.execute(sa.select(agents).where(same)).first()
    if row is None:
        return None
    connection.execute(sa.update(agents).where(same).values(token=token, enrolled=time.time(), stopped=False))
    before = {"site": row.site, "token": row.token, "certificate_ends": row.certificate_ends}
    after = {"site": site, "token": token, "proven": proven}
    audit.note(connection, principal, Action.AGENT_ENROL, identifier, before, after)
    return identifier


def release_agent(connection: sa.Connection, principal: Principal, identifier: str) -> bool:
    """The machine of this name is gone, and what it has counts no longer: the next one that enrols under it, at its
    site, takes its place. Whether there is such an agent, not revoked."""
    same = sa.and_(agents.c.id == identifier, agents.c.revoked.is_(None))
    row = connection.execute(sa.select(agents).where(same)).first()
    if row is None:
        return False
    ends = 0.0  # not now: the clock may be ahead, and the name would be held once it is right
    connection.execute(sa.update(agents).where(same).values(certificate_ends=ends))
    certificates.end_name(connection, "agent", identifier, "released")
    before = {"site": row.site, "certificate_ends": row.certificate_ends}
    audit.note(connection, principal, Action.AGENT_RELEASE, identifier, before, {**before, "certificate_ends": ends})
    return True


def list_agents(connection: sa.Connection) -> list[Agent]:
    """All agents ever enrolled, by site and name."""
    columns = [agents.c[name] for name in ("id", "site", "enrolled", "certificate_ends", "stopped", "revoked")]
    return [Agent(*row) for row in connection.execute(sa.select(*columns).order_by(agents.c.site, agents.c.id))]


def require_agent(connection: sa.Connection, identifier: str) -> str:
    """The site of an agent that may speak. Raises IdentityError for one that is unknown or revoked."""
    refusal = may_speak(connection, {identifier})[identifier]
    if refusal:
        raise refusal
    return str(connection.execute(sa.select(agents.c.site).where(agents.c.id == identifier)).scalar_one())


def may_speak(connection: sa.Connection, identifiers: set[str]) -> dict[str, IdentityError | None]:
    """For each of several agents why it may not speak, or None, in one query."""
    known = {row.id: row.revoked for row in connection.execute(_REVOKED, {"identifiers": list(identifiers)})}
    answers: dict[str, IdentityError | None] = {}
    for name in identifiers:
        if name not in known:
            answers[name] = IdentityError(f"agent {name!r} is not known here", remedy="Enrol it again")
        elif known[name] is not None:
            remedy = "Ask the data center for a token to enrol it anew"
            answers[name] = IdentityError(f"agent {name!r} was revoked", remedy=remedy)
        else:
            answers[name] = None
    return answers


_REVOKED = sa.select(agents.c.id, agents.c.revoked).where(agents.c.id.in_(sa.bindparam("identifiers", expanding=True)))


def revoke_agent(connection: sa.Connection, principal: Principal, identifier: str) -> None:
    """Refuse the agent from its next request on. Raises IdentityError when there is none."""
    row = connection.execute(sa.select(agents).where(agents.c.id == identifier)).first()
    if row is None:
        raise IdentityError(f"there is no agent {identifier!r}")
    now = time.time()
    connection.execute(sa.update(agents).where(agents.c.id == identifier).values(revoked=now))
    certificates.end_name(connection, "agent", identifier, "revoked")
    before = {"site": row.site, "revoked": row.revoked}
    audit.note(connection, principal, Action.AGENT_REVOKE, identifier, before, {**before, "revoked": now})
    connection.execute(sa.delete(latest).where(latest.c.agent == identifier))


def note_certificate(connection: sa.Connection, identifier: str, issued: Issued) -> None:
    """Remember an agent's new certificate."""
    certificates.note_issued(connection, "agent", identifier, issued)
    connection.execute(sa.update(agents).where(agents.c.id == identifier).values(certificate_ends=issued.ends))


def _hash(secret: str) -> str:
    # 256 random bits need no salt and no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()
