"""One agent can't use up what is everyone's: whoever sends, claims or keeps more than its share is told so, counted and
named; the others are taken and shown meanwhile, memory and database stay small, and a start afterwards is a start."""

from __future__ import annotations

import contextlib
import gzip
import os
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from haidang_wire.sources import SOURCES

from tests.attacks.conftest import Machine, stands
from tests.conftest import Center, Processes, delivery, wait_for

pytestmark = pytest.mark.system

# What the default quotas allow for hours is used up in seconds, so that a test is short.
SMALL = """
[quotas]
bytes_a_second = 100000
burst_bytes = 2000000
reports_a_second = 20
burst_reports = 200
facts_a_second = 10
burst_facts = 1000
events_a_day = 50
kept_bytes_a_day = 200000
epochs_a_day = 20
sources = 5
facts = 30
fact_bytes = 20000
late_share = 0.001
series_a_day = 6000
[remote_write]
url = "http://127.0.0.1:9/none"
queue_bytes = 1000000
"""
SAMPLE = {"metric": "haidang_host_processes", "labels": {}, "value": 7}
Make = Callable[[Machine, int], bytes]


@pytest.fixture
def center(tmp_path: Path, processes: Processes) -> Center:
    return Center(tmp_path, processes, extra=SMALL)


def rows(center: Center, table: str, where: str = "1") -> int:
    with contextlib.closing(sqlite3.connect(f"file:{center.state / 'collector.db'}?mode=ro", uri=True)) as database:
        return int(database.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])


def counted(center: Center, attacker: Machine, quota: str) -> None:
    """It is counted by quota, and the agent is named beside it."""
    assert center.metrics()[f'haidang_collector_quota_reached_total{{quota="{quota}"}}'] > 0
    name = f'haidang_collector_agent_quota_reached{{agent="{attacker.name}",quota="{quota}"}}'
    wait_for("the agent is named", lambda: center.metrics().get(name), 10)


# What passes: bytes, reports, facts, deliveries


def large(machine: Machine, number: int) -> bytes:
    name = "haidang_host_temperature_celsius"
    samples = [{"metric": name, "labels": {"sensor": f"s{n}"}, "value": n + number} for n in range(4000)]
    return delivery(machine.report(samples=samples))


def nested(machine: Machine, number: int) -> bytes:
    lists = b'{"x":[' + b",".join([b"[]"] * 100_000) + b"]}"
    fact = {"kind": "a", "key": machine.name, "body": "LISTS"}
    return delivery(machine.report(facts=[fact])).replace(b'"LISTS"', lists)


def many(machine: Machine, number: int) -> bytes:
    return delivery(*(machine.report(samples=[]) for _ in range(60)))


def late(machine: Machine, number: int) -> bytes:
    return delivery(*(machine.report(samples=[SAMPLE]) for _ in range(60)), age=3600.0)


def same(machine: Machine, number: int) -> bytes:
    return delivery(*({**machine.report(samples=[]), "sequence": n} for n in range(60)))


def facts(machine: Machine, number: int) -> bytes:
    told = [{"kind": f"x{n}", "key": machine.name, "body": {"n": number}} for n in range(600)]
    return delivery(machine.report(facts=told))


def nothing(machine: Machine, number: int) -> bytes:
    return b'{"sent":1,"reports":[]}'


@pytest.mark.parametrize(
    ("make", "quota"),
    [(large, "bytes"), (nested, "bytes"), (many, "reports"), (late, "reports"), (same, "reports"), (facts, "facts"),
     (nothing, "reports")],
)  # fmt: skip
def test_who_floods_waits_and_nobody_else(
    center: Center, honest: Machine, attacker: Machine, make: Make, quota: str
) -> None:
    """Over many connections, without a care for what it is told."""
    statuses: Counter[int] = Counter()
    problems: list[dict[str, Any]] = []
    ends = time.monotonic() + 6

    def flood() -> None:
        number = 0
        mine = attacker.another()
        while time.monotonic() < ends or not problems:
            number += 1
            status, answer = mine.post("/v1/reports", make(mine, number), packed=True)
            statuses[status] += 1
            if status == 429:
                problems.append(answer)
        mine.close()

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads):
        status, receipt = honest.deliver(honest.report())
        assert (status, receipt["accepted"]) == (200, 1)
        assert "wait" not in receipt or not receipt["wait"]
        taken += 1
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert taken > 5
    assert {problem["quota"] for problem in problems} <= {quota, "deliveries"}
    assert quota in {problem["quota"] for problem in problems}
    assert set(statuses) <= {200, 400, 422, 429}, statuses
    counted(center, attacker, quota)
    stands(center, honest)


def test_who_waits_as_told_loses_nothing(center: Center, attacker: Machine) -> None:
    """All reports of a backlog that is larger than a burst are taken by who comes again when it is told to."""
    waiting = [delivery(*(attacker.report(samples=[]) for _ in range(50))) for _ in range(8)]
    waited = taken = 0
    while waiting:
        status, answer = attacker.post("/v1/reports", waiting[0])
        if status == 200:
            taken += answer["accepted"]
            waiting.pop(0)
            wait = answer["wait"]
        else:
            assert status == 429
            wait = 1.0
        waited += wait > 0
        assert wait < 30
        time.sleep(wait)
    assert taken == 400
    assert waited


# What decoding costs


def empty_lists() -> bytes:
    return b'{"sent":1,"reports":[{"age":0,"report":{"facts":[{"body":' + b"[" + b",".join([b"[]"] * 5_000_000) + b"]"


def deep() -> bytes:
    return b'{"sent":1,"reports":' + b"[" * 15_000_000


def deep_objects() -> bytes:
    return b'{"sent":1,"reports":' + b'{"a":' * 3_000_000


def tiny_envelopes() -> bytes:
    return b'{"sent":1,"reports":[' + b",".join([b'{"age":0,"report":0}'] * 760_000) + b"]}"


def tiny_samples(machine: Machine) -> bytes:
    return _within(machine, "samples", b",".join([b'{"metric":"","labels":{},"value":0}'] * 440_000))


def long_labels(machine: Machine) -> bytes:
    labels = b",".join(b'"%x":""' % number for number in range(1_400_000))
    return _within(machine, "samples", b'{"metric":"","labels":{' + labels + b'},"value":0}')


def long_keys(machine: Machine) -> bytes:
    return _within(machine, "samples", b'{"metric":"","labels":{"' + b"k" * 15_000_000 + b'":""},"value":0}')


def huge_integers(machine: Machine) -> bytes:
    return _within(machine, "samples", b'{"metric":"","labels":{},"value":' + b"9" * 15_000_000 + b"}")


def repeated_keys(machine: Machine) -> bytes:
    return _within(
        machine, "samples", b'{"metric":"","labels":{' + b",".join([b'"a":""'] * 2_000_000) + b'},"value":0}'
    )


def tiny_facts(machine: Machine) -> bytes:
    return _within(machine, "facts", b",".join([b'{"kind":"a","key":"","body":{}}'] * 500_000))


def tiny_events(machine: Machine) -> bytes:
    return _within(machine, "events", b",".join([b'{"kind":"a","at":1}'] * 700_000))


def lists_in_facts(machine: Machine) -> bytes:
    lists = b"[" + b",".join([b"[]"] * 5_000_000) + b"]"
    return _within(machine, "facts", b'{"kind":"device","key":"a","body":{"x":' + lists + b"}}")


def _within(machine: Machine, name: str, items: bytes) -> bytes:
    return delivery(machine.report(**{name: ["ITEMS"]})).replace(b'"ITEMS"', items)


@pytest.mark.parametrize(
    "make",
    [empty_lists, deep, deep_objects, tiny_envelopes, tiny_samples, long_labels, long_keys, huge_integers, repeated_keys,
     tiny_facts, tiny_events, lists_in_facts],
)  # fmt: skip
def test_decoding_takes_little_memory(tmp_path: Path, processes: Processes, make: Any) -> None:
    """Sixteen megabytes of anything, a few kilobytes on the way, three times: with the default quotas."""
    center = Center(tmp_path, processes)
    honest, attacker = Machine(center, "honest-1"), Machine(center, "attacker-1", "xa-dong-thinh")
    assert honest.deliver(honest.report())[0] == 200
    process = psutil.Process(center.process.pid)
    body = gzip.compress(make(attacker) if make.__code__.co_argcount else make(), 6)
    before, highest = process.memory_info().rss, [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            highest[0] = max(highest[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for _ in range(3):
            status, receipt = attacker.post("/v1/reports", body, {"Content-Encoding": "gzip"})
            # Or the report is taken without what is bad in it.
            assert status in (400, 413, 422, 429) or (status, receipt["samples_refused"]) == (200, 1)
            assert honest.deliver(honest.report())[0] == 200
    finally:
        done.set()
        thread.join()
    assert highest[0] - before < 120e6, f"{(highest[0] - before) / 1e6:.0f} MB"
    stands(center, honest)


@pytest.mark.parametrize("age", [0.0, 3600.0])
def test_ever_other_series_are_so_many_a_day(center: Center, honest: Machine, attacker: Machine, age: float) -> None:
    """Each is current for a moment; Prometheus would keep it for hours. Late ones are no way around it."""

    def others(begin: int) -> dict[str, Any]:
        name = "haidang_host_temperature_celsius"
        samples = [{"metric": name, "labels": {"sensor": f"s{n}"}, "value": n} for n in range(begin, begin + 1000)]
        return attacker.report(samples=samples)

    told = [others(number * 1000) for number in range(8)]
    answers = [attacker.post("/v1/reports", delivery(report, age=age)) for report in told]
    assert [status for status, _ in answers] == [200] * 6 + [422] * 2
    assert "series_a_day" in str(answers[-1])
    assert attacker.post("/v1/reports", delivery(others(0)))[0] == 200
    counted(center, attacker, "series")
    stands(center, honest)


# What is kept


def test_sources_are_few(center: Center, honest: Machine, attacker: Machine) -> None:
    """Each that there is and names that one may have: a row each, current for a week."""
    wanted = ["host", *sorted(SOURCES.keys() - {"host"}), *(f"host:x{number}" for number in range(100))]
    refused = 0
    for at in range(0, len(wanted), 50):
        documents = [attacker.report(source=source, interval=600_000, samples=[]) for source in wanted[at : at + 50]]
        status, receipt = attacker.deliver(*documents)
        assert status in (200, 422)
        refused += len(receipt["refused"])
    assert refused == len(wanted) - 5
    assert rows(center, "latest", f"agent = '{attacker.name}'") == 5
    counted(center, attacker, "sources")
    # What it had goes on.
    (known,) = [source for source in wanted if rows(center, "latest", f"source = '{source}'")][:1]
    assert attacker.deliver(attacker.report(source=known))[1]["accepted"] == 1
    stands(center, honest)


def test_epochs_are_few(center: Center, honest: Machine, attacker: Machine) -> None:
    """Each report of another run of the agent, or far from the one before."""
    for number in range(30):
        attacker.deliver(attacker.report(epoch=number, samples=[]))
        attacker.deliver(attacker.report(sequence=number * 2000, samples=[]))
    assert rows(center, "delivered", f"agent = '{attacker.name}'") <= 22
    counted(center, attacker, "epochs")
    stands(center, honest)


def test_facts_are_few_and_small(center: Center, honest: Machine, attacker: Machine) -> None:
    for number in range(5):
        many_facts = [{"kind": f"x{number}_{n}", "key": attacker.name, "body": {"n": n}} for n in range(20)]
        status, receipt = attacker.deliver(attacker.report(facts=many_facts))
        assert (status, receipt["accepted"]) == (200, 1)
    assert "quotas.facts" in receipt["left_out"][0]["detail"]
    assert rows(center, "facts", f"agent = '{attacker.name}'") == 30
    counted(center, attacker, "facts_kept")
    for number in range(5):
        big = {"kind": "x0_0", "key": attacker.name, "body": {"n": f"{number}" * 15_000}}
        attacker.deliver(attacker.report(facts=[big]))
    assert rows(center, "facts", "length(body) > 14000") == 1
    stands(center, honest)


def test_versions_of_facts_are_few(center: Center, honest: Machine, attacker: Machine) -> None:
    """One fact that is another each time: its history grows."""
    for number in range(60):
        fact = {"kind": "x", "key": attacker.name, "body": {"n": f"{number:02}" * 4000}}
        attacker.deliver(attacker.report(facts=[fact]))
    assert rows(center, "fact_history") < 30
    counted(center, attacker, "kept_bytes")
    stands(center, honest)


@pytest.mark.parametrize("kind", ["unknown_to_all", "link_up"])
def test_events_are_few(center: Center, honest: Machine, attacker: Machine, kind: str) -> None:
    event = {"kind": kind, "at": time.time(), "body": {"device": attacker.name, "interface": "e"}}
    told = 0
    for _ in range(4):
        status, receipt = attacker.deliver(*(attacker.report(samples=[], events=[event] * 10) for _ in range(3)))
        assert (status, receipt["accepted"]) == (200, 3)
        told += len(receipt["left_out"])
    assert rows(center, "events", f"agent = '{attacker.name}'") <= 51
    assert told == 7
    counted(center, attacker, "events")
    stands(center, honest)


@pytest.mark.parametrize("same_machine", [True, False])
def test_names_of_software_are_few(center: Center, honest: Machine, attacker: Machine, same_machine: bool) -> None:
    """Other names each time, of one machine or of one that is another each time."""
    for number in range(5):
        packages = [{"name": f"{number} {n} {'x' * 100}", "version": "1"} for n in range(2000)]
        machine = {"name": "x", "uuid": f"u-{0 if same_machine else number}", "serial": f"s-{number}"}
        documents = [("machine", machine), ("software", {"packages": packages})]
        attacker.deliver(
            attacker.report(
                source="inventory", samples=[],
                facts=[{"kind": kind, "key": attacker.name, "body": body} for kind, body in documents],
            )
        )  # fmt: skip
    assert rows(center, "software") <= 2000
    assert rows(center, "installed") <= 2000
    counted(center, attacker, "kept_bytes")
    assert sum(file.stat().st_size for file in center.state.glob("collector.db")) < 10e6
    stands(center, honest)


def test_devices_on_networks_are_few(center: Center, honest: Machine, attacker: Machine) -> None:
    for number in range(5):
        devices = [
            {"mac": f"02:00:00:0{number}:{n // 256:02x}:{n % 256:02x}", "address": "10.0.0.1"} for n in range(1500)
        ]
        fact = {"kind": "network", "key": attacker.name, "body": {"devices": devices}}
        attacker.deliver(attacker.report(source="lan", samples=[], facts=[fact]))
    assert rows(center, "network_devices") <= 1500
    stands(center, honest)


def test_late_reports_of_one_are_a_share(center: Center, honest: Machine, attacker: Machine) -> None:
    """The queue is everybody's: who comes with a week's worth leaves room."""
    left_out = 0
    for _ in range(3):
        reports = [attacker.report(samples=[SAMPLE]) for _ in range(30)]
        left_out += len(attacker.post("/v1/reports", delivery(*reports, age=7200.0))[1]["left_out"])
    assert left_out > 50
    assert rows(center, "late", f"agent = '{attacker.name}'") < 20
    counted(center, attacker, "late")
    assert honest.deliver(honest.report(), age=7200.0)[1]["left_out"] == []
    assert rows(center, "late", f"agent = '{honest.name}'") == 1
    stands(center, honest)


# Free disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "collector"
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_is_never_full(small_disk: Path, tmp_path: Path, processes: Processes) -> None:
    """Documents go first, then reports, and all is taken again when there is room."""
    limits = "[disk]\ndocuments_free_bytes = 40_000_000\nreports_free_bytes = 20_000_000\n"
    center = Center(tmp_path, processes, extra=limits)
    honest = Machine(center, "honest-1")
    filler = small_disk / "filler"

    def fill(leave: float) -> None:
        filler.unlink(missing_ok=True)
        found = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, int(found.f_bavail * found.f_frsize - leave))))

    def refusing(what: str) -> Callable[[], bool]:
        name = f'haidang_collector_disk_refusing{{what="{what}"}}'
        return lambda: center.metrics()[name] == 1

    def documented() -> tuple[int, dict[str, Any]]:
        event = {"kind": "x", "at": time.time(), "body": {}}
        return honest.deliver(honest.report(facts=[{"kind": "x", "key": honest.name, "body": {}}], events=[event]))

    assert documented()[1]["left_out"] == []
    fill(30e6)
    wait_for("documents are refused", refusing("documents"), 10)
    status, receipt = documented()
    assert (status, receipt["accepted"]) == (200, 1)
    assert "disk" in receipt["left_out"][0]["detail"]
    assert not refusing("reports")()
    fill(10e6)
    wait_for("reports are refused", refusing("reports"), 10)
    status, problem = honest.deliver(honest.report())
    assert (status, problem["title"]) == (503, "disk")
    assert center.process.poll() is None
    fill(22e6)
    assert honest.deliver(honest.report())[0] == 503  # not by turns
    fill(30e6)
    wait_for("reports are taken again", lambda: not refusing("reports")(), 10)
    assert honest.deliver(honest.report())[1]["accepted"] == 1
    filler.unlink()
    wait_for("documents are taken again", lambda: not refusing("documents")(), 10)
    assert documented()[1]["left_out"] == []
    assert (rows(center, "facts"), rows(center, "events")) == (1, 2)
    metrics = center.metrics()
    assert metrics['haidang_collector_disk_refused_total{what="documents"}'] == 2
    assert metrics['haidang_collector_disk_refused_total{what="reports"}'] == 2
    assert metrics["haidang_collector_disk_free_bytes"] > 40e6
    stands(center, honest)
