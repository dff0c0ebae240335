"""Who may be connected, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any, cast

import pytest
from haidang_collector.http.attempts import Attempts, Pace, Turns
from haidang_collector.http.door import Door, Room, Stage, Visitor, origin, room
from haidang_collector.logs import Bounded
from haidang_collector.problems import Problem
from haidang_collector.settings import DoorSettings
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

SMALL = Room(connections=12, unknown=6, an_address=3, downloads=2)


class Street:
    """A door, its clock, and who was sent away from it."""

    def __init__(self, size: Room = SMALL, **settings: float) -> None:
        self.now = 0.0
        self.reasons: Counter[str] = Counter()
        self.gone: list[str] = []
        self.door = Door(DoorSettings(**settings), size, self._count, lambda: self.now)  # type: ignore[arg-type]

    def _count(self, reason: str) -> None:
        self.reasons[reason] += 1

    def arrive(self, address: str, label: str = "", name: str = "", *, handshake: bool = True) -> Visitor:
        visitor = self.door.arrive(address, lambda: self.gone.append(label or address))
        if handshake:
            self.door.introduce(visitor, name)
        return visitor

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.door.sweep()


def test_many_of_one_address_cost_that_address() -> None:
    street = Street()
    for number in range(5):
        street.arrive("10.0.0.1", f"a{number}")
    assert street.gone == ["a0", "a1"]
    assert street.reasons == {"address_full": 2}
    for number in range(10):
        street.arrive("10.0.0.1", f"b{number}")
    other = street.arrive("10.0.0.2")
    assert other.stage is Stage.IDLE
    assert street.door.unknown == 4


def test_many_addresses_push_out_whoever_has_most() -> None:
    street = Street()
    street.arrive("10.0.0.1", "once")
    for number in range(3):
        street.arrive("10.0.0.2", f"thrice{number}")
    for number in range(10, 14):
        street.arrive(f"10.0.0.{number}")
    assert street.gone == ["thrice0", "thrice1"]
    street.arrive("10.0.0.20")
    assert street.gone[2:] == ["once"]  # nobody has more than one: the longest there


def test_who_is_served_stays_longer_than_who_is_quiet() -> None:
    street = Street()
    served = street.arrive("10.0.0.1", "served")
    street.door.enter(served, Stage.HEADERS)
    street.door.enter(served, Stage.BODY)
    for number in range(8):
        street.arrive("10.0.0.1", f"quiet{number}")
    assert "served" not in street.gone
    assert len(street.gone) == 6
    street.door.enter(served, Stage.IDLE)  # and is the last of the quiet then
    street.arrive("10.0.0.1", "q")
    assert street.gone[-1] == "quiet6"


def test_half_a_header_is_not_being_served() -> None:
    street = Street()
    for number in range(3):
        street.door.enter(street.arrive("10.0.0.1", f"half{number}"), Stage.HEADERS)
    street.arrive("10.0.0.1", "new")
    assert street.gone == ["half0"]


def test_a_full_house_of_busy_ones_still_lets_one_in() -> None:
    street = Street()
    for number in range(3):
        street.door.enter(street.arrive("10.0.0.1", f"busy{number}"), Stage.BODY)
    assert street.arrive("10.0.0.1").stage is Stage.IDLE
    assert street.gone == ["busy0"]


def test_known_ones_take_no_room_of_the_unknown() -> None:
    street = Street()
    for number in range(9):
        street.arrive("10.0.0.1", f"agent{number}", name=f"agent/{number}")
    assert (street.door.known, street.door.unknown, street.gone) == (9, 0, [])
    for number in range(20):
        street.arrive(f"10.0.0.{number}", f"stranger{number}")
    assert (street.door.known, street.door.unknown) == (9, 3)
    assert not any(gone.startswith("agent") for gone in street.gone)


def test_a_house_full_of_known_ones_lets_a_newcomer_in() -> None:
    street = Street()
    for number in range(12):
        street.arrive("10.0.0.1", f"agent{number}", name=f"agent/{number}")
    assert street.arrive("10.0.0.9").stage is Stage.IDLE
    assert street.gone == ["agent0"]


def test_a_certificate_has_its_share() -> None:
    street = Street(connections_a_certificate=2)
    first = street.arrive("10.0.0.1", "first", name="agent/a")
    street.door.enter(first, Stage.BODY)
    street.arrive("10.0.0.2", "second", name="agent/a")
    street.arrive("10.0.0.3", "third", name="agent/a")
    assert street.gone == ["second"]  # the first is at work
    assert street.reasons == {"certificate_full": 1}
    street.arrive("10.0.0.3", "other", name="agent/b")
    assert street.door.known == 3


def test_a_reverse_proxy_stands_for_many() -> None:
    street = Street()
    for _ in range(8):
        street.door.introduce(street.door.arrive("127.0.0.1", lambda: None, trusted=True), "")
    assert (street.door.known, street.door.unknown, street.reasons) == (8, 0, {})


@pytest.mark.parametrize(
    ("stages", "seconds", "reason"),
    [
        ((), 20, "handshake_time"),
        ((Stage.IDLE, Stage.HEADERS), 10, "header_time"),
        ((Stage.IDLE, Stage.HEADERS, Stage.BODY), 10, "body_slow"),
        ((Stage.IDLE, Stage.ANSWER, Stage.UNREAD), 30, "answer_unread"),
    ],
)
def test_each_stage_has_its_time(stages: tuple[Stage, ...], seconds: float, reason: str) -> None:
    street = Street()
    visitor = street.arrive("10.0.0.1", handshake=False)
    for stage in stages:
        street.door.enter(visitor, stage)
    street.after(seconds - 0.1)
    assert street.gone == []
    street.after(0.2)
    assert (street.gone, street.reasons) == (["10.0.0.1"], {reason: 1})
    assert (street.door.known, street.door.unknown) == (0, 0)


def test_saying_the_same_stage_again_gives_no_time() -> None:
    street = Street()
    visitor = street.arrive("10.0.0.1")
    street.door.enter(visitor, Stage.HEADERS)
    for _ in range(11):
        street.after(1)
        street.door.enter(visitor, Stage.HEADERS)
    assert street.reasons == {"header_time": 1}


def test_a_body_needs_a_rate_and_an_end() -> None:
    street = Street(body_seconds=60.0, body_bytes_a_second=100)
    visitor = street.arrive("10.0.0.1")
    street.door.enter(visitor, Stage.BODY)
    for _ in range(59):
        visitor.received += 100
        street.after(1)
        assert street.gone == []
    visitor.received += 100
    street.after(1.1)
    assert street.reasons == {"body_time": 1}


def test_nobody_is_late_for_a_body_that_is_not_read() -> None:
    street = Street()
    visitor = street.arrive("10.0.0.1", name="agent/a")
    visitor.held = lambda: True
    street.door.enter(visitor, Stage.BODY)
    for _ in range(20):
        street.after(10)
    assert street.gone == []
    visitor.held = lambda: False
    street.after(11)
    assert street.reasons == {"body_slow": 1}


def test_idle_ones_are_closed_and_what_was_written_is_sent() -> None:
    street = Street()
    closed: list[str] = []
    unknown = street.arrive("10.0.0.1", "unknown")
    unknown.close = lambda: closed.append("unknown")
    agent = street.arrive("10.0.0.2", "agent", name="agent/a")
    agent.close = lambda: closed.append("agent")
    street.after(5.1)
    assert (closed, street.gone) == (["unknown"], [])
    street.after(31)  # it does not take what was written
    assert street.gone == ["unknown"]
    street.after(95)
    assert (closed, street.gone) == (["unknown", "agent"], ["unknown"])
    assert street.reasons == {}


def test_answers_that_nobody_reads_are_few() -> None:
    street = Street(Room(100, 50, 50, 2), unread_answers=3)
    for number in range(5):
        street.now += 1
        visitor = street.arrive("10.0.0.1", f"slow{number}")
        street.door.enter(visitor, Stage.ANSWER)
        street.door.enter(visitor, Stage.UNREAD)
    assert street.gone == ["slow0", "slow1"]


def test_requests_that_are_being_read_are_few() -> None:
    street = Street(Room(100, 50, 50, 2), unknown_requests=3)
    for number in range(4):
        street.door.enter(street.arrive(f"10.0.0.{number}", f"agent{number}", name=f"agent/{number}"), Stage.BODY)
    for stage in (Stage.HEADERS, Stage.BODY):
        for number in range(4):
            street.door.enter(street.arrive(f"10.0.0.{number}", f"{stage.value}{number}"), stage)
    assert street.gone == ["headers0", "body0"]
    assert street.reasons == {"requests_full": 2}


def test_a_seat_goes_to_who_reads() -> None:
    street = Street(Room(100, 50, 50, 2))
    slow, quick, third = (street.arrive("10.0.0.1", label) for label in ("slow", "quick", "third"))
    with street.door.downloads.seat(quick):
        street.now += 1
        with street.door.downloads.seat(slow):
            street.door.enter(slow, Stage.UNREAD)
            with street.door.downloads.seat(third):
                assert street.gone == ["slow"]
    with street.door.downloads.seat(None), street.door.downloads.seat(quick), street.door.downloads.seat(third):
        assert street.gone == ["slow"]


def test_without_files_the_first_to_leave_leaves() -> None:
    street = Street()
    street.door.spare()  # nobody is there
    street.arrive("10.0.0.1", "agent", name="agent/a")
    street.arrive("10.0.0.1", "stranger")
    street.door.spare()
    street.door.spare()
    assert street.gone == ["stranger", "agent"]


@pytest.mark.parametrize(("files", "most"), [(256, 192), (1024, 896), (20_000, 16_384), (65_536, 16_384), (20, 15)])
def test_the_room_is_what_files_there_are(files: int, most: int) -> None:
    size = room(DoorSettings(), files)
    assert size.connections == most
    assert size.connections + size.downloads < files
    assert size.an_address <= size.unknown * 3 // 4
    assert size.unknown <= size.connections // 2


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("what:ever", "what:ever"),
    ],
)
def test_an_address_stands_for_its_network(address: str, whose: str) -> None:
    assert origin(address) == whose


_STEP = st.tuples(st.sampled_from(["arrive", "name", "leave", "stage", "time"]), st.integers(0, 40), st.integers(0, 6))


@given(st.lists(_STEP, max_size=120))
def test_the_books_are_right_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    """No more than there is room for, nobody lost, nobody kept who has left."""
    street = Street(connections_a_certificate=2)
    there: list[Visitor] = []
    for what, which, other in steps:
        visitor = there[which % len(there)] if there else None
        if what == "arrive":
            there.append(street.arrive(f"10.0.0.{other}", handshake=False))
        elif what == "time":
            street.after(other)
        elif visitor is not None:
            if what == "name" and visitor.stage is Stage.HANDSHAKE:
                street.door.introduce(visitor, f"agent/{other}" if other else "")
            elif what == "leave":
                street.door.leave(visitor)
            elif visitor.stage is not Stage.HANDSHAKE:
                street.door.enter(visitor, list(Stage)[1 + other % 6])
        present = [each for each in there if each.stage is not None]
        unknown = Counter(each.address for each in present if not each.known)
        assert street.door.known == sum(each.known for each in present)
        assert street.door.unknown == unknown.total() <= SMALL.unknown
        assert len(present) <= SMALL.connections
        assert all(number <= SMALL.an_address for number in unknown.values())
    for visitor in there:
        street.door.leave(visitor)
    assert (street.door.known, street.door.unknown) == (0, 0)


def test_who_guesses_has_to_wait() -> None:
    now = 0.0
    failures = Attempts(2.0, 3, lambda: now)
    for _ in range(3):
        assert failures.wait_seconds("a") == 0
        failures.add("a")
    assert failures.wait_seconds("a") == 0.5
    assert failures.wait_seconds("b") == 0
    now = 0.5
    assert failures.wait_seconds("a") == 0
    for number in range(20_010):
        failures.add(f"address {number}")
    assert failures.wait_seconds("a") == 0  # forgotten: the table has a bound


def test_everybody_asks_as_fast_as_he_may_and_waits_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[str] = []
    slept: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answered.append(scope["path"])

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def refused(problem: Problem) -> Response:
        assert (problem.status, problem.reason) == (429, "too_many_requests")
        return Response(status_code=problem.status)

    def asks(who: str, name: str = "") -> list[int]:
        visitor = Visitor(who, lambda: None)
        visitor.known, visitor.name = name != "", name
        sent: list[int] = []

        async def send(message: Any) -> None:
            sent.extend([message["status"]] if "status" in message else [])

        scope = {"type": "http", "path": who + name, "extensions": {"door": visitor}}
        asyncio.run(pace(scope, cast("Any", None), send))
        return sent

    monkeypatch.setattr("asyncio.sleep", sleep)
    pace = Pace(app, DoorSettings(requests_a_second=1e-6, burst_requests=3), refused)
    for who, name in (("10.0.0.1", ""), ("10.0.0.1", "agent/may-1"), ("10.0.0.1", "agent/may-2")):
        assert [asks(who, name) for _ in range(4)] == [[], [], [], [429]]
        assert answered == [who + name] * 3
        answered.clear()
    assert slept == [10.0] * 3
    # A trusted proxy has no name; nor has a request without a connection.
    for _ in range(9):
        visitor = Visitor("10.0.0.9", lambda: None)
        visitor.known = True
        for scope in ({"type": "http", "path": "", "extensions": {"door": visitor}}, {"type": "lifespan", "path": ""}):
            asyncio.run(pace(scope, cast("Any", None), cast("Any", None)))
    assert len(answered) == 18
    # Who is a little too fast is slowed down to what he may.
    slept.clear()
    pace = Pace(app, DoorSettings(requests_a_second=10.0, burst_requests=1), refused)
    assert [asks("10.0.0.2") for _ in range(3)] == [[], [], []]
    assert 0.0 < slept[0] < slept[1] < 0.3


def test_a_right_token_waits_with_the_wrong_ones_and_is_not_refused() -> None:
    async def main() -> None:
        turns = Turns(50.0)
        refused = 0

        async def wrong() -> None:
            nonlocal refused
            try:
                async with turns.turn("10.0.0.1") as failed:
                    failed()
            except Problem as problem:
                refused += problem.status == 429 and bool(problem.retry_after)

        await asyncio.gather(*(wrong() for _ in range(100)))
        assert refused > 30
        async with turns.turn("10.0.0.1"):
            pass
        async with turns.turn("10.0.0.2"):
            pass

    asyncio.run(main())


def test_what_fails_in_a_turn_is_raised_and_the_turn_is_over() -> None:
    async def main() -> None:
        turns = Turns(1.0)
        for _ in range(10):
            with pytest.raises(KeyError):
                async with turns.turn("a"):
                    raise KeyError
        async with turns.turn("a"):
            pass

    asyncio.run(main())


def test_a_log_takes_so_many_lines_of_a_kind() -> None:
    now = 0.0
    bounded = Bounded(3, lambda: now)

    def line(number: int, text: str) -> logging.LogRecord:
        return logging.LogRecord("x", logging.WARNING, "file.py", number, text, None, None)

    assert [bounded.filter(line(1, f"{n}")) for n in range(5)] == [True, True, True, False, False]
    assert bounded.filter(line(2, "other"))
    now = 61.0
    record = line(1, "again")
    assert bounded.filter(record)
    assert record.getMessage() == "again (and 2 more of this kind in the minute before)"
    assert sum(bounded.filter(line(number, "x")) for number in range(10, 2000)) < 1000
