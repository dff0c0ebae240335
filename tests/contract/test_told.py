"""What is changed beside a running collector is told to it: it reads what changed, and nothing when nothing did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from haidang_collector.cli import main as cli
from haidang_collector.identity import agents as identities
from haidang_collector.identity import enrolments
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.tables import agents, registry, time_base
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.names import Names

from tests.conftest import REGISTRY
from tests.contract.test_reads import GUARD_SECONDS, Place
from tests.unit.test_certificates import at_revision

WHO = Principal("command", "an", "root@tram")


class Watched(Place):
    """A collector that looks when it is told to, and another process's view of its ledger."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.command_of = Ledger(folder / "state")
        self.rows: list[str] = []
        changed_after = identities.changed_after

        def noted(connection: sa.Connection, change: int) -> tuple[int, list[identities.Agent]]:
            found = changed_after(connection, change)
            self.rows += sorted(each.id for each in found[1])
            self.reads += 1
            return found

        self.reads = 0
        monkeypatch.setattr(identities, "changed_after", noted)
        asyncio.run(self.collector.start())

    def look(self) -> tuple[int, list[str]]:
        """Look once: how often the ledger was read for it, and which agents were."""
        self.reads, self.rows = 0, []
        asyncio.run(self.collector._watch_once())
        return self.reads, self.rows

    def beside(self, function: Any, *arguments: Any) -> None:
        with self.command_of.transaction() as connection:
            function(connection, WHO, *arguments)

    @property
    def known(self) -> dict[str, str]:
        return {agent: state.site for agent, state in self.collector.latest.agents.items()}

    def close(self) -> None:
        self.command_of.close()
        self.collector.close()


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched(tmp_path, monkeypatch)
    yield made
    made.close()


def test_of_a_second_in_which_nothing_changed_nothing_is_read(watched: Watched) -> None:
    assert watched.known == {"may-1": "ttdl"}
    watched.look()  # the start itself has written something
    assert [watched.look() for _ in range(3)] == [(0, [])] * 3
    # Something that concerns nobody: one question, no agent.
    with watched.command_of.transaction() as connection:
        connection.execute(sa.update(time_base).values(anchor=1.0))
    assert [watched.look() for _ in range(2)] == [(1, []), (0, [])]


def test_only_agents_that_changed_are_read(watched: Watched) -> None:
    for number in range(50):
        watched.beside(identities.add_agent, f"pc-{number}", "ttdl", "t", 0.0)
    assert watched.look() == (1, sorted(f"pc-{number}" for number in range(50)))
    watched.beside(identities.revoke_agent, "pc-7")
    assert watched.look() == (1, ["pc-7"])
    assert "pc-7" not in watched.known
    assert len(watched.known) == 50

    def again(connection: sa.Connection, who: Principal) -> None:
        assert identities.enrol_again(connection, who, "pc-8", "ttdl", "u", proven=True)
        identities.release_agent(connection, who, "pc-9")

    def move(connection: sa.Connection, who: Principal) -> None:
        """The name of one that is gone has another site's role by now."""
        identities.revoke_agent(connection, who, "pc-10")
        names = Names()
        names._owners["pc-10"] = frozenset(("xa-1",))
        assert enrolments.name_for(connection, who, names, "pc-10", "xa-1", "t", proven=False) == ("pc-10", True)

    watched.beside(again)
    assert watched.look() == (1, ["pc-8"])
    watched.beside(move)
    assert watched.look() == (1, ["pc-10"])
    assert watched.known["pc-10"] == "xa-1"
    assert watched.look() == (0, [])


def test_a_registry_that_is_loaded_beside_is_in_force(watched: Watched) -> None:
    before = watched.collector.registry
    assert before is not None
    elsewhere = next(site for site in before.sites if site.id != "ttdl")
    others = [site for site in before.sites if site.id != elsewhere.id]
    probed = before.model_copy(update={"sites": [*others, elsewhere.model_copy(update={"probe": "pc-1"})]})
    watched.beside(identities.add_agent, "pc-1", "ttdl", "t", 0.0)
    watched.look()
    assert watched.collector.foreign_names == []
    for registry_of_then, foreign in ((probed, [("pc-1", "ttdl")]), (before, []), (probed, [("pc-1", "ttdl")])):
        watched.beside(registry_store.save_registry, registry_of_then)
        assert watched.look() == (1, [])
        assert watched.collector.registry == registry_of_then
        assert [(each.agent, each.site) for each in watched.collector.foreign_names] == foreign
    watched.look()  # the outages of another registry are written down
    watched.beside(identities.revoke_agent, "pc-1")
    assert watched.look() == (1, ["pc-1"])
    assert watched.collector.foreign_names == []


def test_what_could_not_be_read_is_read_the_next_time(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.beside(identities.revoke_agent, "may-1")
    watched.beside(identities.add_agent, "pc-1", "ttdl", "t", 0.0)
    read = watched.ledger.read

    async def fail(*_: object) -> None:
        raise LedgerError("the disk is gone")

    monkeypatch.setattr(watched.ledger, "read", fail)
    with pytest.raises(LedgerError):
        watched.look()
    monkeypatch.setattr(watched.ledger, "read", read)
    # So is a registry that could not be taken into use, with what came with it.
    with watched.command_of.transaction() as connection:
        connection.execute(sa.update(registry).values(loaded=registry.c.loaded + 1))
    use = watched.collector.outage_watch.use
    monkeypatch.setattr(watched.collector.outage_watch, "use", fail)
    with pytest.raises(LedgerError):
        watched.look()
    monkeypatch.setattr(watched.collector.outage_watch, "use", use)
    assert watched.look() == (1, ["may-1", "pc-1"])
    assert watched.known == {"pc-1": "ttdl"}
    assert watched.look() == (0, [])


def test_a_running_collector_follows_within_a_second(watched: Watched) -> None:
    async def follows(*arguments: str) -> float:
        assert await asyncio.to_thread(cli.main, ["--config", str(watched.config), *arguments]) == 0
        return time.monotonic()

    async def test(client: httpx.AsyncClient) -> None:
        done = await follows("agents", "revoke", "may-1")
        while "may-1" in watched.known:
            await asyncio.sleep(0.01)
            assert time.monotonic() < done + GUARD_SECONDS
        loaded = watched.collector._registry_loaded
        done = await follows("registry", "load", str(REGISTRY))
        while watched.collector._registry_loaded == loaded:
            await asyncio.sleep(0.01)
            assert time.monotonic() < done + GUARD_SECONDS

    watched.run(test)


def test_agents_of_before_there_were_changes_are_known(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    columns = "(id, site, token, enrolled, certificate_ends, stopped, revoked)"
    rows = [f"('pc-{number}', 'ttdl', 't', 1, 1, 0, {'5' if number == 1 else 'NULL'})" for number in range(3)]
    at_revision(tmp_path / "state", "0013", *(f"INSERT INTO agents {columns} VALUES {row}" for row in rows))
    place = Place(tmp_path)
    asyncio.run(place.collector.start())
    assert sorted(place.collector.latest.agents) == ["may-1", "pc-0", "pc-2"]
    place.collector.close()


def test_a_restored_backup_is_what_is_known(tmp_path: Path) -> None:
    place = Place(tmp_path)

    def command(*arguments: str) -> None:
        assert cli.main(["--config", str(place.config), *arguments]) == 0

    with place.ledger.transaction() as connection:
        identities.add_agent(connection, WHO, "pc-1", "ttdl", "t", 0.0)
    command("backup", str(tmp_path / "saved.tar.gz"))
    with place.ledger.transaction() as connection:
        identities.add_agent(connection, WHO, "pc-2", "ttdl", "t", 0.0)
        identities.revoke_agent(connection, WHO, "pc-1")
    place.collector.close()
    command("restore", "--force", str(tmp_path / "saved.tar.gz"))
    again = Place.__new__(Place)
    again.collector = type(place.collector)(place.collector.settings)
    again.ledger = again.collector.ledger
    asyncio.run(again.collector.start())
    assert sorted(again.collector.latest.agents) == ["may-1", "pc-1"]
    # Numbers go on from those of the backup, and are told all the same.
    with again.ledger.transaction() as connection:
        identities.add_agent(connection, WHO, "pc-3", "ttdl", "t", 0.0)
        assert connection.execute(sa.select(sa.func.max(agents.c.change))).scalar_one() == 3
    asyncio.run(again.collector._watch_once())
    assert sorted(again.collector.latest.agents) == ["may-1", "pc-1", "pc-3"]
    again.collector.close()
