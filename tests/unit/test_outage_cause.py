"""Causes from evidence: light, neighbours, power, what an operator shut."""

from __future__ import annotations

from string import Formatter
from typing import Any

import pytest
from haidang_collector.outage import remarks
from haidang_collector.outage.cause import Kind
from haidang_collector.outage.remarks import remark

from tests.unit.province import Province


def optics(province: Province, power: float, lane: str = "") -> None:
    labels = {"device": "sw-r2", "interface": "r2-hub", "lane": lane}
    province.say(
        "sw-r2", "r2", "transceivers",
        samples=[{"metric": "haidang_optical_receive_power_dbm", "labels": labels, "value": power}],
    )  # fmt: skip


def hub_cut_off(province: Province) -> tuple[Kind, str]:
    province.run(10)
    (outage,) = province.open
    assert outage.site == "hub"
    return outage.cause.kind, " ".join(said.en for said in outage.cause.evidence)


@pytest.mark.parametrize(
    ("power", "kind", "text"),
    [(-40.0, Kind.FIBER_CUT, "no link and no light"), (-8.0, Kind.FAR_DEVICE, "sees light (-8.0 dBm) but has no link")],
)
def test_light_tells_a_cut_fiber_from_a_dead_port(power: float, kind: Kind, text: str) -> None:
    province = Province()
    optics(province, -7.0)
    province.cut("r2-hub")
    province.run(1)
    optics(province, power)
    found, evidence = hub_cut_off(province)
    assert found == kind
    assert text in evidence


def test_light_seen_before_the_cut_tells_nothing_of_it() -> None:
    province = Province()
    optics(province, -7.0)
    province.run(5)
    province.cut("r2-hub")
    found, evidence = hub_cut_off(province)
    assert found == Kind.FIBER_CUT
    assert "light" not in evidence


def test_of_several_lanes_the_brightest_counts() -> None:
    province = Province()
    province.cut("r2-hub")
    province.run(1)
    for lane, power in (("1", -40.0), ("2", -6.0), ("3", -40.0)):
        optics(province, power, lane)
    assert hub_cut_off(province)[0] == Kind.FAR_DEVICE


def neighbours(province: Province, *systems: str) -> None:
    said = [{"interface": "r2-hub", "system": system, "port": "p"} for system in systems]
    fact = {"kind": "neighbours", "key": "sw-r2", "body": {"neighbours": said}}
    province.say("sw-r2", "r2", "lldp", facts=[fact])


def test_a_link_whose_neighbour_is_gone_is_the_far_device() -> None:
    province = Province()
    neighbours(province, "sw-hub")
    province.black.add("r2-hub")
    province.run(2)
    neighbours(province)
    province.run(16)  # until the port is seen, up
    found, evidence = hub_cut_off(province)
    assert found == Kind.FAR_DEVICE
    assert "has a link but no neighbour" in evidence


def test_a_device_that_never_had_a_neighbour_says_nothing_by_having_none() -> None:
    province = Province()
    neighbours(province)
    province.black.add("r2-hub")
    province.run(16)
    assert hub_cut_off(province)[0] == Kind.CARRIER


def event(province: Province, kind: str, device: str, **body: Any) -> None:
    said = {"kind": kind, "at": province.now, "body": {"device": device, **body}}
    site = device.removeprefix("sw-")
    province.say(device, site, "links", events=[said])


def test_a_dying_gasp_is_power() -> None:
    province = Province()
    event(province, "dying_gasp", "sw-hub")
    province.power_off("hub")
    found, evidence = hub_cut_off(province)
    assert found == Kind.POWER
    assert "dying gasp of sw-hub" in evidence


def test_a_port_an_operator_shut_is_no_cut_fiber() -> None:
    province = Province()
    province.cut("r2-hub")
    event(province, "link_down", "sw-r2", interface="r2-hub", admin_up=False)
    found, evidence = hub_cut_off(province)
    assert found == Kind.FAR_DEVICE
    assert "shut down by its operator" in evidence


def test_nobody_speaks_for_anothers_ports_or_power() -> None:
    province = Province()
    for kind in ("dying_gasp", "link_down"):
        said = {"kind": kind, "at": province.now, "body": {"device": "sw-hub", "interface": "r2-hub"}}
        province.say("sw-x1", "x1", "links", events=[said, {"kind": kind, "at": province.now, "body": {}}])
    assert province.engine.evidence.power == {}
    assert province.engine.evidence.ports["sw-hub", "r2-hub"].up
    province.run(30)
    assert province.opened == []


def test_an_old_report_does_not_undo_what_a_newer_event_said() -> None:
    province = Province()
    province.run(1)
    port = province.engine.evidence.ports["sw-r2", "r2-hub"]
    province.cut("r2-hub")
    assert not port.up
    labels = {"device": "sw-r2", "interface": "r2-hub"}
    sample = {"metric": "haidang_interface_up", "labels": labels, "value": 1}
    now, province.now = province.now, province.now - 5  # a poll that was begun before
    province.say("sw-r2", "r2", "host", samples=[sample])
    province.now = now
    assert not port.up


def test_what_is_said_is_said_in_both_languages() -> None:
    assert set(remarks.CAUSES) == {str(kind) for kind in Kind}
    for key, (en, vi) in remarks._REMARKS.items():
        fields = [sorted({name for _, name, _, _ in Formatter().parse(text) if name}) for text in (en, vi)]
        assert fields[0] == fields[1], key
    nested = remark("at", what=remark("ups", device="ups-1"), at="02:10:00")
    assert nested == ("UPS ups-1 on battery at 02:10:00", "UPS ups-1 chạy bằng ắc quy lúc 02:10:00")
