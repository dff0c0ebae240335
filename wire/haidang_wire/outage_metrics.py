"""The part of the catalogue about sites, circuits and outages, as the collector judges them."""

from __future__ import annotations

from haidang_wire.metric import GAUGE, INFO, Metric


def _judged(name: str, type: str, unit: str, labels: tuple[str, ...], help: str, cardinality: str) -> Metric:
    return Metric(f"haidang_{name}", type, unit, ("collector",), labels, help, cardinality)


_OUTAGE = ("outage", "kind", "site", "circuit", "carrier")

OUTAGE_METRICS = (
    _judged(
        "site_up", GAUGE, "", ("site",), "1 while the data center reaches it; absent when it is not known.", "1 a site"
    ),
    _judged(
        "site_degraded",
        GAUGE,
        "",
        ("site",),
        "1 while a circuit of a site that is reached carries nothing.",
        "1 a site",
    ),
    _judged(
        "circuit_up",
        GAUGE,
        "",
        ("circuit", "carrier"),
        "1 while something current tells that the circuit carries traffic (a port at an end, a probe along it, a site"
        " that answers over it alone), 0 while it tells that it carries nothing; absent while nothing tells.",
        "1 a circuit",
    ),
    _judged(
        "circuit_measured",
        GAUGE,
        "",
        ("circuit", "carrier"),
        "1 while something current tells whether the circuit carries traffic, 0 while nothing does.",
        "1 a circuit",
    ),
    _judged(
        "circuit_measured_ratio",
        GAUGE,
        "ratio",
        ("circuit", "carrier"),
        "Share of this calendar month so far, planned work left out, in which something told whether the circuit"
        " carries traffic: the time its availability is of.",
        "1 a circuit",
    ),
    _judged(
        "circuit_sla_budget_used_ratio",
        GAUGE,
        "ratio",
        ("circuit", "carrier"),
        "Share of the downtime its SLA allows in this calendar month that is used, planned work left out; 1 is all."
        " Absent while nothing of the month was measured.",
        "1 a circuit with an SLA",
    ),
    _judged(
        "circuit_mismatch_info",
        INFO,
        "",
        ("site", "device", "interface", "circuit", "problem", "expected", "found"),
        "A cable that does not run as the registry says, by what its devices see (LLDP, CDP): wrong_device, wrong_port,"
        " or undocumented, a link between two sites that no circuit is for.",
        "0, or 1 a wrong cable",
    ),
    _judged(
        "outages_judged",
        GAUGE,
        "",
        (),
        "1 while sites, circuits and outages are as they were judged now; 0 while the collector can't judge, and shows"
        " none of them. Absent without a registry that has a center.",
        "1",
    ),
    _judged(
        "outage_open",
        GAUGE,
        "",
        (*_OUTAGE, "planned"),
        "1 while an outage is open. kind: site (sites are cut off), circuit (all are reached another way), center;"
        " site and circuit name where it lies and stay the same; planned is 1 during planned work.",
        "1 an open outage",
    ),
    _judged(
        "outage_info",
        INFO,
        "",
        ("outage", "cause", "cause_en", "cause_vi"),
        "Why: fiber_cut, far_device, power, carrier, center or unknown; and the same in words.",
        "1 an open outage",
    ),
    _judged(
        "outage_evidence_info",
        INFO,
        "",
        ("outage", "evidence", "evidence_vi"),
        "What speaks for the cause, in words.",
        "some an open outage",
    ),
    _judged("outage_site_info", INFO, "", ("outage", "site"), "A site that is cut off.", "sites an open outage"),
    _judged(
        "outage_circuit_info",
        INFO,
        "",
        ("outage", "circuit", "carrier", "carrier_circuit", "telephone", "near", "far"),
        "A circuit the failure lies on, its carrier's name for it and telephone, and the sites at its ends.",
        "some an open outage",
    ),
    _judged(
        "outage_near_info", INFO, "", ("outage", "site"), "A site at either end of the failure.", "some an open outage"
    ),
    _judged("outage_sites", GAUGE, "", ("outage",), "Sites that are cut off now.", "1 an open outage"),
    _judged("outage_officials", GAUGE, "", ("outage",), "Officials who work at these sites.", "1 an open outage"),
    _judged("outage_flaps", GAUGE, "", ("outage",), "How often it came back and was lost again.", "1 an open outage"),
    _judged(
        "outage_start_timestamp_seconds",
        GAUGE,
        "seconds",
        ("outage",),
        "When it began: the sending of the first probe that was not answered, or the loss of the port's link.",
        "1 an open outage",
    ),
)
