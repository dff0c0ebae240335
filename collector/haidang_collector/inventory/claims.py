"""A machine that two sites say is theirs: neither overwrites the other.

Within a site a machine moves freely between agents. What another site's agent says of a machine is a *claim*: kept as a
machine of its own, in dispute with the older one, until an operator decides or the older one has been silent for 30
days: then it has moved. Marks are not proof: serials, UUIDs and cards stand on labels and in packets.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from haidang_wire.errors import HaidangError

from haidang_collector.inventory import changes as differences
from haidang_collector.inventory.body import unpack
from haidang_collector.inventory.changes import Change
from haidang_collector.inventory.history import note
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.tables import (
    events,
    installed,
    machine_changes,
    machine_documents,
    machine_macs,
    machines,
    software,
    software_lists,
)
from haidang_collector.principals import Principal

SILENT_SECONDS = 30 * 86400.0
Decision = Literal["moved", "other", "refused"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
OPEN, REFUSED = "open", "refused"
# An agent is on one machine at a time; its disk may have been in some, and be copied.
_MOST_OF_AN_AGENT = 100
_MOST_CLAIMS_OF_A_SITE = 200


class NoSuchClaim(HaidangError):
    """The machine claims to be no other one."""


class TooMany(HaidangError):
    """An agent is on more machines, or a site claims more of others, than are kept."""


@dataclass(frozen=True)
class Claimed:
    """A machine of another site that a document says it is of."""

    number: int
    site: str
    agent: str


def is_gone(connection: sa.Connection, number: int, at: float) -> bool:
    """Whether the older one can't object: it has been silent for 30 days, was taken out of use, or is no more."""
    query = sa.select(machines.c.last_seen, machines.c.removed).where(machines.c.id == number)
    row = connection.execute(query).first()
    return row is None or row.removed is not None or at - row.last_seen > SILENT_SECONDS


def came(connection: sa.Connection, number: int) -> float:
    """When a machine came to its site; 0 for one that was never elsewhere."""
    moves = sa.and_(machine_changes.c.machine == number, machine_changes.c.what == "moved")
    return connection.execute(sa.select(sa.func.max(machine_changes.c.at)).where(moves)).scalar() or 0.0


def require_room(connection: sa.Connection, site: str, agent: str, *, claim: bool) -> None:
    """One more machine of an agent, or claim of a site. Raises TooMany: else a ledger could be filled with them."""
    count = sa.select(sa.func.count()).select_from(machines)
    if connection.execute(count.where(machines.c.agent == agent)).scalar_one() >= _MOST_OF_AN_AGENT:
        raise TooMany(f"agent {agent!r} was on {_MOST_OF_AN_AGENT} machines")
    claims = count.where(machines.c.site == site, machines.c.claims.is_not(None))
    if claim and connection.execute(claims).scalar_one() >= _MOST_CLAIMS_OF_A_SITE:
        raise TooMany(f"site {site!r} claims {_MOST_CLAIMS_OF_A_SITE} machines of others")


def of_site(connection: sa.Connection, older: int, site: str) -> int | None:
    """The machine by which a site claims this one already, whatever it says of it now: one is enough."""
    query = sa.select(machines.c.id).where(machines.c.claims == older, machines.c.site == site)
    return connection.execute(query.order_by(machines.c.id).limit(1)).scalar()


def begin(connection: sa.Connection, number: int, older: Claimed, site: str, agent: str, taken: float) -> None:
    """A new machine claims to be an older one: both are in dispute, and both sites are told."""
    connection.execute(sa.update(machines).where(machines.c.id == number).values(claims=older.number, dispute=OPEN))
    note(connection, number, taken, [Change("claims", "", f"{older.number} ({older.site})")])
    note(connection, older.number, taken, [Change("claimed", "", f"{number} ({site})")])
    body = {
        "machine": number, "machine_site": site, "machine_agent": agent,
        "claims": older.number, "claims_site": older.site, "claims_agent": older.agent,
    }  # fmt: skip
    rows = [
        {"agent": "", "site": each, "kind": "machine_disputed", "at": taken, "received": time.time(),
         "body": json.dumps(body)}
        for each in (older.site, site)
    ]  # fmt: skip
    connection.execute(sa.insert(events), rows)


def follow(connection: sa.Connection, number: int, at: float) -> int:
    """The machine a document of this one is of: itself, or the older one when that has gone silent meanwhile."""
    query = sa.select(machines.c.claims).where(machines.c.id == number, machines.c.dispute == OPEN)
    older = connection.execute(query).scalar()
    return merge(connection, older, number, at) if older is not None and is_gone(connection, older, at) else number


def decide(connection: sa.Connection, principal: Principal, number: int, decision: Decision, now: float) -> int:
    """End the dispute of a machine that claims to be another: it is that one, which `moved`; it is an`other` one, and
    both are; or its claim is `refused`: it is not counted. The number of the machine it is from now on.

    Raises NoSuchClaim.
    """
    columns = [machines.c[name] for name in ("site", "agent", "claims", "dispute")]
    row = connection.execute(sa.select(*columns).where(machines.c.id == number)).first()
    if row is None or row.claims is None:
        remedy = "List those that do: haidang-collector machines disputes"
        raise NoSuchClaim(f"machine {number} claims to be no other one", remedy=remedy)
    whose = sa.select(machines.c.site, machines.c.agent, machines.c.name).where(machines.c.id == row.claims)
    older = connection.execute(whose).first()  # as it was: a merge puts the newer one in its place
    before = {**row._mapping, "older": dict(older._mapping) if older else None}
    result = number
    if decision == "moved":
        result = merge(connection, row.claims, number, now)
    else:
        changed = {"dispute": REFUSED} if decision == "refused" else {"dispute": "", "claims": None}
        connection.execute(sa.update(machines).where(machines.c.id == number).values(**changed))
        note(connection, number, now, [Change(f"claim_{decision}", str(row.claims), "")])
    after = {"decision": decision, "machine": result}
    audit.note(connection, principal, Action.MACHINE_DECIDE, str(number), before, after)
    return result


def merge(connection: sa.Connection, older: int, newer: int, at: float) -> int:
    """The older machine is what the newer one says, where that is; its history goes on. The older one's number, or
    the newer's when the older is no more."""
    columns = (machines.c.site, machines.c.id)
    sites = {
        row.id: row.site for row in connection.execute(sa.select(*columns).where(machines.c.id.in_((older, newer))))
    }
    if older not in sites:
        connection.execute(sa.update(machines).where(machines.c.id == newer).values(claims=None, dispute=""))
        return newer
    note(connection, older, at, [Change("moved", sites[older], sites[newer])])
    _move_documents(connection, newer, older, at)
    row = connection.execute(sa.select(machines).where(machines.c.id == newer)).one()._mapping
    kept = ("id", "first_seen", "claims", "dispute", "removed")
    values = {name: value for name, value in row.items() if name not in kept}
    connection.execute(sa.update(machines).where(machines.c.id == older).values(**values, removed=None))
    connection.execute(sa.delete(machines).where(machines.c.id == newer))
    return older


def _move_documents(connection: sa.Connection, newer: int, older: int, at: float) -> None:
    """The newer one's documents in the place of the older's, with what changed between them."""
    table = machine_documents.c
    bodies = {
        which: {
            row.kind: unpack(row.body)
            for row in connection.execute(sa.select(table.kind, table.body).where(table.machine == which))
        }
        for which in (older, newer)
    }
    for kind, body in bodies[newer].items():
        if kind == "software":
            connection.execute(sa.delete(software_lists).where(software_lists.c.machine == older))
            note(
                connection, older, at, differences.software(_packages(connection, older), _packages(connection, newer))
            )
            connection.execute(sa.delete(installed).where(installed.c.machine == older))
            connection.execute(sa.update(installed).where(installed.c.machine == newer).values(machine=older))
        elif kind in bodies[older]:
            note(connection, older, at, differences.changes(kind, bodies[older][kind], body))
        connection.execute(sa.delete(machine_documents).where(table.machine == older, table.kind == kind))
    connection.execute(sa.update(machine_documents).where(table.machine == newer).values(machine=older))
    if connection.execute(sa.select(software_lists.c.machine).where(software_lists.c.machine == newer)).first():
        connection.execute(sa.delete(software_lists).where(software_lists.c.machine == older))
        connection.execute(sa.update(software_lists).where(software_lists.c.machine == newer).values(machine=older))
    if "machine" in bodies[newer]:
        connection.execute(sa.delete(machine_macs).where(machine_macs.c.machine == older))
        connection.execute(sa.update(machine_macs).where(machine_macs.c.machine == newer).values(machine=older))
    own = sa.and_(machine_changes.c.machine == newer, machine_changes.c.what.in_(("first_seen", "claims")))
    connection.execute(sa.delete(machine_changes).where(own))
    connection.execute(sa.update(machine_changes).where(machine_changes.c.machine == newer).values(machine=older))


def _packages(connection: sa.Connection, machine: int) -> set[tuple[str, str]]:
    query = sa.select(software.c.name, software.c.version).join(installed, installed.c.software == software.c.id)
    return {(row.name, row.version) for row in connection.execute(query.where(installed.c.machine == machine))}


def listed(connection: sa.Connection, limit: int = 1000) -> list[dict[str, Any]]:
    """Disputes that are open, the newest first: the machine that claims, and the older one."""
    newer, older = machines.alias(), machines.alias()
    query = (
        sa.select(
            newer.c.id, newer.c.site, newer.c.agent, newer.c.name, newer.c.serial, newer.c.last_seen,
            older.c.id.label("claims"), older.c.site.label("claims_site"), older.c.agent.label("claims_agent"),
            older.c.last_seen.label("claims_last_seen"),
        )
        .join(older, older.c.id == newer.c.claims)
        .where(newer.c.dispute == OPEN)
        .order_by(newer.c.first_seen.desc())
        .limit(limit)
    )  # fmt: skip
    return [dict(row._mapping) for row in connection.execute(query)]
