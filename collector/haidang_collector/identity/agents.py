"""Agents in the ledger. Every function takes the connection of a transaction; one that
changes something for somebody also takes who that is, and notes it in the audit."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa
from haidang_wire.errors import HaidangError

from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity.authority import Issued
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.statements import Only, lock
from haidang_collector.ledger.tables import agents, latest
from haidang_collector.principals import Principal


class IdentityError(HaidangError):
    """A token or agent that does not (or no longer) count; `reason` is what a refused enrolment is counted under."""

    reason = "token"


@dataclass(frozen=True)
class Agent:
    """An enrolled agent. `revoked` is when, or None."""

    id: str
    site: str
    enrolled: float
    certificate_ends: float
    stopped: bool
    revoked: float | None


def add_agent(
    connection: sa.Connection, principal: Principal, name: str, site: str, token: str, certificate_ends: float
) -> str:
    """A new agent, under a name that was never given. Returns the name."""
    connection.execute(
        sa.insert(agents).values(
            id=name, site=site, token=token, enrolled=time.time(), certificate_ends=certificate_ends, stopped=False,
            change=next_change(connection),
        )
    )  # fmt: skip
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
    values = {"token": token, "enrolled": time.time(), "stopped": False, "change": next_change(connection)}
    connection.execute(sa.update(agents).where(same).values(**values))
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
    return [Agent(*row) for row in connection.execute(sa.select(*_COLUMNS).order_by(agents.c.site, agents.c.id))]


def changed_after(connection: sa.Connection, change: int) -> tuple[int, list[Agent]]:
    """The number of the last change, and agents that were enrolled, moved or revoked after this one; -1 for all."""
    rows = connection.execute(sa.select(agents.c.change, *_COLUMNS).where(agents.c.change > change)).all()
    return max((row.change for row in rows), default=change), [Agent(*row[1:]) for row in rows]


def next_change(connection: sa.Connection) -> int:
    """The number of a change that this transaction makes."""
    lock(connection, Only.AGENTS)
    return (connection.execute(sa.select(sa.func.max(agents.c.change))).scalar() or 0) + 1


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


_COLUMNS = [agents.c[name] for name in ("id", "site", "enrolled", "certificate_ends", "stopped", "revoked")]
_REVOKED = sa.select(agents.c.id, agents.c.revoked).where(agents.c.id.in_(sa.bindparam("identifiers", expanding=True)))


def revoke_agent(connection: sa.Connection, principal: Principal, identifier: str) -> None:
    """Refuse the agent from its next request on. Raises IdentityError when there is none."""
    row = connection.execute(sa.select(agents).where(agents.c.id == identifier)).first()
    if row is None:
        raise IdentityError(f"there is no agent {identifier!r}")
    now = time.time()
    values = {"revoked": now, "change": next_change(connection)}
    connection.execute(sa.update(agents).where(agents.c.id == identifier).values(**values))
    certificates.end_name(connection, "agent", identifier, "revoked")
    before = {"site": row.site, "revoked": row.revoked}
    audit.note(connection, principal, Action.AGENT_REVOKE, identifier, before, {**before, "revoked": now})
    connection.execute(sa.delete(latest).where(latest.c.agent == identifier))


def note_certificate(connection: sa.Connection, identifier: str, issued: Issued) -> None:
    """Remember an agent's new certificate."""
    certificates.note_issued(connection, "agent", identifier, issued)
    connection.execute(sa.update(agents).where(agents.c.id == identifier).values(certificate_ends=issued.ends))
