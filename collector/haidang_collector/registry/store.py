"""The registry in force, in the ledger. Every function takes the connection of a transaction."""

from __future__ import annotations

import time

import sqlalchemy as sa

from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.statements import Only, lock
from haidang_collector.ledger.tables import registry
from haidang_collector.principals import Principal
from haidang_collector.registry.changes import difference
from haidang_collector.registry.model import Registry


def save_registry(connection: sa.Connection, principal: Principal, value: Registry) -> None:
    """Make this registry the one in force."""
    lock(connection, Only.REGISTRY)
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
