"""The engine on a province in virtual time: for each fault one outage, its cause, and who is behind it."""

from __future__ import annotations

import pytest
from haidang_collector.outage.cause import Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.province import LEAVES, RING, Province


def test_all_is_well() -> None:
    province = Province()
    province.run(60)
    assert province.opened == []
    assert set(province.engine.site_states.values()) == {"up"}


def test_a_cut_of_the_ring_is_one_outage_of_a_circuit_and_two_degraded_sites() -> None:
    province = Province()
    at = province.now
    province.cut("r3-r4")
    province.run(9)
    (outage,) = province.open
    assert (outage.kind, outage.circuit, outage.down, outage.cause.kind) == ("circuit", "r3-r4", set(), Kind.FIBER_CUT)
    assert outage.started == pytest.approx(at, abs=1)
    states = province.engine.site_states
    assert {site for site, state in states.items() if state == "degraded"} == {"r3", "r4"}
    assert "down" not in states.values()


def test_a_hub_cut_off_is_one_outage_that_names_the_fiber_and_lists_who_is_behind_it() -> None:
    province = Province()
    at = province.now
    province.cut("r2-hub")
    province.run(6)
    (outage,) = province.open
    assert (outage.kind, outage.site, outage.circuit, outage.cause.kind) == ("site", "hub", "r2-hub", Kind.FIBER_CUT)
    assert outage.down == {"hub", *LEAVES}
    assert province.engine.officials(outage) == sum(
        site.officials for site in province.registry.sites if site.id in outage.down
    )
    assert "sw-r2 r2-hub at r2 has no link" in outage.cause.evidence[0].en
    assert outage.started == pytest.approx(at, abs=1)
    province.run(100)
    assert len(province.opened) == 1


def test_a_ring_site_cut_at_both_sides() -> None:
    province = Province()
    province.cut("r3-r4")
    province.run(20)
    province.cut("r4-r5")
    province.run(10)
    circuit, site = province.open
    assert (circuit.kind, circuit.circuit) == ("circuit", "r3-r4")
    assert (site.kind, site.site, site.circuit, site.down) == ("site", "r4", "r4-r5", {"r4"})
    assert site.cause.kind == Kind.FIBER_CUT
    assert site.circuits == ("r3-r4", "r4-r5")


def test_a_site_whose_links_all_go_at_once_lost_its_device_not_two_fibers() -> None:
    province = Province()
    province.power_off("r4")
    province.run(10)
    (outage,) = province.open
    assert (outage.kind, outage.site, outage.down, outage.cause.kind) == ("site", "r4", {"r4"}, Kind.FAR_DEVICE)


def test_power_that_failed_after_its_ups_is_named() -> None:
    province = Province()
    sample = {"metric": "haidang_host_mains_power", "labels": {}, "value": 0}
    province.say("sw-x3", "x3", "host", samples=[sample])
    province.run(20)
    province.power_off("x3")
    province.run(10)
    (outage,) = province.open
    assert (outage.site, outage.cause.kind) == ("x3", Kind.POWER)
    assert any("on battery" in said.en for said in outage.cause.evidence)


def test_sites_of_one_feeder_that_go_together_lost_their_power() -> None:
    province = Province()
    province.power_off("x1")
    province.power_off("x2")
    province.run(10)
    assert [(outage.site, outage.cause.kind) for outage in province.open] == [("x1", Kind.POWER), ("x2", Kind.POWER)]


def test_a_black_hole_with_its_ports_up_is_the_carriers() -> None:
    province = Province()
    province.black.add("r2-hub")
    province.run(25)
    (outage,) = province.open
    assert (outage.site, outage.circuit, outage.cause.kind) == ("hub", "r2-hub", Kind.CARRIER)
    assert len(province.opened) == 1


def test_black_holes_on_all_lines_of_a_site_are_its_device() -> None:
    province = Province()
    province.black |= {"r3-r4", "r4-r5"}
    province.run(25)
    (outage,) = province.open
    assert (outage.site, outage.cause.kind) == ("r4", Kind.FAR_DEVICE)


def test_without_any_word_of_ports_the_cause_is_unknown_and_says_why() -> None:
    province = Province(ports=False)
    province.cut("r2-hub")
    province.run(10)
    (outage,) = province.open
    assert (outage.site, outage.cause.kind) == ("hub", Kind.UNKNOWN)
    assert "nothing is known of the port at r2" in outage.cause.evidence[0].en


def test_a_killed_agent_is_no_outage() -> None:
    province = Province()
    province.run(100)  # agents other than the center's probe say nothing any more: their routers answer
    assert province.opened == []


def test_a_router_that_only_keeps_still_is_no_outage_while_its_site_delivers() -> None:
    province = Province()
    province.dead.add("x1")  # for echoes, not for the agent there
    for _ in range(20):
        province.run(1)
        province.say("pc-x1", "x1", "host")
    assert province.opened == []
    assert province.engine.site_states["x1"] != "down"


def test_what_was_delivered_between_two_cuts_does_not_keep_a_site_up() -> None:
    """Its router has had no time to answer; the outage goes on, and no other is opened for its circuit."""
    province = Province()
    province.cut("hub-x2")
    province.run(8)
    (first,) = province.open
    for _ in range(14):  # for longer than a flapping line is waited for
        province.repair("hub-x2")
        province.say("pc-x2", "x2", "host")
        province.run(0.5)
        province.cut("hub-x2")
        province.run(9.5)
    province.run(60)
    assert [(outage.id, outage.down) for outage in province.open] == [(first.id, {"x2"})]
    assert province.engine.site_states["x2"] == "down"
    province.repair("hub-x2")
    province.run(160)
    assert province.open == []


def test_the_center_without_its_uplink_is_one_outage_not_eleven() -> None:
    province = Province()
    province.isolated = True
    province.run(10)
    (outage,) = province.open
    assert (outage.kind, outage.cause.kind, len(outage.down)) == ("center", Kind.CENTER, 11)
    assert outage.id.startswith("center-")
    province.isolated = False
    province.run(60)
    assert province.open == []
    assert len(province.opened) == 1


def test_two_unrelated_cuts_are_two_outages() -> None:
    province = Province()
    province.cut("hub-x1", "r3-r4")
    province.run(10)
    assert sorted((outage.kind, outage.circuit) for outage in province.open) == [
        ("circuit", "r3-r4"), ("site", "hub-x1"),
    ]  # fmt: skip


def test_a_site_of_two_carriers_on_its_backup_is_degraded() -> None:
    province = Province()
    province.cut("ttdl-dual")
    province.run(10)
    (outage,) = province.open
    assert (outage.kind, outage.circuit) == ("circuit", "ttdl-dual")
    assert province.engine.site_states["dual"] == "degraded"


def test_a_cut_during_planned_work_is_planned_and_becomes_real_when_the_work_is_over() -> None:
    province = Province()
    province.maintain("r2-hub", 30)
    province.cut("r2-hub")
    province.run(15)
    (outage,) = province.open
    assert outage.planned
    province.run(20)
    assert not outage.planned
    assert len(province.opened) == 1


def test_a_repair_ends_it_and_dates_both_ends() -> None:
    province = Province()
    cut = province.now
    province.cut("r2-hub")
    province.run(60)
    repaired = province.now
    province.repair("r2-hub")
    province.run(40)
    assert province.open == []
    (outage,) = {each.id: each for each in province.ended}.values()
    assert outage.started == pytest.approx(cut, abs=1)
    assert outage.ended == pytest.approx(repaired, abs=1)
    for element in ("hub", *LEAVES):
        ((started, ended),) = [(key[2], at) for key, at in province.downtimes.items() if key[1] == element]
        assert started == pytest.approx(cut, abs=1)
        assert ended == pytest.approx(repaired, abs=1)
    ((started, ended),) = [(key[2], at) for key, at in province.downtimes.items() if key[1] == "r2-hub"]
    assert (started, ended) == (pytest.approx(cut, abs=1), pytest.approx(repaired, abs=1))


def test_a_line_that_flaps_each_five_seconds_is_one_outage() -> None:
    province = Province()
    for _ in range(12):
        province.cut("r2-hub")
        province.run(5)
        province.repair("r2-hub")
        province.run(5)
    (outage,) = province.open
    assert outage.flaps >= 5
    assert len(province.opened) == 1
    province.run(110)
    assert province.open
    province.run(20)
    assert province.open == []


def test_a_leaf_still_down_when_its_hub_is_back_is_an_outage_of_its_own() -> None:
    province = Province()
    province.cut("r2-hub")
    province.run(20)
    province.cut("hub-x1")
    province.run(20)
    province.repair("r2-hub")
    province.run(40)
    (outage,) = province.open
    assert (outage.site, outage.circuit, outage.down) == ("x1", "hub-x1", {"x1"})


def test_a_hub_lost_after_its_leaf_is_a_second_outage_without_the_leaf() -> None:
    province = Province(ports=False)
    province.cut("hub-x1")
    province.run(20)
    province.cut("r2-hub")
    province.run(20)
    leaf, hub = province.open
    assert (leaf.site, leaf.down) == ("x1", {"x1"})
    assert (hub.site, hub.down) == ("hub", {"hub", "x2", "x3"})


def test_a_silent_probe_ends_and_begins_nothing() -> None:
    province = Province()
    province.cut("r2-hub")
    province.run(20)
    for _ in range(120):  # no report comes any more
        province.now += 1
        province._note(province.engine.evaluate(province.now))
    assert len(province.open) == 1
    assert province.ended == []
    assert "up" not in {province.engine.site_states[site] for site in RING}


def test_what_another_registry_no_longer_has_is_left_and_the_rest_goes_on() -> None:
    from haidang_collector.outage.engine import Engine
    from haidang_collector.outage.evidence import Evidence
    from haidang_collector.registry.model import Registry

    from tests.unit.province import registry

    province = Province()
    province.cut("r2-hub", "r3-r4")
    province.run(10)
    document = registry()
    document["circuits"] = [each for each in document["circuits"] if each["id"] != "r3-r4"]
    other = Engine(Registry.model_validate(document), Evidence(Registry.model_validate(document)))
    other.evidence.take_over(province.engine.evidence)
    other.take_over(province.engine)
    assert [outage.circuit for outage in other.open_outages.values()] == ["r2-hub"]
    other.evaluate(province.now)
    assert other.site_states["hub"] == "down"


def test_a_registry_without_circuits_still_tells_sites_and_the_center_apart() -> None:
    province = Province(circuits=False)
    province.lost = {"r3"}
    province.run(10)
    (outage,) = province.open
    assert (outage.kind, outage.site, outage.circuit, outage.cause.kind) == ("site", "r3", "", Kind.UNKNOWN)
    province.run(60)
    assert len(province.opened) == 1
    province.lost = set()
    province.run(40)
    assert province.open == []
    province.isolated = True
    province.run(10)
    assert [outage.kind for outage in province.open] == ["center"]


def test_a_router_that_answers_no_echo_on_its_line_is_no_dead_line() -> None:
    province = Province()
    for _ in range(60):
        province.say_path("sw-r2", "r2", "r2-hub", up=False)
        province.run(0.5)
    assert province.opened == []


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["cut", "repair", "power_off", "power_on", "swallow", "release", "isolate", "join", "deliver", "pass"]
        ),
        st.integers(0, 12),
        st.sampled_from([0.5, 2, 5, 8, 20]),
    ),
    max_size=12,
)


def test_a_port_whose_agent_could_not_say_that_its_link_is_back_is_not_believed_for_ever() -> None:
    """A far end that flaps: its agent delivers over the very circuit, and what it said last is that the link is gone."""
    province = Province()
    province.mute.add("x2")
    body = {"device": "sw-x2", "interface": "hub-x2", "admin_up": True}
    province.say("sw-x2", "x2", "links", events=[{"kind": "link_down", "at": province.now, "body": body}])
    province.run(60)
    assert province.open == []
    # Where it is said again and again, something is odd, and the circuit is down whatever the probe says.
    for _ in range(5):
        samples = [{"metric": "haidang_interface_up", "labels": {"device": "sw-x2", "interface": "hub-x2"}, "value": 0}]
        province.say("sw-x2", "x2", "host", samples=samples)
        province.run(10)
    assert [(outage.kind, outage.circuit) for outage in province.open] == [("circuit", "hub-x2")]


@settings(max_examples=60)
@given(ACTIONS, st.booleans())
def test_whatever_happens_ends_with_nothing_open_and_every_downtime_dated(
    actions: list[tuple[str, int, float]], ports: bool
) -> None:
    province = Province(ports=ports)
    circuits, sites = sorted(province.engine.graph.ends), sorted(set(province.engine.graph.neighbours) - {"ttdl"})
    for action, number, seconds in actions:
        circuit, site = circuits[number], sites[number % len(sites)]
        if action in ("cut", "repair"):
            getattr(province, action)(circuit)
        elif action in ("power_off", "power_on"):
            getattr(province, action)(site)
        elif action in ("swallow", "release"):
            (province.black.add if action == "swallow" else province.black.discard)(circuit)
        elif action == "deliver":
            province.say(f"pc-{site}", site, "host")
        elif action != "pass":
            province.isolated = action == "isolate"
        province.run(seconds)
        # Nobody is counted twice, and who is counted is not reached.
        down = [site for outage in province.open for site in outage.down]
        assert len(down) == len(set(down))
    province.isolated = False
    province.black.clear()
    for site in list(province.dead):
        province.power_on(site)
    province.repair(*list(province.cuts))
    province.run(160)
    assert province.open == []
    assert province.engine.downtimes == {}
    for (_, _, started), ended in province.downtimes.items():
        assert ended is not None
        assert started <= ended <= province.now
    for outage in province.ended:
        assert outage.ended is not None
        assert outage.started <= outage.ended
