"""Cables against the registry."""

from __future__ import annotations

import pytest
from haidang_collector.outage.documented import Neighbour, mismatches

from tests.unit.province import Province

PROVINCE = Province()


def problems(device: str, *seen: Neighbour, names: dict[str, str] | None = None) -> list[tuple[str, ...]]:
    found = mismatches(PROVINCE.registry, {device: list(seen)}, names or {})
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
    evidence = province.engine.evidence
    assert list(evidence.documented) == ["sw-r2"]
    (found,) = mismatches(province.registry, evidence.documented, evidence.system_names)
    assert (found.device, found.problem) == ("sw-r2", "wrong_device")
