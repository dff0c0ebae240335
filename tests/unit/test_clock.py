"""When a delivery was composed, by two steady clocks: never taken for newer than it is, nor for much older."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

import pytest
from haidang_agent.delivery.collector_clock import CollectorClock
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.ingest import Speaker, read_delivery
from haidang_collector.problems import Problem
from haidang_collector.settings import Limits
from haidang_wire.reference import DRIFT, Reading, Reference, reading_from
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import report

UNIX = 1.7e9
# Floats of Unix seconds are good to a quarter of a microsecond.
EXACT = 2e-6


class World:
    """True time, an agent's steady clock and a collector's, each with a zero and a rate of its own."""

    def __init__(self, drift: float = 0.0) -> None:
        self.true = 1000.0
        self.drift = drift
        self.base = TimeBase(steady=self.collector, wall=lambda: UNIX + self.true)
        self.known = CollectorClock()

    def collector(self) -> float:
        return self.true + 5000.0

    def agent(self) -> float:
        return self.true * (1.0 + self.drift) + 70.0

    def exchange(self, out: float, back: float) -> None:
        asked = self.agent()
        self.true += out
        reading = self.base.read()
        self.true += back
        self.known.learn(reading, asked, self.agent())

    def held_up(self, seconds: float) -> float:
        """What the collector takes a delivery to have been held up that was, for so long."""
        document = self.known.reference(self.agent())
        assert document is not None
        self.true += seconds
        received = self.base.now()
        composed = self.base.composed(Reference(**document), received)  # type: ignore[arg-type]  # of JSON
        assert composed is not None
        return received - composed


@dataclass
class Exchange:
    pause: float
    out: float
    back: float


exchanges = st.lists(
    st.builds(Exchange, st.floats(0, 5000), st.floats(0, 90), st.floats(0, 90)), min_size=1, max_size=12
)
hold_ups = st.floats(0, 0.5) | st.floats(0.5, 60) | st.floats(60, 4 * 86400)


@given(exchanges, st.floats(-DRIFT, DRIFT), hold_ups, st.floats(0, 5000))
def test_a_delivery_is_never_taken_for_newer_than_it_is(
    made: list[Exchange], drift: float, seconds: float, pause: float
) -> None:
    world = World(drift * 0.999)
    heard: list[tuple[float, float]] = []
    for each in made:
        world.true += each.pause
        world.exchange(each.out, each.back)
        heard.append((world.true, each.back))
    world.true += pause
    # Of each answer: its way back, and what the clocks may have drifted apart since, one way and the other.
    bound = min(back + 2.01 * DRIFT * (world.true - at) for at, back in heard)
    taken_for = world.held_up(seconds)
    assert seconds - EXACT <= taken_for <= seconds + bound + EXACT


@given(st.floats(0.0, 3.0), st.integers())
def test_an_honest_fresh_delivery_is_not_late_on_a_slow_line_that_loses_packets(way: float, seed: int) -> None:
    """A quarter of all packets is lost and sent again a second and more later; deliveries that were not are fresh."""
    chance = random.Random(seed)

    def passes() -> float:
        return way + sum(2.0**tries for tries in range(6) if chance.random() < 0.25)

    world = World(drift=DRIFT / 5)
    world.exchange(passes(), way)  # one of the three readings it asks for gets through at once
    for _ in range(200):
        world.true += 15.0
        assert world.held_up(way) <= 2 * way + 3 * DRIFT * 15.0 * 200 + EXACT
        world.exchange(passes(), passes())


def test_a_clock_that_stood_still_is_found_out_by_the_next_answer() -> None:
    """A virtual machine that was paused, either of the two. The agent's first: its reports seem old, not fresh."""
    world = World()
    world.exchange(0.01, 0.01)
    lost = 300.0
    world.agent = lambda: world.true + 70.0 - lost  # type: ignore[method-assign]  # what a pause does to a clock
    world.true += lost
    assert world.held_up(0.0) == pytest.approx(lost, abs=1)
    world.exchange(0.3, 0.3)
    assert world.held_up(0.0) < 0.7
    # Then the collector's: deliveries come from its future, and it asks for another reference.
    world.collector = lambda: world.true + 5000.0 - lost  # type: ignore[method-assign]
    world.base._steady = world.collector
    document: Any = world.known.reference(world.agent())
    assert world.base.composed(Reference(**document), world.base.now()) is None
    world.exchange(0.3, 0.3)
    assert 90.0 <= world.held_up(90.0) < 91.0


def test_readings_of_another_clock_are_never_mixed_up() -> None:
    known = CollectorClock()
    assert known.reference(1.0) is None
    known.learn(Reading("a", 1e6), 10.0, 11.0)
    known.learn(Reading("b", 5.0), 12.0, 13.0)
    assert known.reference(14.0) == {"clock": "b", "seconds": 5.0, "ago": 1.0}
    known.learn(Reading("b", 6.0), 13.0, 18.0)  # it was long on its way: the first tells more
    assert known.reference(18.0) == {"clock": "b", "seconds": 5.0, "ago": 5.0}
    known.forget()
    assert not known.is_known


NUMBERS = ("NaN", "-1", "1e400", "9" * 400, "null", '"1"')


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "{}",
        '{"clock": 1, "seconds": 1}',
        *(f'{{"clock": "a", "seconds": {number}}}' for number in NUMBERS),
    ],
)
def test_what_is_no_reading_is_not_learnt(text: str) -> None:
    with pytest.raises(ValueError, match="no reading"):
        reading_from(json.loads(text))


def deliver(speaker: Speaker, reference: object, received: float, sent: float = UNIX, age: float = 1.0) -> float:
    """When its one report was taken."""
    document = {"sent": sent, "reference": reference, "reports": [{"age": age, "report": report()}]}
    return read_delivery(json.dumps(document).encode(), speaker, received, Limits()).prepared[0].taken


@pytest.mark.parametrize("held_up", [0.0, 0.4, 30.0, 59.0, 61.0, 90.0, 3600.0, 5 * 86400.0])
@pytest.mark.parametrize("set_by", [0.0, 3600.0, -3600.0, 1e9])
def test_how_long_a_delivery_was_held_up_no_clock_that_is_set_can_say(held_up: float, set_by: float) -> None:
    world = World()
    speaker = Speaker("may-1", "ttdl", time_base=world.base)
    world.exchange(0.0, 0.0)
    reference, composed = world.known.reference(world.agent()), world.base.now()
    world.true += held_up
    assert deliver(speaker, reference, world.base.now(), UNIX + set_by) == pytest.approx(composed - 1.0, abs=1e-5)
    assert speaker.clock.offset == pytest.approx(composed - UNIX - set_by, abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"clock": "another"},
        {"clock": "a" * 1_000_000},
        {"seconds": -1.0},
        {"seconds": 1e300},
        {"ago": -0.001},
        {"ago": 1e300},
        {"ago": 10.0},
    ],
)
def test_what_the_clock_can_not_have_said_is_asked_for_again(changes: dict[str, object]) -> None:
    world = World()
    speaker = Speaker("may-1", "ttdl", time_base=world.base)
    world.exchange(0.0, 0.0)
    document = {**(world.known.reference(world.agent()) or {}), **changes}
    with pytest.raises(Problem) as raised:
        deliver(speaker, document, world.base.now())
    assert (raised.value.status, raised.value.reason) == (409, "reference")
    reading = reading_from(raised.value.extensions["clock"])
    assert deliver(speaker, {"clock": reading.clock, "seconds": reading.seconds, "ago": 0}, world.base.now())
    assert speaker.clock.offset is not None


@pytest.mark.parametrize("reference", ["", 1, [], {}, {"clock": None, "seconds": 1, "ago": 1}, {"clock": "a"}])
def test_what_is_no_reference_is_malformed(reference: object) -> None:
    with pytest.raises(Problem) as raised:
        deliver(Speaker("may-1", "ttdl"), reference, UNIX)
    assert raised.value.status == 400
