"""The part of the catalogue about devices: switches, routers, appliances, UPSes, their optics."""

from __future__ import annotations

from haidang_wire.metric import COUNTER, GAUGE, INFO, Metric

_SNMP = ("snmp",)
_OPTICS = ("snmp", "transceivers")
_LANE = ("device", "interface", "lane")
_LEVEL = "`low_alarm`, `low_warning`, `high_warning`, `high_alarm`"


def _device(name: str, type: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str) -> Metric:
    return Metric(f"haidang_{name}", type, unit, _SNMP, ("device", *labels), help, cardinality)


def _optical(quantity: str, unit: str, help: str) -> tuple[Metric, Metric]:
    """A quantity of a transceiver, and its alarm and warning limits."""
    return (
        Metric(f"haidang_optical_{quantity}_{unit}", GAUGE, unit, _OPTICS, _LANE, help, "1 a lane"),
        Metric(
            f"haidang_optical_{quantity}_threshold_{unit}", GAUGE, unit, _OPTICS, (*_LANE, "level"),
            f"The device's own limits of this; level: {_LEVEL}.", "4 a lane",
        ),
    )  # fmt: skip


def _sensor(quantity: str, unit: str, help: str) -> Metric:
    return _device(f"device_{quantity}_{unit}", GAUGE, unit, ("sensor",), help, "1 a sensor")


DEVICE_METRICS = (
    _device("device_up", GAUGE, "", (), "1 when the device answered the last poll.", "1 a device"),
    _device(
        "device_info", INFO, "", ("name", "vendor", "model", "version", "serial"), "What a device is.", "1 a device"
    ),
    _device("device_uptime_seconds", GAUGE, "seconds", (), "Time since the device's management started.", "1 a device"),
    _device("device_poll_seconds", GAUGE, "seconds", (), "How long the last poll took.", "1 a device"),
    _device("device_poll_complete", GAUGE, "", (), "0 when a part of the last poll was missing.", "1 a device"),
    Metric(
        "haidang_device_traps_total",
        COUNTER,
        "",
        ("traps",),
        ("device", "kind"),
        "Traps and informs of a device since its probe started, by kind; `traps_dropped` are those above the limit.",
        "kinds a device has sent",
    ),
    Metric(
        "haidang_device_trap_timestamp_seconds",
        GAUGE,
        "seconds",
        ("traps",),
        ("device", "kind"),
        "When the device last sent a trap of this kind.",
        "kinds a device has sent",
    ),
    Metric(
        "haidang_agent_snmp_traps_total",
        COUNTER,
        "",
        ("snmp",),
        ("outcome",),
        "Datagrams at the port for traps: accepted, too_many, unknown_sender, refused (not with the device's own"
        " credential), repeated, malformed.",
        "6 a probe",
    ),
    _device(
        "interface_admin_up",
        GAUGE,
        "",
        ("interface",),
        "1 when the interface is configured to be up (ifAdminStatus).",
        "1 an interface",
    ),
    _device(
        "interface_alias_info",
        INFO,
        "",
        ("interface", "alias"),
        "The description somebody configured (ifAlias).",
        "1 an interface that has one",
    ),
    _device(
        "interface_last_change_seconds",
        GAUGE,
        "seconds",
        ("interface",),
        "The device's uptime when the interface entered its state (ifLastChange).",
        "1 an interface",
    ),
    *_optical("receive_power", "dbm", "Light received; absent without light or module."),
    *_optical("transmit_power", "dbm", "Light sent; absent without light or module."),
    *_optical("bias", "amperes", "Current of the laser."),
    *_optical("temperature", "celsius", "Temperature of a transceiver."),
    *_optical("voltage", "volts", "Supply voltage of a transceiver."),
    _sensor("temperature", "celsius", "Temperature of a part of the device."),
    _sensor("voltage", "volts", "Voltage of a part of the device."),
    _sensor("current", "amperes", "Current of a part of the device."),
    _sensor("power", "watts", "Power a part of the device draws or gives."),
    _sensor("frequency", "hertz", "Frequency of a part of the device."),
    _sensor("fan_speed", "rpm", "Revolutions a minute of a fan."),
    _sensor("humidity", "ratio", "Relative humidity, 0 to 1."),
    _device(
        "device_fan_ok",
        GAUGE,
        "",
        ("sensor",),
        "1 when the device says the fan is well, 0 when it has failed.",
        "1 a fan",
    ),
    _device(
        "device_power_supply_ok",
        GAUGE,
        "",
        ("sensor",),
        "1 when the device says the power supply is well, 0 when it has failed.",
        "1 a power supply",
    ),
    _device(
        "device_cpu_utilization_ratio", GAUGE, "ratio", ("sensor",), "Load of a processor, 0 to 1.", "1 a processor"
    ),
    _device(
        "device_memory_utilization_ratio",
        GAUGE,
        "ratio",
        ("sensor",),
        "Share of a memory in use, 0 to 1.",
        "1 a memory",
    ),
    _device("device_memory_used_bytes", GAUGE, "bytes", ("sensor",), "Memory in use.", "1 a memory"),
    _device("device_memory_size_bytes", GAUGE, "bytes", ("sensor",), "Memory there is.", "1 a memory"),
    _device("device_sessions", GAUGE, "", (), "Sessions a security appliance holds.", "1 an appliance"),
    _device(
        "appliance_ha_ok",
        GAUGE,
        "",
        ("sensor",),
        "1 when the appliance says its high-availability partner is in step, 0 when not.",
        "1 a member",
    ),
    _device(
        "appliance_license_ok",
        GAUGE,
        "",
        ("sensor",),
        "1 while a subscribed service of the appliance is licensed, 0 when that has ended.",
        "1 a service",
    ),
    _device(
        "appliance_ha_active",
        GAUGE,
        "",
        ("sensor",),
        "1 when this member of a high-availability pair carries the traffic, 0 when it stands by.",
        "1 a member",
    ),
    _device(
        "appliance_license_expiry_timestamp_seconds",
        GAUGE,
        "seconds",
        ("sensor",),
        "When a subscribed service of the appliance ends.",
        "1 a service",
    ),
    _device(
        "appliance_signature_info",
        INFO,
        "",
        ("sensor", "version"),
        "Version of the signatures of a protection, where they carry no date.",
        "1 a protection",
    ),
    _device(
        "appliance_signature_timestamp_seconds",
        GAUGE,
        "seconds",
        ("sensor",),
        "When the signatures of a protection were made.",
        "1 a protection",
    ),
    _device("vpn_tunnels", GAUGE, "", ("sensor",), "Tunnels or users a VPN of the appliance carries.", "1 a kind"),
    _device(
        "device_sensor_ok",
        GAUGE,
        "",
        ("sensor",),
        "1 while the device says the sensor is within its limits, 0 when not.",
        "1 a sensor that has a state",
    ),
    _device(
        "interface_connector_present",
        GAUGE,
        "",
        ("interface",),
        "1 when the interface has a physical connector (ifConnectorPresent).",
        "1 an interface",
    ),
    _device("interface_half_duplex", GAUGE, "", ("interface",), "1 when the link runs half duplex.", "1 an interface"),
    _device(
        "interface_fcs_errors_total",
        COUNTER,
        "",
        ("interface",),
        "Frames received with a wrong checksum (dot3StatsFCSErrors).",
        "1 an interface",
    ),
    _device(
        "interface_stp_forwarding",
        GAUGE,
        "",
        ("interface",),
        "1 when spanning tree lets the interface forward, 0 when it blocks or still learns.",
        "1 an interface in spanning tree",
    ),
    _device("device_stp_topology_changes_total", COUNTER, "", (), "Topology changes spanning tree saw.", "1 a device"),
    _device(
        "interface_lag_distributing",
        GAUGE,
        "",
        ("interface", "lag"),
        "1 while a member of a link aggregation carries traffic.",
        "1 a member",
    ),
    _device("ring_ok", GAUGE, "", ("sensor",), "1 while a protected ring is whole and guarded.", "1 a ring"),
    _device(
        "bgp_peer_up",
        GAUGE,
        "",
        ("peer",),
        "1 while a BGP session that is enabled is established.",
        "1 a peer",
    ),
    _device(
        "bgp_peer_established_seconds",
        GAUGE,
        "seconds",
        ("peer",),
        "Time since a BGP session last changed between established and not.",
        "1 a peer",
    ),
    _device(
        "ospf_neighbor_up",
        GAUGE,
        "",
        ("peer",),
        "1 while an OSPF neighbor is full or two-way.",
        "1 a neighbor",
    ),
    _device("bfd_session_up", GAUGE, "", ("peer",), "1 while a BFD session is up.", "1 a session"),
    _device(
        "redundancy_group_active",
        GAUGE,
        "",
        ("interface", "group", "protocol"),
        "1 when this router is the master of a VRRP or HSRP group, 0 when it stands by or is not ready.",
        "1 a group",
    ),
    _device(
        "poe_port_delivering",
        GAUGE,
        "",
        ("sensor",),
        "1 while a port (group.port) delivers power over Ethernet, 0 while it searches or is off.",
        "1 a port with PoE",
    ),
    _device("poe_port_ok", GAUGE, "", ("sensor",), "0 when a PoE port reports a fault.", "1 a port with PoE"),
    _device("ups_bypass", GAUGE, "", (), "1 while the load runs on the bypass, without protection.", "1 a UPS"),
    _device("ups_overloaded", GAUGE, "", (), "1 while the output carries more than it is made for.", "1 a UPS"),
    _device("ups_battery_fault", GAUGE, "", ("sensor",), "1 when battery or charger has a fault.", "1 a part"),
    _device("ups_input_ok", GAUGE, "", (), "1 while the mains are fit for use.", "1 a UPS"),
    _device("vpn_up", GAUGE, "", ("sensor",), "1 while the VPN tunnel is up.", "1 a tunnel"),
    _device("ups_on_battery", GAUGE, "", (), "1 while the load runs on the battery.", "1 a UPS"),
    _device("ups_battery_low", GAUGE, "", (), "1 when the battery is low or empty.", "1 a UPS"),
    _device("ups_battery_replace", GAUGE, "", (), "1 when the UPS says its battery must be replaced.", "1 a UPS"),
    _device("ups_on_battery_seconds", GAUGE, "seconds", (), "Time on battery so far; 0 on mains.", "1 a UPS"),
    _device(
        "ups_runtime_left_seconds",
        GAUGE,
        "seconds",
        (),
        "The UPS's estimate of the time it can still carry the load.",
        "1 a UPS",
    ),
    _device("ups_battery_charge_ratio", GAUGE, "ratio", (), "Charge of the battery, 0 to 1.", "1 a UPS"),
    _device("ups_battery_voltage_volts", GAUGE, "volts", (), "Voltage of the battery.", "1 a UPS"),
    _device("ups_battery_temperature_celsius", GAUGE, "celsius", (), "Temperature at the battery.", "1 a UPS"),
    _device(
        "ups_load_ratio", GAUGE, "ratio", ("sensor",), "Share of its rating an output line carries, 0 to 1.", "1 a line"
    ),
    _device("ups_alarms", GAUGE, "", (), "Alarms the UPS shows.", "1 a UPS"),
)
