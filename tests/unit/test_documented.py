"""Cables against the registry."""

from __future__ import annotations

import pytest
from haidang_collector.topology.documented import Cables, Documented, Neighbour

from tests.unit.province import Province

PROVINCE = Province()


def problems(device: str, *seen: Neighbour, names: dict[str, str] | None = None) -> list[tuple[str, ...]]:
    found = Cables(PROVINCE.registry).mismatches({device: list(seen)}, names or {})
    return [(each.site, each.interface, each.circuit, each.problem, each.expected, each.found) for each in found]


@pytest.mark.parametrize(
    "neighbour",
    [
        Neighbour("r2-hub", "sw-hub", "r2-hub"),
        Neighbour("r2-hub", "sw-hub.vidu.example", "5", "r2-hub"),
        Neighbour("r2-hub", "SW-HUB", "00:11:22:33:44:55"),  # a port that is told by its address alone
        Neighbour("r2-hub", "HUB CORE", "r2-hub"),
        Neighbour("r2-hub", "a printer", "eth0"),  # nobody the registry knows
        Neighbour("r2-hub", "", ""),
        Neighbour("lan7", "sw-r2", "lan8"),  # itself, by a cable of its own
    ],
)
def test_what_is_as_documented_is_no_mismatch(neighbour: Neighbour) -> None:
    assert problems("sw-r2", neighbour, names={"HUB CORE": "sw-hub"}) == []


def test_another_device_another_port_and_a_link_nobody_wrote_down() -> None:
    assert problems(
        "sw-r2",
        Neighbour("r2-hub", "sw-x1", "r2-hub"),
        Neighbour("r2-r3", "sw-r3", "ge7"),
        Neighbour("ge9", "sw-r5", "ge9"),
    ) == [
        ("r2", "r2-hub", "r2-hub", "wrong_device", "sw-hub r2-hub", "sw-x1 r2-hub"),
        ("r2", "r2-r3", "r2-r3", "wrong_port", "sw-r3 r2-r3", "sw-r3 ge7"),
        ("r2", "ge9", "", "undocumented", "", "sw-r5 ge9"),
    ]


def test_facts_of_devices_are_what_is_compared() -> None:
    province = Province()
    neighbour = {
        "protocol": "lldp",
        "interface": "r2-hub",
        "system": "sw-x1",
        "chassis": "",
        "port": "p",
        "port_description": "",
    }
    fact = {"kind": "neighbours", "key": "sw-r2", "body": {"neighbours": [neighbour, {"garbage": 1}]}}
    foreign = {"kind": "neighbours", "key": "sw-r3", "body": {"neighbours": [neighbour]}}
    province.say("sw-r2", "r2", "lldp", facts=[fact, foreign])
    documented = province.engine.evidence.documented
    assert list(documented.seen) == ["sw-r2"]
    (found,) = province.engine.cables.mismatches(documented.seen, documented.system_names)
    assert (found.device, found.problem) == ("sw-r2", "wrong_device")


def seen_by(number: int, text: str = "sw-x1") -> list[tuple[str, str, str, str]]:
    return [(f"ge{port}", text, f"{port}{text}", text) for port in range(number)]


def test_what_is_kept_of_neighbours_is_bounded_by_text_device_and_agent() -> None:
    """An agent that says as much as its deliveries hold, of a hundred devices; and honest ones beside it."""
    documented = Documented()
    for device in range(100):
        documented.note("hostile", f"sw-{device}", seen_by(2_000, "\U0001f600" * 4096))
    kept = [each for neighbours in documented.seen.values() for each in neighbours]
    texts = [text for each in kept for text in (each.interface, each.system, each.port, each.port_description)]
    assert max(map(len, texts)) == 255
    assert sum(map(len, texts)) < 5_000_000
    assert max(map(len, documented.seen.values())) == 1000
    # Switches of 500 ports with a name of every length on each: nothing is left out, whoever said what before.
    for device in range(50):
        documented.note("honest", f"hub-{device}", seen_by(500))
    assert {len(documented.seen[f"hub-{device}"]) for device in range(50)} == {500}
    # What is said instead makes room again.
    for device in range(100):
        documented.note("hostile", f"sw-{device}", [])
    documented.note("hostile", "sw-0", seen_by(500))
    assert len(documented.seen["sw-0"]) == 500
    documented.call("sw-0", "a" * 4096)
    assert documented.system_names == {"a" * 255: "sw-0"}


def test_only_what_changed_is_compared_again() -> None:
    cables, documented = Cables(PROVINCE.registry), Documented()
    looked: list[str] = []

    class Watched(dict[str, str]):
        def get(self, name: str, default: object = None) -> str | None:  # type: ignore[override]  # of texts alone
            looked.append(name)
            return super().get(name)

    def compared() -> list[str]:
        looked.clear()
        cables.mismatches(documented.seen, Watched(documented.system_names))
        return list(looked)

    documented.note("a", "sw-r2", [("r2-hub", "sw-x1", "p", "")])
    documented.note("a", "sw-r3", [("r3-r4", "sw-x2", "p", "")])
    assert compared() == ["sw-x1", "sw-x2"]
    documented.note("a", "sw-r2", [("r2-hub", "sw-x1", "p", "")])  # as before
    assert compared() == []
    documented.note("a", "sw-r3", [("r3-r4", "sw-x3", "p", "")])
    assert compared() == ["sw-x3"]
    documented.call("sw-r4", "sw-x1")  # a name says whose neighbour it is
    assert compared() == ["sw-x1", "sw-x3"]
    found = cables.mismatches(documented.seen, documented.system_names)
    assert [(each.device, each.found) for each in found] == [("sw-r2", "sw-r4 p"), ("sw-r3", "sw-x3 p")]
