"""Links from what is said to the table: what is kept of whom, since when, and how seldom it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from haidang_collector.identity import agents as identities
from haidang_collector.intake.ingest import Batch, Speaker, read_delivery
from haidang_collector.intake.time_base import redate
from haidang_collector.intake.writer import Outcome, Writer
from haidang_collector.ledger import database, tables
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.housekeeping import forget_old
from haidang_collector.principals import Principal
from haidang_collector.quotas.holdings import Keeper
from haidang_collector.registry.model import Registry
from haidang_collector.settings import Limits, Quotas, Settings
from haidang_collector.topology import graph, store
from haidang_collector.topology.links import Link, addresses, heard, of_registry, resolved, seen

from tests.conftest import delivery, report
from tests.unit.province import CIRCUITS, Province

UNIX = 1_780_000_000.0
MINUTE, HOUR = 60.0, 3600.0
REGISTRY = Province().registry


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    with opened.transaction() as connection:
        for agent in ("sw-1", "other"):
            identities.add_agent(connection, Principal.itself(), agent, "ttdl", "t", 0.0)
    yield opened
    opened.close()


class Teller:
    """An agent on a switch whose reports are stored; `writes` are the rows of `links` that its last one wrote."""

    def __init__(self, ledger: Ledger, agent: str = "sw-1", writer: Writer | None = None) -> None:
        self.ledger, self.agent = ledger, agent
        self.writer = writer or Writer(keep_late=False)
        self.left_out: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.writes = self._sequence = 0

    def sees(self, *neighbours: dict[str, str], at: float = UNIX) -> list[sa.Row[Any]]:
        """All rows when it has said so."""
        return self.says("lldp", "neighbours", {"neighbours": list(neighbours)}, at)

    def says(self, source: str, kind: str, body: dict[str, Any], at: float = UNIX) -> list[sa.Row[Any]]:
        self._sequence += 1
        fact = {"kind": kind, "key": self.agent, "body": body}
        told = report(self.agent, self._sequence, source=source, samples=[], facts=[fact])
        batch: Batch = read_delivery(delivery(told), Speaker(self.agent, "ttdl"), at, Limits())
        batch.prepared[0].taken, batch.prepared[0].expires = at, at + 150
        with self.ledger.transaction() as connection:
            before = _changes(connection)
            (outcome,) = self.writer.write(connection, [batch])
            self.writes = _changes(connection) - before
        self.writer.committed()
        assert isinstance(outcome, Outcome)
        self.left_out = {quota: number for quota, _, number in outcome.left_out}
        self.refused = dict(batch.prepared[0].refused_documents)
        return rows(self.ledger)


def _changes(connection: sa.Connection) -> int:
    """Rows of `links` that were ever inserted, updated or deleted, counted by triggers of this connection."""
    execute = connection.exec_driver_sql
    if not execute("SELECT name FROM sqlite_temp_master WHERE name = 'written'").first():
        execute("CREATE TEMP TABLE written (number INTEGER)")
        for what in ("INSERT", "UPDATE", "DELETE"):
            execute(
                f"CREATE TEMP TRIGGER on_{what} AFTER {what} ON main.links BEGIN INSERT INTO written VALUES (1); END"
            )
    return int(execute("SELECT count(*) FROM written").scalar_one())


def rows(ledger: Ledger) -> list[sa.Row[Any]]:
    with ledger.transaction() as connection:
        return list(connection.execute(sa.select(tables.links).order_by(tables.links.c.id)))


def neighbour(port: int, system: str = "sw-2", **more: str) -> dict[str, str]:
    return {"protocol": "lldp", "interface": f"ge{port}", "system": system, "chassis": "", "port": f"p{port}",
            "port_description": "", **more}  # fmt: skip


# From what is said to links


def test_a_circuit_is_a_link_from_each_end_and_the_graph_is_made_of_links() -> None:
    links = of_registry(REGISTRY)
    assert len(links) == 2 * len(CIRCUITS)
    one, other = links[:2]
    assert (one.circuit, one.site, one.device, one.interface) == ("ttdl-r1", "ttdl", "sw-ttdl", "ttdl-r1")
    assert (one.far_site, one.far_device, one.port) == (other.site, other.device, other.interface)
    made = graph.of_links("ttdl", [site.id for site in REGISTRY.sites], links)
    assert made == graph.of_registry(REGISTRY)
    assert made.ends == CIRCUITS
    # What devices see makes no circuit, and no graph.
    strange = Link("ge1", "sw-x1", source="lldp", site="ttdl", device="sw-ttdl")
    assert graph.of_links("ttdl", [site.id for site in REGISTRY.sites], [strange, *links]) == made


@pytest.mark.parametrize(
    ("protocol", "source"),
    [("lldp", "lldp"), ("LLDP", "lldp"), ("cdp", "cdp"), ("CDPv2", "cdp"), ("fdp", "other"), ("", "other"),
     ("registry", "other"), ("arp", "other"), ("'; DROP TABLE links; --", "other")],
)  # fmt: skip
def test_what_it_was_seen_over_is_one_of_few(protocol: str, source: str) -> None:
    (link,) = seen("a", "s", "d", {"neighbours": [neighbour(1, protocol=protocol)]})
    assert link.source == source


@pytest.mark.parametrize("body", [{}, {"neighbours": 7}, {"neighbours": [7, None, []]}, {"devices": "x"},
                                  {"devices": [None, {"mac": 3}]}])  # fmt: skip
def test_what_is_no_list_of_objects_is_no_link(body: dict[str, Any]) -> None:
    assert [*seen("a", "s", "d", body), *heard("a", "s", body, {("s", ""): "d"})] == []


def test_texts_are_cut_and_so_many_of_a_device_are_taken() -> None:
    long = dict.fromkeys(neighbour(1), "\U0001f600" * 5000)
    links = list(seen("a", "s", "d", {"neighbours": [long] * 2000}))
    assert len(links) == 1000
    assert {len(text) for each in links for text in (each.interface, each.system, each.chassis, each.port)} == {255}


def test_who_is_heard_is_a_device_of_the_same_site_by_its_address() -> None:
    document = REGISTRY.model_dump()
    document["devices"][1]["trap_addresses"] = ["10.9.9.9"]
    document["circuits"][0]["ends"][1]["address"] = "172.16.0.2"
    devices = addresses(Registry.model_validate(document))
    assert addresses(None) == {}
    assert devices["r1", "10.9.1.2"] == devices["r1", "10.9.9.9"] == devices["r1", "172.16.0.2"] == "sw-r1"
    mac = "00:1B:44:11:3a:b7"
    body = {"devices": [{"mac": mac, "address": address} for address in ("10.9.1.2", "10.9.0.2", "10.9.1.77")]
            + [{"mac": "<b>", "address": "10.9.9.9"}]}  # fmt: skip
    (link,) = heard("pc", "r1", body, devices)
    assert (link.source, link.agent, link.device, link.interface) == ("arp", "pc", "", "")
    assert (link.far_device, link.far_site, link.chassis, link.address) == ("sw-r1", "r1", mac.lower(), "10.9.1.2")


def test_the_far_end_is_the_device_of_that_name() -> None:
    sites = {device.id: device.site for device in REGISTRY.devices}
    links = seen(
        "a", "r1", "sw-r1", {"neighbours": [neighbour(1, each) for each in ("SW-R2.example", "LÕI", "printer")]}
    )
    found = [resolved(each, sites, {"LÕI": "sw-r3"}) for each in links]
    assert [(each.far_device, each.far_site) for each in found] == [("sw-r2", "r2"), ("sw-r3", "r3"), ("", "")]
    # What the registry says stays as it says it.
    for each in of_registry(REGISTRY):
        assert resolved(each, sites, {"": "sw-r3"}) == each


# In the ledger


def test_a_table_that_is_repeated_writes_nothing_until_the_hour_is_over(ledger: Ledger) -> None:
    teller = Teller(ledger)
    table = [neighbour(port) for port in range(48)]
    assert len(teller.sees(*table)) == teller.writes == 48
    for minute in range(1, 60):
        teller.sees(*table, at=UNIX + minute * MINUTE)
        assert teller.writes == 0
    kept = teller.sees(*table, at=UNIX + HOUR)
    assert teller.writes == 48
    assert {(row.first_seen, row.last_seen) for row in kept} == {(UNIX, UNIX + HOUR)}
    # One that changes is written, and it alone; so is one that is gone, and one that is back.
    changed = [neighbour(0, port_description="x"), *table[1:]]
    kept = teller.sees(*changed, at=UNIX + HOUR + MINUTE)
    assert (teller.writes, kept[0].port_description, kept[0].first_seen) == (1, "x", UNIX)
    kept = teller.sees(*changed[1:], at=UNIX + HOUR + 2 * MINUTE)
    assert (teller.writes, len(kept)) == (1, 47)
    kept = teller.sees(*changed, at=UNIX + HOUR + 3 * MINUTE)
    assert (teller.writes, kept[-1].first_seen) == (1, UNIX + HOUR + 3 * MINUTE)


def test_what_was_said_before_the_newest_changes_nothing(ledger: Ledger) -> None:
    """A backlog comes in any order, also within the hour that is not written."""
    teller = Teller(ledger)
    teller.sees(neighbour(1), at=UNIX)
    teller.sees(neighbour(1), at=UNIX + 20 * MINUTE)
    assert [row.system for row in teller.sees(neighbour(1, "sw-9"), at=UNIX + 10 * MINUTE)] == ["sw-2"]
    assert [row.system for row in teller.sees(at=UNIX - MINUTE)] == ["sw-2"]
    assert teller.sees(at=UNIX + 30 * MINUTE) == []


def test_lldp_and_cdp_of_one_port_are_two_links_and_the_same_twice_is_one(ledger: Ledger) -> None:
    kept = Teller(ledger).sees(neighbour(1), neighbour(1, protocol="cdp"), neighbour(1), neighbour(1, "sw-3"))
    assert [(row.source, row.system) for row in kept] == [("lldp", "sw-2"), ("cdp", "sw-2"), ("lldp", "sw-3")]


def test_each_agents_links_are_its_own(ledger: Ledger) -> None:
    Teller(ledger).sees(neighbour(1))
    other = Teller(ledger, "other")
    kept = other.sees(neighbour(1))
    assert [(row.agent, row.device) for row in kept] == [("sw-1", "sw-1"), ("other", "other")]
    kept = other.sees(at=UNIX + MINUTE)
    assert [row.agent for row in kept] == ["sw-1"]


def test_who_is_heard_is_as_old_as_it_is(ledger: Ledger) -> None:
    devices = {("ttdl", "10.0.0.1"): "sw-a", ("ttdl", "10.0.0.2"): "sw-b"}
    teller = Teller(ledger, writer=Writer(keep_late=False, devices=lambda: devices))

    def hears(*hosts: int, at: float) -> list[tuple[str, float]]:
        told = [{"mac": f"00:1b:44:11:3a:{host:02x}", "address": f"10.0.0.{host}"} for host in hosts]
        found = teller.says("lan", "network", {"devices": told}, at)
        return [(row.far_device, row.last_seen) for row in found]

    assert hears(1, 2, 3, at=UNIX) == [("sw-a", UNIX), ("sw-b", UNIX)]
    assert hears(2, at=UNIX + MINUTE) == [("sw-a", UNIX), ("sw-b", UNIX)]
    assert teller.writes == 0
    assert hears(2, at=UNIX + 2 * HOUR) == [("sw-a", UNIX), ("sw-b", UNIX + 2 * HOUR)]
    assert hears(1, at=UNIX - HOUR) == [("sw-a", UNIX), ("sw-b", UNIX + 2 * HOUR)]
    # What it sees is another thing.
    assert len(teller.sees(neighbour(1), at=UNIX + 2 * HOUR)) == 3
    assert len(teller.sees(at=UNIX + 3 * HOUR)) == 2


def test_the_registrys_links_are_those_of_the_one_in_force(ledger: Ledger) -> None:
    def follow(registry: Registry | None, loaded: float) -> tuple[int, list[sa.Row[Any]]]:
        with ledger.transaction() as connection:
            before = _changes(connection)
            store.follow(connection, registry, loaded)
            written = _changes(connection) - before
        return written, rows(ledger)

    written, kept = follow(REGISTRY, UNIX)
    assert written == len(kept) == 2 * len(CIRCUITS)
    assert follow(REGISTRY, UNIX)[0] == 0  # a start
    fewer = REGISTRY.model_copy(update={"circuits": REGISTRY.circuits[1:]})
    written, kept = follow(fewer, UNIX + 1)
    assert {(row.first_seen, row.last_seen) for row in kept} == {(UNIX, UNIX + 1)}
    assert len(kept) == 2 * len(CIRCUITS) - 2
    assert {row.first_seen for row in follow(REGISTRY, UNIX + 2)[1]} == {UNIX, UNIX + 2}
    assert follow(None, UNIX + 3)[1] == []


def test_what_an_agent_fills_the_table_with_is_its_own_share(ledger: Ledger) -> None:
    small = Quotas(link_bytes=100 * 220)
    writer = Writer(keep_late=False, keeper=Keeper(small))
    teller, other = Teller(ledger, writer=writer), Teller(ledger, "other", writer)
    many = [neighbour(port, "s" * 10) for port in range(2000)]
    assert len(teller.sees(*many)) < 110
    assert teller.left_out == {"links": 1000 - len(rows(ledger))}
    assert teller.refused == {"too_many_neighbours": 1}
    other.sees(*many[:20])
    assert other.left_out == {}
    # What it no longer says makes room; a text that grows needs some.
    kept = teller.sees(*many[1000:1050], at=UNIX + MINUTE)
    assert (teller.left_out, len(kept)) == ({}, 70)
    teller.sees(*({**each, "port_description": "x" * 255} for each in many[1000:1050]), at=UNIX + 2 * MINUTE)
    assert 0 < teller.left_out["links"] < 50
    # It is the same when the ledger is read again, and nothing is counted twice.
    keeper = Keeper(small)
    with ledger.transaction() as connection:
        read = keeper.holding(connection, "sw-1").link_bytes
        assert read == writer._keeper.holding(connection, "sw-1").link_bytes
    assert 0 < read <= small.link_bytes


def test_a_long_table_counts_as_the_work_it_is() -> None:
    fact = {"kind": "neighbours", "key": "sw-1", "body": {"neighbours": [neighbour(port) for port in range(1000)]}}
    told = report("sw-1", source="lldp", samples=[], facts=[fact])
    (prepared,) = read_delivery(delivery(told), Speaker("sw-1", "ttdl"), UNIX, Limits()).prepared
    assert prepared.list_facts == 50


def test_what_nobody_says_any_more_is_removed(ledger: Ledger) -> None:
    Teller(ledger).sees(neighbour(1))
    Teller(ledger, "other").sees(neighbour(1), at=UNIX + HOUR)
    with ledger.transaction() as connection:
        store.follow(connection, REGISTRY, UNIX)
    settings = Settings(fact_retention_days=30.0)
    asyncio.run(forget_old(ledger, settings, UNIX + 30 * 86400 + MINUTE))
    assert {row.agent for row in rows(ledger)} == {"", "other"}
    with ledger.transaction() as connection:
        connection.execute(sa.update(tables.agents).where(tables.agents.c.id == "other").values(revoked=UNIX))
    asyncio.run(forget_old(ledger, settings, UNIX))
    assert {row.source for row in rows(ledger)} == {"registry"}


def test_nothing_was_seen_in_the_future(ledger: Ledger) -> None:
    Teller(ledger).sees(neighbour(1), at=UNIX + HOUR)
    with ledger.transaction() as connection:
        redate(connection, 0.0, UNIX)
    assert [row.last_seen for row in rows(ledger)] == [UNIX]


def test_an_older_ledgers_neighbours_are_links(ledger: Ledger) -> None:
    """Whoever upgrades keeps what devices said hours ago, as a device that says it anew would."""
    bodies = [
        {"neighbours": [neighbour(1), neighbour(1), neighbour(2, protocol="CDPv2"), {"system": "x" * 999}, 7]},
        {"neighbours": 7}, [], {},
    ]  # fmt: skip
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with ledger.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0014")
        for number, body in enumerate([*map(json.dumps, bodies), "no json"]):
            connection.execute(
                sa.insert(tables.facts).values(
                    agent=f"sw-{number}", kind="neighbours", key=f"sw-{number}", site="ttdl", body=body, since=UNIX,
                    seen=UNIX + HOUR,
                )
            )  # fmt: skip
        command.upgrade(config, "head")
        migrated = store.all_seen(connection)
        connection.execute(sa.delete(tables.links))
    with ledger.transaction() as connection:
        identities.add_agent(connection, Principal.itself(), "sw-0", "ttdl", "t", 0.0)
    (told,) = migrated
    assert [(each.source, each.interface) for each in told.links] == [("lldp", "ge1"), ("cdp", "ge2"), ("other", "")]
    Teller(ledger, "sw-0").sees(*bodies[0]["neighbours"][:4], at=UNIX + 2 * HOUR)  # type: ignore[call-overload,index]
    with ledger.transaction() as connection:
        assert store.all_seen(connection) == migrated
