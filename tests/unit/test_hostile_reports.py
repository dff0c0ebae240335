"""Whatever a report holds that the gate lets in: the engine, the reviser, the keeper of measured time and the plan take it
or leave it. Nothing raises, and what is true is still told after it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from haidang_collector.intake.feed import Accepted
from haidang_collector.intake.ingest import Prepared, Refused, Speaker, prepare
from haidang_collector.ledger.database import Ledger
from haidang_collector.months import month
from haidang_collector.outage.exposition import expose
from haidang_collector.outage.sla import figures
from haidang_collector.plan.figures import compute
from haidang_collector.plan.inputs import Inputs
from haidang_collector.registry.assignments import Assignments
from haidang_collector.registry.model import Registry
from haidang_collector.reports.sla import Report as MonthReport
from haidang_collector.reports.sla import as_csv, table
from haidang_collector.settings import Limits
from haidang_wire.metrics import CATALOGUE, samples_of
from haidang_wire.report import Report, expiry
from haidang_wire.sources import SOURCES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.province import CIRCUITS, SITES, START, registry
from tests.unit.test_registries import World, ledger

__all__ = ["ledger"]


def _document() -> dict[str, Any]:
    document = registry()
    document["devices"][1]["agent"] = "sw-ttdl"  # sw-r1 is polled by the center's
    document["services"] = [
        {"id": "vb", "kind": "document_system", "site": "ttdl", "url": "https://a/", "serves": "all",
         "documents": {"url": "https://a/n", "count": "n", "electronic": "e"}},
    ]  # fmt: skip
    return document


REGISTRY = Registry.model_validate(_document())
REGISTRY_SITES = {device.id: device.site for device in REGISTRY.devices}
SPEAKERS = (("sw-ttdl", "ttdl"), ("sw-hub", "hub"), ("sw-x1", "x1"), ("pc", "x1"))
_SEQUENCES = itertools.count(1)
ODD = (0.0, 1.0, -1.0, 0.5, 1e300, -1e300, 1.7e308, 5e-324, 2.0**63, -(2.0**53), START, START * 1000, -62_135_596_801.0)
NUMBERS = st.one_of(st.sampled_from(ODD), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.one_of(
    st.sampled_from(
        ["ttdl", "hub", "x1", "r2-hub", "sw-hub", "sw-ttdl", "sw-r1", "vb", "", "{x}", "%(device)s", "\ud7ff"]
    ),
    st.text(max_size=30),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
BODIES = st.dictionaries(
    st.one_of(
        st.sampled_from(["device", "interface", "target", "admin_up", "neighbours", "name", "system", "port"]), TEXTS
    ),
    st.one_of(
        JSON, st.lists(st.dictionaries(st.sampled_from(["interface", "system", "port"]), JSON, max_size=3), max_size=3)
    ),
    max_size=5,
)
METRICS = sorted(
    (name, tuple(labels)) for metric in CATALOGUE.values() if "collector" not in metric.sources
    for name, labels in samples_of(metric).items()
)  # fmt: skip
TELLING = [each for each in METRICS if each[0].startswith(("haidang_path", "haidang_interface", "haidang_service",
           "haidang_optical", "haidang_ups", "haidang_host_mains", "haidang_device_up", "haidang_appliance"))]  # fmt: skip
SAMPLES = st.builds(
    lambda metric, texts, value: {
        "metric": metric[0],
        "labels": dict(zip(metric[1], texts, strict=False)),
        "value": value,
    },
    st.one_of(st.sampled_from(TELLING), st.sampled_from(METRICS)),
    st.lists(TEXTS, min_size=6, max_size=6),
    NUMBERS,
)
EVENTS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(
            ["path_down", "path_up", "link_down", "link_up", "dying_gasp", "agent_stopped", "other"]
        ),
        "at": NUMBERS,
        "body": BODIES,
    }
)
FACTS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["neighbours", "device", "route", "other"]), "key": TEXTS, "body": BODIES}
)
SOURCE = st.one_of(
    st.sampled_from(sorted(SOURCES)), st.sampled_from(["snmp:sw-r1", "traps:sw-r1", "snmp:sw-hub", "traps:sw-hub"])
)
ANYTHING = st.tuples(
    st.sampled_from(SPEAKERS),
    st.fixed_dictionaries(
        {
            "source": SOURCE,
            "samples": st.lists(SAMPLES, max_size=6),
            "facts": st.lists(FACTS, max_size=3),
            "events": st.lists(EVENTS, max_size=4),
        }
    ),
    st.just(False),
)


def _sample(name: str, value: float, **labels: str) -> dict[str, Any]:
    return {"metric": f"haidang_{name}", "labels": labels, "value": value}


@st.composite
def rightful(draw: Any) -> tuple[tuple[str, str], dict[str, Any], bool]:
    """Reports of who may say such things, in their right form, with values that can't be meant."""
    about = draw(st.sampled_from(["path_state", "path_state", "ports", "power", "services"]))
    number, up = draw(NUMBERS), draw(st.sampled_from([0, 1]))
    at = draw(st.one_of(NUMBERS, st.integers(-90, 5).map(lambda n: START + n)))
    content: dict[str, Any] = {"samples": [], "facts": [], "events": []}
    if about == "path_state":
        speaker = draw(st.sampled_from([SPEAKERS[0], SPEAKERS[0], *SPEAKERS[1:3]]))
        known = st.sampled_from([*SITES[1:], *SITES[1:], *CIRCUITS] if speaker[1] == "ttdl" else ["ttdl"])
        targets = draw(st.lists(known, min_size=3 if speaker[1] == "ttdl" else 1, max_size=6, unique=True))
        content["source"] = "path_state"
        for target in targets:
            content["samples"] += [
                _sample("path_reachable", draw(st.sampled_from([0, 0, 1])), target=target),
                _sample("path_change_timestamp_seconds", draw(NUMBERS), target=target),
                _sample("path_silent_seconds", draw(NUMBERS), target=target),
            ]
        said = draw(st.sampled_from(["path_up", "path_down"]))
        content["events"] = [{"kind": said, "at": at, "body": {"target": targets[0]}}]
        return speaker, content, True
    if about == "services":
        unit = draw(st.sampled_from(["", "hub", "x1"]))
        content["source"] = "services"
        content["samples"] = [
            _sample("service_up", up, service="vb"),
            _sample("service_documents", number, service="vb", unit=unit),
            _sample("service_documents_electronic", draw(NUMBERS), service="vb", unit=unit),
        ]
        return SPEAKERS[0], content, True
    device, speaker = draw(st.sampled_from([("sw-hub", SPEAKERS[1]), ("sw-x1", SPEAKERS[2]), ("sw-r1", SPEAKERS[0])]))
    own = {"sw-hub": "r2-hub", "sw-x1": "hub-x1", "sw-r1": "r1-r2"}[device]
    foreign = device == "sw-r1"
    port = {"device": device, "interface": own}
    if about == "power":
        content["source"] = f"snmp:{device}" if foreign else "host"
        content["samples"] = [
            _sample("ups_on_battery", number, device=device) if foreign else _sample("host_mains_power", up)
        ]
        return speaker, content, True
    said = draw(st.sampled_from(["samples", "event"]))
    if said == "event":
        content["source"] = f"traps:{device}" if foreign else "links"
        kind = draw(st.sampled_from(["link_up", "link_down", "dying_gasp"]))
        content["events"] = [{"kind": kind, "at": at, "body": port | draw(BODIES) | port}]
    else:
        content["source"] = f"snmp:{device}" if foreign else "host"
        content["samples"] = [_sample("interface_up", up, **port)]
        if foreign:
            content["samples"].append(_sample("interface_admin_up", number, **port))
            content["samples"].append(_sample("optical_receive_power_dbm", draw(NUMBERS), **port, lane=""))
    return speaker, content, True


REPORTS = st.tuples(
    st.one_of(rightful(), rightful(), rightful(), ANYTHING),
    st.one_of(st.just(START), st.just(START), NUMBERS),
    st.sampled_from([60.0, 60.0, 5.0, 0.1, 7 * 86400.0]),
    st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0, 100.0, 86400.0 * 40, 9e8]),
    st.sampled_from([False, False, True]),
)


def let_in(speaker: tuple[str, str], content: dict[str, Any], age: float, now: float) -> Prepared | None:
    """As the gate lets it in, or not."""
    agent, site = speaker
    rights = Assignments(REGISTRY).rights(agent, site)
    rights = replace(rights, targets=rights.targets | CIRCUITS.keys())
    document = {"agent": agent, "epoch": 1, "sequence": next(_SEQUENCES), **content}
    try:
        return prepare(msgspec.json.encode(document), age, Speaker(agent, site, rights), now, Limits())
    except Refused:
        return None


def as_it_is(speaker: tuple[str, str], content: dict[str, Any], age: float, now: float) -> Prepared:
    """Past the gate: the engine stands on its own feet."""
    agent, site = speaker
    _, _, device = content["source"].partition(":")
    report = msgspec.convert({"agent": agent, "epoch": 1, "sequence": next(_SEQUENCES), **content}, Report)
    of = REGISTRY_SITES[device] if device else site
    taken = now - age
    kept = list(range(len(report.samples)))
    return Prepared(report, of, b"", taken, expiry(taken, report.interval), {}, kept, 0, Counter())


def true(world: World, *, up: bool) -> None:
    samples = [
        {"metric": "haidang_path_reachable", "labels": {"target": site}, "value": int(up or site != "x1")}
        for site in SITES
        if site != "ttdl"
    ]
    world.say("sw-ttdl", "ttdl", "path_state", samples=samples)


@pytest.mark.parametrize("examples", [120])
def test_whatever_reports_hold_the_engine_and_the_plan_go_on(ledger: Ledger, examples: int) -> None:
    @settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
    )
    @given(st.lists(REPORTS, min_size=1, max_size=4))
    def go_on(reports: list[Any]) -> None:
        world = World(ledger)
        world.load(REGISTRY)
        plan = Inputs()
        plan.use(REGISTRY)
        world.run(1)
        for (speaker, content, rightful), taken, interval, age, late in reports:
            given = {**content, "taken": taken, "interval": interval}
            prepared = (as_it_is if rightful else let_in)(speaker, given, age, world.now)
            if prepared is None:
                continue
            world.watch.take(Accepted(prepared, world.now, is_live=not late))
            plan.take(prepared)
            world.run(8)
            engine = world.watch.engine
            assert engine is not None
            expose(engine, openmetrics=False)
            plan.look(engine, world.now)
            for share in compute(REGISTRY, plan, {}, world.now).sites.values():
                assert 0 <= share.ratio <= 1
        assert world.counted() == 0
        world.restart()
        for up in (True, False):
            for _ in range(14):
                true(world, up=up)
                world.run(1)
        assert world.watch.engine is not None
        assert world.watch.engine.site_states["x1"] == "down"
        with ledger.transaction() as connection:
            from haidang_collector.outage import store as kept

            period = month("2026-05").period
            found = figures(REGISTRY, period, kept.record(connection, *period), world.now, 0.95)
            made = MonthReport(REGISTRY, "2026-05", found, kept.between(connection, *period))
        table(made, "vi")
        as_csv(made)
        for each in found:
            assert 0 <= each.down_seconds <= each.measured_seconds + 1e-3
            assert each.measured_seconds <= each.counted_seconds + 1e-3

    go_on()


def test_signs_of_one_agent_leave_room_for_others(ledger: Ledger) -> None:
    """Ten thousand signs of one, and one of another: the other's is worked on."""
    world = World(ledger)
    world.load(REGISTRY)
    for up in (True, False):
        for _ in range(14):
            true(world, up=up)
            world.run(1)
    assert world.watch.engine is not None
    (outage,) = world.watch.engine.open_outages.values()
    lost = outage.started
    events = [{"kind": "path_down", "at": world.now - n % 7, "body": {"target": "ttdl"}} for n in range(1000)]
    for _ in range(10):
        world.say("sw-hub", "hub", "path_state", events=events)
    assert world.counted("sign") == 9000
    world.say("sw-x1", "x1", "path_state", events=[{"kind": "path_down", "at": lost - 2, "body": {"target": "ttdl"}}])
    for _ in range(4):
        asyncio.run(world.watch.turn(world.now))
    assert outage.started == lost - 2
