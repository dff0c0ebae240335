"""When something told of each site and circuit: the time that availability is of.

Live, the engine says of what it has current evidence; late reports say of the time they were taken. Two sights that
follow each other within the life of the first prove the time between them, one alone an instant. The ledger keeps
spans of time, not a row a report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from haidang_wire.sources import HOST, PATH_STATE, SNMP

from haidang_collector.intake.ingest import Prepared
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.outage import spans as kept
from haidang_collector.outage.model import Says, Seen
from haidang_collector.outage.sight import Told
from haidang_collector.outage.witness import AHEAD_SECONDS, LONGEST_CURRENT_SECONDS, OLDEST_LATE_SECONDS, Witnesses
from haidang_collector.registry.model import Registry
from haidang_collector.topology.graph import of_registry, regions, ways

# What a collector that is killed loses of measured time at most.
WRITE_SECONDS = 10.0
# However often somebody is heard of and falls silent, a span begins at most so often.
_BETWEEN_SPANS_SECONDS = 60.0
# Late spans that wait to be written: of all, and of each thing that is said of a site or circuit, so that whoever says
# much of his own takes no room from others.
_MOST_LATE = 100_000
_MOST_LATE_EACH = 500
_MOST_A_WRITE = 500

Of = tuple[str, str, Says]  # kind, element


@dataclass
class _Span:
    """From the first to the last sight; one until `expires` lengthens it."""

    begins: float
    ends: float
    expires: float


class Keeper:
    """What was seen, until the ledger has it. It outlives registries."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._live: dict[tuple[str, str], _Span] = {}
        self._longer: dict[tuple[str, str, float], float] = {}  # with the beginning of a span: its end
        self._late: dict[Of, list[kept.Late]] = {}
        self._late_count = 0
        self._due = 0.0

    def note(self, told: Mapping[tuple[str, str], Told]) -> None:
        """Note of what the engine has evidence, by (kind, element), and until when."""
        for (kind, element), (taken, expires) in told.items():
            span = self._live.get((kind, element))
            if span is not None and taken <= span.expires:
                span.expires = max(span.expires, expires)
                if taken > span.ends:
                    span.ends = taken
                    self._longer[kind, element, span.begins] = taken
            elif span is None or taken >= span.begins + _BETWEEN_SPANS_SECONDS:
                self._live[kind, element] = _Span(taken, taken, expires)

    def begin_again(self) -> None:
        """The clock was set: what is seen from now on follows nothing that was, and is written when it is time now."""
        self._live.clear()
        self._due = 0.0

    def take(self, prepared: Prepared, proofs: Proofs, now: float) -> int:
        """Note what a late report proves; how much there was no room for, or is of no time that can be meant."""
        if not now - OLDEST_LATE_SECONDS <= prepared.taken <= now + AHEAD_SECONDS:
            return 1
        at, refused = prepared.taken, 0
        slack = min(prepared.expires - at, LONGEST_CURRENT_SECONDS)
        for of in proofs.of(prepared):
            spans = self._late.setdefault(of, [])
            last = spans[-1] if spans else None
            if last is not None and last.begins - slack <= at <= last.ends + slack:
                spans[-1] = kept.Late(min(last.begins, at), max(last.ends, at), max(last.slack, slack))
            elif self._late_count < _MOST_LATE and len(spans) < _MOST_LATE_EACH:
                spans.append(kept.Late(at, at, slack))
                self._late_count += 1
            else:
                refused += 1
        return refused

    async def write(self, now: float) -> int:
        """When it is time: what is new. How much of it the ledger has no room for. Raises LedgerError; nothing is
        lost by that."""
        if now < self._due:
            return 0
        self._due = now + WRITE_SECONDS
        longer, self._longer = self._longer, {}
        if longer:
            rows = [Seen(kind, element, Says.LIVE, begins, ends) for (kind, element, begins), ends in longer.items()]
            try:
                await self._ledger.run(kept.lengthen, rows)
            except LedgerError:
                self._longer = longer | self._longer
                raise
        self._live = {key: span for key, span in self._live.items() if span.expires > now - LONGEST_CURRENT_SECONDS}
        return await self._write_late()

    async def _write_late(self) -> int:
        refused = 0
        while self._late:
            some = dict(list(self._late.items())[:_MOST_A_WRITE])
            self._late = {of: spans for of, spans in self._late.items() if of not in some}
            try:
                refused += await self._ledger.run(kept.fill, some)
            except LedgerError:
                for of, spans in self._late.items():
                    some.setdefault(of, []).extend(spans)
                self._late = some
                raise
            self._late_count = sum(map(len, self._late.values()))
        return refused


class Proofs:
    """What a late report proves of sites and circuits of one registry."""

    def __init__(self, registry: Registry, witnesses: Witnesses) -> None:
        self._witnesses = witnesses
        self._center = registry.center
        self._sites = {site.id for site in registry.sites}
        self._circuits = {circuit.id for circuit in registry.circuits}
        self._graph = of_registry(registry)
        self._ways = ways(self._graph)
        self._ports: dict[str, dict[str, str]] = {}  # device, interface: circuit
        for circuit in registry.circuits:
            for end in circuit.ends:
                if end.interface:
                    self._ports.setdefault(end.device, {})[end.interface] = circuit.id

    def of(self, prepared: Prepared) -> Iterator[Of]:
        """All of it; each of the time the report was taken."""
        report = prepared.report
        kind, _, about = report.source.partition(":")
        if report.source == PATH_STATE:
            yield from self._of_paths(prepared)
        elif kind in (HOST, SNMP):
            ports = self._ports.get(about or report.agent)
            if ports and self._witnesses.of_device(report.agent, prepared.site, about or report.agent):
                for name, labels, value in prepared.kept():
                    if name == "haidang_interface_up" and labels["interface"] in ports:
                        yield "circuit", ports[labels["interface"]], Says.LINK if value else Says.DARK

    def _of_paths(self, prepared: Prepared) -> Iterator[Of]:
        agent, site = prepared.report.agent, prepared.site
        told = {
            labels["target"]: bool(value)
            for name, labels, value in prepared.kept()
            if name == "haidang_path_reachable" and self._witnesses.of_path(agent, site, labels["target"])
        }
        up, down = (Says.UP, Says.DOWN) if site == self._center else (Says.OWN_UP, Says.OWN_DOWN)
        for target in told.keys() & self._circuits:
            yield "circuit", target, up if told[target] else down
        if site == self._center:
            yield from self._of_sites({target: up for target, up in told.items() if target in self._sites})
        elif told.get(self._center):
            # That it does not reach the data center may be the latter's own doing. That it does proves what ends at it:
            # how it came there is not seen from here.
            yield "site", site, up
            for circuit in self._ways.get(site, ()):
                if site in self._graph.ends[circuit]:
                    yield "circuit", circuit, up

    def _of_sites(self, told: dict[str, bool]) -> Iterator[Of]:
        """What the data center's probe says of sites, and what that says of circuits."""
        up = {site for site, answers in told.items() if answers}
        down = told.keys() - up
        if told:
            yield "site", self._center, Says.UP
        yield from self._reached(up)
        for site in down:
            yield "site", site, Says.DOWN
        found = regions(self._graph, down, (), self._sites - told.keys() - {self._center}) if down else []
        if up or len({region.frontier or region.entries for region in found}) == 1:  # else the data center is cut off
            for region in found:
                if len(region.frontier) == 1:
                    yield "circuit", region.frontier[0], Says.DOWN

    def _reached(self, sites: set[str]) -> Iterator[Of]:
        for site in sites:
            yield "site", site, Says.UP
        for circuit in {circuit for site in sites for circuit in self._ways.get(site, ())}:
            yield "circuit", circuit, Says.UP
