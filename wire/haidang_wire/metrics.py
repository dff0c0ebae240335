"""The catalogue: the one declaration of every metric's name, type, unit, labels and meaning.

Agent, collector, rules, dashboards and the generated reference (docs/metrics.md) all use it.
Names follow the Prometheus and OpenMetrics conventions: the unit is the suffix, counters end
in `_total`, descriptive text lives in `_info`.
"""

from __future__ import annotations

from haidang_wire.device_metrics import DEVICE_METRICS
from haidang_wire.metric import COUNTER, GAUGE, HISTOGRAM, INFO, Metric
from haidang_wire.outage_metrics import OUTAGE_METRICS
from haidang_wire.workstation_metrics import WORKSTATION_METRICS


def _agent(
    name: str, type: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str = "1 an agent"
) -> Metric:
    return Metric(f"haidang_agent_{name}", type, unit, ("agent",), labels, help, cardinality)


def _host(
    name: str, type: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str = "1 an agent"
) -> Metric:
    # A device's interfaces are the same families, whoever looks at them.
    sources = ("host", "snmp") if name.startswith("interface_") else ("host",)
    return Metric(f"haidang_{name}", type, unit, sources, labels, help, cardinality)


def _path(
    name: str, type: str, unit: str, labels: tuple[str, ...], help: str, *sources: str, cardinality: str = "1 a target"
) -> Metric:
    of = sources or ("reachability",)
    return Metric(f"haidang_path_{name}", type, unit, of, ("target", *labels), help, cardinality)


def _probed(
    name: str, type: str, unit: str, help: str, *, label: str = "protocol", cardinality: str = "2 a path"
) -> Metric:
    return _path(name, type, unit, (label,), help, "paths", cardinality=cardinality)


def _center(
    name: str, type: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str = "1 an agent"
) -> Metric:
    return Metric(f"haidang_{name}", type, unit, ("collector",), labels, help, cardinality)


_SITE_AGENT = ("site", "agent")
_INTERFACE = ("device", "interface")

_METRICS = (
    # What the collector knows of each agent.
    _center(
        "agent_up",
        GAUGE,
        "",
        _SITE_AGENT,
        "1 while a report of the agent is current (younger than 2.5 of its intervals; those of hours do not count), else 0; there for every enrolled agent.",
    ),
    _center(
        "agent_stopped",
        GAUGE,
        "",
        _SITE_AGENT,
        "1 after the agent said it was stopped in an orderly way (service stop, shutdown), 0 once it reports again.",
    ),
    _center(
        "agent_last_report_timestamp_seconds",
        GAUGE,
        "seconds",
        _SITE_AGENT,
        "When the newest report of the agent was taken, on the collector's clock.",
    ),
    _center(
        "agent_clock_offset_seconds",
        GAUGE,
        "seconds",
        _SITE_AGENT,
        "Collector's clock minus the agent's at its last exchange: positive when the agent's clock is behind.",
    ),
    _center(
        "agent_name_foreign",
        GAUGE,
        "",
        _SITE_AGENT,
        "1 for an agent that bears a name the registry puts at another site: it does not get that name's role.",
        "0, or 1 such an agent",
    ),
    _center(
        "site_info",
        INFO,
        "",
        ("site", "name", "level", "parent"),
        "Names of a site, from the registry.",
        "1 a site",
    ),
    _center(
        "site_officials",
        GAUGE,
        "",
        ("site",),
        "Officials who work at the site, from the registry.",
        "1 a site",
    ),
    _center(
        "device_registry_info",
        INFO,
        "",
        ("site", "device", "role", "agent"),
        "A device of the registry and the agent that polls it.",
        "1 a device",
    ),
    _center(
        "circuit_info",
        INFO,
        "",
        ("circuit", "carrier", "medium", "carrier_circuit"),
        "A circuit of the registry; carrier_circuit is its carrier's name for it.",
        "1 a circuit",
    ),
    _center(
        "circuit_end_info",
        INFO,
        "",
        ("circuit", "site", "device", "interface", "carrier"),
        "The port a circuit ends at, from the registry.",
        "2 a circuit",
    ),
    _center(
        "circuit_bandwidth_bytes_per_second",
        GAUGE,
        "bytes_per_second",
        ("circuit",),
        "What a circuit is to carry, from the registry, which says it in bits.",
        "1 a circuit",
    ),
    # The agent about itself.
    _agent(
        "info",
        INFO,
        "",
        ("version", "python", "system"),
        "Version of the agent, its Python and its operating system.",
    ),
    _agent("start_timestamp_seconds", GAUGE, "seconds", (), "When the agent was started, on its own clock."),
    _agent("cpu_seconds_total", COUNTER, "seconds", (), "Processor time the agent used since it started."),
    _agent("resident_memory_bytes", GAUGE, "bytes", (), "Resident memory of the agent."),
    _agent(
        "certificate_expiry_timestamp_seconds",
        GAUGE,
        "seconds",
        (),
        "When the agent's client certificate ends.",
    ),
    _agent(
        "source_up",
        GAUGE,
        "",
        ("source",),
        "1 when the source's last run succeeded, 0 when it failed, ran out of time or still hangs.",
        "1 a source",
    ),
    _agent(
        "source_duration_seconds",
        GAUGE,
        "seconds",
        ("source",),
        "How long the source's last run took (so far, when it hangs).",
        "1 a source",
    ),
    _agent(
        "source_failures_total",
        COUNTER,
        "",
        ("source", "reason"),
        "Runs that failed, by reason: error, timeout.",
        "2 a source",
    ),
    _agent("spool_bytes", GAUGE, "bytes", (), "Bytes the spool holds on disk."),
    _agent("spool_limit_bytes", GAUGE, "bytes", (), "Bytes the spool may hold."),
    _agent("spool_reports", GAUGE, "", (), "Reports waiting for the collector's receipt."),
    _agent("spool_oldest_report_age_seconds", GAUGE, "seconds", (), "Age of the oldest waiting report."),
    _agent(
        "spool_thinned_reports_total",
        COUNTER,
        "",
        (),
        "Old reports whose samples were left out to keep the spool in its bounds.",
    ),
    _agent(
        "spool_dropped_reports_total",
        COUNTER,
        "",
        ("reason",),
        "Reports lost, by reason: size, age, disk (could not be written), refused (by the collector).",
        "4 an agent",
    ),
    _agent(
        "spool_writable",
        GAUGE,
        "",
        (),
        "1 when the last write to the spool succeeded, 0 when reports wait in memory only.",
    ),
    _agent(
        "uplink_failures_total",
        COUNTER,
        "",
        ("reason",),
        "Deliveries that failed, by reason: network, tls, identity, refused, collector.",
        "5 an agent",
    ),
    # The machine.
    _host(
        "host_info",
        INFO,
        "",
        ("hostname", "system", "release", "machine"),
        "Names of the machine and its operating system.",
    ),
    _host("host_uptime_seconds", GAUGE, "seconds", (), "Time since the machine booted."),
    _host("host_cpus", GAUGE, "", (), "Logical processors."),
    _host(
        "host_cpu_seconds_total",
        COUNTER,
        "seconds",
        ("mode",),
        "Processor time of all processors by mode.",
        "4 to 8 an agent",
    ),
    _host(
        "host_load_average",
        GAUGE,
        "",
        ("window",),
        "Runnable processes, averaged over 1m, 5m, 15m.",
        "3 an agent",
    ),
    _host("host_processes", GAUGE, "", (), "Processes that exist."),
    _host("host_memory_size_bytes", GAUGE, "bytes", (), "Physical memory."),
    _host("host_memory_available_bytes", GAUGE, "bytes", (), "Memory programs can get without swapping."),
    _host("host_swap_size_bytes", GAUGE, "bytes", (), "Swap space."),
    _host("host_swap_used_bytes", GAUGE, "bytes", (), "Swap space in use."),
    _host(
        "host_filesystem_size_bytes",
        GAUGE,
        "bytes",
        ("mountpoint", "fstype"),
        "Size of a filesystem on a local disk.",
        "1 a filesystem",
    ),
    _host(
        "host_filesystem_available_bytes",
        GAUGE,
        "bytes",
        ("mountpoint", "fstype"),
        "Space ordinary users can still write.",
        "1 a filesystem",
    ),
    _host(
        "host_filesystem_readonly",
        GAUGE,
        "",
        ("mountpoint", "fstype"),
        "1 when the filesystem is mounted read-only.",
        "1 a filesystem",
    ),
    _host("host_disk_read_bytes_total", COUNTER, "bytes", ("disk",), "Bytes read from a whole disk.", "1 a disk"),
    _host(
        "host_disk_written_bytes_total",
        COUNTER,
        "bytes",
        ("disk",),
        "Bytes written to a whole disk.",
        "1 a disk",
    ),
    _host("host_disk_reads_total", COUNTER, "", ("disk",), "Reads a whole disk completed.", "1 a disk"),
    _host("host_disk_writes_total", COUNTER, "", ("disk",), "Writes a whole disk completed.", "1 a disk"),
    _host(
        "host_disk_busy_seconds_total",
        COUNTER,
        "seconds",
        ("disk",),
        "Time a whole disk had work.",
        "1 a disk",
    ),
    _host(
        "host_temperature_celsius",
        GAUGE,
        "celsius",
        ("sensor",),
        "Temperature of a sensor.",
        "0 to 20 an agent",
    ),
    _host(
        "host_battery_charge_ratio",
        GAUGE,
        "ratio",
        (),
        "Charge of the battery or UPS the operating system knows, 0 to 1.",
    ),
    _host(
        "host_battery_remaining_seconds",
        GAUGE,
        "seconds",
        (),
        "Time the battery or UPS will last, while it discharges.",
    ),
    _host(
        "host_mains_power",
        GAUGE,
        "",
        (),
        "1 on mains power, 0 on battery; only where there is a battery or UPS.",
    ),
    _host(
        "interface_info",
        INFO,
        "",
        (*_INTERFACE, "kind", "address"),
        "Kind (physical, virtual) and MAC address of an interface.",
        "1 an interface",
    ),
    _host(
        "interface_up",
        GAUGE,
        "",
        _INTERFACE,
        "1 when the interface has carrier and is administratively up.",
        "1 an interface",
    ),
    _host(
        "interface_speed_bytes_per_second",
        GAUGE,
        "bytes_per_second",
        _INTERFACE,
        "Negotiated speed (bytes, as Prometheus counts; 125,000,000 is a gigabit); absent where it is unknown.",
        "1 an interface",
    ),
    _host("interface_mtu_bytes", GAUGE, "bytes", _INTERFACE, "Largest packet.", "1 an interface"),
    _host("interface_receive_bytes_total", COUNTER, "bytes", _INTERFACE, "Bytes received.", "1 an interface"),
    _host("interface_transmit_bytes_total", COUNTER, "bytes", _INTERFACE, "Bytes sent.", "1 an interface"),
    _host(
        "interface_receive_packets_total",
        COUNTER,
        "",
        _INTERFACE,
        "Packets received (of devices over SNMP: the unicast ones).",
        "1 an interface",
    ),
    _host(
        "interface_transmit_packets_total",
        COUNTER,
        "",
        _INTERFACE,
        "Packets sent (of devices over SNMP: the unicast ones).",
        "1 an interface",
    ),
    _host(
        "interface_receive_errors_total",
        COUNTER,
        "",
        _INTERFACE,
        "Packets received broken.",
        "1 an interface",
    ),
    _host(
        "interface_transmit_errors_total",
        COUNTER,
        "",
        _INTERFACE,
        "Packets that could not be sent.",
        "1 an interface",
    ),
    _host(
        "interface_receive_drops_total",
        COUNTER,
        "",
        _INTERFACE,
        "Good packets received and dropped.",
        "1 an interface",
    ),
    _host(
        "interface_transmit_drops_total",
        COUNTER,
        "",
        _INTERFACE,
        "Packets dropped before sending.",
        "1 an interface",
    ),
    # Reachability of targets from the agent's machine (ICMP echo).
    _path("info", INFO, "", ("address",), "Address of a target; the default gateway is the target `gateway`."),
    _path("up", GAUGE, "", (), "1 when any echo of the last run was answered."),
    _path("loss_ratio", GAUGE, "ratio", (), "Share of the last run's echoes that were not answered, 0 to 1."),
    _path(
        "round_trip_seconds",
        GAUGE,
        "seconds",
        ("statistic",),
        "Round-trip time in the last run: minimum, mean, maximum; absent when nothing was answered.",
    ),
    _path("echoes_sent_total", COUNTER, "", (), "Echo requests sent since the agent started."),
    _path("echoes_lost_total", COUNTER, "", (), "Echo requests never answered since the agent started."),
    # Paths a probe measures once a second (ICMP echo, and STAMP of RFC 8762). No family of theirs is another
    # source's: a target of `reachability` may have the name of a site.
    _path("target_info", INFO, "", ("address",), "Address of a site or circuit a probe measures.", "paths"),
    _path(
        "reachable",
        GAUGE,
        "",
        (),
        "1 while the path answers; 0 when a whole row of probes was missed.",
        "path_state",
    ),
    _path(
        "change_timestamp_seconds",
        GAUGE,
        "seconds",
        (),
        "When the path went up or down: the sending of the first probe that was answered, or was not.",
        "path_state",
    ),
    _path(
        "silent_seconds",
        GAUGE,
        "seconds",
        (),
        "Time since the first probe without an answer, of a path in doubt; else 0.",
        "path_state",
    ),
    _probed(
        "round_trip_distribution_seconds",
        HISTOGRAM,
        "seconds",
        "Round-trip times, without the time a STAMP reflector kept the packet.",
        cardinality="13 a path and protocol",
    ),
    _probed("packets_sent_total", COUNTER, "", "Probes sent; protocol: icmp, stamp."),
    _probed("packets_lost_total", COUNTER, "", "Probes not answered within three seconds."),
    _probed("packets_duplicate_total", COUNTER, "", "Answers that came twice."),
    _probed("packets_reordered_total", COUNTER, "", "Answers that came after one to a later probe (RFC 4737)."),
    _probed(
        "delay_variation_seconds",
        GAUGE,
        "seconds",
        "Smoothed difference of round trips that follow each other (RFC 3550, section 6.4.1).",
    ),
    _probed(
        "direction_lost_total",
        COUNTER,
        "",
        "STAMP packets lost on the way `there` and `back`; only of a reflector that counts for itself.",
        label="direction",
    ),
    _path("hops", GAUGE, "", (), "Routers on the way, and the end itself.", "paths"),
    _path("mtu_bytes", GAUGE, "bytes", (), "The largest packet that passes unfragmented.", "paths"),
    Metric(
        "haidang_reflector_packets_total",
        COUNTER,
        "",
        ("reflector",),
        ("outcome",),
        "STAMP packets by outcome: reflected, refused (not allowed, not signed), too_many.",
        "3 an agent",
    ),
    # The collector about itself.
    _center(
        "collector_info",
        INFO,
        "",
        ("version", "database"),
        "Version of the collector and kind of its database.",
        "1",
    ),
    _center("collector_start_timestamp_seconds", GAUGE, "seconds", (), "When the collector became ready.", "1"),
    _center(
        "collector_requests_total",
        COUNTER,
        "",
        ("endpoint", "code"),
        "Requests answered, by endpoint and HTTP status.",
        "endpoints x codes",
    ),
    _center(
        "collector_reports_total",
        COUNTER,
        "",
        ("outcome",),
        "Reports received: live, late, duplicate, refused.",
        "4",
    ),
    _center("collector_refused_reports_total", COUNTER, "", ("reason",), "Reports refused, by reason.", "under 10"),
    _center(
        "collector_refused_samples_total",
        COUNTER,
        "",
        ("reason",),
        "Samples left out of reports that were kept, by reason.",
        "under 10",
    ),
    _center(
        "collector_refused_documents_total",
        COUNTER,
        "",
        ("reason",),
        "Facts and events left out of reports that were kept, by reason.",
        "under 15",
    ),
    _center(
        "collector_refused_requests_total",
        COUNTER,
        "",
        ("reason",),
        "Requests refused before a report was read, by reason.",
        "under 15",
    ),
    _center(
        "collector_connections",
        GAUGE,
        "",
        ("peer",),
        "Open connections by peer: known (a certificate of ours), unknown.",
        "2",
    ),
    _center("collector_connection_room", GAUGE, "", ("peer",), "Most connections there may be, by peer.", "2"),
    _center(
        "collector_connections_ended_total",
        COUNTER,
        "",
        ("reason",),
        "Connections the collector ended for what they used: room, time or size, by reason.",
        "under 20",
    ),
    _center(
        "collector_quota_reached_total",
        COUNTER,
        "",
        ("quota",),
        "How often an agent wanted more than its share, by quota (settings, [quotas]).",
        "under 15",
    ),
    _center(
        "collector_agent_quota_reached",
        GAUGE,
        "",
        ("agent", "quota"),
        "How often this agent reached a quota in the last ten to twenty minutes, of the agents that did so most often.",
        "10",
    ),
    _center("collector_disk_free_bytes", GAUGE, "bytes", (), "Free space on the disk of the collector's state.", "1"),
    _center(
        "collector_disk_refusing",
        GAUGE,
        "",
        ("what",),
        "1 while these are refused because the disk is nearly full: documents (facts and events), reports.",
        "2",
    ),
    _center(
        "collector_disk_refused_total",
        COUNTER,
        "",
        ("what",),
        "Refused because the disk is nearly full: documents (facts and events left out), reports (deliveries).",
        "2",
    ),
    _center("collector_enrolments_total", COUNTER, "", ("outcome",), "Enrolments: accepted, refused.", "2"),
    _center(
        "collector_refused_enrolments_total",
        COUNTER,
        "",
        ("reason",),
        "Enrolments refused, by reason: token, name (it is another site's or machine's), quota (of a site and day), request.",
        "4",
    ),
    _center("collector_renewals_total", COUNTER, "", ("outcome",), "Certificate renewals: accepted, refused.", "2"),
    _center("collector_series", GAUGE, "", (), "Series of agents on /metrics now.", "1"),
    _center(
        "collector_exposition_duration_seconds",
        GAUGE,
        "seconds",
        (),
        "Time the last /metrics took to join.",
        "1",
    ),
    _center(
        "collector_commit_duration_seconds",
        HISTOGRAM,
        "seconds",
        (),
        "Time to make a group of deliveries durable.",
        "12",
    ),
    _center(
        "collector_commit_failures_total",
        COUNTER,
        "",
        (),
        "Groups of deliveries that could not be made durable (agents keep them and try again).",
        "1",
    ),
    _center(
        "collector_task_failures_total",
        COUNTER,
        "",
        ("task",),
        "Times a background task of the collector ended by itself and was begun again.",
        "8",
    ),
    _center(
        "collector_unusable_total",
        COUNTER,
        "",
        ("where",),
        "Single reports, or what they say, that a part of the collector could not take in.",
        "under 10",
    ),
    _center(
        "collector_late_reports_waiting",
        GAUGE,
        "",
        (),
        "Late reports accepted and not yet written to Prometheus.",
        "1",
    ),
    _center(
        "collector_late_reports_dropped_total",
        COUNTER,
        "",
        ("reason",),
        "Late reports given up: queue_full, rejected (by the receiver), no_receiver (none is configured).",
        "3",
    ),
    _center("collector_remote_write_samples_total", COUNTER, "", (), "Late samples the receiver took.", "1"),
    _center(
        "collector_remote_write_failures_total",
        COUNTER,
        "",
        ("reason",),
        "Remote write requests that failed and are tried again, by reason: network, status.",
        "2",
    ),
    _center(
        "collector_certificate_expiry_timestamp_seconds",
        GAUGE,
        "seconds",
        ("certificate",),
        "When a certificate of the collector ends: ca, server.",
        "2",
    ),
    _center(
        "collector_client_certificate_ends_timestamp_seconds",
        GAUGE,
        "seconds",
        ("kind", "name"),
        "Until when an operator or scraper has a certificate that counts (the longest of a name).",
        "1 a name",
    ),
    _center(
        "collector_outage_evaluation_seconds",
        GAUGE,
        "seconds",
        (),
        "Time the outage engine took to look at the whole province, the last time.",
        "1",
    ),
    _center(
        "collector_disbelieved_total",
        COUNTER,
        "",
        ("what",),
        "What agents said that was stored and not believed, because it can't be meant or is not theirs to say: an event or"
        " sample about circuits (event), a sign of an outage (sign), what a late report proves of measured time (proof), a"
        " number of documents (count).",
        "4",
    ),
    _center("collector_process_virtual_memory_bytes", GAUGE, "bytes", (), "Virtual memory of the collector.", "1"),
    _center(
        "collector_process_resident_memory_bytes",
        GAUGE,
        "bytes",
        (),
        "Resident memory of the collector.",
        "1",
    ),
    _center(
        "collector_process_start_time_seconds",
        GAUGE,
        "seconds",
        (),
        "When the collector's process started.",
        "1",
    ),
    _center(
        "collector_process_cpu_seconds_total",
        COUNTER,
        "seconds",
        (),
        "Processor time the collector used.",
        "1",
    ),
    _center("collector_process_open_fds", GAUGE, "", (), "Open file descriptors.", "1"),
    _center("collector_process_max_fds", GAUGE, "", (), "Most file descriptors the collector may open.", "1"),
)

CATALOGUE: dict[str, Metric] = {
    metric.name: metric for metric in (*_METRICS, *DEVICE_METRICS, *OUTAGE_METRICS, *WORKSTATION_METRICS)
}


def samples_of(metric: Metric) -> dict[str, tuple[str, ...]]:
    """The samples of a family, by name, with their labels (as `Metric.labels`)."""
    if metric.type != HISTOGRAM:
        return {metric.name: metric.labels}
    counts = {f"{metric.name}_sum": metric.labels, f"{metric.name}_count": metric.labels}
    return {f"{metric.name}_bucket": (*metric.labels, "le"), **counts}


def family_name(metric: Metric, openmetrics: bool) -> str:
    """The name in # TYPE and # HELP: OpenMetrics leaves `_total` and `_info` off
    (OpenMetrics 1.0, section 5.1), the text format 0.0.4 does not."""
    if openmetrics and metric.type == COUNTER:
        return metric.name[: -len("_total")]
    if openmetrics and metric.type == INFO:
        return metric.name[: -len("_info")]
    return metric.name


def family_header(metric: Metric, openmetrics: bool) -> bytes:
    """The # TYPE, # UNIT and # HELP lines of a family."""
    name = family_name(metric, openmetrics)
    kind = metric.type if openmetrics or metric.type != INFO else GAUGE
    text = f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n"
    if openmetrics and metric.unit:
        text += f"# UNIT {name} {metric.unit}\n"
    return text.encode()
