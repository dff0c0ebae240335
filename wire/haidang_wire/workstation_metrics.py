"""The part of the catalogue about workstations, the network beside them, services, and the plan's figures."""

from __future__ import annotations

from haidang_wire.metric import GAUGE, INFO, Metric


def _workstation(
    name: str, type: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str = "1 an agent"
) -> Metric:
    return Metric(f"haidang_workstation_{name}", type, unit, ("inventory",), labels, help, cardinality)


def _service(name: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str = "1 a service") -> Metric:
    return Metric(f"haidang_service_{name}", GAUGE, unit, ("services",), ("service", *labels), help, cardinality)


def _center(name: str, type: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str) -> Metric:
    return Metric(f"haidang_{name}", type, unit, ("collector",), labels, help, cardinality)


WORKSTATION_METRICS = (
    _workstation(
        "info", INFO, "", ("chassis", "manufacturer", "model", "system", "version"), "What the machine is, and its system."
    ),
    _workstation("memory_bytes", GAUGE, "bytes", (), "Memory that is built in; where firmware does not tell, what the system has."),
    _workstation("disks", GAUGE, "", (), "Disks that are built in."),
    _workstation(
        "disk_healthy", GAUGE, "", ("disk",), "0 when the disk itself foretells its failure (SMART), else 1.", "1 a disk"
    ),
    _workstation(
        "disk_wear_ratio", GAUGE, "ratio", ("disk",), "Share of a solid-state disk's life that is used.", "1 a disk"
    ),
    _workstation("antivirus_on", GAUGE, "", (), "1 while an antivirus product is there and on."),
    _workstation(
        "antivirus_signature_age_seconds", GAUGE, "seconds", (), "Age of the newest signatures of those that are on."
    ),
    _workstation("firewall_on", GAUGE, "", (), "1 while the machine's own firewall is on (Windows: in every profile)."),
    _workstation("encrypted", GAUGE, "", (), "1 when every volume is encrypted (LUKS, BitLocker)."),
    _workstation("updates_pending", GAUGE, "", (), "Updates that wait to be installed, by the lists on the machine."),
    _workstation("updates_security_pending", GAUGE, "", (), "Those of them that close holes."),
    _service("up", "", (), "1 when the last check had an answer below 500 over a certificate that counts, else 0."),
    _service("response_seconds", "seconds", (), "Time from the question to the whole answer, name and connection included."),
    _service("status_code", "", (), "The status the service answered with."),
    _service(
        "certificate_ends_timestamp_seconds", "seconds", (), "When the service's certificate ends (Unix time).",
    ),
    _service(
        "documents", "", ("unit",), "Documents the system has of a unit this year, as it counts them.", "1 a unit of a document system"
    ),
    _service("documents_electronic", "", ("unit",), "Those of them that are electronic.", "1 a unit of a document system"),
    _center(
        "workstation_support_ends_timestamp_seconds", GAUGE, "seconds", ("site", "agent"),
        "When the maker's support of the machine's system ends (Unix time).", "1 a machine whose system is known",
    ),
    _center("inventory_machines", GAUGE, "", ("site",), "Machines of the site's inventory seen in the last 30 days; those that claim to be another site's are not counted.", "1 a site"),
    _center("inventory_machines_missing", GAUGE, "", ("site",), "Machines not seen for 30 days and not removed.", "1 a site"),
    _center(
        "inventory_machines_disputed", GAUGE, "", ("site",),
        "Machines of the site that another site's agent says are its own, or that are another site's by their marks.",
        "1 a site where there are such",
    ),
    _center(
        "inventory_clones", GAUGE, "", ("site",),
        "Machines whose system is a copy of another's: same machine id or same agent identity on other hardware.", "1 a site",
    ),
    _center(
        "inventory_coverage_ratio", GAUGE, "ratio", ("site",),
        "Share of the devices a probe sees on the site's networks that are in the inventory or registry.", "1 a site with a probe",
    ),
    _center(
        "network_devices_new",
        GAUGE,
        "",
        ("site",),
        "Devices seen for the first time in the last 24 hours on a network marked sensitive, and in no inventory.",
        "1 a site with such a network",
    ),
    _center(
        "plan_site_ratio", GAUGE, "ratio", ("site", "figure"),
        "How far a site meets a figure of the plan, 0 to 1, by live evidence; absent where nothing tells.", "7 a site",
    ),
    _center(
        "plan_ratio", GAUGE, "ratio", ("level", "figure"),
        "The figure over all sites of a level, and over the province (level `all`).", "7 a level",
    ),
    _center("plan_target_ratio", GAUGE, "ratio", ("figure",), "What the plan wants of a figure.", "7"),
    _center("service_info", INFO, "", ("service", "site", "kind"), "A service of the registry.", "1 a service"),
)  # fmt: skip
