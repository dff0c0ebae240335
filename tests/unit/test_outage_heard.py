"""What is delivered shows that its site is heard, not over which circuits it came: a telephone, a laptop at home and a
copied key deliver too."""

from __future__ import annotations

import pytest
from haidang_collector.outage.cause import Kind

from tests.unit.province import LEAVES, Province


def deliver(province: Province, seconds: int, *sites: str) -> None:
    for _ in range(seconds):
        province.run(1)
        for site in sites:
            province.say(f"pc-{site}", site, "host")


def blame(province: Province) -> list[tuple[str, tuple[str, ...]]]:
    return [(outage.kind, outage.circuits) for outage in province.open]


@pytest.mark.parametrize("heard", [("x1",), ("hub",), ("hub", "x1"), ("x1", "x2", "x3")])
@pytest.mark.parametrize("ports", [True, False])
@pytest.mark.parametrize("late", [0, 40])
def test_who_is_still_heard_behind_a_dead_line_moves_no_blame(heard: tuple[str, ...], ports: bool, late: int) -> None:
    province = Province(ports=ports)
    province.run(30)
    province.black.add("r2-hub")
    deliver(province, late)
    deliver(province, 60, *heard)
    assert blame(province) == [("site", ("r2-hub",))]
    (outage,) = province.open
    assert outage.down == {"hub", *LEAVES} - set(heard)
    states = province.engine.circuit_states
    assert states["r2-hub"] == "down"
    if not ports:
        assert {states[f"hub-{leaf}"] for leaf in LEAVES} == {"unknown"}
    assert {province.engine.site_states[site] for site in heard} <= {"up", "degraded"}
    assert ("circuit", "r2-hub") in province.engine.downtimes
    province.black.clear()
    province.run(60)
    assert province.open == []
    assert province.engine.downtimes == {}
    assert province.engine.circuit_states["r2-hub"] == "up"


def test_a_commune_whose_own_line_went_first_moves_no_blame_either() -> None:
    province = Province(ports=False)
    province.black.add("hub-x1")
    deliver(province, 60, "x1")
    province.black.add("r2-hub")
    deliver(province, 60, "x1")
    assert ("site", ("r2-hub",)) in blame(province)
    assert province.engine.circuit_states["r2-hub"] == "down"


def test_a_circuit_to_a_site_that_is_only_heard_is_unknown() -> None:
    """It is no outage: the router may only keep still. Nobody measured the circuit, so it is not up either."""
    province = Province(ports=False)
    province.dead.add("x1")  # for echoes
    deliver(province, 60, "x1")
    assert province.open == []
    assert province.engine.site_states["x1"] == "up"
    assert province.engine.circuit_states["hub-x1"] == "unknown"
    assert ("circuit", "hub-x1") not in province.engine.told
    assert province.engine.circuit_states["r2-hub"] == "up"  # over it the hub answers
    province.dead.clear()
    province.run(3)
    assert province.engine.circuit_states["hub-x1"] == "up"


def test_a_port_tells_of_the_circuit_to_a_site_that_is_only_heard() -> None:
    province = Province()
    province.cut("hub-x1")
    deliver(province, 60, "x1")
    assert province.engine.circuit_states["hub-x1"] == "down"


def test_a_site_that_is_heard_again_ends_its_outage_and_not_the_downtime_of_its_circuit() -> None:
    province = Province(ports=False)
    province.black.add("hub-x1")
    province.run(20)
    assert blame(province) == [("site", ("hub-x1",))]
    deliver(province, 60, "x1")
    assert province.open == []
    assert set(province.engine.downtimes) == {("circuit", "hub-x1")}
    province.black.clear()
    province.run(5)
    back = province.now
    assert province.engine.downtimes == {}
    (ended,) = [at for key, at in province.downtimes.items() if key[1] == "hub-x1"]
    assert ended == pytest.approx(back, abs=5)


def test_a_hub_that_only_keeps_still_is_not_blamed_for_what_fails_behind_it() -> None:
    """Its router answers no echo for long; its machines deliver, and what lies behind it was reached meanwhile."""
    province = Province(ports=False)
    mute_router(province, "hub")
    deliver(province, 60, "hub")
    assert province.open == []
    for leaf in LEAVES:
        province.black.add(f"hub-{leaf}")
        deliver(province, 30, "hub")
    assert sorted(blame(province)) == [("site", (f"hub-{leaf}",)) for leaf in LEAVES]


def mute_router(province: Province, site: str) -> None:
    """The router of a site answers no echo any more, and forwards as before."""
    reached = province.reached
    province.reached = lambda: reached() - {site}  # type: ignore[method-assign]  # a fault only these tests know


@pytest.mark.parametrize("heard", [(), ("x1",), ("x1", "r4", "dual")])
def test_a_center_that_nobody_answers_is_cut_off_whoever_delivers_by_another_way(heard: tuple[str, ...]) -> None:
    province = Province(ports=False)
    province.isolated = True
    deliver(province, 40, *heard)
    (outage,) = province.open
    assert (outage.kind, outage.cause.kind, len(outage.down)) == ("center", Kind.CENTER, 11 - len(heard))
    assert len(province.opened) == 1
    province.isolated = False
    province.run(60)
    assert province.open == []
