"""What only reads waits for nothing that writes, and keeps nothing that writes waiting; it sees what was committed before
it was asked. Held open by events, not by time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from haidang_collector.cli import main as cli
from haidang_collector.collector import Collector
from haidang_collector.http.app import create_app
from haidang_collector.identity import agents as identities
from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity.authority import new_key_and_request
from haidang_collector.inventory import export, search
from haidang_collector.inventory.search import Filter
from haidang_collector.ledger import database
from haidang_collector.ledger.database import Ledger, LedgerBusy, LedgerError
from haidang_collector.ledger.tables import audit, delivered, machines, tokens
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry
from haidang_collector.settings import load_settings

from tests.conftest import REGISTRY, delivery, report
from tests.contract.test_changes import header

WHO = Principal("command", "an", "root@tram")
GUARD_SECONDS = 60.0  # nothing here takes so long: it is what a test that fails waits at most
RUNAWAY = sa.text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")


class Held:
    """Transactions that go on until they are let go."""

    def __init__(self, number: int = 1) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self._number = number

    def read(self, connection: sa.Connection) -> tuple[int, int]:
        """How many sequences are noted at the beginning, and at the end."""
        count = sa.select(sa.func.count()).select_from(delivered)
        before = connection.execute(count).scalar_one()
        self._hold()
        return before, connection.execute(count).scalar_one()

    def write(self, connection: sa.Connection) -> None:
        connection.execute(
            sa.insert(tokens).values(id="held", secret_sha256="x", site="ttdl", created=0.0, expires=0.0)
        )
        self._hold()

    def _hold(self) -> None:
        self.begun.release()
        assert self.go_on.wait(GUARD_SECONDS)

    async def wait(self) -> None:
        """Until all have begun."""
        for _ in range(self._number):
            assert await asyncio.to_thread(self.begun.acquire, timeout=GUARD_SECONDS)


class Place:
    """A collector of this process, asked as a proxy asks."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "collector.toml"
        self.config.write_text(
            f'state_dir = "{folder / "state"}"\ntrusted_proxies = ["127.0.0.1"]\nnames = ["center.example"]\n'
        )
        self.collector = Collector(load_settings(self.config))
        self.ledger = self.collector.ledger
        with self.ledger.transaction() as connection:
            registry_store.save_registry(connection, WHO, load_registry(REGISTRY))
            identities.add_agent(connection, WHO, "may-1", "ttdl", "t", 0.0)
            for number in range(1, 21):
                connection.execute(
                    sa.insert(machines).values(
                        id=number, site="ttdl", agent=f"may-{number}", first_seen=1.0, last_seen=1.0
                    )
                )
        self.agent, self.operator = self._certificate("agent", "may-1"), self._certificate("operator", "an")

    def _certificate(self, kind: str, name: str) -> str:
        issued = self.collector.authority.issue_client(new_key_and_request(name)[1], kind, name, 90)
        with self.ledger.transaction() as connection:
            certificates.note_issued(connection, kind, name, issued)
        return header(issued.pem.encode())

    def run(self, test: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
        """A test, beside the collector's tasks."""

        async def all_of_it() -> None:
            await self.collector.start()
            transport = httpx.ASGITransport(app=create_app(self.collector), client=("127.0.0.1", 5000))
            background = asyncio.create_task(self.collector.run())
            try:
                async with httpx.AsyncClient(transport=transport, base_url="https://center.example") as client:
                    await asyncio.wait_for(test(client), GUARD_SECONDS)
            finally:
                background.cancel()
                await asyncio.gather(background, return_exceptions=True)

        asyncio.run(all_of_it())

    async def deliver(self, client: httpx.AsyncClient, sequence: int) -> int:
        """A report is acknowledged; how many were accepted."""
        headers = {"Client-Cert": self.agent}
        answer = await client.post("/v1/reports", content=delivery(report(sequence=sequence)), headers=headers)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["accepted"])

    async def get(self, client: httpx.AsyncClient, path: str) -> httpx.Response:
        answer = await client.get(path, headers={"Client-Cert": self.operator})
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.collector.close()


@contextmanager
def let_go(held: Held) -> Iterator[None]:
    """Whatever fails: threads that wait are joined at the end."""
    try:
        yield
    finally:
        held.go_on.set()


def test_reads_that_are_held_open_delay_no_acknowledgement(place: Place) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        held = Held(database._READERS)
        with let_go(held):
            reads = [asyncio.create_task(place.ledger.read(held.read)) for _ in range(database._READERS)]
            await held.wait()
            assert [await place.deliver(client, sequence) for sequence in (1, 2, 5000)] == [1, 1, 1]
            assert not any(each.done() for each in reads)
            held.go_on.set()
            # Each saw one state of the ledger from its beginning to its end.
            assert await asyncio.gather(*reads) == [(0, 0)] * database._READERS
        number = sa.select(sa.func.count()).select_from(delivered)
        assert await place.ledger.read(lambda connection: connection.execute(number).scalar_one()) == 2

    place.run(test)


def test_an_export_in_the_middle_delays_no_acknowledgement(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_CHUNK", 1)

    async def test(client: httpx.AsyncClient) -> None:
        sequence = 0
        lines = b""
        async for part in export.as_csv(place.ledger, Filter(), "en"):
            sequence += 1
            assert await place.deliver(client, sequence) == 1
            lines += part
        assert sequence > 20
        assert lines.count(b"\r\n") == 21

    place.run(test)


PATHS = (
    "/readyz", "/v1/machines", "/v1/machines/1", "/v1/machines.csv", "/v1/machines.xlsx", "/v1/changes", "/v1/software",
    "/v1/network-devices", "/v1/outages", "/v1/maintenance", "/v1/audit",
)  # fmt: skip
COMMANDS = (
    "agents list", "token list", "certificates list", "audit", "quarantine list", "machines disputes",
    "maintenance list",
)  # fmt: skip


def test_a_write_that_is_held_open_holds_up_no_read(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        held = Held()
        with let_go(held):
            writing = asyncio.create_task(place.ledger.run(held.write))
            await held.wait()
            for path in PATHS:
                await place.get(client, path)
            for command in COMMANDS:
                assert await asyncio.to_thread(cli.main, ["--config", str(place.config), *command.split()]) == 0
            assert "held" not in capsys.readouterr().out
            assert not writing.done()
            held.go_on.set()
            await writing
        assert await asyncio.to_thread(cli.main, ["--config", str(place.config), "token", "list"]) == 0
        assert "held" in capsys.readouterr().out

    place.run(test)


def test_a_read_sees_what_was_just_written(place: Place) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        headers = {"Client-Cert": place.operator}
        for _ in range(20):
            work = {"element": "ttdl", "begins": time.time(), "ends": time.time() + 60}
            made = await client.post("/v1/maintenance", json=work, headers=headers)
            assert made.json() in (await place.get(client, "/v1/maintenance")).json()
            await client.delete(f"/v1/maintenance/{made.json()['id']}", headers=headers)
            ends = [each["ends"] for each in (await place.get(client, "/v1/maintenance")).json()]
            assert work["ends"] not in ends

    place.run(test)


def test_who_was_revoked_beside_us_is_refused_at_the_next_request(place: Place) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        assert await place.deliver(client, 1) == 1
        arguments = ["--config", str(place.config), "agents", "revoke", "may-1"]
        assert await asyncio.to_thread(cli.main, arguments) == 0
        answer = await client.post(
            "/v1/reports", content=delivery(report(sequence=2)), headers={"Client-Cert": place.agent}
        )
        assert answer.status_code == 403

    place.run(test)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def test_a_read_changes_nothing(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="readonly"):
        asyncio.run(ledger.read(Held().write))
    with pytest.raises(LedgerError, match="readonly"), ledger.reading() as connection:
        connection.execute(sa.delete(audit))


def test_a_read_that_runs_away_is_ended_and_others_go_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_READ_SECONDS", 0.1)
    for _ in range(database._READERS + 1):
        with pytest.raises(LedgerBusy, match="longer"):
            asyncio.run(ledger.read(lambda connection: connection.execute(RUNAWAY).scalar()))
    monkeypatch.setattr(database, "_READ_SECONDS", GUARD_SECONDS)
    for _ in range(database._READERS + 1):
        assert asyncio.run(ledger.read(registry_store.registry_loaded)) == 0.0


def test_reads_that_wait_are_bounded_in_number_and_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_MOST_READS", database._READERS + 1)

    async def run() -> None:
        held = Held(database._READERS)
        with let_go(held):
            reads = [asyncio.create_task(ledger.read(held.read)) for _ in range(database._READERS)]
            await held.wait()
            monkeypatch.setattr(database, "_READ_SECONDS", 0.0)
            waits = asyncio.create_task(ledger.read(registry_store.registry_loaded))
            await asyncio.sleep(0)
            with pytest.raises(LedgerBusy, match="wait already"):
                await ledger.read(registry_store.registry_loaded)
            held.go_on.set()
            with pytest.raises(LedgerBusy, match="waited"):
                await waits
            await asyncio.gather(*reads)
        monkeypatch.setattr(database, "_READ_SECONDS", GUARD_SECONDS)
        assert await ledger.read(registry_store.registry_loaded) == 0.0

    asyncio.run(run())


def test_closing_ends_what_is_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    begun = threading.Event()

    def run_away(connection: sa.Connection) -> None:
        begun.set()
        connection.execute(RUNAWAY)

    async def run() -> None:
        reading = asyncio.create_task(ledger.read(run_away))
        assert await asyncio.to_thread(begun.wait, GUARD_SECONDS)
        ledger.close()
        with pytest.raises(LedgerError):
            await reading

    asyncio.run(asyncio.wait_for(run(), GUARD_SECONDS))
