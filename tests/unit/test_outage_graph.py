"""The frontier on random provinces against a brute-force definition of reachability."""

from __future__ import annotations

from haidang_collector.topology.graph import Topology, reached, regions, topology
from hypothesis import given, settings
from hypothesis import strategies as st


def brute_reached(graph: Topology, sites: set[str], circuits: set[str]) -> set[str]:
    """By the definition: a site is reached when some chain of working circuits leads to it."""
    found = {graph.center} - sites
    while True:
        more = {
            there
            for circuit, (one, two) in graph.ends.items()
            if circuit not in circuits
            for here, there in ((one, two), (two, one))
            if here in found and there not in sites
        }
        if more <= found:
            return found
        found |= more


@st.composite
def provinces(draw: st.DrawFn) -> tuple[Topology, set[str], set[str], set[str]]:
    """A connected province, the sites and circuits that failed, and the circuits known to have."""
    count = draw(st.integers(2, 14))
    sites = [f"s{n}" for n in range(count)]
    ends = {f"t{n}": (sites[draw(st.integers(0, n - 1))], sites[n]) for n in range(1, count)}
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda p: p[0] != p[1])
    for number, (one, two) in enumerate(draw(st.lists(pair, max_size=8))):
        ends[f"x{number}"] = (sites[one], sites[two])
    graph = topology("s0", sites, ends)
    failed_sites = draw(st.sets(st.sampled_from(sites[1:]), max_size=2))
    failed_circuits = draw(st.sets(st.sampled_from(sorted(ends)), max_size=4))
    known = draw(st.sets(st.sampled_from(sorted(failed_circuits)))) if failed_circuits else set()
    return graph, failed_sites, failed_circuits, known


@given(provinces())
@settings(max_examples=500)
def test_regions_are_what_is_cut_off_and_their_frontiers_explain_it(
    province: tuple[Topology, set[str], set[str], set[str]],
) -> None:
    graph, failed_sites, failed_circuits, known = province
    alive = brute_reached(graph, failed_sites, failed_circuits)
    assert reached(graph, failed_sites, failed_circuits) == alive
    down = set(graph.neighbours) - alive
    found = regions(graph, down, known)
    assert sorted(site for region in found for site in region.sites) == sorted(down)
    for region in found:
        # Cut at its frontier, all of the region is cut off, however well the rest works.
        reach = brute_reached(graph, set(), set(region.frontier) | known)
        outside = {graph.ends[c][0 if graph.ends[c][1] in region.sites else 1] for c in region.frontier}
        assert set(region.near) == outside
        assert not reach & region.sites
        # No circuit of it can be left out: with it and the region's own working, its entry would be reached.
        if not outside & down:
            for circuit in region.frontier:
                rest = down - region.sites
                reach = brute_reached(graph, rest, (set(region.frontier) | known) - {circuit})
                assert reach & region.sites
        # And what truly failed is there: each circuit of the frontier, or the site behind it.
        for circuit in region.frontier:
            inner = next(site for site in graph.ends[circuit] if site in region.sites)
            outer = graph.other(circuit, inner)
            if outer in alive:
                assert circuit in failed_circuits or inner in failed_sites


@given(provinces())
def test_the_order_of_circuits_does_not_matter(province: tuple[Topology, set[str], set[str], set[str]]) -> None:
    graph, failed_sites, failed_circuits, known = province
    down = set(graph.neighbours) - reached(graph, failed_sites, failed_circuits)
    turned = topology(graph.center, reversed(list(graph.neighbours)), dict(reversed(graph.ends.items())))
    assert regions(graph, down, known) == regions(turned, down, known)


def hub() -> Topology:
    """A ring c-a-b-c, a hub h at a with three sites behind it."""
    ends = {"ca": ("c", "a"), "ab": ("a", "b"), "bc": ("b", "c"), "ah": ("a", "h")}
    ends |= {f"h{n}": ("h", f"x{n}") for n in range(3)}
    return topology("c", ["c", "a", "b", "h", "x0", "x1", "x2"], ends)


def test_a_hub_that_is_cut_off_is_one_region_with_those_behind_it() -> None:
    (region,) = regions(hub(), {"h", "x0", "x1", "x2"}, {"ah"})
    assert (region.frontier, region.entries, region.near) == (("ah",), ("h",), ("a",))


def test_a_ring_cut_at_both_sides_is_one_region_with_two_circuits() -> None:
    (region,) = regions(hub(), {"b"}, set())
    assert region.frontier == ("ab", "bc")


def test_two_cuts_apart_are_two_regions() -> None:
    found = regions(hub(), {"x0", "x2"}, set())
    assert [region.frontier for region in found] == [("h0",), ("h2",)]


def test_a_hub_nobody_measures_is_down_when_all_behind_it_are() -> None:
    (region,) = regions(hub(), {"x0", "x1", "x2"}, set(), unknown={"h"})
    assert region.frontier == ("ah",)
    found = regions(hub(), {"x0", "x1"}, set(), unknown={"h"})
    assert [region.frontier for region in found] == [("h0",), ("h1",)]


def test_two_thousand_sites_and_five_thousand_circuits_are_one_region_when_the_center_is_cut_off() -> None:
    sites = [f"s{n}" for n in range(2000)]
    ends = {f"t{n}": (sites[n // 3], sites[n]) for n in range(1, 2000)}
    ends |= {
        f"x{n}": (sites[n % 1990], sites[(n * 7 + 1) % 2000]) for n in range(3001) if n % 1990 != (n * 7 + 1) % 2000
    }
    graph = topology("s0", sites, ends)
    (region,) = regions(graph, set(sites[1:]), set())
    assert len(region.sites) == 1999
    assert region.near == ("s0",)


def test_a_site_without_circuits_is_its_own_entry() -> None:
    graph = topology("c", ["c", "a", "b"], {})
    assert [(r.sites, r.frontier, r.entries, r.near) for r in regions(graph, {"a", "b"}, set())] == [
        (frozenset({"a"}), (), ("a",), ()), (frozenset({"b"}), (), ("b",), ()),
    ]  # fmt: skip
