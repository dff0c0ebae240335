"""The spool: nothing lost, nothing unbounded, ages right whatever the clock does."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from pathlib import Path

import pytest
from haidang_agent.delivery import spool as module
from haidang_agent.delivery.spool import Spool, check
from haidang_agent.schedule.source import Findings
from haidang_wire.errors import HaidangError
from haidang_wire.report import Event, Sample

DAY = 86400.0


def put(spool: Spool, source: str = "host", *, event: str = "", size: int = 10) -> None:
    noise = f"{random.getrandbits(8 * size):x}"
    samples = [Sample("haidang_host_processes", {"x": noise}, 1.0)]
    spool.put("a", source, time.time(), 15, Findings(samples, [], [Event(event, 1.0)] if event else []))


def keys(spool: Spool, limit: int = 10_000) -> list[tuple[int, int]]:
    return [(p.epoch, p.sequence) for p in spool.newest(limit)]


def test_newest_first_and_forgotten_once_delivered(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", 10**7, DAY)
    for _ in range(5):
        put(spool)
    assert [sequence for _, sequence in keys(spool)] == [5, 4, 3, 2, 1]
    spool.forget(keys(spool, 2))
    assert [sequence for _, sequence in keys(spool)] == [3, 2, 1]
    assert json.loads(spool.newest(1)[0].body)["sequence"] == 3


def test_a_new_run_is_a_new_epoch_and_keeps_what_waits(tmp_path: Path) -> None:
    first = Spool(tmp_path / "s.db", 10**7, DAY)
    put(first)
    first.close()
    second = Spool(tmp_path / "s.db", 10**7, DAY)
    put(second)
    assert second.epoch > first.epoch
    assert keys(second) == [(second.epoch, 1), (first.epoch, 1)]


def test_it_stays_in_its_bounds_and_thins_before_it_drops(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", 1_000_000, DAY)
    for number in range(1500):
        put(spool, ("host", "agent")[number % 2], size=500, event="boot" if number == 3 else "")
    state = spool.state()
    files = sum(f.stat().st_size for f in tmp_path.iterdir() if f.suffix != ".db-shm" and "shm" not in f.name)
    assert state.bytes <= 1_000_000
    assert files <= 1_200_000
    assert state.thinned > 100
    waiting = [json.loads(p.body) for p in spool.newest(1)] and [
        json.loads(__import__("zlib").decompress(row[0]))
        for row in sqlite3.connect(tmp_path / "s.db").execute("SELECT body FROM reports ORDER BY epoch, sequence")
    ]
    # Both sources are still there from the old end to the new one, and so is the event.
    assert {document["source"] for document in waiting[:40]} == {"host", "agent"}
    assert [document["sequence"] for document in waiting if document["events"]] == [4]
    assert waiting[-1]["sequence"] == 1500


def test_old_reports_go_by_age(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", 10**7, 0.05)
    put(spool)
    deadline = time.monotonic() + 5
    while keys(spool) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not keys(spool)
    assert spool.state().dropped["age"] == 1


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(os.urandom(20_000))
    spool = Spool(path, 10**7, DAY)
    put(spool)
    assert len(keys(spool)) == 1
    assert spool.set_aside is not None
    assert spool.set_aside.exists()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(HaidangError, match="can't be opened"):
        Spool(tmp_path / "none" / "s.db", 10**7, DAY)


def test_ages_within_a_boot_ignore_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s.db", 10**7, 400 * DAY)
    put(spool)
    real = time.time
    monkeypatch.setattr(module.time, "time", lambda: real() + 3 * 365 * DAY)
    assert spool.newest(1)[0].age < 5


def test_ages_across_boots_use_the_offsets_measured_in_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(module, "boot_id", lambda: "first")
    monkeypatch.setattr(module.time, "time", lambda: real() - 900 * DAY)  # a dead CMOS battery
    first = Spool(tmp_path / "s.db", 10**7, 4000 * DAY)
    first.note_clock_offset(900 * DAY)
    first.put("a", "host", module.time.time(), 15, Findings())
    first.close()
    monkeypatch.setattr(module, "boot_id", lambda: "second")
    monkeypatch.setattr(module, "boot_seconds", lambda: 5.0)
    monkeypatch.setattr(module.time, "time", lambda: real() + 3600)  # now right, an hour later
    second = Spool(tmp_path / "s.db", 10**7, 4000 * DAY)
    second.note_clock_offset(0.0)
    assert abs(second.newest(1)[0].age - 3600) < 10


def test_check_reads_beside_a_running_agent(tmp_path: Path) -> None:
    assert check(tmp_path / "s.db") is None
    spool = Spool(tmp_path / "s.db", 10**7, DAY)
    put(spool)
    state = check(tmp_path / "s.db")
    assert state is not None
    assert state.reports == 1
