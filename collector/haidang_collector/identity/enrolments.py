"""Which name a machine that enrols gets, and how many of a site may in a day. In the transaction of the enrolment."""

from __future__ import annotations

import time

import sqlalchemy as sa

from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity.agents import IdentityError, add_agent, enrol_again, next_change
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.statements import Only, Upsert, lock
from haidang_collector.ledger.tables import agents, enrolments, facts, latest
from haidang_collector.principals import Principal
from haidang_collector.registry.names import Names

_DAY_SECONDS = 86400.0
_MOST_NUMBER = 9_999
_ONE_MORE = Upsert(
    enrolments, ("site", "day"), lambda _: {"number": enrolments.c.number + 1}, returning=[enrolments.c.number]
)


class NameRefused(IdentityError):
    """The machine can't have this name: silently giving it another would leave the registry without its probe."""

    reason = "name"


class TooManyEnrolments(IdentityError):
    """More of a site than may enrol in a day."""

    reason = "quota"


def count(connection: sa.Connection, site: str, most: int) -> None:
    """One more of this site today (UTC). Raises TooManyEnrolments: a token that got about can't fill the ledger."""
    day = int(time.time() // _DAY_SECONDS)
    connection.execute(sa.delete(enrolments).where(enrolments.c.day < day))
    row = {"site": site, "day": day, "number": 1}
    if connection.execute(_ONE_MORE.on(connection), row).scalar_one() > most:
        raise TooManyEnrolments(
            f"{most} machines of site {site!r} enrolled today, and no more may (limits.enrolments_a_site_a_day)",
            remedy="Go on tomorrow, or ask the data center to raise the limit; if it was not you, to revoke the token",
        )


def name_for(
    connection: sa.Connection, buyer: Principal, names: Names, wanted: str, site: str, token: str, *, proven: bool
) -> tuple[str, bool]:
    """The name a machine enrols under, and whether it took the name over from another site's. `proven`: it showed the
    certificate of the agent of that name. Raises NameRefused.

    A name without a role may be had with a number behind. One that the registry gives a role is that machine's and
    no other's: it is given as it is, at its own site, or not at all.
    """
    lock(connection, Only.AGENTS)
    owners = names.owners(wanted)
    if owners is None:
        again = enrol_again(connection, buyer, wanted, site, token, proven=proven)
        return again or add_agent(connection, buyer, _free(connection, names, wanted), site, token, 0.0), False
    if site not in owners:
        where = " or ".join(sorted(owners)) or "nobody, until the registry is mended"
        raise NameRefused(
            f"the name {wanted!r} belongs to {where} by the registry, and the token is one of {site!r}",
            remedy="Give this machine another name (--name), or ask the data center for a token of that site",
        )
    columns = (agents.c.site, agents.c.revoked, agents.c.certificate_ends)
    row = connection.execute(sa.select(*columns).where(agents.c.id == wanted)).first()
    if row is None:
        return add_agent(connection, buyer, wanted, site, token, 0.0), False
    if row.site == site and enrol_again(connection, buyer, wanted, site, token, proven=proven):
        return wanted, False
    if row.site not in owners and (proven or row.revoked is not None or row.certificate_ends < time.time()):
        _take_over(connection, buyer, wanted, site, token)
        return wanted, True
    if row.revoked is not None:
        raise NameRefused(
            f"the agent {wanted!r} was revoked, and its name with it",
            remedy="Ask the data center to name this machine anew in the registry",
        )
    raise NameRefused(
        f"another machine, of site {row.site!r}, has the name {wanted!r}",
        remedy=f"If this one is to have it, the data center frees it: haidang-collector agents release {wanted}",
    )


def _free(connection: sa.Connection, names: Names, wanted: str) -> str:
    """The name, or with the first number behind that nobody has, and that is no name with a role."""
    if connection.execute(sa.select(agents.c.id).where(agents.c.id == wanted)).first() is None:
        return wanted
    stem = f"{wanted[:58]}-"
    # From `stem-` to `stem.`, the character behind `-`: all that begin so, by the index.
    begin_so = sa.and_(agents.c.id >= stem, agents.c.id < f"{stem[:-1]}.")
    taken = set(connection.execute(sa.select(agents.c.id).where(begin_so)).scalars())
    for number in range(2, _MOST_NUMBER + 1):
        name = f"{stem}{number}"
        if name not in taken and names.owners(name) is None:
            return name
    raise NameRefused(
        f"{_MOST_NUMBER} machines are called {wanted!r}", remedy="Give this machine another name (--name)"
    )


def _take_over(connection: sa.Connection, buyer: Principal, name: str, site: str, token: str) -> None:
    """Give a name to a machine of its site; what another site's agent of that name said, which is gone, is removed."""
    row = connection.execute(sa.select(agents).where(agents.c.id == name)).one()
    before = {"site": row.site, "token": row.token, "certificate_ends": row.certificate_ends}
    audit.note(connection, buyer, Action.AGENT_ENROL, name, before, {"site": site, "token": token})
    certificates.end_name(connection, "agent", name, "released")
    values = {"site": site, "token": token, "enrolled": time.time(), "stopped": False, "revoked": None}
    change = next_change(connection)
    connection.execute(sa.update(agents).where(agents.c.id == name).values(**values, change=change))
    connection.execute(sa.delete(latest).where(latest.c.agent == name))
    connection.execute(sa.delete(facts).where(facts.c.agent == name))
