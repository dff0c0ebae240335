"""/metrics: the text format 0.0.4 or OpenMetrics 1.0, one group a family."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from haidang_wire.metrics import CATALOGUE, family_header

from haidang_collector.exposition.latest import Latest
from haidang_collector.intake.render import escape
from haidang_collector.registry.model import Registry
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


def families_of(samples: Iterable[tuple[str, dict[str, str], float]]) -> list[tuple[str, bytes]]:
    """(family, its lines) of (name, labels, value)."""
    families: dict[str, list[str]] = {}
    for name, labels, value in samples:
        text = ",".join(f'{label}="{escape(said)}"' for label, said in labels.items())
        families.setdefault(name, []).append(f"{name}{{{text}}} {value!r}\n" if text else f"{name} {value!r}\n")
    return [(name, "".join(lines).encode()) for name, lines in families.items()]


def expose(
    latest: Latest,
    registry: Registry | None,
    telemetry: Telemetry,
    *,
    openmetrics: bool,
    judged: Iterable[tuple[str, bytes]] = (),
    now: Callable[[], float] = time.time,
) -> Iterator[bytes]:
    """The whole exposition, a family at a time, so that whoever sends it can do other work
    between two. Only what is current at each moment. `judged` are families the collector makes by the minute."""
    headers = HEADERS[openmetrics]
    latest.expire(now())
    started = time.perf_counter()
    for family, lines in latest.families():
        yield headers[family] + lines
    for family, lines in (*_agent_families(latest), *_site_families(registry), *judged):
        yield headers[family] + lines
    telemetry.series.set(latest.series)
    telemetry.exposition_duration.set(time.perf_counter() - started)
    yield telemetry.exposition(openmetrics=openmetrics)
    if openmetrics:
        yield b"# EOF\n"


def _agent_families(latest: Latest) -> Iterator[tuple[str, bytes]]:
    up, stopped, seen, offset = [], [], [], []
    for agent, state in latest.agents.items():
        labels = f'{{site="{state.site}",agent="{agent}"}}'
        up.append(f"haidang_agent_up{labels} {int(state.up)}\n")
        stopped.append(f"haidang_agent_stopped{labels} {int(state.stopped)}\n")
        if state.last_taken:
            seen.append(f"haidang_agent_last_report_timestamp_seconds{labels} {state.last_taken:.3f}\n")
        if state.clock.offset is not None:
            offset.append(f"haidang_agent_clock_offset_seconds{labels} {state.clock.offset:.3f}\n")
    for lines in (up, stopped, seen, offset):
        if lines:
            yield lines[0].partition("{")[0], "".join(lines).encode()


def _site_families(registry: Registry | None) -> Iterator[tuple[str, bytes]]:
    if registry is None:
        return
    info, officials = [], []
    for site in registry.sites:
        name = escape(site.name)
        info.append(
            f'haidang_site_info{{site="{site.id}",name="{name}",level="{site.level}",parent="{site.parent}"}} 1\n'
        )
        officials.append(f'haidang_site_officials{{site="{site.id}"}} {site.officials}\n')
    yield "haidang_site_info", "".join(info).encode()
    yield "haidang_site_officials", "".join(officials).encode()
    devices = "".join(
        f'haidang_device_registry_info{{site="{d.site}",device="{d.id}",role="{d.role}",agent="{d.agent}"}} 1\n'
        for d in registry.devices
    )
    if devices:
        yield "haidang_device_registry_info", devices.encode()
    yield from _circuit_families(registry)


def _circuit_families(registry: Registry) -> Iterator[tuple[str, bytes]]:
    info, ends, bandwidth = [], [], []
    for circuit in registry.circuits:
        info.append(
            f'haidang_circuit_info{{circuit="{circuit.id}",carrier="{circuit.carrier}",medium="{circuit.medium}",'
            f'carrier_circuit="{escape(circuit.carrier_circuit_id)}"}} 1\n'
        )
        ends += [
            f'haidang_circuit_end_info{{circuit="{circuit.id}",site="{end.site}",device="{end.device}",'
            f'interface="{escape(end.interface)}",carrier="{circuit.carrier}"}} 1\n'
            for end in circuit.ends
            if end.interface
        ]
        if circuit.bandwidth_bits_per_second:
            value = circuit.bandwidth_bits_per_second / 8
            bandwidth.append(f'haidang_circuit_bandwidth_bytes_per_second{{circuit="{circuit.id}"}} {value!r}\n')
    for lines in (info, ends, bandwidth):
        if lines:
            yield lines[0].partition("{")[0], "".join(lines).encode()
