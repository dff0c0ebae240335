"""What a trap or inform says: its kind, the interface it names, and its values as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml

from haidang_agent.snmp.session import Value
from haidang_agent.snmp.values import number, text

TRAP_OID = "1.3.6.1.6.3.1.1.4.1.0"
_UPTIME = "1.3.6.1.2.1.1.3.0"
# SNMP-COMMUNITY-MIB (RFC 3584): a converted version 1 trap brings its community along. It is a secret.
_COMMUNITY = "1.3.6.1.6.3.18.1.4.0"
# And what it says its address is (agent-addr), which proves nothing: whose a trap is, its sender's address says.
_ADDRESS = "1.3.6.1.6.3.18.1.3.0"
# Columns of these rows are indexed by ifIndex: ifEntry, ifXEntry.
_INTERFACE_ROWS = ("1.3.6.1.2.1.2.2.1.", "1.3.6.1.2.1.31.1.1.1.")
_NAMES = ("1.3.6.1.2.1.31.1.1.1.1.", "1.3.6.1.2.1.2.2.1.2.")  # ifName, ifDescr
_ENTITIES = "1.3.6.1.2.1.47.1.1.1.1."
_OAM_TYPES = ("1.3.6.1.2.1.158.1.6.1.4.", "1.3.6.1.4.1.9.10.136.1.6.1.4.")  # dot3OamEventLogType
_DYING_GASP = 257  # dyingGaspEvent
_MAX_VALUES, _MAX_TEXT = 20, 200


@dataclass(frozen=True)
class Notification:
    """`interface` is empty when it names none; `values` are at most 20, OID → text."""

    kind: str
    trap: str
    interface: str = ""
    values: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _kinds() -> dict[str, str]:
    file = Path(__file__).parent / "traps.yaml"
    return {str(oid): kind for oid, kind in yaml.safe_load(file.read_text(encoding="utf-8")).items()}


def _kind(trap: str) -> str:
    known = _kinds()
    if trap in known:
        return known[trap]
    end = len(trap)
    while (end := trap.rfind(".", 0, end)) > 0:
        if trap[: end + 1] in known:
            return known[trap[: end + 1]]
    return "snmp_trap"


def understand(
    bindings: Iterable[tuple[str, Value]], ports: dict[str, str], entity_ports: dict[str, str | None]
) -> Notification:
    """Of the bindings of a version 2 notification; `ports` and `entity_ports` are what the last
    poll knew: ifIndex, entPhysicalIndex → the name of a port in metrics."""
    trap, interface, gasp = "", "", False
    values: dict[str, str] = {}
    for oid, value in bindings:
        if oid == TRAP_OID:
            trap = text(value)
        elif oid not in (_UPTIME, _COMMUNITY, _ADDRESS):
            interface = interface or _interface(oid, value, ports, entity_ports)
            gasp = gasp or (oid.startswith(_OAM_TYPES) and number(value) == _DYING_GASP)
            if len(values) < _MAX_VALUES:
                values[oid] = text(value)[:_MAX_TEXT]
    return Notification("dying_gasp" if gasp else _kind(trap), trap, interface, values)


def _interface(oid: str, value: Value, ports: dict[str, str], entity_ports: dict[str, str | None]) -> str:
    if oid.startswith(_INTERFACE_ROWS):
        index = oid.rpartition(".")[2]
        if index in ports:
            return ports[index]
        return text(value) if oid.startswith(_NAMES) else f"ifIndex {index}"
    if oid.startswith(_ENTITIES):
        return entity_ports.get(oid.rpartition(".")[2]) or ""
    return ""
