"""What else is on the networks: devices probes see, beside the inventory."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import netaddr
import sqlalchemy as sa
from haidang_wire.report import Fact
from sqlalchemy.dialects.sqlite import insert

from haidang_collector.inventory.body import list_of, text_of
from haidang_collector.ledger.tables import machine_macs, machines, network_devices

SEEN_SECONDS = 7 * 86400.0
_MOST = 4096
# All networks of a site; who makes addresses up fills no table.
_MOST_A_SITE = 20_000
# A machine of the same site: another site's may say it has this card.
_OF_MACHINE = (
    sa.select(sa.func.min(machines.c.id))
    .join(machine_macs, machine_macs.c.machine == machines.c.id)
    .where(machine_macs.c.mac == network_devices.c.mac, machines.c.site == network_devices.c.site)
    .correlate(network_devices)
    .scalar_subquery()
)
IS_MACHINE = _OF_MACHINE.is_not(None)


def take(connection: sa.Connection, site: str, taken: float, fact: Fact) -> list[tuple[str, str]]:
    """Keep what a probe sees; (mac, address) of those that were never seen on this site's networks."""
    found = {}
    for each in list_of(fact.body, "devices")[:_MOST]:
        mac, address = text_of(each, "mac", 20).lower(), _plain_address(text_of(each, "address", 45))
        if address and netaddr.valid_mac(mac):
            found[str(netaddr.EUI(mac, dialect=netaddr.mac_unix_expanded))] = address
    table = network_devices.c
    known = set(connection.execute(sa.select(table.mac).where(table.site == site)).scalars())
    new = [mac for mac in found if mac not in known]
    for mac in new[max(0, _MOST_A_SITE - len(known)) :]:
        del found[mac]
    rows = [
        {
            "site": site,
            "mac": mac,
            "address": address,
            "manufacturer": maker(mac),
            "first_seen": taken,
            "last_seen": taken,
        }
        for mac, address in found.items()
    ]
    if rows:
        statement = insert(network_devices)
        newer = {"last_seen": statement.excluded.last_seen, "address": statement.excluded.address}
        statement = statement.on_conflict_do_update(
            index_elements=["site", "mac"], set_=newer, where=table.last_seen < statement.excluded.last_seen
        )
        connection.execute(statement, rows)
    return [(mac, address) for mac, address in found.items() if mac not in known]


def _plain_address(text: str) -> str:
    """As everybody writes it; empty for what is none (netaddr takes `1.2.3`, which nobody behind does)."""
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return ""


def maker(mac: str) -> str:
    """Who was assigned an address' first half (IEEE's registry, as netaddr keeps it). Addresses a system made up
    for itself, as telephones do, are called private."""
    if int(mac[:2], 16) & 2:
        return "private"
    try:
        return str(netaddr.EUI(mac).oui.registration().org)[:200]
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
