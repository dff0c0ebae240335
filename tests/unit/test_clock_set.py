"""The collector's own clock is set while it runs, or while it does not: what is current stays as old as it is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.delivery.spool import Spool
from haidang_agent.platform.system import boot_seconds
from haidang_agent.schedule.source import Findings
from haidang_collector.exposition.latest import Latest
from haidang_collector.identity import agents as identities
from haidang_collector.intake import time_base as module
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.ingest import Batch, Speaker, prepare, read_delivery
from haidang_collector.intake.time_base import redate
from haidang_collector.intake.writer import Outcome, Writer
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.tables import downtimes, outages
from haidang_collector.ledger.tables import measured as spans
from haidang_collector.outage.evidence import PathState
from haidang_collector.outage.model import Downtime, Outage
from haidang_collector.outage.watch import Watch
from haidang_collector.plan.figures import compute
from haidang_collector.plan.inputs import Appliance, Inputs
from haidang_collector.plan.watch import PlanWatch
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry
from haidang_collector.registry.model import Registry
from haidang_collector.settings import Limits, Settings
from haidang_collector.telemetry import Telemetry

from tests.conftest import REGISTRY, report
from tests.unit.province import registry
from tests.unit.test_registries import World

UNIX = 1.7e9
LIMITS = Limits()
# Floats of Unix seconds are good to a quarter of a microsecond.
EXACT = 1e-5


class Center:
    """A collector's clocks, its writer and what it shows; `seconds` passes, `set_by` is what its wall clock was set by."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 100.0
        self.set_by = 0.0
        self.sequence = 0
        self.ledger = Ledger(folder)
        self.begin()
        with self.ledger.transaction() as connection:
            registry_store.save_registry(connection, Principal.itself(), load_registry(REGISTRY))
            identities.add_agent(connection, Principal.itself(), "may-1", "ttdl", "t", 0.0)

    def begin(self) -> None:
        """A new process in the same boot."""
        self.base = TimeBase(steady=lambda: self.seconds, wall=lambda: UNIX + self.seconds + self.set_by)
        self.writer, self.latest = Writer(keep_late=True), Latest()
        self.latest.enrol("may-1", "ttdl")
        with self.ledger.transaction() as connection:
            redate(connection, self.base.anchor, self.base.now())

    def receive(self, age: float = 0.0, **changes: Any) -> Batch:
        self.sequence += 1
        made = report(sequence=self.sequence, **{"interval": 10, **changes})
        reading = self.base.read()
        document = {
            "sent": 0.0, "reference": {"clock": reading.clock, "seconds": reading.seconds, "ago": 0.0},
            "reports": [{"age": age, "report": made}],
        }  # fmt: skip
        speaker = Speaker("may-1", "ttdl", time_base=self.base)
        return read_delivery(json.dumps(document).encode(), speaker, self.base.now(), LIMITS)

    def store(self, batch: Batch) -> Outcome:
        self.writer.follow(self.base)
        batch.follow(self.base)
        with self.ledger.transaction() as connection:
            (outcome,) = self.writer.write(connection, [batch])
        self.writer.committed()
        assert isinstance(outcome, Outcome)
        batch.follow(self.base)
        for prepared in outcome.live:
            self.latest.put("may-1", prepared)
        return outcome

    def follow(self) -> float:
        moved = self.base.follow()
        self.latest.move(moved)
        return moved

    def kept(self) -> float:
        with self.ledger.transaction() as connection:
            return float(connection.exec_driver_sql("SELECT taken FROM latest").scalar_one())

    def age_shown(self) -> float | None:
        self.latest.expire(self.base.now())
        return self.base.now() - self.latest.agents["may-1"].last_taken if self.latest.series else None


@pytest.fixture
def center(tmp_path: Path) -> Iterator[Center]:
    made = Center(tmp_path)
    yield made
    made.ledger.close()


def test_time_goes_on_steadily_until_a_step_is_followed(center: Center) -> None:
    center.set_by = 0.1  # less than a step: slewed, or a leap second that is smeared
    center.seconds += 5.0
    assert center.base.follow() == 0.0
    assert center.base.now() == UNIX + 105.0
    center.set_by = -3600.0
    assert center.base.now() == UNIX + 105.0
    assert center.base.follow() == pytest.approx(-3600.0)
    assert center.base.now() == pytest.approx(UNIX + 105.0 - 3600.0)
    assert center.base.follow() == 0.0


@pytest.mark.parametrize("set_by", [1.0, 3600.0, -1.0, -20.0, -3600.0, 1e8, -1e8])
def test_what_is_shown_when_the_clock_is_set_is_as_old_as_it_was(center: Center, set_by: float) -> None:
    assert len(center.store(center.receive(age=2.0)).live) == 1
    center.seconds += 3.0
    center.set_by = set_by
    assert center.follow() == pytest.approx(set_by)
    assert center.age_shown() == pytest.approx(5.0, abs=EXACT)
    # What comes next is newer, at once; and what was measured before is late, as ever.
    assert len(center.store(center.receive(age=1.0)).live) == 1
    assert center.kept() == pytest.approx(center.base.now() - 1.0, abs=EXACT)
    assert len(center.store(center.receive(age=4.0)).late) == 1
    center.seconds += 23.9
    assert center.age_shown() == pytest.approx(24.9, abs=EXACT)
    center.seconds += 0.2
    assert center.age_shown() is None


@pytest.mark.parametrize("set_by", [3600.0, -3600.0])
def test_what_was_on_its_way_to_the_disk_meanwhile_is_dated_anew(center: Center, set_by: float) -> None:
    batch = center.receive(age=2.0)
    center.set_by = set_by
    center.follow()
    assert len(center.store(batch).live) == 1
    assert center.age_shown() == pytest.approx(2.0, abs=EXACT)
    center.seconds += 1.0
    assert len(center.store(center.receive()).live) == 1


@pytest.mark.parametrize("set_by", [0.0, 3600.0, -10.0, -3600.0])
def test_a_clock_that_is_set_while_nothing_runs_makes_nothing_fresh(center: Center, set_by: float) -> None:
    center.store(center.receive())
    center.seconds += 60.0
    center.set_by = set_by
    center.begin()
    assert center.base.now() - center.kept() == pytest.approx(60.0, abs=EXACT)
    assert len(center.store(center.receive()).live) == 1


def test_after_another_boot_nothing_is_of_the_future(center: Center, monkeypatch: pytest.MonkeyPatch) -> None:
    center.store(center.receive(facts=[{"kind": "x", "key": "may-1", "body": {"is": 1}}]))
    monkeypatch.setattr(module, "boot", lambda: "another")
    center.seconds, center.set_by = 5.0, -3600.0  # a dead battery
    center.begin()
    assert center.kept() == 0.0
    outcome = center.store(center.receive(facts=[{"kind": "x", "key": "may-1", "body": {"is": 2}}]))
    assert len(outcome.live) == 1
    with center.ledger.transaction() as connection:
        assert connection.exec_driver_sql("SELECT body FROM facts").scalar_one() == '{"is": 2}'


def test_what_a_stalled_disk_kept_waiting_is_late(center: Center) -> None:
    batch = center.receive()
    center.seconds += 26.0
    assert len(center.store(batch).late) == 1
    assert center.age_shown() is None


def test_whoever_gave_up_waiting_is_stored_and_not_shown(center: Center) -> None:
    batch = center.receive()
    batch.abandoned = True
    assert len(center.store(batch).late) == 1
    assert center.age_shown() is None
    # Its goodbye counts: who says that does not wait for long.
    event = {"kind": "agent_stopped", "at": time.time(), "body": {}}
    batch = center.receive(source="lifecycle", samples=[], events=[event])
    batch.abandoned = True
    assert center.store(batch).stopped is True


def test_after_a_step_nothing_is_known_but_what_is_open(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    watch = Watch(ledger, Settings(), Telemetry())
    watch.begin_again()  # without a registry there is nothing to begin
    registry = load_registry(REGISTRY)
    asyncio.run(watch.use(registry))
    before = watch.engine
    assert before is not None
    site = next(each.id for each in registry.sites if each.id != registry.center)
    outage = Outage("x", "site", site, "", UNIX, (), {site}, {site})
    before.open_outages["x"] = outage
    before.downtimes["site", site] = Downtime("site", site, UNIX, "x")
    before.evidence.paths["probe", site] = PathState(True, UNIX, 0.0, UNIX, UNIX + 10)
    before.evidence.heard[site] = UNIX + 3600.0
    before.evidence.documented.note("a", "d", [])
    watch.begin_again()
    after = watch.engine
    assert after is not None
    assert (after.open_outages, after.downtimes) == (before.open_outages, before.downtimes)
    assert (after.evidence.paths, after.evidence.heard, after.evidence.documented.seen) == ({}, {}, {"d": []})
    assert not after.evaluate(UNIX - 3600.0).outages
    assert after.site_states[site] == "unknown"
    ledger.close()


HOURS = 7 * 3600.0


def province(folder: Path) -> World:
    world = World(Ledger(folder))
    world.load(Registry.model_validate(registry()))
    return world


@pytest.mark.parametrize("set_by", [HOURS, -HOURS, 30 * 86400.0, -30 * 86400.0])
@pytest.mark.parametrize("how", ["running", "killed", "while nothing runs"])
def test_what_is_open_when_the_clock_is_set_is_as_old_as_it_was_and_ends_in_time(
    tmp_path: Path, set_by: float, how: str
) -> None:
    world = province(tmp_path)
    world.run(20, lambda: world.reaches_all_but())
    world.run(60, lambda: world.reaches_all_but("x1"))
    world.set_clock(set_by, running=how != "while nothing runs")
    if how != "running":
        world.restart()
    world.run(30, lambda: world.reaches_all_but("x1"))
    began, back = world.now - 89, world.now + 1
    (outage,) = world.rows(outages)
    assert (outage.started, outage.ended) == (pytest.approx(began, abs=EXACT), None)
    assert world.watch.engine is not None
    assert world.watch.engine.open_outages[outage.id].started == pytest.approx(began, abs=EXACT)
    world.run(60, lambda: world.reaches_all_but())
    (outage,) = world.rows(outages)
    assert (outage.started, outage.ended) == (pytest.approx(began, abs=EXACT), pytest.approx(back, abs=EXACT))
    found = {row.element: (row.started, row.ended) for row in world.rows(downtimes)}
    assert found.keys() == {"x1", "hub-x1"}
    assert len(world.rows(downtimes)) == 2
    for started, ended in found.values():
        assert (started, ended) == (pytest.approx(began, abs=EXACT), pytest.approx(back, abs=1.5))
    assert world.watch.engine.open_outages == {}


def test_after_another_boot_nothing_that_is_open_began_in_the_future(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = province(tmp_path)
    world.run(60, lambda: world.reaches_all_but("x1"))
    monkeypatch.setattr(module, "boot", lambda: "another")
    world.set_clock(-HOURS, running=False)
    world.restart()
    (outage,) = world.rows(outages)
    assert outage.started == world.now
    world.run(60, lambda: world.reaches_all_but())
    (outage,) = world.rows(outages)
    assert outage.started <= outage.ended <= world.now


def test_what_a_failing_disk_kept_out_is_dated_anew_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = province(tmp_path)
    world.run(20, lambda: world.reaches_all_but())

    async def fail(*_: object) -> None:
        world.set_clock(-60.0)  # while the write is on its way
        raise LedgerError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(world.ledger, "run", fail)
        for _ in range(10):
            world.reaches_all_but("x1")
            world.watch.look(world.now)
            world.now += 1
        assert list(world.watch.engine.open_outages if world.watch.engine else ()) != []
        with pytest.raises(LedgerError):
            asyncio.run(world.watch.keep(world.now))
    began = world.now - 10
    world.run(1)
    assert [row.started for row in world.rows(outages)] == [pytest.approx(began, abs=EXACT)]
    assert [row.started for row in world.rows(downtimes)] == [pytest.approx(began, abs=EXACT)] * 2


def test_what_is_measured_after_the_clock_was_set_back_is_written_at_once(tmp_path: Path) -> None:
    world = province(tmp_path)
    world.run(30, lambda: world.reaches_all_but())
    world.set_clock(-HOURS)
    back = world.now
    world.run(30, lambda: world.reaches_all_but())
    begins, ends = min((row.begins, row.ends) for row in world.rows(spans) if row.element == "x1")
    assert back <= begins <= back + 2
    assert ends > back + 15


def test_what_a_site_said_of_its_return_is_dated_anew_while_it_waits(tmp_path: Path) -> None:
    world = province(tmp_path)
    world.run(20, lambda: world.reaches_all_but())
    world.run(30, lambda: world.reaches_all_but("x1"))
    back = {"kind": "path_up", "at": world.now - 1, "body": {"target": "ttdl"}}
    world.say("sw-x1", "x1", "path_state", late=True, ago=1, events=[back])  # before the center sees it
    world.run(1, lambda: world.reaches_all_but("x1"))
    world.set_clock(-HOURS)
    returned = world.now - 2
    world.run(70, lambda: world.reaches_all_but())
    found = {row.element: row.ended for row in world.rows(downtimes)}
    assert found["x1"] == pytest.approx(returned, abs=EXACT)


@pytest.mark.parametrize("days", [0, 1, 10, 29, 31])
def test_what_was_seen_by_a_clock_that_was_ahead_meets_no_figure(days: int) -> None:
    document = registry()
    document["services"] = [
        {"id": "vb", "kind": "document_system", "site": "ttdl", "url": "https://a/", "serves": "all", "agent": "p",
         "documents": {"url": "https://a/n", "count": "n", "electronic": "e"}},
    ]  # fmt: skip
    document["devices"].append({"id": "fw", "site": "x1", "role": "appliance", "address": "10.0.0.1"})
    known = Registry.model_validate(document)
    ahead = UNIX + 30 * 86400.0
    seen = Inputs()
    seen.use(known)
    seen.services["vb"] = (True, ahead)
    seen.documents["vb", "x1"], seen.electronic["vb", "x1"] = (10, ahead), 5
    seen.appliances["fw"] = Appliance(ahead, True)
    seen.circuits_up["hub-x1"] = ahead
    figures = ("document_system", "appliance", "fiber")
    found = compute(known, seen, {}, UNIX + days * 86400.0 + 3600).sites
    assert [found["x1", figure].ratio for figure in figures] == [0, 0, days == 30]
    assert ("x1", "electronic_documents") not in found or days == 31
    # What is dated anew when the clock is set counts for as long as it would have.
    seen.move(-30 * 86400.0)
    found = compute(known, seen, {}, UNIX + 60).sites
    assert [found["x1", figure].ratio for figure in (*figures, "electronic_documents")] == [1, 1, 1, 0.5]


def test_figures_that_were_made_are_as_old_as_they_were_when_the_clock_is_set(tmp_path: Path) -> None:
    class Known:
        registry, engine = Registry.model_validate(registry()), None

    now = UNIX
    plan = PlanWatch(Ledger(tmp_path), Telemetry(), lambda: now)
    plan.use(Known.registry)
    asyncio.run(plan.turn(Known()))
    now -= HOURS
    plan.move(-HOURS)
    assert plan.blocks
    now += 3600
    assert plan.blocks == []


def test_a_report_is_as_old_as_its_measuring_not_as_its_being_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", 10**7, 86400.0)
    spool.put("a", "host", UNIX, 15, Findings(), boot_seconds() - 90.0)
    spool.put("a", "host", UNIX, 15, Findings())
    newest, before = spool.newest(2)
    assert newest.age < 60.0 <= 90.0 <= before.age
    spool.close()


def test_latest_moves_what_it_shows_and_nothing_else() -> None:
    latest = Latest()
    for agent in ("may-1", "may-2"):
        latest.enrol(agent, "ttdl")
    document = json.dumps(report(interval=10)).encode()
    latest.put("may-1", prepare(document, 0, Speaker("may-1", "ttdl"), UNIX + 1000.0, LIMITS))
    latest.move(-500.0)
    assert (latest.agents["may-1"].last_taken, latest.agents["may-2"].last_taken) == (UNIX + 500.0, 0.0)
    latest.expire(UNIX + 524.9)
    assert latest.series == 1
    latest.expire(UNIX + 525.1)
    assert latest.series == 0
