"""Judging waits for nothing: a ledger that fails or hangs delays what is kept, not what is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.console.view import view
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.tables import downtimes, outages
from haidang_collector.outage import store as kept
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.exposition import expose
from haidang_collector.plan.watch import PlanWatch
from haidang_collector.principals import Principal
from haidang_collector.registry.model import Registry
from haidang_collector.telemetry import Telemetry

from tests.unit.province import CIRCUITS, SITES, START, registry
from tests.unit.test_registries import World

PROVINCE = Registry.model_validate(registry())


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(Ledger(tmp_path))
    made.load(PROVINCE)
    return made


def look(world: World, seconds: int, says: Callable[[], None] = lambda: None) -> None:
    for _ in range(seconds):
        world.now += 1
        says()
        world.watch.look(world.now)


def shown(world: World) -> str:
    engine = world.watch.current()
    return expose(engine, openmetrics=False, stalled=engine is None).decode()


async def fail(*_: object) -> None:
    raise LedgerError("the disk fails")


def test_a_ledger_that_fails_shows_nothing_old_and_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(20, lambda: world.reaches_all_but())
    assert shown(world).count("haidang_site_up{") == len(SITES)
    with monkeypatch.context() as broken:
        broken.setattr(world.ledger, "run", fail)
        for seconds, down in ((30, ("x1",)), (60, ())):
            for _ in range(seconds):
                world.now += 1
                world.reaches_all_but(*down)
                with pytest.raises(LedgerError):
                    asyncio.run(world.watch.turn(world.now))
            assert ('haidang_site_up{site="x1"} 0' in shown(world)) == bool(down)
        world.now += 60
        with pytest.raises(LedgerError):
            asyncio.run(world.watch.turn(world.now))
        assert "haidang_site_up{" not in shown(world)
        assert "haidang_circuit_up{" not in shown(world)
    assert world.rows(outages) == []
    world.run(1)
    (outage,) = world.rows(outages)
    assert (outage.site, outage.started, outage.ended) == ("x1", START + 21, START + 51)
    assert {(row.element, row.ended is None) for row in world.rows(downtimes)} == {("x1", False), ("hub-x1", False)}


def test_a_ledger_that_hangs_holds_up_no_judging(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(20, lambda: world.reaches_all_but())
    run = world.ledger.run

    async def hang() -> None:
        free = asyncio.Event()

        async def held_up(*arguments: Any) -> Any:
            await free.wait()
            return await run(*arguments)

        monkeypatch.setattr(world.ledger, "run", held_up)
        look(world, 10, lambda: world.reaches_all_but("x1"))
        keeping = asyncio.create_task(world.watch.keep(world.now))
        await asyncio.sleep(0)
        look(world, 10, lambda: world.reaches_all_but("x1", "x2"))
        assert 'haidang_site_up{site="x2"} 0' in shown(world)
        look(world, 20)
        assert "haidang_site_up{" not in shown(world)
        look(world, 60, lambda: world.reaches_all_but())
        assert "haidang_outage_open{" not in shown(world)
        free.set()
        await keeping

    asyncio.run(hang())
    world.run(1)
    assert sorted((row.site, row.ended is None) for row in world.rows(outages)) == [("x1", False), ("x2", False)]
    assert world.open_elements() == set()


def test_a_registry_that_waits_for_the_ledger_begins_nothing_of_what_it_does_not_have(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(20, lambda: world.reaches_all_but())
    run = world.ledger.run
    document = registry()
    document["sites"] = [site for site in document["sites"] if site["id"] != "x1"]
    document["devices"] = [device for device in document["devices"] if device["site"] != "x1"]
    document["circuits"] = [each for each in document["circuits"] if each["id"] != "hub-x1"]
    smaller = Registry.model_validate(document)

    async def load() -> None:
        free = asyncio.Event()

        async def held_up(*arguments: Any) -> Any:
            done = await run(*arguments)
            await free.wait()
            return done

        monkeypatch.setattr(world.ledger, "run", held_up)
        using = asyncio.create_task(world.watch.use(smaller))
        await asyncio.sleep(0)
        look(world, 10, lambda: world.reaches_all_but("x1", "x2"))
        free.set()
        await using

    asyncio.run(load())
    world.registry = smaller
    world.run(2)
    assert [row.site for row in world.rows(outages)] == ["x2"]
    assert world.open_elements() == {("site", "x2"), ("circuit", "hub-x2")}


def test_an_engine_that_can_not_judge_shows_nothing_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(30, lambda: world.reaches_all_but("x1"))
    assert "haidang_outages_judged 1" in shown(world)
    assert "haidang_outage_open{" in shown(world)

    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(Engine, "evaluate", break_down)
        assert 'haidang_site_up{site="x1"} 0' in shown(world)  # it was judged a moment ago
        world.now += 6
        lines = [line for line in shown(world).splitlines() if not line.startswith("#")]
        assert lines == ["haidang_outages_judged 0"]
        page = view(world.registry, world.watch.current(), {})
        assert not page.judged
        assert {row.state for row in (*page.sites, *page.circuits)} == {"unknown"}
    # Whoever asks first after everything stood still is told what is, not what was.
    world.now += 600
    assert "haidang_site_up{" not in shown(world)
    assert "haidang_outages_judged 1" in shown(world)
    assert shown(world).count("haidang_circuit_measured{") == len(CIRCUITS)
    assert "haidang_outage_open{" in shown(world)
    assert view(world.registry, world.watch.current(), {}).judged


def test_planned_work_is_known_before_anything_is_judged(world: World) -> None:
    with world.ledger.transaction() as connection:
        kept.add_maintenance(connection, Principal.of_command(), "x1", START, START + 600, "")
    world.run(30, lambda: world.reaches_all_but("x1"))
    assert 'planned="1"' in shown(world)
    world.restart()
    assert 'planned="1"' in shown(world)


def test_old_figures_of_the_plan_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Known:
        registry, engine = PROVINCE, None

    now = START
    ledger = Ledger(tmp_path)
    plan = PlanWatch(ledger, Telemetry(), lambda: now)
    plan.use(PROVINCE)
    asyncio.run(plan.turn(Known()))
    assert "haidang_plan_ratio" in dict(plan.blocks)
    monkeypatch.setattr(ledger, "run", fail)
    now += 60
    with pytest.raises(LedgerError):
        asyncio.run(plan.turn(Known()))
    assert plan.blocks
    now += 600
    assert plan.blocks == []
