"""What was measured of each circuit and site: live, late, over restarts; unknown where nothing tells."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from haidang_collector.intake.ingest import Prepared, Speaker, prepare
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.housekeeping import forget_old
from haidang_collector.ledger.tables import measured
from haidang_collector.outage import spans as kept
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.evidence import Evidence
from haidang_collector.outage.exposition import expose
from haidang_collector.outage.measured import WRITE_SECONDS, Keeper, Proofs
from haidang_collector.outage.model import Says, Seen
from haidang_collector.outage.sla import Record, figures
from haidang_collector.plan.inputs import Inputs
from haidang_collector.registry.model import Registry
from haidang_collector.registry.rights import Rights
from haidang_collector.settings import Limits, Settings
from haidang_collector.topology.graph import of_registry, reached, topology, ways
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.province import CIRCUITS, SITES, START, Province, registry

_SEQUENCES = itertools.count(1)
# What the gate would refuse comes from before the registry changed, too.
ANYTHING = Rights(targets=frozenset((*SITES, *CIRCUITS)))


def say(
    agent: str, site: str, source: str, taken: float, now: float, *, devices: dict[str, str] | None = None,
    interval: float = 5, **content: Any,
) -> Prepared:  # fmt: skip
    report = {
        "agent": agent, "epoch": 3, "sequence": next(_SEQUENCES), "source": source, "taken": taken,
        "interval": interval, "samples": [], "facts": [], "events": [], **content,
    }  # fmt: skip
    return prepare(
        json.dumps(report).encode(),
        now - taken,
        Speaker(agent, site, ANYTHING if devices is None else replace(ANYTHING, devices=devices)),
        now,
        Limits(),
    )


def paths(**up: bool) -> list[dict[str, Any]]:
    return [
        {"metric": "haidang_path_reachable", "labels": {"target": target.replace("_", "-")}, "value": int(value)}
        for target, value in up.items()
    ]


def port(device: str, interface: str, *, up: bool) -> list[dict[str, Any]]:
    labels = {"device": device, "interface": interface}
    return [{"metric": "haidang_interface_up", "labels": labels, "value": int(up)}]


def test_what_nothing_tells_of_is_unknown() -> None:
    known = Registry.model_validate(registry())
    engine = Engine(known, Evidence(known))
    engine.evaluate(START)
    assert set(engine.site_states.values()) == {"unknown"}
    assert engine.circuit_states == dict.fromkeys(CIRCUITS, "unknown")
    text = expose(engine, openmetrics=False).decode()
    assert "haidang_circuit_up{" not in text
    assert "haidang_site_up{" not in text
    assert text.count("haidang_circuit_measured{") == len(CIRCUITS)
    assert 'haidang_circuit_measured{circuit="ttdl-r1",carrier="vta"} 0' in text
    plan = Inputs()
    plan.look(engine, START)
    assert plan.circuits_up == {}


def test_ports_paths_and_reach_tell_of_circuits() -> None:
    province = Province(ports=False)
    states = province.engine.circuit_states
    # Of the ring nothing tells; a site behind a hub is reached over its circuit alone.
    assert {name for name, state in states.items() if state == "up"} == {"r2-hub", "hub-x1", "hub-x2", "hub-x3"}
    assert {state for name, state in states.items() if "hub" not in name} == {"unknown"}
    province.say("sw-r3", "r3", "host", samples=port("sw-r3", "r3-r4", up=True))
    province.say("sw-r5", "r5", "path_state", samples=paths(r5_r6=True))
    province.run(1)
    states = province.engine.circuit_states
    assert (states["r3-r4"], states["r5-r6"], states["r4-r5"]) == ("up", "up", "unknown")
    province.say("sw-r3", "r3", "host", samples=port("sw-r3", "r3-r4", up=False))
    province.say("sw-r5", "r5", "path_state", samples=paths(r5_r6=False))
    province.run(1)
    states = province.engine.circuit_states
    assert (states["r3-r4"], states["r5-r6"]) == ("down", "down")
    province.run(15)  # neither says anything more
    states = province.engine.circuit_states
    assert (states["r3-r4"], states["r5-r6"]) == ("unknown", "unknown")
    plan = Inputs()
    plan.look(province.engine, province.now)
    assert set(plan.circuits_up) == {"r2-hub", "hub-x1", "hub-x2", "hub-x3"}


def test_the_only_way_to_a_site_is_known_to_be_down_with_it_and_what_is_behind_is_not_known() -> None:
    province = Province(ports=False)
    province.cut("r2-hub")
    province.run(10)
    states = province.engine.circuit_states
    assert states["r2-hub"] == "down"
    assert (states["hub-x1"], states["hub-x2"]) == ("unknown", "unknown")
    assert province.engine.site_states["x1"] == "down"


def test_a_center_whose_probe_is_away_is_not_up() -> None:
    province = Province()
    assert province.engine.site_states["ttdl"] == "up"
    province.engine.evaluate(province.now + 60)
    assert province.engine.site_states["ttdl"] == "unknown"


def test_a_port_that_was_dark_long_ago_does_not_outweigh_one_that_has_its_link_now() -> None:
    province = Province()
    province.say("sw-r3", "r3", "host", samples=port("sw-r3", "r3-r4", up=False))
    province.mute |= {"r3"}
    province.run(5)
    assert province.engine.circuit_states["r3-r4"] == "down"
    province.run(40)
    assert province.engine.circuit_states["r3-r4"] == "up"


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")), max_size=12))
def test_ways_are_the_circuits_without_which_a_site_is_not_reached(pairs: list[tuple[str, str]]) -> None:
    ends = {f"{n}": pair for n, pair in enumerate(pairs) if pair[0] != pair[1]}
    graph = topology("a", "abcdefg", ends)
    whole = reached(graph, (), ())
    found = ways(graph)
    assert found.keys() == whole
    for site in whole:
        assert set(found[site]) == {name for name in ends if site not in reached(graph, (), {name})}


# The ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def spans(ledger: Ledger, element: str, *says: Says) -> list[tuple[float, float]]:
    with ledger.transaction() as connection:
        found = kept.between(connection, 0, 1e12)
    return sorted((e.begins, e.ends) for e in found if e.element == element and e.says in (says or (Says.LIVE,)))


def write(keeper: Keeper, now: float) -> int:
    return asyncio.run(keeper.write(now))


def test_live_evidence_is_a_span_and_gaps_are_gaps(ledger: Ledger) -> None:
    keeper = Keeper(ledger)
    for at in (*range(0, 600, 5), *range(900, 1200, 5)):
        keeper.note({("circuit", "c"): (START + at, START + at + 12.5)})
        keeper.note({})
        write(keeper, START + at)
    assert spans(ledger, "c") == [(START, START + 595), (START + 900, START + 1190)]  # the last is not written yet
    write(keeper, START + 1300)
    assert spans(ledger, "c") == [(START, START + 595), (START + 900, START + 1195)]


def test_a_collector_that_is_killed_loses_what_it_did_not_write_and_counts_nothing_it_did_not_see(
    ledger: Ledger,
) -> None:
    keeper = Keeper(ledger)
    for at in range(0, 63, 1):
        keeper.note({("site", "s"): (START + at, START + at + 12.5)})
        write(keeper, START + at)
    again = Keeper(ledger)  # the first is gone, with what it had
    for at in range(80, 140, 1):
        again.note({("site", "s"): (START + at, START + at + 12.5)})
        write(again, START + at)
    write(again, START + 200)
    (first, second) = spans(ledger, "s")
    assert first[0] == START
    assert START + 62 - WRITE_SECONDS <= first[1] <= START + 62
    assert second == (START + 80, START + 139)


def test_a_frozen_collector_did_not_measure(ledger: Ledger) -> None:
    """It wakes with what it had, and takes the next report at once: the time between was seen by nobody."""
    keeper = Keeper(ledger)
    for at in (0, 5, 10, 100, 105):
        keeper.note({("site", "s"): (START + at, START + at + 12.5)})
    write(keeper, START + 110)
    assert spans(ledger, "s") == [(START, START + 10), (START + 100, START + 105)]


def test_a_second_witness_lengthens_a_span_and_never_splits_it(ledger: Ledger) -> None:
    keeper = Keeper(ledger)
    for taken, life in ((0, 150), (5, 12), (60, 150), (50, 12), (120, 150), (125, 12)):
        keeper.note({("circuit", "c"): (START + taken, START + taken + life)})
    write(keeper, START + 200)
    assert spans(ledger, "c") == [(START, START + 125)]


def test_rows_are_few_however_somebody_comes_and_goes(ledger: Ledger) -> None:
    keeper = Keeper(ledger)
    for n in range(20_000):
        at = START + n * 0.7
        keeper.note({("circuit", "c"): (at, at + 0.25)})
        keeper.note({("circuit", "c"): (at + 0.2, at + 0.25)})
        if n % 100 == 0:
            write(keeper, at)
    with ledger.transaction() as connection:
        assert (
            connection.execute(sa.select(sa.func.count()).select_from(measured)).scalar_one() <= 20_000 * 0.7 / 60 + 1
        )


def test_what_a_failing_disk_kept_out_is_written_later(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, known = Keeper(ledger), Registry.model_validate(registry())
    proofs = Proofs(known, Evidence(known).witnesses)
    run = ledger.run

    async def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    for at in range(0, 60, 5):
        keeper.note({("circuit", "c"): (START + at, START + at + 12.5)})
        keeper.take(
            say("sw-ttdl", "ttdl", "path_state", START + at, START + 70, samples=paths(r1=True)), proofs, START + 70
        )
    monkeypatch.setattr(ledger, "run", fail)
    with pytest.raises(LedgerError):
        write(keeper, START + 70)
    monkeypatch.setattr(ledger, "run", run)
    for at in range(60, 90, 5):
        keeper.note({("circuit", "c"): (START + at, START + at + 12.5)})
    assert write(keeper, START + 100) == 0
    assert spans(ledger, "c") == [(START, START + 85)]
    assert spans(ledger, "r1", Says.UP) == [(START, START + 55)]


POINTS = st.lists(st.integers(0, 400), min_size=1, max_size=40)


@given(POINTS, st.randoms())
def test_late_reports_prove_the_same_in_any_order_and_in_any_parts(
    tmp_path_factory: Any, points: list[int], random: Any
) -> None:
    ledger = _shared(tmp_path_factory)
    with ledger.transaction() as connection:
        connection.execute(sa.delete(measured))
        shuffled = points[:]
        random.shuffle(shuffled)
        while shuffled:
            some = shuffled[: random.randint(1, 10)]
            shuffled = shuffled[len(some) :]
            kept.fill(connection, {("site", "s", Says.UP): [kept.Late(float(at), float(at), 12.5) for at in some]})
        found = sorted(
            (each.begins, each.ends) for each in kept.between(connection, -1, 1000) if each.ends > each.begins
        )
    expected: list[list[int]] = []
    for at in sorted(set(points)):
        if expected and at - expected[-1][1] <= 12.5:
            expected[-1][1] = at
        else:
            expected.append([at, at])
    assert found == [(begins, ends) for begins, ends in expected if ends > begins]


_LEDGERS: list[Ledger] = []


def _shared(folders: Any) -> Ledger:
    if not _LEDGERS:
        _LEDGERS.append(Ledger(folders.mktemp("shared")))
    return _LEDGERS[0]


def test_a_flood_of_late_instants_fills_a_day_of_one_circuit_and_no_more(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        for begins in range(0, 80_000, 1000):
            some = [kept.Late(float(at), float(at) + 1, 2.0) for at in range(begins, begins + 1000, 10)]
            kept.fill(connection, {("circuit", "c", Says.UP): some})
        assert connection.execute(sa.select(sa.func.count()).select_from(measured)).scalar_one() == 200


MORNING = START // 86400 * 86400


def test_a_flood_of_instants_takes_no_room_from_who_measured_for_hours(ledger: Ledger) -> None:
    """A port's two ends may both say that it has its link: one in thousands of instants, the other in one span."""
    instants = [kept.Late(MORNING + at, MORNING + at, 2.0) for at in range(0, 20_000, 10)]
    of = ("circuit", "hub-x1", Says.LINK)
    with ledger.transaction() as connection:
        for at in range(0, len(instants), 500):
            kept.fill(connection, {of: instants[at : at + 500]})
        assert kept.fill(connection, {of: [kept.Late(MORNING + 21_000, MORNING + 28_000, 12.5)]}) == 1
        assert kept.fill(connection, {of: instants}) > 0
        assert connection.execute(sa.select(sa.func.count()).select_from(measured)).scalar_one() <= 200
    assert (MORNING + 21_000, MORNING + 28_000) in spans(ledger, "hub-x1", Says.LINK)


@pytest.mark.parametrize("first", ["the hub", "the center"])
def test_a_site_that_fills_the_day_of_its_circuit_leaves_the_centers_word_its_room(ledger: Ledger, first: str) -> None:
    """A hub's probe, in instants that follow nothing, of the circuit it hangs on; the center, of an outage of it."""
    keeper, known = Keeper(ledger), Registry.model_validate(registry())
    proofs, now = Proofs(known, Evidence(known).witnesses), MORNING + 80_000
    down = {site.replace("-", "_"): site not in ("hub", "x1", "x2", "x3") for site in SITES if site != "ttdl"}

    def flood() -> None:
        for at in range(0, 60_000, 20):
            said = paths(r2_hub=bool(at % 40), ttdl=True)
            keeper.take(say("sw-hub", "hub", "path_state", MORNING + at, now, interval=1, samples=said), proofs, now)

    def measure() -> None:
        for hour in (1, 5, 9):
            for at in range(hour * 3600, hour * 3600 + 600, 10):
                keeper.take(say("sw-ttdl", "ttdl", "path_state", MORNING + at, now, samples=paths(**down)), proofs, now)

    for act in (flood, measure) if first == "the hub" else (measure, flood):
        act()
    write(keeper, now)
    expected = [(MORNING + hour * 3600, MORNING + hour * 3600 + 590) for hour in (1, 5, 9)]
    assert spans(ledger, "r2-hub", Says.DOWN) == expected
    assert len(spans(ledger, "r2-hub", *Says)) <= 3 + 2 * 200


def test_old_spans_are_removed(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        kept.lengthen(connection, [Seen("site", "s", Says.LIVE, 0, 10), Seen("site", "s", Says.LIVE, 20, START)])
    asyncio.run(forget_old(ledger, Settings(), START))
    assert spans(ledger, "s") == [(20, START)]


def test_a_clock_that_is_set_begins_a_span(ledger: Ledger) -> None:
    keeper = Keeper(ledger)
    for at in (100, 105, 110):
        keeper.note({("site", "s"): (START + at, START + at + 12.5)})
    keeper.begin_again()
    for at in (50, 55, 60):
        keeper.note({("site", "s"): (START + at, START + at + 12.5)})
    write(keeper, START + 110)
    assert spans(ledger, "s") == [(START + 50, START + 60), (START + 100, START + 110)]


# What late reports prove


def proofs_of(prepared: Prepared) -> set[tuple[str, str, str]]:
    known = Registry.model_validate(registry())
    return {(kind, element, str(says)) for kind, element, says in Proofs(known, Evidence(known).witnesses).of(prepared)}


NOW = START + 1000.0


def test_the_centers_probe_proves_sites_and_what_they_are_reached_over() -> None:
    said = dict.fromkeys((site for site in SITES if site != "ttdl"), True)
    found = proofs_of(say("sw-ttdl", "ttdl", "path_state", NOW - 500, NOW, samples=paths(**said)))
    assert {element for kind, element, says in found if (kind, says) == ("site", "up")} == set(SITES)
    assert {element for kind, element, says in found if kind == "circuit"} == {"r2-hub", "hub-x1", "hub-x2", "hub-x3"}
    said |= dict.fromkeys(("hub", "x1", "x2", "x3"), False)
    found = proofs_of(say("sw-ttdl", "ttdl", "path_state", NOW - 500, NOW, samples=paths(**said)))
    assert {element for kind, element, says in found if (kind, says) == ("site", "down")} == {"hub", "x1", "x2", "x3"}
    assert {(element, says) for kind, element, says in found if kind == "circuit"} == {("r2-hub", "down")}


def test_a_center_that_was_cut_off_proves_no_circuit_down() -> None:
    said = dict.fromkeys((site for site in SITES if site != "ttdl"), False)
    found = proofs_of(say("sw-ttdl", "ttdl", "path_state", NOW - 500, NOW, samples=paths(**said)))
    assert not [each for each in found if each[0] == "circuit"]


def test_a_sites_own_probe_and_ports_prove_what_they_may_tell_of() -> None:
    found = proofs_of(say("sw-x1", "x1", "path_state", NOW - 500, NOW, samples=paths(ttdl=True)))
    # How it came to the center is not seen from there: of circuits only what ends at it is proven.
    assert found == {("site", "x1", "own_up"), ("circuit", "hub-x1", "own_up")}
    assert proofs_of(say("sw-x1", "x1", "path_state", NOW - 500, NOW, samples=paths(ttdl=False))) == set()
    found = proofs_of(say("sw-hub", "hub", "path_state", NOW - 500, NOW, samples=paths(hub_x1=False, r2_hub=True)))
    assert found == {("circuit", "hub-x1", "own_down"), ("circuit", "r2-hub", "own_up")}
    for up, says in ((True, "link"), (False, "dark")):
        found = proofs_of(say("sw-hub", "hub", "host", NOW - 500, NOW, samples=port("sw-hub", "hub-x2", up=up)))
        assert found == {("circuit", "hub-x2", says)}


def test_what_a_commune_says_late_takes_back_nothing_that_the_center_saw_down(ledger: Ledger) -> None:
    """An hour's outage of a hub, and a commune behind it whose probe reaches the center by another way."""
    keeper, known = Keeper(ledger), Registry.model_validate(registry())
    proofs, behind, now = Proofs(known, Evidence(known).witnesses), {"hub", "x1", "x2", "x3"}, START + 7200
    center = [
        {"metric": "haidang_path_reachable", "labels": {"target": site}, "value": int(site not in behind)}
        for site in SITES
        if site != "ttdl"
    ]
    for at in range(0, 3600, 10):
        keeper.take(say("sw-ttdl", "ttdl", "path_state", START + at, now, interval=10, samples=center), proofs, now)
        own = paths(ttdl=True, hub_x1=True)
        keeper.take(say("sw-x1", "x1", "path_state", START + at, now, interval=10, samples=own), proofs, now)
    write(keeper, now)
    with ledger.transaction() as connection:
        record = Record(seen=kept.between(connection, START, now))
    found = {each.element: each for each in figures(known, (START, START + 3600), record, now, 0.95)}
    for element in ("r2-hub", "hub", "x1"):
        assert found[element].down_seconds == found[element].measured_seconds == 3590
    # Its own circuit is measured by it alone.
    assert (found["hub-x1"].down_seconds, found["hub-x1"].measured_seconds) == (0, 3590)
    assert found["hub-x2"].measured_seconds == 0


@pytest.mark.parametrize(
    "prepared",
    [
        say("pc-x1", "x1", "path_state", NOW - 500, NOW, samples=paths(ttdl=True)),  # no probe
        say("sw-ttdl", "x1", "path_state", NOW - 500, NOW, samples=paths(r1=True)),  # its name, at another site
        say("sw-x1", "x1", "path_state", NOW - 500, NOW, samples=paths(hub_x2=True, r1=True)),  # paths of others
        say("sw-x1", "x1", "host", NOW - 500, NOW, samples=port("sw-hub", "hub-x1", up=False)),
        say("sw-hub", "x1", "host", NOW - 500, NOW, samples=port("sw-hub", "hub-x1", up=False)),
        say("pc-x1", "x1", "snmp:sw-hub", NOW - 500, NOW, devices={"sw-hub": "hub"}, samples=port("sw-hub", "hub-x1", up=False)),
        say("sw-x1", "x1", "reachability", NOW - 500, NOW),
    ],
)  # fmt: skip
def test_nobody_proves_what_is_not_his(prepared: Prepared) -> None:
    assert proofs_of(prepared) == set()


@pytest.mark.parametrize("taken", [NOW - 40 * 86400, NOW - 1e9, NOW + 3600])
def test_no_time_that_can_not_be_meant_is_proven(ledger: Ledger, taken: float) -> None:
    keeper, known = Keeper(ledger), Registry.model_validate(registry())
    prepared = say("sw-x1", "x1", "path_state", START, START, samples=paths(ttdl=True))
    prepared.taken = taken
    assert keeper.take(prepared, Proofs(known, Evidence(known).witnesses), NOW) == 1
    write(keeper, NOW)
    assert spans(ledger, "x1", *Says) == []


def test_the_registry_of_the_tests_is_whole() -> None:
    graph = of_registry(Registry.model_validate(registry()))
    assert set(ways(graph)) == set(SITES)
