"""Registries loaded one after the other, restarts between them, evidence of everything: nothing raises, and nothing stays
open of what is not there."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from haidang_collector.intake.feed import Accepted
from haidang_collector.intake.ingest import Speaker, prepare
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import downtimes, facts, links, measured, outage_revisions, outages, time_base
from haidang_collector.ledger.tables import registry as registries
from haidang_collector.outage import store as kept
from haidang_collector.outage.exposition import expose
from haidang_collector.outage.watch import Watch
from haidang_collector.principals import Principal
from haidang_collector.quotas.holdings import Keeper
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.assignments import Assignments
from haidang_collector.registry.model import Registry
from haidang_collector.settings import Limits, Settings
from haidang_collector.telemetry import Telemetry
from haidang_collector.topology import store as link_store
from haidang_wire.report import Fact
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.province import SITES, START

NAMES = ("a", "b", "c", "d", "e")
PAIRS = list(itertools.combinations(NAMES, 2))


class World:
    """A ledger, and the watch of a collector on it, in virtual time."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now = START
        self._anchor = 0.0
        self._sequence = 0
        self.registry: Registry | None = None
        with ledger.transaction() as connection:
            for table in (registries, outages, outage_revisions, downtimes, measured, facts, links, time_base):
                connection.execute(sa.delete(table))
        self.restart()

    def restart(self) -> None:
        """A collector that was killed, and started again."""
        self.watch = Watch(self.ledger, Settings(), Telemetry(), lambda: self.now, lambda: self._anchor)
        self._use()

    def set_clock(self, seconds: float, *, running: bool = True) -> None:
        """The machine's clock is set by so much."""
        self.now += seconds
        self._anchor += seconds
        if running:
            self.watch.begin_again(seconds)

    def load(self, registry: Registry, *, running: bool = True) -> None:
        with self.ledger.transaction() as connection:
            registry_store.save_registry(connection, Principal.of_command(), registry)
        if running:
            self._use()

    def _use(self) -> None:
        with self.ledger.transaction() as connection:
            self.registry = registry_store.load_registry(connection)[1]
        asyncio.run(self.watch.use(self.registry))

    def run(self, seconds: float, says: Callable[[], None] = lambda: None) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            says()
            asyncio.run(self.watch.turn(self.now))
        engine = self.watch.engine
        if engine is not None:
            expose(engine, openmetrics=True)

    def reaches_all_but(self, *down: str) -> None:
        """The center's probe tells which sites answer it."""
        samples = [
            {"metric": "haidang_path_reachable", "labels": {"target": site}, "value": int(site not in down)}
            for site in SITES
            if site != "ttdl"
        ]
        self.say("sw-ttdl", "ttdl", "path_state", samples=samples)

    def say(self, agent: str, site: str, source: str, *, late: bool = False, ago: float = 300, **content: Any) -> None:
        self._sequence += 1
        taken = self.now - (ago if late else 0)
        report = {
            "agent": agent, "epoch": 1, "sequence": self._sequence, "source": source, "taken": taken, "interval": 5,
            "samples": [], "facts": [], "events": [], **content,
        }  # fmt: skip
        prepared = prepare(
            msgspec.json.encode(report),
            self.now - taken,
            Speaker(agent, site, Assignments(self.registry).rights(agent, site)),
            self.now,
            Limits(),
        )
        self.watch.take(Accepted(prepared, self.now, is_live=not late))

    def counted(self, what: str = "") -> float:
        """How much was left out (unusable), or not believed, of one thing or of all."""
        counter = self.watch._telemetry.disbelieved if what else self.watch._telemetry.unusable
        samples = [sample for family in counter.collect() for sample in family.samples]
        return sum(sample.value for sample in samples if not what or sample.labels["what"] == what)

    def rows(self, table: sa.Table) -> list[Any]:
        with self.ledger.transaction() as connection:
            return list(connection.execute(sa.select(table)))

    def open_elements(self) -> set[tuple[str, str]]:
        return {(row.kind, row.element) for row in self.rows(downtimes) if row.ended is None}


def made(sites: list[str], pairs: list[tuple[str, str]], center: str, probes: list[str], agent: str = "") -> Registry:
    document = {
        "province": {"name": "P", "center": center if center in sites else ""},
        "sites": [
            {
                "id": site, "name": site, "level": "province" if site == sites[0] else "commune",
                "address": f"10.0.{n}.1", "probe": f"sw-{site}" if site in probes else "",
            }
            for n, site in enumerate(sites)
        ],
        "devices": [{"id": f"sw-{site}", "site": site, "address": "10.1.0.1", "agent": agent} for site in sites],
        "circuits": [
            {"id": f"{one}-{two}", "ends": [{"site": s, "device": f"sw-{s}", "interface": f"{one}-{two}"} for s in (one, two)]}
            for one, two in pairs
            if one in sites and two in sites
        ],
    }  # fmt: skip
    return Registry.model_validate(document)


REGISTRIES = st.builds(
    made,
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True),
    st.lists(st.sampled_from(PAIRS), max_size=7, unique=True),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(NAMES), max_size=5),
    st.sampled_from(("", "sw-a")),
)
STATES = st.fixed_dictionaries({name: st.booleans() for name in NAMES})
ACTIONS = st.one_of(
    st.tuples(st.just("load"), REGISTRIES),
    st.tuples(st.just("load while down"), REGISTRIES),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("clock"), st.tuples(st.integers(-30_000, 30_000), st.booleans())),
    st.tuples(st.just("paths"), st.tuples(st.sampled_from(NAMES), STATES, st.booleans())),
    st.tuples(st.just("links"), st.tuples(st.sampled_from(PAIRS), st.integers(0, 1), st.booleans())),
    st.tuples(st.just("ports"), st.tuples(st.sampled_from(PAIRS), st.integers(0, 1), st.booleans(), st.booleans())),
    st.tuples(st.just("pass"), st.integers(1, 30)),
)  # fmt: skip


def act(world: World, what: str, how: Any) -> None:
    if what == "load":
        world.load(how)
    elif what == "load while down":
        world.load(how, running=False)
        world.restart()
    elif what == "restart":
        world.restart()
    elif what == "clock":
        world.set_clock(how[0], running=how[1])
        if not how[1]:
            world.restart()
    elif what == "pass":
        world.run(how)
    elif what == "paths":
        site, states, late = how
        samples = [
            {"metric": "haidang_path_reachable", "labels": {"target": target}, "value": int(up)}
            for target, up in states.items()
            if target != site
        ]

        def tell() -> None:
            world.say(f"sw-{site}", site, "path_state", samples=samples, late=late)

        world.run(12, tell)
    elif what == "links":
        pair, end, up = how
        body = {"device": f"sw-{pair[end]}", "interface": "-".join(pair)}
        event = {"kind": "link_up" if up else "link_down", "at": world.now, "body": body}
        world.say(f"sw-{pair[end]}", pair[end], "links", events=[event])
    else:
        pair, end, up, late = how
        labels = {"device": f"sw-{pair[end]}", "interface": "-".join(pair)}
        sample = {"metric": "haidang_interface_up", "labels": labels, "value": int(up)}
        world.say(f"sw-{pair[end]}", pair[end], "host", samples=[sample], late=late)


_LEDGERS: list[Ledger] = []


@pytest.fixture
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    if not _LEDGERS:
        _LEDGERS.append(Ledger(tmp_path_factory.mktemp("ledger")))
    return _LEDGERS[0]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(REGISTRIES, st.lists(ACTIONS, max_size=12))
def test_nothing_raises_and_nothing_stays_open_of_what_is_not_there(
    ledger: Ledger, first: Registry, actions: list[tuple[str, Any]]
) -> None:
    world = World(ledger)
    world.load(first)
    for what, how in [*actions, ("pass", 2)]:
        act(world, what, how)
        assert world.registry is not None
        sites = {site.id for site in world.registry.sites}
        circuits = {circuit.id for circuit in world.registry.circuits}
        for kind, element in world.open_elements():
            assert element in (sites if kind == "site" else circuits)
        for row in world.rows(outages):
            if row.ended is None:
                assert row.site == world.registry.center if row.kind == "center" else row.site in sites
    assert world.counted() == 0
    assert {row.begins <= row.ends for row in world.rows(measured)} <= {True}
    for row in (*world.rows(outages), *world.rows(downtimes)):
        assert row.started <= (world.now if row.ended is None else row.ended)
    assert len(world.open_elements()) == sum(row.ended is None for row in world.rows(downtimes))


RING = [("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]


def down_circuit(world: World) -> None:
    """The ring's circuit between b and c is cut; its ends are reached another way."""
    world.load(made(["a", "b", "c", "d"], RING, "a", ["a"]))
    act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    act(world, "links", (("b", "c"), 0, False))
    act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    assert world.open_elements() == {("circuit", "b-c")}
    assert [row.kind for row in world.rows(outages)] == ["circuit"]


@pytest.mark.parametrize("loads", [1, 3])
@pytest.mark.parametrize("running", [True, False])
def test_a_circuit_that_is_down_and_taken_out_ends_in_the_ledger(ledger: Ledger, running: bool, loads: int) -> None:
    world = World(ledger)
    down_circuit(world)
    for _ in range(loads):
        world.load(
            made(["a", "b", "c", "d"], [pair for pair in RING if pair != ("b", "c")], "a", ["a"]), running=running
        )
    world.restart()
    act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    assert world.open_elements() == set()
    (row,) = [row for row in world.rows(downtimes) if row.element == "b-c"]
    assert row.reason == kept.GONE
    (outage,) = world.rows(outages)
    assert outage.ended is not None
    (revision,) = world.rows(outage_revisions)
    assert (revision.reason, revision.ended) == (kept.GONE, None)
    world.restart()
    world.run(5)
    assert world.open_elements() == set()


def test_a_site_that_is_down_and_renamed_ends_under_its_old_name(ledger: Ledger) -> None:
    world = World(ledger)
    world.load(made(["a", "b", "c", "d"], RING, "a", ["a"]))
    act(world, "paths", ("a", {**dict.fromkeys(NAMES, True), "d": False}, False))
    assert world.open_elements() == {("site", "d"), ("circuit", "c-d")}
    world.load(made(["a", "b", "c", "e"], [*RING[:3], ("c", "e")], "a", ["a"]))
    act(world, "paths", ("a", {**dict.fromkeys(NAMES, True), "e": False}, False))
    assert world.open_elements() == {("site", "e"), ("circuit", "c-e")}
    ended = {(row.kind, row.element): row.reason for row in world.rows(downtimes) if row.ended is not None}
    assert ended == {("site", "d"): kept.GONE, ("circuit", "c-d"): kept.GONE}


def test_another_center_ends_the_outage_of_the_old_one(ledger: Ledger) -> None:
    world = World(ledger)
    world.load(made(["a", "b", "c", "d"], RING, "a", ["a", "b"]))
    act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    act(world, "paths", ("a", dict.fromkeys(NAMES, False), False))
    assert [(row.kind, row.ended) for row in world.rows(outages)] == [("center", None)]
    world.load(made(["b", "a", "c", "d"], RING, "b", ["b"]))
    assert [row.ended is None for row in world.rows(outages)] == [False]
    act(world, "paths", ("b", dict.fromkeys(NAMES, True), False))
    world.run(40)
    assert world.open_elements() == set()


def test_a_circuit_of_which_nothing_can_tell_any_more_is_not_down_for_ever(ledger: Ledger) -> None:
    world = World(ledger)
    down_circuit(world)
    document = made(["a", "b", "c", "d"], RING, "a", ["a"]).model_dump()
    for circuit in document["circuits"]:
        for end in circuit["ends"]:
            end.update(device="", interface="")
    world.load(Registry.model_validate(document))
    act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    world.run(40)
    assert world.open_elements() == set()
    assert [row.ended is None for row in world.rows(outages)] == [False]
    assert world.watch.engine is not None
    assert world.watch.engine.circuit_states["b-c"] == "unknown"


def test_a_site_that_nothing_can_tell_of_comes_back_with_what_lies_behind_it(ledger: Ledger) -> None:
    world = World(ledger)
    document = made(["a", "b", "c", "d"], [("a", "b"), ("b", "c"), ("b", "d")], "a", ["a"]).model_dump()
    document["sites"][1]["address"] = ""
    world.load(Registry.model_validate(document))
    act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    act(world, "paths", ("a", dict.fromkeys(NAMES, False), False))
    assert {("site", "b"), ("site", "c"), ("site", "d")} <= world.open_elements()
    for _ in range(5):
        act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    assert world.open_elements() == set()
    assert {row.ended is None for row in world.rows(outages)} == {False}


def test_a_registry_without_a_center_judges_nothing_and_the_next_goes_on(ledger: Ledger) -> None:
    world = World(ledger)
    down_circuit(world)
    without = made(["a", "b", "c"], RING, "", ["a"]).model_dump()
    for site in without["sites"]:
        site["level"] = "commune"
    world.load(Registry.model_validate(without))
    assert world.watch.engine is None
    world.run(3)
    world.load(made(["a", "b", "c", "d"], RING, "a", ["a"]))
    assert world.watch.engine is not None
    assert [outage.circuit for outage in world.watch.engine.open_outages.values()] == ["b-c"]


def test_what_can_not_be_read_keeps_no_collector_from_starting(ledger: Ledger) -> None:
    world = World(ledger)
    down_circuit(world)
    with ledger.transaction() as connection:
        connection.execute(sa.update(outages).values(cause="of another version"))
        deep = "[" * 100_000 + "]" * 100_000
        bodies = (
            "not json",
            "[]",
            deep,
            '{"neighbours": 7}',
            '{"neighbours": [7, null, {"interface": []}]}',
            '{"name": {}}',
        )
        for n, body in enumerate(bodies):
            for kind in ("neighbours", "device"):
                row = {"agent": "sw-a", "kind": kind, "key": "sw-a", "site": "a", "since": 0, "seen": n, "body": body}
                connection.execute(
                    sa.insert(facts).prefix_with("OR REPLACE").values(**row | {"key": f"sw-{NAMES[n % 5]}"})
                )
    world.restart()
    world.run(3)
    assert world.counted() >= 1


@pytest.mark.parametrize(
    ("agent", "site", "counts"),
    [
        ("sw-b", "b", False),  # its name, but the registry has it polled by another
        ("sw-d", "d", True),  # a device that runs an agent
        ("sw-a", "b", True),  # whom it is assigned to: a report about a device is of the device's site
        ("sw-a", "a", False),
        ("sw-b", "c", False),  # its name, bought elsewhere
        ("pc", "b", False),
        ("sw-c", "c", False),
    ],
)
def test_facts_count_after_a_restart_as_they_do_live(ledger: Ledger, agent: str, site: str, counts: bool) -> None:
    world = World(ledger)
    device = agent if counts and agent != "sw-a" else "sw-b"
    port = {"sw-b": "b-c", "sw-d": "c-d"}[device]
    body = f'{{"neighbours": [{{"interface": "{port}", "system": "sw-a", "port": "p"}}]}}'
    with ledger.transaction() as connection:
        row = {"agent": agent, "site": site, "key": device, "since": START, "seen": START}
        connection.execute(sa.insert(facts).values(**row, kind="neighbours", body=body))
        connection.execute(sa.insert(facts).values(**row, kind="device", body='{"name": "nhà"}'))
        told = Fact("neighbours", device, json.loads(body))
        link_store.see(connection, agent, site, START, told, Keeper().holding(connection, agent))
    document = made(["a", "b", "c", "d"], RING, "a", ["a"], "sw-a").model_dump()
    document["devices"][3]["agent"] = ""
    world.load(Registry.model_validate(document))
    for _ in range(2):
        assert world.watch.engine is not None
        documented = world.watch.engine.evidence.documented
        assert (list(documented.seen), documented.system_names) == (([device], {"nhà": device}) if counts else ([], {}))
        asyncio.run(world.watch.turn(world.now))
        assert [each.problem for each in world.watch.engine.mismatches] == (["wrong_device"] if counts else [])
        world.restart()


def test_a_device_that_is_assigned_to_another_is_no_longer_told_of_by_the_first(ledger: Ledger) -> None:
    world = World(ledger)
    down_circuit(world)
    other = made(["a", "b", "c", "d"], RING, "a", ["a"], "sw-a")
    assert world.watch.engine is not None
    before = world.watch.engine.evidence
    assert ("sw-b", "b-c") in before.ports
    world.load(other)
    assert ("sw-b", "b-c") not in world.watch.engine.evidence.ports


def test_nothing_of_a_ledger_that_fails_is_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What an evaluation found while the disk was full is written with the next turn, or before another registry."""
    from haidang_collector.ledger.database import LedgerError

    world = World(ledger)
    world.load(made(["a", "b", "c", "d"], RING, "a", ["a"]))
    act(world, "paths", ("a", dict.fromkeys(NAMES, True), False))
    run = ledger.run

    async def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    engine = world.watch.engine
    monkeypatch.setattr(ledger, "run", fail)
    act(world, "links", (("b", "c"), 0, False))
    for _ in range(12):
        world.now += 1
        with pytest.raises(LedgerError):
            asyncio.run(world.watch.turn(world.now))
    with pytest.raises(LedgerError):
        asyncio.run(world.watch.use(world.registry))
    assert world.watch.engine is engine
    monkeypatch.setattr(ledger, "run", run)
    world.load(made(["a", "b", "c", "d"], RING[:2], "a", ["a"]))
    assert world.open_elements() == set()
    world.run(3)
    assert world.open_elements() == set()
