"""Enrolment tokens in the ledger. Every function takes the connection of a transaction; one that changes something for
somebody also takes who that is, and notes it in the audit."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from haidang_collector.identity.agents import IdentityError
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.tables import tokens
from haidang_collector.principals import Principal
from haidang_collector.registry.store import load_registry


@dataclass(frozen=True)
class Token:
    """An enrolment token as listed; the secret itself is nowhere."""

    id: str
    site: str
    uses_left: int | None
    expires: float
    revoked: float | None


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
    shown = sa.select(tokens).where(tokens.c.secret_sha256 == _hash(secret)).with_for_update()
    row = connection.execute(shown).first()
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


def _hash(secret: str) -> str:
    # 256 random bits need no salt and no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()
