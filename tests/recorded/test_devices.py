"""Every recorded device: all its ports, its optics, its sensors, against what is expected of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from haidang_wire.metrics import CATALOGUE

from tests.recorded.snmp import FOLDER, Recording, recorded, recordings  # noqa: F401 (a fixture)

NAMES = recordings()
EVERY = pytest.mark.parametrize("name", NAMES or ["none"])

# LibreNMS's classes that are numbers of the physical world, and the metrics they may come as.
QUANTITIES = {
    "dbm": ("_dbm",),
    "temperature": ("_celsius",),
    "voltage": ("_volts",),
    "current": ("_amperes",),
    "power": ("_watts", "_dbm"),
    "fanspeed": ("_rpm",),
    "frequency": ("_hertz",),
    "charge": ("_ratio",),
    "load": ("_ratio",),
    "runtime": ("_seconds",),
}
# Where the reference is wrong or means something else, by OID prefix.
EXPLAINED = {
    "1.3.6.1.4.1.6027.3.11.1.3.1.1": "dellNetIfTransTransmitBiasCurrent is in milliamperes (DELL-NETWORKING-IF-EXTENSION-MIB); the reference calls them amperes",
    "1.3.6.1.4.1.2011.5.25.31.1.1.1.1.13": "hwEntityVoltage of 3 is no voltage of a board",
    "1.3.6.1.4.1.3076.2.1.2.36.1.5": "alLBSSFLoad is a VPN cluster's balancing weight, not a sensor",
    "1.3.6.1.4.1.25461.2.1.2.5.1.1": "GlobalProtect's use of licences is no sensor",
    "1.3.6.1.4.1.25461.2.1.2.3": "shares of session tables are no sensors",
}  # fmt: skip
# Raw values with which these devices say "no light" or "no module": no metric then.
NO_LIGHT = {
    "1.3.6.1.4.1.14988.1.1.19.1.1": "mtxrOpticalTable is all 0 for an empty cage",
    "1.3.6.1.4.1.9.9.91.1.1.1.1.4": "0 watts of light have no dBm",
}


def tell(reference: dict[str, Any]) -> str:
    return f"{reference['class']} {reference['oid']} {reference['descr']!r} = {reference['current']}"


def explained(reference: dict[str, Any]) -> bool:
    oid = reference["oid"].strip(".")
    none = reference["current"] == 0 and any(oid.startswith(prefix + ".") for prefix in NO_LIGHT)
    return none or any(oid.startswith(prefix + ".") for prefix in EXPLAINED)


def agrees(reference: dict[str, Any], metric: str, value: float) -> bool:
    """Whether a sample says what the reference says, in its own unit."""
    current = float(reference["current"])
    if metric.endswith("_dbm"):
        if reference["class"] == "power":  # light in watts: the same in dBm
            return abs(10 ** (value / 10) / 1000 - current) <= 1e-3 * current + 1e-8
        return abs(value - current) <= 0.05
    if metric.endswith("_ratio"):
        current /= 100
    if metric.endswith("_seconds"):
        current *= 60
    return abs(value - current) <= 1e-3 * abs(current) + 1e-6


def compared(recording: Recording, wanted: str) -> tuple[int, list[str]]:
    """How many of a class agree, and the others in words."""
    found, good, others = recording.by_oid(), 0, []
    for reference in recording.expected["sensors_reference"]:
        if reference["class"] != wanted or reference["current"] is None:
            continue
        samples = [s for s in found.get(reference["oid"].strip("."), []) if s[0].endswith(QUANTITIES[wanted])]
        if any(agrees(reference, metric, value) for metric, value in samples) or explained(reference):
            good += 1
        else:
            others.append(f"{tell(reference)}, found {samples}")
    return good, others


@EVERY
def test_every_port_is_as_recorded(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    recording = recorded[name]
    ports = recording.expected["ports_raw"]
    names = Counter(port_name(port) for port in ports)

    def called(port: dict[str, Any]) -> str:
        plain = port_name(port)
        return plain if names[plain] == 1 else f"{plain} ({port['ifIndex']})"

    up, admin = recording.of_ports("interface_up"), recording.of_ports("interface_admin_up")
    speed = recording.of_ports("interface_speed_bytes_per_second")
    counters = {
        "interface_receive_bytes_total": ("ifHCInOctets", "ifInOctets"),
        "interface_transmit_bytes_total": ("ifHCOutOctets", "ifOutOctets"),
        "interface_receive_packets_total": ("ifHCInUcastPkts", "ifInUcastPkts"),
        "interface_transmit_packets_total": ("ifHCOutUcastPkts", "ifOutUcastPkts"),
        "interface_receive_errors_total": ("ifInErrors",),
        "interface_transmit_errors_total": ("ifOutErrors",),
        "interface_receive_drops_total": ("ifInDiscards",),
        "interface_transmit_drops_total": ("ifOutDiscards",),
    }
    counted = {metric: recording.of_ports(metric) for metric in counters}
    for port in ports:
        label = called(port)
        if "ifOperStatus" in port:
            assert up[label] == (port["ifOperStatus"] == 1), label
        if "ifAdminStatus" in port:
            assert admin[label] == (port["ifAdminStatus"] == 1), label
        wanted = (port.get("ifHighSpeed") or 0) * 10**6
        if not wanted and port.get("ifSpeed") not in (None, 2**32 - 1):
            wanted = port["ifSpeed"]
        assert speed.get(label, 0) * 8 == wanted, label
        for metric, objects in counters.items():
            raw = next((port[o] for o in objects if o in port), None)
            if raw is not None:
                assert counted[metric][label] == raw, (label, metric)
    assert len(up) == sum("ifOperStatus" in port for port in ports)


def port_name(port: dict[str, Any]) -> str:
    for field in ("ifName", "ifDescr"):
        written = str(port.get(field) or "")
        if written.startswith("hex:"):
            raw = bytes.fromhex(written[4:].replace(" ", "")).rstrip(b"\0")
            try:
                written = raw.decode()
            except UnicodeDecodeError:
                written = raw.decode("latin-1")
        written = " ".join(written.replace("\0", " ").split())
        if written:
            return written
    return f"ifIndex {port['ifIndex']}"


@EVERY
def test_optics_agree_within_a_twentieth_of_a_decibel(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    _, others = compared(recorded[name], "dbm")
    assert not others


@EVERY
def test_sensors_agree(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    good, others = 0, []
    for quantity in QUANTITIES:
        agreed, rest = compared(recorded[name], quantity)
        good, others = good + agreed, others + rest
    assert good >= 0.95 * (good + len(others)), "\n".join(others)


@EVERY
def test_processors_agree(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    recording = recorded[name]
    loads = [
        v for (metric, _), v in recording.found.samples.items() if metric == "haidang_device_cpu_utilization_ratio"
    ]
    missing = [
        (processor["processor_descr"], processor["processor_usage"])
        for processor in recording.expected["processors_reference"]
        if not any(abs(processor["processor_usage"] / 100 - load) < 0.015 for load in loads)
    ]
    assert not missing


# What these are is no memory of the device's own work.
NO_MEMORY = ("swap", "cache", "buffer", "shared", "descriptor", "msglyr", "dma", "global_shared", "virtual")


@EVERY
def test_memory_agrees(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    """Each memory pool of the reference: its share in use, or bytes in use, within two percent."""
    recording = recorded[name]
    of: dict[str, dict[str, float]] = {}
    for (metric, labels), value in recording.found.samples.items():
        if metric.startswith("haidang_device_memory_"):
            of.setdefault(dict(labels)["sensor"], {})[metric.removeprefix("haidang_device_memory_")] = value
    shares = [
        each.get("utilization_ratio", each.get("used_bytes", 0) / (each.get("size_bytes") or 1)) for each in of.values()
    ]
    used = [each["used_bytes"] for each in of.values() if "used_bytes" in each]
    # hrStorageTable of the reference holds disks, too: those of other sizes than any memory.
    sizes = [each.get("size_bytes") for each in of.values()]
    missing = [
        (pool["mempool_descr"], pool["mempool_used"], pool["mempool_total"], pool["mempool_perc"])
        for pool in recording.expected["mempools_reference"]
        if not any(abs(pool["mempool_perc"] / 100 - share) < 0.015 for share in shares)
        and not any(abs(pool["mempool_used"] - each) <= 0.02 * each for each in used)
        and not any(word in pool["mempool_descr"].lower() for word in NO_MEMORY)
        and not (pool["mempool_type"] == "hrstorage" and pool["mempool_total"] not in sizes)
    ]
    assert not missing, (missing, of)


# Sessions of routing protocols, ports in spanning tree: the metric, its label's value, its value.
SESSIONS = {
    "comware": [("bgp_peer_up", "95.43.23.53", 1), ("bgp_peer_established_seconds", "192.168.1.57", 22497219)],
    "fortigate_60fospfv3": [("ospf_neighbor_up", "10.0.11.4", 1)],
}


@pytest.mark.parametrize("name", sorted(SESSIONS))
def test_routing_sessions(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    if name not in recorded:
        pytest.skip(f"{name} is not among the recordings")
    for metric, peer, wanted in SESSIONS[name]:
        found = {
            dict(labels)["peer"]: value
            for (of, labels), value in recorded[name].found.samples.items()
            if of == f"haidang_{metric}"
        }
        assert found[peer] == wanted


@EVERY
def test_spanning_tree_and_frame_errors_are_as_recorded(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    """Every row of dot1dStpPortTable that is not disabled, and of dot3StatsTable, is a sample with its value."""
    recording = recorded[name]
    rows = dict(
        line.split("|")[::2]
        for line in (FOLDER / f"{name}.snmprec").read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith(("1.3.6.1.2.1.17.2.15.1.3.", "1.3.6.1.2.1.10.7.2.1.3."))
    )
    found = recording.by_oid()
    for oid, raw in rows.items():
        if oid.startswith("1.3.6.1.2.1.10.7."):
            assert ("haidang_interface_fcs_errors_total", float(raw)) in found[oid]
        elif raw != "1":
            assert ("haidang_interface_stp_forwarding", float(raw == "5")) in found[oid]


# What an operator must know of an appliance or a UPS: the metric, its sensor and its value.
STATES = {
    "asa": [("appliance_ha_ok", "Primary unit (this device)", 1), ("appliance_ha_ok", "Secondary unit", 1)],
    "gaia_15600": [
        ("appliance_ha_ok", "cluster", 1), ("appliance_ha_active", "cluster", 0), ("device_fan_ok", "System Fan 1", 1),
        ("device_sensor_ok", "Intake Temp", 1), ("device_sensor_ok", "VCC 12V", 1),
    ],
    "sophos-xg_sg230": [
        ("appliance_license_ok", "enhanced plus support", None), ("appliance_license_ok", "web protection", 0),
    ],
    "fortigate_100e": [("device_sessions", None, 1380), ("vpn_tunnels", "IPsec", 2)],
    "fortigate_60fospfv3": [("device_sessions", None, 313), ("device_sensor_ok", "CPU ON-DIE Temperature", 1)],
    "panos_440": [("device_sessions", None, 241), ("vpn_tunnels", "GlobalProtect", 0)],
    "sonicwall_sonicos7": [("device_sessions", None, 573)],
    "pfsense": [("device_sessions", None, 140)],
    "generex-ups_cs141": [("ups_battery_low", None, 0), ("ups_on_battery", None, 0), ("ups_bypass", None, 1)],
    "eaton-mgeups_9px": [
        ("ups_battery_low", None, 0), ("ups_on_battery", None, 0), ("ups_battery_replace", None, 0),
        ("ups_runtime_left_seconds", None, 1464), ("ups_bypass", None, 0), ("ups_overloaded", None, 0),
        ("ups_input_ok", None, 1), ("ups_battery_fault", "battery", 0), ("ups_battery_fault", "charger", 0),
        ("device_sensor_ok", "temperature", 1), ("device_sensor_ok", "inverter", 1),
    ],
    "comware": [("device_fan_ok", "fan 0", 1), ("device_power_supply_ok", "power supply 2", 1)],
    "ios_2960x": [("device_fan_ok", "Switch#1, Fan#1", 1)],
    "procurve": [("device_fan_ok", "fan 6", 1), ("device_power_supply_ok", "power supply 2", 1)],
    "dnos_z9100-on": [("device_fan_ok", "fan tray 2.1.5", 1), ("device_power_supply_ok", "power supply 2.1.2", 1)],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(STATES))
def test_states_that_matter_to_an_operator(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    if name not in recorded:
        pytest.skip(f"{name} is not among the recordings")
    for metric, sensor, wanted in STATES[name]:
        found = [
            value
            for (of, labels), value in recorded[name].found.samples.items()
            if of == f"haidang_{metric}" and dict(labels).get("sensor") == sensor
        ]
        assert found == ([] if wanted is None else [wanted]), (metric, sensor)


@EVERY
def test_neighbours_are_as_recorded(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    recording = recorded[name]
    facts = [fact for fact in recording.found.facts if fact.kind == "neighbours"]
    systems = [n["system"] for n in facts[0].body["neighbours"] if n["protocol"] == "lldp"]
    if recording.found.profile == "mikrotik":
        # RouterOS indexes lldpRemTable by one number, which the reference does not read: the truth
        # is what the recording holds of lldpRemSysName.
        lines = (FOLDER / f"{name}.snmprec").read_text(encoding="utf-8", errors="replace").splitlines()
        held = [line for line in lines if line.startswith("1.0.8802.1.1.2.1.4.1.1.9.") and not line.endswith("|")]
        assert len(list(filter(None, systems))) == len(held)
        return
    wanted = [" ".join(remote["sysName"].split()) for remote in recording.expected["lldp_remote_sysname_raw"]]
    assert sorted(filter(None, systems)) == sorted(filter(None, wanted))


@EVERY
def test_what_is_reported_is_in_the_catalogue(recorded: dict[str, Recording], name: str) -> None:  # noqa: F811
    recording = recorded[name]
    assert recording.found.notes == []
    for metric, labels in recording.found.samples:
        assert "snmp" in CATALOGUE[metric].sources
        assert {key for key, _ in labels} == set(CATALOGUE[metric].labels), metric
        assert dict(labels)["device"] == name


def test_the_table_of_coverage(recorded: dict[str, Recording], capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Printed for people: what of the reference is found, per recording."""
    with capsys.disabled():
        print()
        for name, recording in recorded.items():
            ports = len(recording.expected["ports_raw"])
            cells = [
                f"{name:28} {recording.found.profile:20} ports {len(recording.of_ports('interface_up')):>3}/{ports:<3}"
            ]
            for quantity in QUANTITIES:
                good, others = compared(recording, quantity)
                if good or others:
                    cells.append(f"{quantity} {good}/{good + len(others)}")
            print(" ".join(cells))
    assert recorded
