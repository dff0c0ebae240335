"""What the status page shows, out of what the collector knows now. Pure: no clock, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haidang_collector.exposition.latest import AgentState
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.remarks import CAUSES, Remark
from haidang_collector.registry.model import Circuit, Registry

UP, DEGRADED, DOWN, UNKNOWN, SILENT, OFF = "up", "degraded", "down", "unknown", "silent", "off"
# What needs somebody stands first.
_ORDER = {DOWN: 0, SILENT: 0, DEGRADED: 1, UNKNOWN: 2, OFF: 3, UP: 4}


@dataclass(frozen=True)
class OutageRow:
    """An open outage; `started` in Unix seconds."""

    id: str
    kind: str
    site: str
    circuits: list[str]
    carriers: list[str]
    started: float
    cause: Remark
    evidence: tuple[Remark, ...]
    sites: int
    officials: int
    planned: bool


@dataclass(frozen=True)
class SiteRow:
    """A site and how many of its circuits are known to carry traffic."""

    id: str
    name: str
    level: str
    state: str
    circuits_up: int
    circuits: int


@dataclass(frozen=True)
class CircuitRow:
    """A circuit between two sites; `measured` is the share of this month in which something told of it, `budget_used`
    that of this month's allowed downtime, None without an SLA or without a measure."""

    id: str
    carrier: str
    ends: str
    state: str
    measured: float | None
    budget_used: float | None


@dataclass(frozen=True)
class AgentRow:
    """An agent; `last_report` in Unix seconds, 0 for none yet."""

    name: str
    site: str
    state: str
    last_report: float


@dataclass
class View:
    """The whole page; `judged` is whether it is known which outages there are."""

    province: str
    judged: bool = False
    outages: list[OutageRow] = field(default_factory=list)
    sites: list[SiteRow] = field(default_factory=list)
    circuits: list[CircuitRow] = field(default_factory=list)
    agents: list[AgentRow] = field(default_factory=list)

    def count(self, what: str, state: str) -> int:
        """How many rows of a list are in a state."""
        return sum(row.state == state for row in getattr(self, what))


def view(registry: Registry | None, engine: Engine | None, agents: Mapping[str, AgentState]) -> View:
    """Everything, what needs somebody first."""
    shown = View(registry.province.name if registry else "", engine is not None)
    names = {site.id: site.name for site in registry.sites} if registry else {}
    rows = (
        AgentRow(name, names.get(state.site, state.site), _agent_state(state), state.last_taken)
        for name, state in agents.items()
    )
    shown.agents = sorted(rows, key=lambda row: (_ORDER[row.state], row.site, row.name))
    if registry is None:
        return shown
    explained = {name for o in engine.open_outages.values() if o.down for name in o.circuits} if engine else set()
    known = engine.circuit_states if engine else {}
    # What cut sites off carries nothing, whether or not something tells of it.
    states = {
        circuit.id: DOWN if circuit.id in explained else known.get(circuit.id, UNKNOWN) for circuit in registry.circuits
    }
    of_site: dict[str, list[str]] = {}
    carriers = {carrier.id: carrier for carrier in registry.carriers}
    for circuit in registry.circuits:
        for end in circuit.ends:
            of_site.setdefault(end.site, []).append(circuit.id)
        carrier = carriers.get(circuit.carrier)
        shown.circuits.append(
            CircuitRow(
                circuit.id, carrier.name if carrier else circuit.carrier,
                " – ".join(names[end.site] for end in circuit.ends), states[circuit.id],
                engine.measured_ratios.get(circuit.id) if engine else None,
                engine.sla_budgets_used.get(circuit.id) if engine else None,
            )
        )  # fmt: skip
    for site in registry.sites:
        state = engine.site_states.get(site.id, UNKNOWN) if engine else UNKNOWN
        mine = of_site.get(site.id, [])
        shown.sites.append(
            SiteRow(site.id, site.name, site.level, state, sum(states[name] == UP for name in mine), len(mine))
        )
    shown.sites.sort(key=lambda row: (_ORDER[row.state], row.name))
    shown.circuits.sort(key=lambda row: (_ORDER[row.state], row.id))
    shown.outages = _outages(registry, engine, names) if engine else []
    return shown


def _agent_state(state: AgentState) -> str:
    return OFF if state.stopped else UP if state.up else SILENT


def _outages(registry: Registry, engine: Engine, names: Mapping[str, str]) -> list[OutageRow]:
    circuits = {circuit.id: circuit for circuit in registry.circuits}
    carriers = {carrier.id: carrier for carrier in registry.carriers}
    rows = []
    for outage in engine.open_outages.values():
        own = [circuits[name] for name in outage.circuits if name in circuits]
        said = dict.fromkeys(
            " ".join(filter(None, (carriers[circuit.carrier].name, carriers[circuit.carrier].telephone)))
            for circuit in own
            if circuit.carrier in carriers
        )
        labels = [
            f"{circuit.id} ({circuit.carrier_circuit_id})" if circuit.carrier_circuit_id else circuit.id
            for circuit in own
        ]
        rows.append(
            OutageRow(
                outage.id, outage.kind, names.get(outage.site, outage.site), labels, list(said), outage.started,
                CAUSES[outage.cause.kind], outage.cause.evidence, len(outage.down), engine.officials(outage),
                outage.planned,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: (row.planned, row.started))


def _named(circuit: Circuit) -> str:
    number = circuit.carrier_circuit_id
    return f"{circuit.id} ({number})" if number else circuit.id
