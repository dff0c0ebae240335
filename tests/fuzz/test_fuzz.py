"""A minute of broken deliveries in `make test`; `make fuzz SECONDS=3600` for as long as asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from haidang_collector.collector import Collector
from haidang_collector.identity import agents as identities
from haidang_collector.intake.documents import BadDocument, event_body, fact_body
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.problems import Problem
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry
from haidang_collector.settings import Quotas, RemoteWrite, Settings
from haidang_wire.kinds import BODIES, FACTS
from haidang_wire.report import Receipt
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from tests.conftest import delivery, report
from tests.fuzz.mutate import Mutator

SECONDS = float(os.environ.get("HAIDANG_FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("HAIDANG_FUZZ_SEED", "1" if os.environ.get("CI") else str(random.randrange(2**32))))
_AT_ONCE = 64
AGENTS = {"probe-1": "ttdl", "pc-1": "xa", "honest-1": "xa"}
REGISTRY = {
    "province": {"name": "Tỉnh Ví Dụ", "center": "ttdl"},
    "sites": [
        {"id": "ttdl", "name": "TTDL", "level": "province", "probe": "probe-1", "address": "192.0.2.1"},
        {"id": "xa", "name": "Xã", "level": "commune", "address": "192.0.2.2", "officials": 9, "sensitive_networks": ["10.9.0.0/16"]},
    ],
    "circuits": [
        {"id": "ttdl-xa", "sla_availability_ratio": 0.99,
         "ends": [{"site": "ttdl", "device": "sw-1", "interface": "fiber", "address": "192.0.2.1"}, {"site": "xa", "address": "192.0.2.2"}]}
    ],
    "devices": [{"id": "sw-1", "site": "ttdl", "role": "appliance", "address": "127.0.0.1", "agent": "probe-1", "credential": "c"}],
    "services": [{"id": "cong", "kind": "document_system", "site": "ttdl", "url": "https://localhost/", "serves": "all"}],
}  # fmt: skip


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Of a collector in memory: the disk is not what is tried."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else None))
    file = folder / "registry.yaml"
    file.write_text(yaml.safe_dump(REGISTRY, allow_unicode=True), encoding="utf-8")
    quotas = Quotas(
        bytes_a_second=1e12, burst_bytes=10**12, reports_a_second=1e9, burst_reports=10**9, facts_a_second=1e9,
        burst_facts=10**9, events_a_day=10**9, epochs_a_day=10**9,
    )  # fmt: skip
    made = Settings(state_dir=str(folder / "state"), remote_write=RemoteWrite(url="http://127.0.0.1:9/"), quotas=quotas)
    (folder / "state").mkdir()
    ledger = Ledger(folder / "state")
    with ledger.transaction() as connection:
        registry_store.save_registry(connection, Principal.itself(), load_registry(file))
        for agent, site in AGENTS.items():
            identities.add_agent(connection, Principal.itself(), agent, site, "token", time.time() + 1e6)
    ledger.close()
    yield made
    shutil.rmtree(folder)


async def deliver(collector: Collector, agent: str, body: bytes, encoding: str = "") -> Receipt | Problem:
    """What the route does with a request, without HTTP."""
    headers = [(b"content-length", str(len(body)).encode()), (b"content-encoding", encoding.encode())]

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "path": "/v1/reports", "headers": headers}, receive)
    try:
        async with collector.intake.turn(agent, request) as turn:
            return await collector.take(await turn.batch(collector.speaker(agent)), turn.allowance)
    except Problem as problem:
        return problem


async def is_shown(collector: Collector, sequence: int) -> None:
    """An honest agent's report is taken and shown."""
    sample = {"metric": "haidang_host_processes", "labels": {}, "value": sequence}
    receipt = await deliver(collector, "honest-1", delivery(report("honest-1", sequence, samples=[sample])))
    assert isinstance(receipt, Receipt), receipt
    assert receipt.accepted == 1, receipt
    text = b"".join(lines for _, lines in collector.latest.families())
    assert f'haidang_host_processes{{site="xa",agent="honest-1"}} {float(sequence)!r}\n'.encode() in text


def failures(collector: Collector) -> dict[str, float]:
    """What nobody's report may bring about."""
    found = {}
    for family in collector.telemetry.registry.collect():
        for sample in family.samples:
            bad = sample.labels.get("reason") in ("defect", "unwritable", "unusable")
            counts = sample.name.endswith(("_task_failures_total", "_unusable_total", "_commit_failures_total"))
            if sample.value and (bad or counts):
                found[f"{sample.name}{sample.labels}"] = sample.value
    return found


async def attack(collector: Collector, mutator: Mutator, until: float) -> Counter[str]:
    counted: Counter[str] = Counter()
    while time.monotonic() < until:
        sent = [(agent, *mutator.delivery(agent)) for agent in ("probe-1", "pc-1") * (_AT_ONCE // 2)]
        answers = await asyncio.gather(*(deliver(collector, *each) for each in sent))
        for (agent, body, encoding), answer in zip(sent, answers, strict=True):
            kind = str(answer.status) if isinstance(answer, Problem) else "200"
            assert kind in ("200", "400", "413", "429", "503"), (agent, encoding, body, answer)
            counted[kind] += 1
            if isinstance(answer, Receipt):
                counted["accepted"] += answer.accepted
                counted["refused"] += len(answer.refused)
        found = failures(collector)
        assert not found, (found, [each[1][:3000] for each in sent])
    return counted


async def life(settings: Settings, mutator: Mutator, seconds: float, number: int) -> Counter[str]:
    """A collector from its start to its end, attacked meanwhile."""
    collector = Collector(settings)
    try:
        await collector.start()
        background = asyncio.create_task(collector.run())
        await is_shown(collector, 2 * number + 1)
        counted = await attack(collector, mutator, time.monotonic() + seconds)
        await is_shown(collector, 2 * number + 2)
        await collector.plan.turn(collector)
        assert not background.done()
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        assert not failures(collector)
        return counted
    finally:
        collector.close()


@pytest.mark.timeout(SECONDS * 2 + 240)
def test_broken_deliveries_break_nothing(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """In several lives, so that what one leaves behind is read by the next."""
    mutator, counted, lives = Mutator(SEED), Counter[str](), 4
    for number in range(lives):
        counted += asyncio.run(life(settings, mutator, SECONDS / lives, number))
    with capsys.disabled():
        print(f"\nseed {SEED}: {dict(counted)}")
    assert counted["accepted"]
    assert counted["refused"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=10), below, max_size=4),
    max_leaves=20,
)


@given(kind=st.sampled_from([*FACTS, "new_kind"]), body=_JSON)
def test_any_json_is_a_body_or_a_clear_error(kind: str, body: Any) -> None:
    raw = msgspec.Raw(msgspec.json.encode(body))
    for read in (lambda: fact_body(kind, raw), lambda: event_body("traps", kind, raw)):
        with contextlib.suppress(BadDocument):
            assert isinstance(read(), (dict, str))


@given(st.data())
def test_what_the_types_say_is_taken_as_it_is(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(BODIES)))
    whole = st.integers(-(2**53) + 1, 2**53 - 1)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
    with_types = {int: whole, float: finite, str: text}
    for type_, strategy in with_types.items():
        st.register_type_strategy(type_, strategy)
    document = data.draw(st.from_type(BODIES[kind]))
    raw = msgspec.Raw(msgspec.json.encode(document))
    body = fact_body(kind, raw) if kind in FACTS else event_body("host", kind, raw)
    assert isinstance(body, dict)
    assert msgspec.convert(body, BODIES[kind]) == document
