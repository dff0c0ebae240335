"""Links in the ledger: what is said, since when, and when last. Every function takes the connection of a transaction.

A neighbour table that says what it said writes nothing until the hour is over: `last_seen` is exact to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from haidang_wire.report import Fact

from haidang_collector.ledger.tables import facts, links
from haidang_collector.quotas.holdings import LINK_TEXTS, ROW_BYTES, Holding
from haidang_collector.registry.model import Registry
from haidang_collector.topology.links import Address, Link, Source, heard, of_registry, seen

# How far the end of a link's time may be behind: what is said each minute is written each hour.
STEP_SECONDS = 3600.0
_BY_DEVICES = ("lldp", "cdp", "other")
_FIELDS = ("agent", "source", "site", "device", *LINK_TEXTS, "address", "far_site", "far_device", "circuit")
# What makes it the same link; anything else of it may change.
_IDENTITIES = {"registry": _FIELDS, "arp": ("source", "far_device")}
_IDENTITY_SEEN = ("source", "interface", "system", "chassis", "port")


@dataclass(frozen=True)
class Kept:
    """A link as it is kept: since when it was said without a gap, and when last."""

    link: Link
    first_seen: float
    last_seen: float


@dataclass(frozen=True)
class Seen:
    """What a device sees, as an agent said in a report of a site."""

    agent: str
    site: str
    device: str
    links: list[Link]


def see(connection: sa.Connection, agent: str, site: str, taken: float, fact: Fact, holding: Holding) -> Counter[str]:
    """Keep what a device sees of its neighbours in place of what it saw, where nothing newer is known: the fact
    `neighbours`, which is kept before. How many links are left out, by the quota that is reached."""
    newest = connection.execute(_NEWEST, {"of": agent, "named": fact.key}).first()
    if newest is None or newest.seen != taken:
        return Counter()
    its = (links.c.agent == agent, links.c.device == fact.key, links.c.source.in_(_BY_DEVICES))
    if newest.since < taken:  # it says what it said: nobody looks into it before the hour is over
        oldest = connection.execute(sa.select(sa.func.min(links.c.last_seen)).where(*its)).scalar()
        if oldest is not None and taken - oldest < STEP_SECONDS:
            return Counter()
    present = connection.execute(sa.select(links).where(*its)).all()
    return _keep(connection, present, seen(agent, site, fact.key, fact.body), taken, holding)


def hear(
    connection: sa.Connection,
    agent: str,
    site: str,
    taken: float,
    fact: Fact,
    devices: Mapping[Address, str],
    holding: Holding,
) -> Counter[str]:
    """Keep which devices a machine hears on its networks, by its fact `network`. One that keeps still is not gone: it
    is as old as it is. How many links are left out, by quota."""
    its = (links.c.agent == agent, links.c.device == "", links.c.source == "arp")
    present = connection.execute(sa.select(links).where(*its)).all()
    said = heard(agent, site, fact.body, devices)
    named = {link.far_device for link in said}
    return _keep(connection, [row for row in present if row.far_device in named], said, taken, holding)


def follow(connection: sa.Connection, registry: Registry | None, loaded: float) -> None:
    """Keep the links of the registry that is in force since then in place of those of the one before."""
    its = (links.c.agent == "", links.c.source == "registry")
    present = connection.execute(sa.select(links).where(*its)).all()
    _keep(connection, present, of_registry(registry) if registry else (), loaded)


def all_seen(connection: sa.Connection) -> list[Seen]:
    """What devices see, what was said last behind the others."""
    found: dict[tuple[str, str], tuple[float, Seen]] = {}
    for row in connection.execute(sa.select(links).where(links.c.source.in_(_BY_DEVICES)).order_by(links.c.id)):
        last, of_device = found.get((row.agent, row.device)) or (0.0, Seen(row.agent, row.site, row.device, []))
        of_device.links.append(_link(row))
        found[row.agent, row.device] = max(last, row.last_seen), of_device
    return [of_device for _, of_device in sorted(found.values(), key=lambda each: each[0])]


def find(
    connection: sa.Connection,
    *,
    site: str | None = None,
    device: str | None = None,
    source: Source | None = None,
    offset: int,
    limit: int,
) -> tuple[int, list[Kept]]:
    """How many links fit, and a page of them by their near ends."""
    asked = ((links.c.site, site), (links.c.device, device), (links.c.source, source))
    wanted = [column == value for column, value in asked if value is not None]
    total = connection.execute(sa.select(sa.func.count()).select_from(links).where(*wanted)).scalar_one()
    order = (links.c.site, links.c.device, links.c.interface, links.c.id)
    page = connection.execute(sa.select(links).where(*wanted).order_by(*order).offset(offset).limit(limit))
    return total, [Kept(_link(row), row.first_seen, row.last_seen) for row in page]


def _link(row: Any) -> Link:
    return Link(**{name: getattr(row, name) for name in _FIELDS})


def _keep(
    connection: sa.Connection, present: Iterable[Any], said: Iterable[Link], at: float, holding: Holding | None = None
) -> Counter[str]:
    """Bring rows to what is said: the others of `present` are gone. What one is added or lengthened by is its agent's
    quota; the registry has none."""
    rows = {_identity(row): row for row in present}
    wanted: dict[tuple[str, ...], Link] = {}
    for link in said:
        wanted.setdefault(_identity(link), link)
    left_out: Counter[str] = Counter()
    gone = [row for identity, row in rows.items() if identity not in wanted]
    if holding is not None:
        holding.link_bytes -= sum(map(_size, gone))
    new, changed, again = [], [], []
    for identity, link in wanted.items():
        row = rows.get(identity)
        values = {name: getattr(link, name) for name in _FIELDS}
        if row is not None and at <= row.last_seen:
            continue
        if row is not None and all(values[name] == getattr(row, name) for name in _FIELDS):
            if at - row.last_seen >= (STEP_SECONDS if holding is not None else 0.0):
                again.append({"which": row.id, "at": at})
            continue
        if holding is not None and not holding.takes_link(_size(link) - (_size(row) if row is not None else 0)):
            left_out["links"] += 1
        elif row is None:
            new.append({**values, "first_seen": at, "last_seen": at})
        else:
            changed.append({f"new_{name}": value for name, value in values.items()} | {"which": row.id, "at": at})
    for statement, parameters in (
        (_REMOVE, [{"which": row.id} for row in gone]), (_ADD, new), (_CHANGE, changed), (_AGAIN, again),
    ):  # fmt: skip
        if parameters:
            connection.execute(statement, parameters)
    return left_out


def _identity(link: Any) -> tuple[str, ...]:
    """Of a link or its row."""
    return tuple(getattr(link, name) for name in _IDENTITIES.get(link.source, _IDENTITY_SEEN))


def _size(link: Any) -> int:
    """Of a link or its row, as Holding counts it."""
    return ROW_BYTES + sum(len(getattr(link, name)) for name in LINK_TEXTS)


_NEWEST = sa.select(facts.c.seen, facts.c.since).where(
    facts.c.agent == sa.bindparam("of"), facts.c.kind == "neighbours", facts.c.key == sa.bindparam("named")
)
_WHICH = links.c.id == sa.bindparam("which")
_REMOVE = sa.delete(links).where(_WHICH)
_ADD = sa.insert(links)
_AGAIN = sa.update(links).where(_WHICH).values(last_seen=sa.bindparam("at"))
_CHANGE = _AGAIN.values({name: sa.bindparam(f"new_{name}") for name in _FIELDS})
