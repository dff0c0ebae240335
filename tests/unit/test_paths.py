"""Paths by themselves: up and down, figures, directions. Packets and time are the tests' own."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from haidang_agent.config import PathsConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.doctor import Doctor
from haidang_agent.path import prober as probing
from haidang_agent.path import stamp
from haidang_agent.path.directions import Directions
from haidang_agent.path.figures import ANSWER_SECONDS, Figures
from haidang_agent.path.liveness import DOUBT_SECONDS, Liveness
from haidang_agent.path.prober import Path as Measured
from haidang_agent.path.prober import Prober
from haidang_agent.schedule.source import Findings
from haidang_agent.sources.paths import Paths
from haidang_collector.settings import Limits
from haidang_wire.assignment import AssignedPath, Assignment
from hypothesis import given
from hypothesis import strategies as st


class Line:
    """Probes over a line with a round trip of `trip` seconds, as the prober sends them."""

    def __init__(self, trip: float = 0.01) -> None:
        self.liveness = Liveness()
        self.trip = trip
        self.now = 0.0
        self.changes: list[tuple[float, bool]] = []
        self._next = 0.0
        self._under_way: list[float] = []

    def run(self, seconds: float, answers: bool | random.Random = True, loss: float = 0.0) -> None:
        ends = self.now + seconds
        while self.now < ends:
            self.now = round(self.now + 0.01, 2)
            while self._under_way and self._under_way[0] + self.trip <= self.now:
                sent = self._under_way.pop(0)
                self._note(self.liveness.answered(sent, self.trip))
            self._note(self.liveness.judge(self.now))
            if self.liveness.in_doubt(self.now):
                self._next = min(self._next, self.now) if self._last + DOUBT_SECONDS <= self.now else self._next
            if self.now >= self._next:
                self.liveness.sent(self.now)
                self._last = self.now
                self._next = self.now + 1
                if answers is True or (isinstance(answers, random.Random) and answers.random() >= loss):
                    self._under_way.append(self.now)

    _last = -1.0

    def _note(self, changed: bool) -> None:
        if changed:
            self.changes.append((self.now, bool(self.liveness.up)))


@pytest.mark.parametrize("phase", [0.0, 0.31, 0.62, 0.93])
def test_a_cut_is_certain_within_four_seconds_and_dated_to_the_second(phase: float) -> None:
    line = Line()
    line.run(10 + phase)
    cut = line.now
    line.run(5, answers=False)
    (_, up), (when, down) = line.changes
    assert up
    assert not down
    assert when - cut < 4
    assert 0 <= line.liveness.since - cut <= 1.01
    repaired = line.now
    line.run(5)
    assert line.changes[-1][1]
    assert line.changes[-1][0] - repaired < 1.6
    assert 0 <= line.liveness.since - repaired <= 1.01


@pytest.mark.parametrize("missed", [1, 2, 5])
def test_some_probes_missed_in_a_row_are_nothing(missed: int) -> None:
    line = Line()
    line.run(10)
    line.run(missed * 0.2, answers=False)
    line.run(10)
    assert line.changes == [(pytest.approx(0.02), True)]


@pytest.mark.parametrize("loss", [0.05, 0.3, 0.51])
def test_half_an_hour_of_random_loss_is_no_outage(loss: float) -> None:
    line = Line()
    line.run(5)
    line.run(1800, answers=random.Random(1), loss=loss)
    assert [up for _, up in line.changes] == [True]


def test_a_path_that_never_answers_is_known_to_be_down() -> None:
    line = Line()
    line.run(6, answers=False)
    assert [up for _, up in line.changes] == [False]
    assert line.liveness.since == pytest.approx(0.01)


def test_a_slow_line_is_not_doubted() -> None:
    line = Line(trip=0.6)  # a satellite
    line.run(20)
    assert line.liveness.up
    line.run(0.5)
    assert not line.liveness.in_doubt(line.now)


def samples(figures: Figures) -> dict[str, float]:
    findings = Findings()
    figures.report(findings)
    return {s.metric.removeprefix("haidang_path_") + s.labels.get("le", ""): s.value for s in findings.samples}


def test_figures_count_loss_order_duplicates_and_round_trips() -> None:
    figures = Figures()
    numbers = [figures.send(i, i * 10**9) for i in range(4)]
    assert figures.answer(numbers[1], 1.03, 10**9 + 30_000_000) == pytest.approx(0.03)
    assert figures.answer(numbers[0], 1.04, 40_000_000) == pytest.approx(0.04)
    assert figures.answer(numbers[0], 1.05, None) is None
    assert figures.answer(99, 1.05, None) is None
    figures.expire(2 + ANSWER_SECONDS)
    told = samples(figures)
    assert told["packets_sent_total"] == 4
    assert told["packets_lost_total"] == 1
    assert told["packets_reordered_total"] == 1
    assert told["packets_duplicate_total"] == 1
    assert told["round_trip_distribution_seconds_count"] == 2
    assert told["round_trip_distribution_seconds_sum"] == pytest.approx(0.07)
    assert told["round_trip_distribution_seconds_bucket0.02"] == 0
    assert told["round_trip_distribution_seconds_bucket0.05"] == 2
    assert told["round_trip_distribution_seconds_bucket+Inf"] == 2
    assert told["delay_variation_seconds"] == pytest.approx(0.01)


@given(step=st.floats(-1e6, 1e6), trip=st.floats(0, 2), read_late=st.floats(0, 0.02), away=st.floats(-1e6, 1e6))
def test_clocks_that_are_set_never_make_a_round_trip_negative_or_longer_than_it_was(
    step: float, trip: float, read_late: float, away: float
) -> None:
    figures = Figures()
    number = figures.send(100.0, 10**18)
    measured = figures.answer(number, 100 + trip + read_late, 10**18 + round((trip + step) * 1e9), away)
    assert measured is not None
    assert 0 <= measured <= trip + read_late + 1e-9


def test_directions_are_told_by_a_reflector_that_counts_for_itself() -> None:
    directions = Directions()
    for sent, reflected in ((0, 0), (2, 1), (3, 2)):  # number 1 is left out by the sender
        directions.answer(sent, reflected)
    assert directions.known
    assert directions.forward == 0
    directions.answer(7, 3)  # 4, 5, 6 never got there
    directions.lost(5)  # two more did, and their answers were lost
    assert (directions.forward, directions.backward) == (3, 2)


def test_directions_stay_unknown_with_a_reflector_that_only_copies() -> None:
    directions = Directions()
    for sent in (0, 2, 3, 9):
        directions.answer(sent, sent)
    assert not directions.known


def test_directions_survive_a_restart_of_the_reflector() -> None:
    directions = Directions()
    for sent, reflected in ((0, 0), (2, 1), (5, 2)):
        directions.answer(sent, reflected)
    forward = directions.forward
    for sent, reflected in ((10, 0), (11, 1), (12, 2)):
        directions.answer(sent, reflected)
    assert directions.forward == forward


def doctor(folder: Path, config: PathsConfig, *paths: dict[str, object]) -> list[str]:
    kept = {"version": "1", "assignment": {"devices": [], "paths": list(paths)}}
    (folder / "assignment.json").write_text(json.dumps(kept))
    return [f"{check.verdict}: {check.text}" for check in Doctor(None, folder, "en")._paths(folder, config)]


def test_the_doctor_says_why_paths_are_not_measured(tmp_path: Path) -> None:
    keys = tmp_path / "stamp.toml"
    path = {"target": "a", "address": "10.0.0.1"}
    signed = {**path, "stamp_port": 862, "stamp_key": "center"}
    off, on = PathsConfig(), PathsConfig(enabled=True, keys_file=str(keys))
    assert doctor(tmp_path, off) == []
    assert "set sources.paths.enabled" in doctor(tmp_path, off, path)[0]
    assert "1 assigned" in doctor(tmp_path, on, path)[0]
    assert "can't be read" in doctor(tmp_path, on, signed)[0]
    for text, problem in (
        ('[center]\nkey = "zz"', "must be hexadecimal digits"), ('[center]\nkey = "00"', "at least 32 digits"),
        ("[other]\nkey = '" + "00" * 16 + "'", "does not have: center"),
    ):  # fmt: skip
        keys.write_text(text)
        keys.chmod(0o600)
        assert problem in doctor(tmp_path, on, signed)[0]
    keys.write_text("[center]\nkey = '" + "00" * 16 + "'")
    assert "1 assigned" in doctor(tmp_path, on, signed)[0]
    keys.chmod(0o644)
    assert "others can read it" in doctor(tmp_path, on, signed)[0]


def test_a_thousand_paths_with_stamp_are_within_the_collectors_limits(tmp_path: Path) -> None:
    limits = Limits()
    source = Paths(PathsConfig(enabled=True), Assignments(tmp_path))
    prober = Prober(1.0, 5000)
    for number in range(1000):
        path = Measured(AssignedPath(f"site-{number}", "10.0.0.1", 862), 2, number, session=Figures())
        path.directions.known = True
        prober.paths[f"site-{number}"] = path
    samples = len(source._figures(prober).samples)
    assert 30_000 < samples < limits.samples_a_report
    assert samples + 3 * 1000 < limits.series_an_agent


@pytest.fixture
def reflector() -> Iterator[int]:
    """The port of a session-reflector on loopback, which counts each session for itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        sessions: dict[tuple[str, int], int] = {}

        def reflect() -> None:
            with contextlib.suppress(OSError):
                while True:
                    data, sender = opened.recvfrom(2048)
                    if not data:
                        return
                    number = sessions[sender] = sessions.get(sender, -1) + 1
                    now = time.time_ns()
                    opened.sendto(stamp.answer(data, number, now, now, 64), sender)

        thread = threading.Thread(target=reflect)
        thread.start()
        yield opened.getsockname()[1]
        opened.sendto(b"", opened.getsockname())
        thread.join(10)


def measured(prober: Prober, condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(prober.turn())


def test_paths_may_share_a_reflector(reflector: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two circuits to one site: each session is its own, also when one of them goes and comes."""
    monkeypatch.setattr(probing, "_MOST_LANES", 3)
    prober = Prober(0.05, 5000)
    wanted = {name: (AssignedPath(name, "127.0.0.1", reflector), b"") for name in "abcd"}
    for names in ("abcd", "bd", "abc"):
        prober.assign({name: wanted[name] for name in names})
        sessions = [(path, path.session) for path in prober.paths.values() if path.session]
        before = [figures.sequence for _, figures in sessions]
        measured(prober, lambda s=sessions, b=before: all(f.sequence > n + 30 for (_, f), n in zip(s, b, strict=True)))
        for path, figures in sessions:
            assert figures.lost == 0
            assert len(figures.waiting) < 10
            assert (path.directions.forward, path.directions.backward) == (0, 0)
    # More than so many are measured by echo alone.
    assert [name for name, path in prober.paths.items() if not path.session] == []
    prober.assign(wanted)
    assert [name for name, path in prober.paths.items() if not path.session] == ["d"]
    prober.close()


def test_a_path_without_a_usable_address_costs_only_itself(tmp_path: Path) -> None:
    assignments = Assignments(tmp_path)
    assignments.current = Assignment(paths=(AssignedPath("a", "router"), AssignedPath("b", "10.0.0.1")))
    assert list(Paths(PathsConfig(enabled=True), assignments)._wanted()) == ["b"]
