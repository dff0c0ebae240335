"""What sites tell afterwards changes the ledger, once, and what it was is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.intake.ingest import Prepared, prepare
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.outage import store as kept
from haidang_collector.outage.cause import Kind
from haidang_collector.outage.model import Changes, Downtime, Outage
from haidang_collector.outage.revise import Reviser
from haidang_collector.settings import Limits

from tests.unit.province import Province


class Kept(Province):
    """A province whose outages are kept in a ledger, as the collector keeps them."""

    def __init__(self, folder: Path, *, ports: bool = True) -> None:
        self.ledger = Ledger(folder)
        self.reviser = Reviser(self.ledger)
        self._number = 0
        super().__init__(ports=ports)

    def _note(self, changes: Changes) -> None:
        super()._note(changes)
        officials = {name: self.engine.officials(outage) for name, outage in changes.outages.items()}
        with self.ledger.transaction() as connection:
            kept.save(connection, changes, officials, self.now)

    def late(self, agent: str, site: str, taken: float, source: str = "path_state", **content: Any) -> None:
        self._number += 1
        report = {
            "agent": agent, "epoch": 2, "sequence": self._number, "source": source, "taken": taken, "interval": 5,
            "samples": [], "facts": [], "events": [], **content,
        }  # fmt: skip
        speaker = self.speaker(agent, site)
        prepared: Prepared = prepare(json.dumps(report).encode(), self.now - taken, speaker, self.now, Limits())
        self.reviser.take(prepared, self.engine.evidence.witnesses, self.engine.registry.center, self.now)

    def path(self, site: str, kind: str, at: float) -> None:
        event = {"kind": kind, "at": at, "body": {"target": "ttdl"}}
        self.late(f"sw-{site}", site, at + 3, events=[event])

    def revise(self) -> None:
        asyncio.run(self.reviser.turn(lambda: self.engine, self.now))

    @property
    def outage(self) -> Outage:
        with self.ledger.transaction() as connection:
            ((found, _),) = kept.between(connection, 0, 2e9)
        return found

    def kept_downtimes(self, kind: str) -> dict[str, Downtime]:
        with self.ledger.transaction() as connection:
            found = kept.downtimes_between(connection, 0, 2e9)
        own = [each for each in found if each.kind == kind]
        assert len({each.element for each in own}) == len(own)
        return {each.element: each for each in own}

    def revisions(self) -> list[tuple[Any, ...]]:
        with self.ledger.transaction() as connection:
            return [
                tuple(row)
                for row in connection.exec_driver_sql("SELECT revision, cause, started, reason FROM outage_revisions")
            ]


@pytest.fixture
def province(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.ledger.close()


def test_the_sites_own_times_are_taken_when_they_are_earlier(province: Kept) -> None:
    cut = province.now
    province.cut("r2-hub")
    province.run(60)
    repaired = province.now
    province.repair("r2-hub")
    province.run(50)
    seen = province.outage
    assert seen.started > cut
    province.path("x1", "path_down", cut + 0.1)
    province.path("x1", "path_up", repaired + 0.1)
    province.path("hub", "path_down", cut + 0.9)  # later than the center says: it changes nothing
    province.revise()
    now_known = province.outage
    assert now_known.started == pytest.approx(cut + 0.1)
    assert now_known.ended == seen.ended  # others came back later
    sites = province.kept_downtimes("site")
    assert (sites["x1"].started, sites["x1"].ended) == (pytest.approx(cut + 0.1), pytest.approx(repaired + 0.1))
    assert sites["hub"].started == seen.started
    ((revision, _, started, reason),) = province.revisions()
    assert (revision, started, reason) == (0, seen.started, "the sites themselves say when")
    province.revise()
    assert len(province.revisions()) == 1


def test_an_outage_that_is_open_goes_on_from_what_is_known_now(province: Kept) -> None:
    cut = province.now
    province.cut("r2-hub")
    province.run(30)
    province.path("x1", "path_down", cut + 0.1)
    province.revise()
    province.repair("r2-hub")
    province.run(50)
    assert province.outage.started == pytest.approx(cut + 0.1)
    assert province.outage.ended is not None
    assert {each.ended is not None for each in province.kept_downtimes("site").values()} == {True}
    assert province.kept_downtimes("site")["x1"].started == pytest.approx(cut + 0.1)


def test_power_that_is_told_of_afterwards_is_the_cause(province: Kept) -> None:
    at = province.now
    province.cut("r2-hub")
    province.run(20)
    assert province.outage.cause.kind == Kind.FIBER_CUT
    sample = {"metric": "haidang_host_mains_power", "labels": {}, "value": 0}
    province.late("pc-x1", "x1", at + 1, "host", samples=[sample])  # one behind it: that explains nothing
    province.revise()
    assert province.outage.cause.kind == Kind.FIBER_CUT
    province.late("pc-hub", "hub", at + 1, "host", samples=[sample])
    province.revise()
    assert province.outage.cause.kind == Kind.POWER
    assert any("pc-hub on battery" in said.en for said in province.outage.cause.evidence)
    assert [row[1] for row in province.revisions()] == ["fiber_cut"]


def test_power_that_fails_in_the_course_of_an_outage_did_not_cause_it(province: Kept) -> None:
    at = province.now
    province.cut("r2-hub")
    province.run(600)
    sample = {"metric": "haidang_host_mains_power", "labels": {}, "value": 0}
    province.late("pc-hub", "hub", at + 500, "host", samples=[sample])
    province.revise()
    assert province.outage.cause.kind == Kind.FIBER_CUT
    province.repair("r2-hub")
    province.run(60)
    province.late("pc-hub", "hub", at + 550, "host", samples=[sample])
    province.revise()
    assert province.outage.cause.kind == Kind.FIBER_CUT
    assert province.revisions() == []
    province.late("pc-hub", "hub", at + 100, "host", samples=[sample])  # polls tell of it a little later
    province.revise()
    assert province.outage.cause.kind == Kind.POWER


def test_links_behind_a_hub_that_went_with_it_say_that_it_was_the_hub(province: Kept) -> None:
    at = province.now
    province.power_off("hub")
    province.run(20)
    assert province.outage.cause.kind == Kind.FIBER_CUT  # what the near end sees is the same
    event = {"kind": "link_down", "at": at + 0.2, "body": {"device": "sw-x1", "interface": "hub-x1"}}
    province.late("sw-x1", "x1", at + 1, "links", events=[event])
    province.revise()
    assert province.outage.cause.kind == Kind.FAR_DEVICE


def test_the_far_ends_port_tells_a_cut_where_the_near_end_is_not_known(tmp_path: Path) -> None:
    province = Kept(tmp_path, ports=False)
    at = province.now
    province.cut("r2-hub")
    province.run(20)
    assert province.outage.cause.kind == Kind.UNKNOWN
    event = {"kind": "link_down", "at": at + 0.2, "body": {"device": "sw-hub", "interface": "r2-hub"}}
    province.late("sw-hub", "hub", at + 1, "links", events=[event])
    province.revise()
    assert province.outage.cause.kind == Kind.FIBER_CUT
    province.ledger.close()


def test_signs_of_other_sites_other_times_and_other_targets_change_nothing(province: Kept) -> None:
    cut = province.now
    province.cut("hub-x1")
    province.run(20)
    before = province.outage
    province.path("r3", "path_down", cut + 0.1)
    province.path("x1", "path_down", cut - 3000)
    event = {"kind": "path_down", "at": cut + 0.1, "body": {"target": "hub"}}
    province.late("sw-x1", "x1", cut + 1, events=[event])
    province.late("sw-x1", "x1", cut + 1, events=[{"kind": "path_down", "at": cut, "body": {}}])
    province.revise()
    assert province.outage == before
    assert province.revisions() == []


def test_what_a_failing_disk_kept_from_the_ledger_is_written_later(
    province: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = province.now
    province.cut("r2-hub")
    province.run(30)
    province.path("x1", "path_down", cut + 0.1)

    async def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(province.ledger, "run", fail)
        with pytest.raises(LedgerError):
            province.revise()
    assert province.revisions() == []
    province.revise()
    assert province.outage.started == pytest.approx(cut + 0.1)
