"""/metrics/outages: what the engine knows, a family at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain

from haidang_collector.exposition.text import HEADERS
from haidang_collector.lines import Sample, families_of
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.model import Outage
from haidang_collector.outage.remarks import CAUSES

# Declared also while nothing is known: their absence says something.
_DECLARED = ("haidang_site_up", "haidang_site_degraded", "haidang_circuit_up")


def expose(engine: Engine | None, *, openmetrics: bool, stalled: bool = False) -> bytes:
    """The whole text (format 0.0.4 or OpenMetrics 1.0). An engine that is `stalled` should judge and can't: nothing is
    known then but that."""
    headers = HEADERS[openmetrics]
    known: Iterable[Sample] = _samples(engine) if engine and not stalled else ()
    judged: list[Sample] = [("haidang_outages_judged", {}, int(not stalled))] if engine or stalled else []
    families = dict.fromkeys(_DECLARED, b"") | dict(families_of(chain(judged, known)))
    blocks = b"".join(headers[name] + lines for name, lines in families.items())
    return blocks + (b"# EOF\n" if openmetrics else b"")


def _samples(engine: Engine) -> Iterator[Sample]:
    for site, state in engine.site_states.items():
        if state != "unknown":
            yield "haidang_site_up", {"site": site}, int(state != "down")
            yield "haidang_site_degraded", {"site": site}, int(state == "degraded")
    for circuit in engine.registry.circuits:
        own = {"circuit": circuit.id, "carrier": circuit.carrier}
        state = engine.circuit_states.get(circuit.id, "unknown")
        if state != "unknown":
            yield "haidang_circuit_up", own, int(state == "up")
        yield "haidang_circuit_measured", own, int(state != "unknown")
        for name, ratios in (
            ("haidang_circuit_measured_ratio", engine.measured_ratios),
            ("haidang_circuit_sla_budget_used_ratio", engine.sla_budgets_used),
        ):
            if circuit.id in ratios:
                yield name, own, round(ratios[circuit.id], 6)
    for each in engine.mismatches:
        yield "haidang_circuit_mismatch_info", asdict(each), 1
    for outage in engine.open_outages.values():
        yield from _of_outage(engine, outage)


def _of_outage(engine: Engine, outage: Outage) -> Iterator[Sample]:
    own = {"outage": outage.id}
    carriers = {carrier.id: carrier for carrier in engine.registry.carriers}
    circuits = {circuit.id: circuit for circuit in engine.registry.circuits}
    carrier = circuits[outage.circuit].carrier if outage.circuit in circuits else ""
    named = {**own, "kind": outage.kind, "site": outage.site, "circuit": outage.circuit, "carrier": carrier}
    yield "haidang_outage_open", {**named, "planned": str(int(outage.planned))}, 1
    kind = outage.cause.kind
    yield (
        "haidang_outage_info",
        {**own, "cause": str(kind), "cause_en": CAUSES[kind].en, "cause_vi": CAUSES[kind].vi},
        1,
    )
    for said in outage.cause.evidence:
        yield "haidang_outage_evidence_info", {**own, "evidence": said.en, "evidence_vi": said.vi}, 1
    for site in sorted(outage.down):
        yield "haidang_outage_site_info", {**own, "site": site}, 1
    near: set[str] = set()
    for name in outage.circuits:
        one, two = sorted(engine.graph.ends[name], key=lambda site: engine.graph.depth.get(site, 0))
        near |= {one, two}
        circuit = circuits[name]
        telephone = carriers[circuit.carrier].telephone if circuit.carrier in carriers else ""
        labels = {
            **own, "circuit": name, "carrier": circuit.carrier, "carrier_circuit": circuit.carrier_circuit_id,
            "telephone": telephone, "near": one, "far": two,
        }  # fmt: skip
        yield "haidang_outage_circuit_info", labels, 1
    for site in sorted(near):
        yield "haidang_outage_near_info", {**own, "site": site}, 1
    yield "haidang_outage_sites", own, len(outage.down)
    yield "haidang_outage_officials", own, engine.officials(outage)
    yield "haidang_outage_flaps", own, outage.flaps
    yield "haidang_outage_start_timestamp_seconds", own, round(outage.started, 3)
