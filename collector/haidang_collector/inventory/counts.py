"""What rules and the plan's figures need of the inventory, in a few queries."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field

import sqlalchemy as sa

from haidang_collector.inventory import lan, search
from haidang_collector.ledger.tables import events, machines, network_devices
from haidang_collector.registry.model import Registry

_PEOPLES = ("desktop", "laptop", "tablet", "other")
_CLONES_SECONDS = 7 * 86400.0
_NEW_SECONDS = 86400.0


@dataclass
class Counts:
    """By site: machines seen in the last 30 days, those missed, those people work at, those in dispute (counted once,
    where the older claim is), clones, coverage, devices that are new on sensitive networks; and (site, agent, end of
    support) of machines."""

    present: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    workstations: dict[str, int] = field(default_factory=dict)
    disputed: dict[str, int] = field(default_factory=dict)
    clones: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)
    new_devices: dict[str, int] = field(default_factory=dict)
    support: list[tuple[str, str, float]] = field(default_factory=list)


def count(connection: sa.Connection, registry: Registry, now: float) -> Counts:
    """All of them, now."""
    found = Counts()
    table = machines.c
    here = table.last_seen >= now - search.MISSING_SECONDS
    people = sa.func.sum(sa.case((sa.and_(here, table.chassis.in_(_PEOPLES)), 1), else_=0))
    query = sa.select(table.site, sa.func.sum(sa.case((here, 1), else_=0)), sa.func.count(), people)
    for site, present, all_of_it, working in connection.execute(
        query.where(table.removed.is_(None), table.dispute == "").group_by(table.site)
    ):
        found.present[site], found.missing[site], found.workstations[site] = present, all_of_it - present, working
    found.disputed = search.disputed(connection)
    for site, _ in search.clones(connection, now - _CLONES_SECONDS):
        found.clones[site] = found.clones.get(site, 0) + 1
    _networks(connection, registry, now, found)
    rows = connection.execute(
        sa.select(table.site, table.agent, sa.func.min(table.support_ends))
        .where(table.support_ends.is_not(None), here, table.removed.is_(None))
        .group_by(table.site, table.agent)
    )
    found.support = [(site, agent, ends) for site, agent, ends in rows]
    return found


def _networks(connection: sa.Connection, registry: Registry, now: float, found: Counts) -> None:
    registered: dict[str, set[str]] = {}
    for device in registry.devices:
        registered.setdefault(device.site, set()).add(device.address)
    for site, (managed, seen) in lan.coverage(connection, now - lan.SEEN_SECONDS, registered).items():
        found.coverage[site] = managed / seen
    for site, devices in _new_on_sensitive(connection, registry, now - _NEW_SECONDS).items():
        found.new_devices[site] = len(devices)


def _new_on_sensitive(
    connection: sa.Connection, registry: Registry, since: float
) -> dict[str, list[tuple[str, str, str, float]]]:
    """Site → (mac, address, manufacturer, first seen) of devices that are no machines of the inventory."""
    sensitive = {
        site.id: [ipaddress.ip_network(each) for each in site.sensitive_networks]
        for site in registry.sites
        if site.sensitive_networks
    }
    table = network_devices.c
    columns = (table.site, table.mac, table.address, table.manufacturer, table.first_seen)
    query = sa.select(*columns).where(table.site.in_(sensitive), table.first_seen >= since, sa.not_(lan.IS_MACHINE))
    registered = {(device.site, device.address) for device in registry.devices}
    found: dict[str, list[tuple[str, str, str, float]]] = {}
    for site, mac, address, manufacturer, first_seen in connection.execute(query):
        inside = any(ipaddress.ip_address(address) in network for network in sensitive[site])
        if inside and (site, address) not in registered:
            found.setdefault(site, []).append((mac, address, manufacturer, first_seen))
    return found


def tell_new_devices(connection: sa.Connection, registry: Registry, since: float, now: float) -> float:
    """An event for each device that is new on a sensitive network since then; from when to look next."""
    newest = since
    for site, devices in _new_on_sensitive(connection, registry, since).items():
        for mac, address, manufacturer, first_seen in devices:
            if since < first_seen <= now:  # beyond it a clock was wrong, and nothing would be told until then
                newest = max(newest, first_seen)
                body = {"mac": mac, "address": address, "manufacturer": manufacturer}
                values = {"agent": "", "site": site, "kind": "network_device_new", "at": first_seen, "received": now}
                connection.execute(sa.insert(events).values(**values, body=json.dumps(body, ensure_ascii=False)))
    return newest
