"""Long lists of software: put into rows some at a time, whatever happens between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from haidang_collector.inventory import store
from haidang_collector.inventory.software import LongLists, Package, steps
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.tables import installed, machine_changes, machine_documents, software, software_lists
from haidang_collector.quotas.holdings import Keeper
from haidang_collector.settings import Quotas
from haidang_wire.report import Fact
from hypothesis import given
from hypothesis import strategies as st

Wanted = dict[str, str]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def give(ledger: Ledger, taken: float, packages: Wanted, agent: str = "pc") -> None:
    body = {"packages": [{"name": name, "version": version} for name, version in packages.items()]}
    documents = {"machine": {"name": agent, "uuid": f"uuid of {agent}"}, "software": body}
    with ledger.transaction() as connection:
        store.take(connection, "xa", agent, taken, [Fact(kind, agent, each) for kind, each in documents.items()])


def has(ledger: Ledger, machine: int = 1) -> Wanted:
    with ledger.transaction() as connection:
        query = sa.select(software.c.name, software.c.version).join(installed, installed.c.software == software.c.id)
        rows = connection.execute(query.where(installed.c.machine == machine))
        return {row.name: row.version for row in rows}


def noted(ledger: Ledger) -> list[str]:
    with ledger.transaction() as connection:
        query = sa.select(machine_changes.c.what).where(machine_changes.c.what.like("software_%"))
        return sorted(connection.execute(query.order_by(machine_changes.c.id)).scalars())


def waiting(ledger: Ledger) -> int:
    with ledger.transaction() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(software_lists)).scalar_one())


def run(ledger: Ledger, keeper: Keeper | None = None, reached: Callable[[str, str, int], None] | None = None) -> None:
    """The task, until nothing waits."""

    async def until_done() -> None:
        task = asyncio.create_task(LongLists(ledger, keeper or Keeper(), reached or (lambda *_: None)).run())
        async with asyncio.timeout(30):
            while await ledger.run(lambda c: c.execute(sa.select(software_lists.c.machine)).first()):
                assert not task.done(), task.exception()
                await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(until_done())


def many(number: int, version: str = "1") -> Wanted:
    return {f"gói {n:05}": version for n in range(number)}


def test_a_long_list_comes_into_rows_and_what_changes_is_said(ledger: Ledger) -> None:
    give(ledger, 1000, many(1500))
    assert (has(ledger), waiting(ledger)) == ({}, 1)  # nobody waited for that
    run(ledger)
    assert has(ledger) == many(1500)
    assert noted(ledger) == []  # a first list is no change
    changed = {**many(1450), "gói 00007": "2", "mới": "9"}
    give(ledger, 2000, changed)
    run(ledger)
    assert has(ledger) == changed
    assert noted(ledger) == ["software_installed", *["software_removed"] * 50, "software_updated"]
    with ledger.transaction() as connection:
        document = connection.execute(
            sa.select(machine_documents.c.since, machine_documents.c.seen).where(machine_documents.c.kind == "software")
        ).one()
    assert tuple(document) == (2000, 2000)


def test_a_short_list_is_there_at_once_also_in_place_of_a_long_one(ledger: Ledger) -> None:
    give(ledger, 1000, many(1500))
    give(ledger, 2000, many(20))
    assert (has(ledger), waiting(ledger)) == (many(20), 0)
    give(ledger, 1500, many(900))  # older
    assert (has(ledger), waiting(ledger)) == (many(20), 0)
    give(ledger, 3000, many(900))
    give(ledger, 2500, many(5))  # older than the one that waits
    assert waiting(ledger) == 1
    run(ledger)
    assert has(ledger) == many(900)


@pytest.mark.parametrize("after_steps", [0, 1, 3])
def test_what_ends_the_task_in_between_costs_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, after_steps: int
) -> None:
    """The process is killed, or the disk fails: the next one goes on, and says no change twice."""
    give(ledger, 1000, many(1500))
    run(ledger)
    give(ledger, 2000, many(1500, "2"))
    true, done = LongLists._take_step, 0

    def failing(self: LongLists, *arguments: Any) -> bool:
        nonlocal done
        if done == after_steps:
            raise RuntimeError("killed")
        done += 1
        return true(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LongLists, "_take_step", failing)
        with pytest.raises(AssertionError, match="killed"):
            run(ledger)
    assert sum(version == "2" for version in has(ledger).values()) >= after_steps * 100
    run(ledger)
    assert has(ledger) == many(1500, "2")
    assert noted(ledger) == ["software_updated"] * 1500


def test_a_newer_list_takes_the_place_of_one_that_is_half_way(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    give(ledger, 1000, many(1500))
    true, newer = LongLists._take_step, many(700, "3")

    def overtaken(self: LongLists, connection: sa.Connection, *arguments: Any) -> bool:
        taken = true(self, connection, *arguments)
        monkeypatch.undo()
        body = {"packages": [{"name": name, "version": version} for name, version in newer.items()]}
        store.take(connection, "xa", "pc", 2000, [Fact("software", "pc", body)])
        return taken

    monkeypatch.setattr(LongLists, "_take_step", overtaken)
    run(ledger)
    assert has(ledger) == newer


def test_who_has_used_up_the_day_waits_for_the_next_list(ledger: Ledger) -> None:
    keeper = Keeper(Quotas(kept_bytes_a_day=100_000))
    told: list[tuple[str, str, int]] = []
    give(ledger, 1000, many(1500))
    run(ledger, keeper, lambda *each: told.append(each))
    assert (has(ledger), told) == (many(1500), [])  # the last of a day may be larger than what is left
    give(ledger, 2000, many(1500, "2"))
    give(ledger, 2000, many(600), "other")
    run(ledger, keeper, lambda *each: told.append(each))
    assert (has(ledger), has(ledger, 2)) == (many(1500), many(600))
    assert told == [("pc", "kept_bytes", 1)]


def test_a_ledger_that_fails_is_waited_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    give(ledger, 1000, many(600))
    monkeypatch.setattr("haidang_collector.inventory.software._RETRY_SECONDS", 0.01)
    true, failures = LongLists._next, iter(range(3))

    def failing(self: LongLists, connection: sa.Connection) -> Any:
        if next(failures, None) is not None:
            raise LedgerError("the disk is full", where="collector.db", remedy="")
        return true(self, connection)

    monkeypatch.setattr(LongLists, "_next", failing)
    run(ledger)
    assert has(ledger) == many(600)


packages = st.tuples(
    st.sampled_from("abcdef"), st.sampled_from("12"), st.sampled_from(["", "p"]), st.sampled_from(["", "dpkg"])
)


@given(st.sets(packages), st.sets(packages))
def test_steps_lead_from_one_list_to_the_other(before: set[Package], after: set[Package]) -> None:
    have = {package: number for number, package in enumerate(sorted(before))}
    now = dict(have)
    for step in steps(have, after):
        now = {package: number for package, number in now.items() if number not in step.gone}
        now.update(dict.fromkeys(step.new, -1))
    assert set(now) == after
