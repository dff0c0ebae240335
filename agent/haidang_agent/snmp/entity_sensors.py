"""Sensor tables shaped like ENTITY-SENSOR-MIB's: the type says what a sensor measures, the
entity tree where; what sits in a port's transceiver is optics, everything else the device's."""

from __future__ import annotations

import re

from haidang_agent.eeprom.light import milliwatts_to_dbm
from haidang_agent.snmp.device import Device
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.profile import EntitySensors, threshold_metric
from haidang_agent.snmp.session import Value
from haidang_agent.snmp.values import number, text

# entPhySensorType / entSensorType (RFC 3433; CISCO-ENTITY-SENSOR-MIB adds dBm).
_OTHER, _VOLTS_AC, _VOLTS_DC, _AMPERES, _WATTS, _HERTZ, _CELSIUS, _PERCENT, _RPM, _DBM = 1, 3, 4, 5, 6, 7, 8, 9, 10, 14
_DEVICE = {
    _VOLTS_AC: "device_voltage_volts", _VOLTS_DC: "device_voltage_volts", _AMPERES: "device_current_amperes",
    _WATTS: "device_power_watts", _HERTZ: "device_frequency_hertz", _CELSIUS: "device_temperature_celsius",
    _PERCENT: "device_humidity_ratio", _RPM: "device_fan_speed_rpm",
}  # fmt: skip
_OPTICAL = {
    _VOLTS_AC: "optical_voltage_volts", _VOLTS_DC: "optical_voltage_volts", _AMPERES: "optical_bias_amperes",
    _CELSIUS: "optical_temperature_celsius",
}  # fmt: skip
_OK = 1
_RECEIVE = re.compile(r"\brx\b|receive|input|\brx[ _]?pow", re.IGNORECASE)
_TRANSMIT = re.compile(r"\btx\b|transmit|output|\btx[ _]?pow", re.IGNORECASE)
_LIGHT = re.compile(r"\b(?:rx|tx|receive|transmit)[ _]power", re.IGNORECASE)
_LANE = re.compile(r"\b(?:lane|channel|ln)[ _#]?(\d+)", re.IGNORECASE)
# entSensorThresholdSeverity and Relation (CISCO-ENTITY-SENSOR-MIB).
_MINOR, _MAJOR, _CRITICAL = 10, 20, 30
_BELOW, _ABOVE = (1, 2), (3, 4)


async def read(found: Poll, device: Device, table: EntitySensors) -> None:
    """Add every sensor that says it is well and has a value."""
    types = await device.column(f"{table.entry}.1")
    if not types:
        return
    scales, digits = await device.column(f"{table.entry}.2"), await device.column(f"{table.entry}.3")
    units = await device.column(f"{table.entry}.6") if not table.thresholds else {}
    values, states = await device.column(f"{table.entry}.4"), await device.column(f"{table.entry}.5")
    limits = await _thresholds(device, table.thresholds) if table.thresholds else {}
    names: set[str] = set()
    for index, raw_type in types.items():
        kind, factor = number(raw_type), _factor(scales.get(index), digits.get(index))
        raw = number(values.get(index))
        if kind is None or raw is None or factor is None or number(states.get(index, _OK)) != _OK:
            continue
        label = await device.entity_name(index) or f"sensor {index}"
        description = f"{label} {await device.entity_description(index)}"
        kind = int(kind)
        # RFC 3433 knows no decibels: light is then "other", told by its unit or its name.
        if kind == _OTHER and ("dbm" in text(units.get(index)).lower() or _LIGHT.search(description)):
            kind = _DBM
        port = await device.port_by_entity(index) if kind in _OPTICAL or kind in (_DBM, _WATTS) else None
        metric = _metric(kind, description, port)
        if metric is None:
            continue
        if metric.startswith("optical_"):
            lane = _LANE.search(description)
            # Without a port it is still light: of what the sensor's own name begins with.
            labels = {"interface": port or _bare(label), "lane": lane.group(1) if lane else ""}
        else:
            labels = {"sensor": label if label not in names else f"{label} ({index})"}
            names.add(label)
        in_milliwatts = kind == _WATTS and metric.endswith("_dbm")
        oid = [f"{table.entry}.4.{index}"]
        found.add(metric, _meaning(raw * factor, metric, in_milliwatts=in_milliwatts), oid, **labels)
        for level, limit in limits.get(index, {}).items():
            if metric.startswith("optical_"):
                value = _meaning(limit * factor, metric, in_milliwatts=in_milliwatts)
                found.add(threshold_metric(metric), value, level=level, **labels)


def _bare(label: str) -> str:
    return re.split(r"\s+(?:rx|tx|receive|transmit|input|output)\b", label, maxsplit=1, flags=re.IGNORECASE)[0]


def _metric(kind: int, description: str, port: str | None) -> str | None:
    if kind == _DBM or (kind == _WATTS and port):
        if _RECEIVE.search(description):
            return "optical_receive_power_dbm"
        if _TRANSMIT.search(description):
            return "optical_transmit_power_dbm"
    if port and kind in _OPTICAL:
        return _OPTICAL[kind]
    return _DEVICE.get(kind)


def _meaning(value: float, metric: str, *, in_milliwatts: bool) -> float | None:
    if in_milliwatts:
        return milliwatts_to_dbm(value * 1000)
    if metric == "device_humidity_ratio":
        return value / 100
    return value


def _factor(scale: Value, precision: Value) -> float | None:
    # EntitySensorDataScale: 9 is units, each step a factor of a thousand (RFC 3433).
    units, decimals = number(scale), number(precision)
    if units is None or not 1 <= units <= 17 or not -9 <= (decimals or 0.0) <= 9:
        return None
    return float(10.0 ** ((units - 9) * 3 - (decimals or 0.0)))


async def _thresholds(device: Device, entry: str) -> dict[str, dict[str, float]]:
    severities, relations = await device.column(f"{entry}.2"), await device.column(f"{entry}.3")
    values = await device.column(f"{entry}.4")
    found: dict[str, dict[str, float]] = {}
    for index, raw in values.items():
        severity, relation, value = number(severities.get(index)), number(relations.get(index)), number(raw)
        if severity is None or relation is None or value is None:
            continue
        side = "low" if relation in _BELOW else "high" if relation in _ABOVE else ""
        if side:
            level = f"{side}_{'warning' if severity <= _MINOR else 'alarm'}"
            of = found.setdefault(index.partition(".")[0], {})
            # Major and critical are both alarms: the one that is reached last is critical.
            if level not in of or severity >= _CRITICAL:
                of[level] = value
    return found
