"""What else is on the networks: devices probes see, beside the inventory."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import netaddr
import sqlalchemy as sa
from haidang_wire.report import Fact

from haidang_collector.inventory.body import list_of, text_of
from haidang_collector.ledger.tables import machine_macs, machines, network_devices

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
SEEN_SECONDS = 7 * 86400.0
# Of a report: as many as an agent tells. A network of /22 has a quarter.
_MOST = 4096
# All networks of a site; who makes addresses up fills no table.
_MOST_A_SITE = 20_000
# Addresses asked for at once; SQLite took 999 parameters for long.
_AT_ONCE = 900
# A machine of the same site: another site's may say it has this card.
_OF_MACHINE = (
    sa.select(sa.func.min(machines.c.id))
    .join(machine_macs, machine_macs.c.machine == machines.c.id)
    .where(machine_macs.c.mac == network_devices.c.mac, machines.c.site == network_devices.c.site)
    .correlate(network_devices)
    .scalar_subquery()
)
IS_MACHINE = _OF_MACHINE.is_not(None)
_SEE = (
    sa.update(network_devices)
    .where(network_devices.c.site == sa.bindparam("at_site"), network_devices.c.mac == sa.bindparam("card"))
    .values(address=sa.bindparam("now_at"), last_seen=sa.bindparam("seen"))
)


@dataclass(frozen=True)
class Heard:
    """What a look at networks brought: (mac, address) of devices that were never seen on this site's networks, and how
    many are more than are kept."""

    new: list[tuple[str, str]]
    beyond: int


def take(connection: sa.Connection, site: str, taken: float, fact: Fact) -> Heard:
    """Keep what a probe sees."""
    devices = list_of(fact.body, "devices")
    found = {}
    for each in devices[:_MOST]:
        mac, address = _plain_mac(text_of(each, "mac", 20)), _plain_address(text_of(each, "address", 45))
        if address and mac:
            found[mac] = address
    last_seen = _last_seen(connection, site, list(found))
    new = [mac for mac in found if mac not in last_seen]
    kept = new[: _room(connection, site)] if new else []
    rows = [
        {
            "site": site,
            "mac": mac,
            "address": found[mac],
            "manufacturer": maker(mac),
            "first_seen": taken,
            "last_seen": taken,
        }
        for mac in kept
    ]
    if rows:
        connection.execute(sa.insert(network_devices), rows)
    again = [
        {"at_site": site, "card": mac, "now_at": found[mac], "seen": taken}
        for mac, before in last_seen.items()
        if before < taken
    ]
    if again:
        connection.execute(_SEE, again)
    beyond = max(0, len(devices) - _MOST) + len(new) - len(kept)
    return Heard([(mac, found[mac]) for mac in kept], beyond)


def _last_seen(connection: sa.Connection, site: str, macs: list[str]) -> dict[str, float]:
    """When those of these that are known were seen last. Only they are asked for: a site may have many more."""
    known: dict[str, float] = {}
    table = network_devices.c
    for at in range(0, len(macs), _AT_ONCE):
        some = table.mac.in_(macs[at : at + _AT_ONCE])
        rows = connection.execute(sa.select(table.mac, table.last_seen).where(table.site == site, some))
        known.update((row.mac, row.last_seen) for row in rows)
    return known


def _room(connection: sa.Connection, site: str) -> int:
    """How many more devices of a site are kept."""
    here = sa.select(sa.func.count()).select_from(network_devices).where(network_devices.c.site == site)
    return max(0, _MOST_A_SITE - connection.execute(here).scalar_one())


def _plain_mac(text: str) -> str:
    """As agents write it, in whatever way it is written; empty for what is none."""
    mac = text.lower()
    if _MAC.fullmatch(mac):  # thousands of them come at once
        return mac
    return str(netaddr.EUI(mac, dialect=netaddr.mac_unix_expanded)) if netaddr.valid_mac(mac) else ""


def _plain_address(text: str) -> str:
    """As everybody writes it; empty for what is none (netaddr takes `1.2.3`, which nobody behind does)."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text.partition("%")[0]))
    except (OSError, ValueError):
        return ""


def maker(mac: str) -> str:
    """Who was assigned an address' first half (IEEE's registry, as netaddr keeps it). Addresses a system made up
    for itself, as telephones do, are called private."""
    return "private" if int(mac[:2], 16) & 2 else _assigned_to(mac[:8])


@lru_cache(4096)  # each answer is a read of netaddr's file
def _assigned_to(half: str) -> str:
    try:
        return str(netaddr.EUI(f"{half}:00:00:00").oui.registration().org)[:200]
    except netaddr.NotRegisteredError:
        return ""


def devices(
    connection: sa.Connection, *, site: str = "", managed: bool | None = None, offset: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Devices with the machine each is, those seen last first."""
    table = network_devices.c
    named = machines.alias()
    known = sa.func.coalesce(sa.select(named.c.name).where(named.c.id == _OF_MACHINE).scalar_subquery(), "")
    query = sa.select(network_devices, known.label("known_as"))
    if site:
        query = query.where(table.site == site)
    if managed is not None:
        query = query.where(IS_MACHINE if managed else sa.not_(IS_MACHINE))
    query = query.order_by(table.last_seen.desc(), table.mac).offset(offset).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query)]


def coverage(connection: sa.Connection, since: float, registered: Mapping[str, set[str]]) -> dict[str, tuple[int, int]]:
    """Site → (devices seen since then that are in the inventory, or by their address in the registry; all seen)."""
    table = network_devices.c
    found: dict[str, tuple[int, int]] = {}
    query = sa.select(table.site, table.address, IS_MACHINE.label("managed")).where(table.last_seen >= since)
    for site, address, managed in connection.execute(query):
        known, seen = found.get(site, (0, 0))
        found[site] = (known + bool(managed or address in registered.get(site, ())), seen + 1)
    return found
