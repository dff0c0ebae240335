"""Memory out of HOST-RESOURCES-MIB (RFC 2790) hrStorageTable.

Linux counts what it caches as used, and says in rows of their own how much that is (net-snmp:
`Memory buffers`, `Cached memory`; others: `RAM (Buffers)`, `RAM (Cache)`). What programs can get at
once is not in use: those rows are taken off the largest memory.
"""

from __future__ import annotations

import re

from haidang_agent.snmp.device import Device
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.values import number, text

_ENTRY = "1.3.6.1.2.1.25.2.3.1"
_RAM, _OTHER = "1.3.6.1.2.1.25.2.1.2", "1.3.6.1.2.1.25.2.1.1"
_TYPE, _DESCRIPTION, _UNITS, _SIZE, _USED = (f"{_ENTRY}.{column}" for column in (2, 3, 4, 5, 6))
_RECLAIMABLE = re.compile(r"buffers|cache", re.IGNORECASE)
_SHARED = re.compile(r"shared", re.IGNORECASE)


async def read(found: Poll, device: Device) -> None:
    """Add size and use of each memory, in bytes."""
    memories: dict[str, tuple[float, float, str]] = {}
    reclaimable = 0.0
    types = await device.column(_TYPE)
    if not types:
        return
    descriptions, units = await device.column(_DESCRIPTION), await device.column(_UNITS)
    sizes, uses = await device.column(_SIZE), await device.column(_USED)
    for index, kind in types.items():
        unit, size, used = (number(column.get(index)) for column in (units, sizes, uses))
        if text(kind) not in (_RAM, _OTHER) or unit is None or size is None or used is None or size <= 0:
            continue
        name = text(descriptions.get(index)) or f"memory {index}"
        if _RECLAIMABLE.search(name):
            reclaimable += used * unit
        elif text(kind) == _RAM and not _SHARED.search(name):
            memories[name] = (size * unit, used * unit, index)
    largest = max((size for size, _, _ in memories.values()), default=0.0)
    for name, (size, used, index) in memories.items():
        free_at_once = reclaimable if size == largest else 0.0
        oids = [f"{_USED}.{index}"]
        found.add("device_memory_size_bytes", size, sensor=name)
        found.add("device_memory_used_bytes", used - free_at_once if used >= free_at_once else used, oids, sensor=name)
