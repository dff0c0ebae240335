"""Facts on their way into the ledger: each is kept once or named as not kept, and no report makes others wait for it.
How long something takes is counted in steps of SQLite's machine, the same on every computer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from haidang_collector.audit import Principal
from haidang_collector.ingest import Batch, Speaker, read_delivery
from haidang_collector.ledger import agents as identities
from haidang_collector.ledger import tables
from haidang_collector.ledger.database import Ledger
from haidang_collector.settings import Limits
from haidang_collector.writer import Outcome, Writer

from tests.conftest import delivery, report


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    with opened.transaction() as connection:
        identities.add_agent(connection, Principal.itself(), "pc", "ttdl", "t", 0.0)
    yield opened
    opened.close()


def batch(*reports: dict[str, Any], age: float = 0.0) -> Batch:
    return read_delivery(delivery(*reports, age=age), Speaker("pc", "ttdl"), time.time(), Limits())


def fact(kind: str, body: Any, key: str = "pc") -> dict[str, Any]:
    return {"kind": kind, "key": key, "body": body}


def store(ledger: Ledger, writer: Writer, *batches: Batch) -> list[Outcome]:
    with ledger.transaction() as connection:
        outcomes = writer.write(connection, batches)
    writer.committed()
    assert all(isinstance(each, Outcome) for each in outcomes)
    return [each for each in outcomes if isinstance(each, Outcome)]


def test_a_fact_is_taken_once_a_report(ledger: Ledger) -> None:
    """A thousand documents of one thing are one, and the others are counted; they are not even read."""
    told = [fact("x", {"n": number}) for number in range(1000)]
    told[5]["body"] = {"long": "x" * 20_000}  # more than a document of an unknown kind may have
    one = batch(report("pc", facts=told), report("pc", 2, facts=[fact("x", {"n": 7}), fact("y", {}), fact("x", {})]))
    assert [dict(each.refused_documents) for each in one.prepared] == [{"repeated": 999}, {"repeated": 1}]
    assert [len(json.loads(each.raw)["facts"]) for each in one.prepared] == [1, 2]
    store(ledger, Writer(keep_late=False), one)
    with ledger.transaction() as connection:
        rows = connection.execute(sa.select(tables.facts.c.kind, tables.facts.c.body)).all()
    assert sorted(row.kind for row in rows) == ["x", "y"]
