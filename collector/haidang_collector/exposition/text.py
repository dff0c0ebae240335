"""/metrics: the text format 0.0.4 or OpenMetrics 1.0, one group a family."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from haidang_wire.metrics import CATALOGUE, family_header

from haidang_collector.exposition.latest import Latest
from haidang_collector.lines import Sample, families_of
from haidang_collector.registry.model import Circuit, Registry
from haidang_collector.telemetry import Telemetry

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
HEADERS = {
    openmetrics: {name: family_header(metric, openmetrics) for name, metric in CATALOGUE.items()}
    for openmetrics in (False, True)
}


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics (Prometheus prefers it by naming it at all)."""
    return "application/openmetrics-text" in accept


def expose(
    latest: Latest,
    telemetry: Telemetry,
    *,
    openmetrics: bool,
    beside: Iterable[tuple[str, bytes]] = (),
    now: Callable[[], float] = time.time,
) -> Iterator[bytes]:
    """The whole exposition, a family at a time, so that whoever sends it can do other work
    between two. Only what is current at each moment. `beside` are families that are made when something changes."""
    headers = HEADERS[openmetrics]
    latest.expire(now())
    started = time.perf_counter()
    for family, lines in latest.families():
        yield headers[family] + lines
    for family, lines in (*families_of(_of_agents(latest)), *beside):
        yield headers[family] + lines
    telemetry.series.set(latest.series)
    telemetry.exposition_duration.set(time.perf_counter() - started)
    yield telemetry.exposition(openmetrics=openmetrics)
    if openmetrics:
        yield b"# EOF\n"


def _of_agents(latest: Latest) -> Iterator[Sample]:
    for agent, state in latest.agents.items():
        own = {"site": state.site, "agent": agent}
        yield "haidang_agent_up", own, int(state.up)
        yield "haidang_agent_stopped", own, int(state.stopped)
        if state.last_taken:
            yield "haidang_agent_last_report_timestamp_seconds", own, round(state.last_taken, 3)
        if state.clock.offset is not None:
            yield "haidang_agent_clock_offset_seconds", own, round(state.clock.offset, 3)


def registry_families(registry: Registry | None) -> list[tuple[str, bytes]]:
    """What the registry says of sites, devices and circuits; nothing without one."""
    return families_of(_of_registry(registry)) if registry else []


def _of_registry(registry: Registry) -> Iterator[Sample]:
    for site in registry.sites:
        known = {"site": site.id, "name": site.name, "level": site.level, "parent": site.parent}
        yield "haidang_site_info", known, 1
        yield "haidang_site_officials", {"site": site.id}, site.officials
    for device in registry.devices:
        known = {"site": device.site, "device": device.id, "role": device.role, "agent": device.agent}
        yield "haidang_device_registry_info", known, 1
    for circuit in registry.circuits:
        yield from _of_circuit(circuit)


def _of_circuit(circuit: Circuit) -> Iterator[Sample]:
    known = {"circuit": circuit.id, "carrier": circuit.carrier, "medium": circuit.medium}
    yield "haidang_circuit_info", {**known, "carrier_circuit": circuit.carrier_circuit_id}, 1
    for end in circuit.ends:
        if end.interface:
            port = {"site": end.site, "device": end.device, "interface": end.interface}
            yield "haidang_circuit_end_info", {"circuit": circuit.id, **port, "carrier": circuit.carrier}, 1
    if circuit.bandwidth_bits_per_second:
        bytes_per_second = circuit.bandwidth_bits_per_second / 8
        yield "haidang_circuit_bandwidth_bytes_per_second", {"circuit": circuit.id}, bytes_per_second
