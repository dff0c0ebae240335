"""One device polled once: its profile's tables into samples, its identity and neighbours into facts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time

from haidang_wire.metric import COUNTER
from haidang_wire.metrics import CATALOGUE
from haidang_wire.report import Fact

from haidang_agent.eeprom.light import milliwatts_to_dbm
from haidang_agent.schedule.source import instant
from haidang_agent.snmp import entity_sensors, host_memory, neighbours
from haidang_agent.snmp.device import SYS_DESCR, SYS_NAME, SYS_OBJECT_ID, Device, Memory, Polled
from haidang_agent.snmp.found import Labels, Poll
from haidang_agent.snmp.profile import Column, Profile, Profiles, Reading, Table, threshold_metric
from haidang_agent.snmp.session import DeviceError, Session, Value
from haidang_agent.snmp.values import address, bit, number, text, timestamp

_UPTIME, _LOCATION = "1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.1.6.0"
_ENGINE_TIME, _TABLE_CHANGED = "1.3.6.1.6.3.10.2.1.3.0", "1.3.6.1.2.1.31.1.5.0"
_ENGINE_ID, _ENGINE_BOOTS = "1.3.6.1.6.3.10.2.1.1.0", "1.3.6.1.6.3.10.2.1.2.0"
_ENTITIES_CHANGED = "1.3.6.1.2.1.47.1.4.1.0"  # entLastChangeTime
_SYSTEM = [SYS_DESCR, SYS_OBJECT_ID, SYS_NAME, _UPTIME, _LOCATION, _ENGINE_TIME, _TABLE_CHANGED, _ENTITIES_CHANGED]
# What the device is made of, who its neighbours are and which tables it has is read so seldom,
# unless the device says (or its ports show) that something changed.
EVERYTHING_SECONDS = 600.0
_AFTER_CHANGE_SECONDS = 120.0
_TEMPLATE = re.compile(r"\{(index|column|entity|port|address)(?::([\d.]+))?\}")


async def poll(
    name: str,
    session: Session,
    profiles: Profiles,
    profile: str = "",
    *,
    memory: Memory | None = None,
    turns: asyncio.Semaphore | None = None,
    trace: bool = False,
) -> Poll:
    """Poll the device called `name` in metrics once, with the profile of that name or the one that fits.

    With the memory of earlier polls, what seldom changes is asked for seldom. Tables are read in
    one of `turns`, for which a device that does not answer does not wait. Never raises for what a
    device does: one that does not answer has haidang_device_up 0.
    """
    found = Poll(name, trace=trace)
    started = time.monotonic()
    try:
        await session.open()
        system = await session.get([*_SYSTEM, *([_ENGINE_ID, _ENGINE_BOOTS] if session.authentic else [])])
        if not system:
            raise DeviceError("answers, but shows nothing to this credential")
    except DeviceError as error:
        found.notes.append(str(error))
        found.add("device_up", 0)
        return found
    asked = time.monotonic()
    async with turns or contextlib.nullcontext():
        waited, found.begun = time.monotonic() - asked, instant()
        session.begin()
        await _read(found, session, profiles, profile, system, memory or Memory())
    found.add("device_poll_complete", int(not found.notes))
    found.add("device_poll_seconds", round(time.monotonic() - started - waited, 3))
    return found


async def _read(
    found: Poll, session: Session, profiles: Profiles, profile: str, system: dict[str, Value], memory: Memory
) -> None:
    """Identity, tables and neighbours of a device that answers."""
    object_id, description = text(system.get(SYS_OBJECT_ID)).strip("."), text(system.get(SYS_DESCR))
    chosen = profiles.all[profile] if profile else profiles.choose(object_id, description)
    found.profile = chosen.name
    device = Device(session, memory)
    everything = _changed(memory, chosen, system)
    found.add("device_up", 1)
    found.add("device_uptime_seconds", _uptime(system))
    await _identify(found, device, chosen, system, everything=everything)
    await device.ports()
    for sensors in chosen.entity_sensors:
        await entity_sensors.read(found, device, sensors)
    await host_memory.read(found, device)
    for table in chosen.tables:
        await _table(found, device, table)
    if everything:
        found.facts.append(Fact("neighbours", found.device, {"neighbours": await neighbours.read(device)}))
    await _drop_if_changed(found, session, system)
    found.notes += device.notes
    memory.note_absent(device.absent)
    _remember(found, memory, everything=everything)


def _changed(memory: Memory, profile: Profile, system: dict[str, Value]) -> bool:
    """Whether everything is to be read; then nothing is remembered."""
    uptime = number(system.get(_UPTIME)) or 0.0
    state = (profile, *(system.get(oid) for oid in _SYSTEM if oid not in (_UPTIME, _ENGINE_TIME)))
    same = state == memory.state and uptime >= memory.uptime
    memory.state, memory.uptime = state, uptime
    memory.engine = _engine(system)
    if same and time.monotonic() < memory.everything_due:
        return False
    memory.forget()
    return True


def _engine(system: dict[str, Value]) -> Polled | None:
    engine_id, boots, seconds = (
        system.get(_ENGINE_ID),
        number(system.get(_ENGINE_BOOTS)),
        number(system.get(_ENGINE_TIME)),
    )
    if not isinstance(engine_id, bytes) or not 5 <= len(engine_id) <= 32 or boots is None or seconds is None:
        return None
    return Polled(engine_id, int(boots), int(seconds), time.monotonic())


def _remember(found: Poll, memory: Memory, *, everything: bool) -> None:
    """A poll that missed something is followed by one of everything; soon also one in which a
    port came up or went down: there may be another module in it, or another neighbour."""
    up = hash(
        tuple(labels for (metric, labels), value in found.samples.items() if metric == "haidang_interface_up" and value)
    )
    now = time.monotonic()
    if found.notes:
        memory.everything_due = 0.0
    elif everything:
        memory.everything_due = now + EVERYTHING_SECONDS
    elif up != memory.ports_up:
        memory.everything_due = min(memory.everything_due, now + _AFTER_CHANGE_SECONDS)
    memory.ports_up = up


def _uptime(system: dict[str, Value]) -> float | None:
    # sysUpTime wraps after 497 days, snmpEngineTime (seconds) does not (RFC 3411); it can be the
    # older of the two only when it counts the same start.
    ticks, engine = number(system.get(_UPTIME)), number(system.get(_ENGINE_TIME))
    if ticks is None:
        return engine
    return engine if engine is not None and engine > 2**32 / 100 and engine > ticks / 100 else ticks / 100


async def _drop_if_changed(found: Poll, session: Session, system: dict[str, Value]) -> None:
    # Ports renumbered or counters begun anew half-way: what was read may be of two devices.
    try:
        after = await session.get([_UPTIME, _TABLE_CHANGED])
    except DeviceError as error:
        found.notes.append(str(error))
        return
    before, now = number(system.get(_UPTIME)), number(after.get(_UPTIME))
    restarted = before is not None and now is not None and now < before and before < 2**32 - 360_000
    if not restarted and after.get(_TABLE_CHANGED) == system.get(_TABLE_CHANGED):
        return
    found.notes.append("restarted or renumbered its interfaces during the poll: no counters this time")
    for at in [at for at in found.samples if CATALOGUE[at[0]].type == COUNTER]:
        del found.samples[at]


async def _identify(
    found: Poll, device: Device, profile: Profile, system: dict[str, Value], *, everything: bool
) -> None:
    system_name, parts = text(system.get(SYS_NAME)), device.memory.identity
    if everything:
        await _identity(parts, device, profile, text(system.get(SYS_DESCR)))
        body = {
            **parts, "vendor": profile.vendor, "name": system_name, "description": text(system.get(SYS_DESCR)),
            "location": text(system.get(_LOCATION)), "object_id": text(system.get(SYS_OBJECT_ID)),
            "profile": profile.name,
        }  # fmt: skip
        found.facts.append(Fact("device", found.device, body))
    found.add("device_info", 1, vendor=profile.vendor, name=system_name, **parts)


async def _identity(parts: dict[str, str], device: Device, profile: Profile, description: str) -> None:
    parts.update(dict.fromkeys(("model", "version", "serial"), ""))
    for name, sources in profile.identity:
        for source in sources:
            if source.startswith("sysDescr "):
                match = re.search(source[9:], description)
                parts[name] = match.group(1) if match and match.groups() else ""
            else:
                values = await device.column(source.rpartition(".")[0] if source.endswith(".0") else source)
                parts[name] = next((text(value) for value in values.values() if text(value)), "")
            if parts[name]:
                break


async def _table(found: Poll, device: Device, table: Table) -> None:
    conditions = [
        (int(key[6:]) if key.startswith("index:") else await device.column(key), wanted) for key, wanted in table.when
    ]
    labels_seen: set[tuple[str, str]] = set()
    words_of: dict[str, dict[str, str]] = {}
    labels_of: dict[tuple[str, tuple[str, ...]], Labels] = {}
    for reading in table.readings:
        columns = [(column, await device.column(column.oid)) for column in reading.columns]
        others = {
            oid: await device.column(oid)
            for column in reading.columns
            for oid in (*column.add, *column.subtract, column.times)
            if oid
        }
        limits = [(level, column, await device.column(column.oid)) for level, column in reading.thresholds]
        names = CATALOGUE[f"haidang_{reading.metric}"].labels
        plain = columns[0] if len(columns) == 1 and not others else None
        name, samples = f"haidang_{reading.metric}", found.samples
        indexes = columns[0][1] if len(columns) == 1 else dict.fromkeys(i for _, rows in columns for i in rows)
        for index in indexes:
            if conditions and not all(_holds(_part(rows, index), wanted) for rows, wanted in conditions):
                continue
            value = meaning(plain[0], plain[1][index]) if plain else _first(columns, others, index)
            if value is None:
                continue
            if index not in words_of:
                words_of[index] = await _labels(device, table, index, labels_seen)
            if reading.labels:
                own = {name: await _fill(device, template, index, table) for name, template in reading.labels}
                labels = found.labels(**{n: w for n, w in {**words_of[index], **own}.items() if n in names})
            elif (index, names) in labels_of:
                labels = labels_of[index, names]
            else:
                labels = found.labels(**{n: w for n, w in words_of[index].items() if n in names})
                labels_of[index, names] = labels
            samples[name, labels] = value  # the hot loop: found.put() without its call
            if found.trace:
                found.put(reading.metric, value, labels, (f"{column.oid}.{index}" for column, _ in columns))
            if limits:
                _limits(found, reading, limits, index, dict(labels))


def _part(rows: dict[str, Value] | int, index: str) -> str:
    if isinstance(rows, int):
        return index.split(".")[rows] if rows < index.count(".") + 1 else ""
    return text(rows.get(index))


def _holds(value: str, wanted: tuple[str, ...]) -> bool:
    """Whether a value is one of those wanted; `!X` wants any but X."""
    return value in wanted or any(each[:1] == "!" and value != each[1:] for each in wanted)


def _limits(
    found: Poll,
    reading: Reading,
    limits: list[tuple[str, Column, dict[str, Value]]],
    index: str,
    labels: dict[str, str],
) -> None:
    values = {level: meaning(column, rows.get(index)) for level, column, rows in limits}
    if len(set(values.values())) == 1:  # all the same (0, mostly): the device has none
        return
    for level, value in values.items():
        found.add(threshold_metric(reading.metric), value, **{**labels, "level": level})


def _first(
    columns: list[tuple[Column, dict[str, Value]]], others: dict[str, dict[str, Value]], index: str
) -> float | None:
    for column, rows in columns:
        value = meaning(column, rows.get(index))
        if value is None:
            continue
        if column.add:
            value += sum(number(others[oid].get(index)) or 0.0 for oid in column.add) * column.scale
        if column.subtract:
            value -= sum(number(others[oid].get(index)) or 0.0 for oid in column.subtract) * column.scale
        if not column.times:
            return value
        factor = number(others[column.times].get(index))
        if factor is not None:
            return value * factor
    return None


def meaning(column: Column, raw: Value) -> float | None:
    """The number a raw value stands for, or None."""
    if raw is None:
        return None
    if column.enum is not None:
        written = str(raw) if isinstance(raw, int) else text(raw)
        return column.enum.get(written, column.enum.get("default"))
    if column.plain and type(raw) is int:
        return raw * column.scale
    if column.bit >= 0:
        return float(bit(raw, column.bit))
    if column.transform == "present":
        return 1.0 if text(raw) else None
    if column.part:
        match = re.search(column.part, text(raw))
        raw = match.group(1) if match and match.groups() else None
    value = timestamp(raw) if column.transform == "timestamp" else number(raw)
    if value is None or value in column.absent or not column.minimum <= value <= column.maximum:
        return None
    value = value * column.scale + column.offset
    return milliwatts_to_dbm(value) if column.transform == "mw_to_dbm" else value


async def _labels(device: Device, table: Table, index: str, seen: set[tuple[str, str]]) -> dict[str, str]:
    """The labels of a row: `interface` and `lane` of one that belongs to a port, else `sensor`."""
    if table.interface:
        at = await _fill(device, table.interface_index, index, table)
        port = await _port(device, table, at, index)
        port = port or (await _fill(device, table.label, index, table)).strip() or index
        return {"interface": port, "lane": await _fill(device, table.lane, index, table)}
    label = (await _fill(device, table.label, index, table)).strip() or index
    if (table.name, label) in seen:
        label = f"{label} ({index})"
    seen.add((table.name, label))
    return {"sensor": label}


async def _port(device: Device, table: Table, at: str, index: str) -> str | None:
    join, _, argument = table.interface.partition(" ")
    if join == "ifIndex":
        return (await device.ports()).get(at)
    if join == "entity":
        return await device.port_by_entity(at)
    if join == "bridgePort":
        return await device.port_by_bridge_port(at)
    if join == "described":
        return await device.port_described(await _fill(device, argument, index, table))
    return await device.port_by_name(text((await device.column(argument)).get(index)))


async def _fill(device: Device, template: str, index: str, table: Table) -> str:
    """A template: {index}, {index:1} (a part of it), {address:1} (an InetAddressType and InetAddress
    from there on), {column:3} or {column:OID} (text of the same row), {port:3} (the port whose
    ifIndex that is), {entity} (name of the entity the index begins with)."""
    if "{" not in template:
        return template
    result, last = "", 0
    for match in _TEMPLATE.finditer(template):
        result += template[last : match.start()]
        last = match.end()
        kind, argument = match.groups()
        parts = index.split(".")
        if kind == "index":
            if argument is None:
                result += index
            elif int(argument) < len(parts):
                result += parts[int(argument)]
        elif kind == "address":
            result += address(parts[int(argument or 0) :])
        elif kind == "entity":
            result += await device.entity_name(parts[int(argument or 0)] if int(argument or 0) < len(parts) else "")
        elif argument:
            oid = argument if "." in argument else f"{table.entry}.{argument}"
            rows = await device.column(oid)
            # A row of a narrower table may describe it: the name of its first part.
            written = text(rows.get(index, rows.get(parts[0])))
            result += (await device.ports()).get(written, "") if kind == "port" else written
    return result + template[last:]
