"""Kinds of facts and events: what the body of each is, and where the collector keeps it.

Which kinds of source say them: sources.py. A kind that is not named here is carried as it came, within bounds, and
understood by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from haidang_wire import documents
from haidang_wire.sources import SOURCES


class Tables(Enum):
    """The collector's tables for a fact that a source says which sources.py names for it; anybody else's is GENERAL."""

    GENERAL = "general"
    """`facts`: the last one said, until `fact_retention_days` after it was said; and in `fact_history` those before it,
    until `event_retention_days` after they changed. Of `neighbours` each link is in `links`, too."""
    MACHINES = "machines"
    """`machine_documents`, `installed`: the last one said, while the machine is known; in `machine_changes` what
    changed, for `event_retention_days`."""
    NETWORKS = "networks"
    """`network_devices`: each device, until `fact_retention_days` after it was heard; what is a device of the registry
    is in `links`, too."""


@dataclass(frozen=True)
class FactKind:
    """What a fact of this kind is, and where it is kept."""

    body: type
    tables: Tables = Tables.GENERAL


@dataclass(frozen=True)
class EventKind:
    """`names` is the field of the body that says what it is about: without it an event is refused. Events are kept in
    the table `events` for `event_retention_days`."""

    body: type
    names: str = ""


FACTS = {
    "device": FactKind(documents.Device),
    "neighbours": FactKind(documents.Neighbours),
    "route": FactKind(documents.Route),
    "transceivers": FactKind(documents.Transceivers),
    "network": FactKind(documents.Network, Tables.NETWORKS),
    "machine": FactKind(documents.Machine, Tables.MACHINES),
    "disks": FactKind(documents.Disks, Tables.MACHINES),
    "system": FactKind(documents.System, Tables.MACHINES),
    "software": FactKind(documents.Software, Tables.MACHINES),
    "security": FactKind(documents.Security, Tables.MACHINES),
    "displays": FactKind(documents.Displays, Tables.MACHINES),
    "printers": FactKind(documents.Printers, Tables.MACHINES),
    "logon": FactKind(documents.Logon, Tables.MACHINES),
}

_APART = frozenset(kind for kind, each in FACTS.items() if each.tables is not Tables.GENERAL)
WITH_TABLES = {source: _APART.intersection(each.facts) for source, each in SOURCES.items() if _APART & set(each.facts)}
"""Source → those of its kinds of fact that have tables of their own."""

EVENTS = {
    "link_up": EventKind(documents.DeviceEvent, names="device"),
    "link_down": EventKind(documents.DeviceEvent, names="device"),
    "dying_gasp": EventKind(documents.DeviceEvent, names="device"),
    "path_up": EventKind(documents.PathEvent, names="target"),
    "path_down": EventKind(documents.PathEvent, names="target"),
    "path_changed": EventKind(documents.PathEvent, names="target"),
    "agent_started": EventKind(documents.LifecycleEvent),
    "agent_stopped": EventKind(documents.LifecycleEvent),
    "spool_damaged": EventKind(documents.LifecycleEvent),
}

BODIES: dict[str, type] = {
    **{kind: each.body for kind, each in FACTS.items()},
    **{kind: each.body for kind, each in EVENTS.items()},
}
"""The body of each kind of fact and event."""
