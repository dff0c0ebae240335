"""What an agent may make Prometheus keep in a day."""

from __future__ import annotations

from haidang_collector.quotas.series import SeriesADay


def lines(*names: str, value: int = 1) -> list[bytes]:
    return ["".join(f"{name} {value}\n" for name in names).encode()]


class Agent:
    def __init__(self, most: int = 10) -> None:
        self.series = SeriesADay(most, 3)

    def says(self, *names: str, source: str = "host", device: str = "", day: int = 1, value: int = 1) -> bool:
        number = hash(frozenset(names))
        return self.series.take("may-1", source, device, number, lines(*names, value=value), day)


def numbered(begin: int, end: int) -> list[str]:
    return [f'x{{of="{number}"}}' for number in range(begin, end)]


def test_the_same_series_cost_once_whatever_their_values_and_order() -> None:
    agent = Agent()
    for value in range(50):
        assert agent.says(*numbered(0, 10), value=value)
        assert agent.says(*reversed(numbered(0, 10)), value=value)
        assert agent.says(*numbered(3, 7), value=value)


def test_ever_other_series_come_to_an_end_and_the_known_go_on() -> None:
    agent = Agent()
    assert agent.says(*numbered(0, 6))
    assert agent.says(*numbered(4, 10))
    assert not agent.says(*numbered(9, 11))
    assert agent.says(*numbered(0, 10))
    assert not agent.says(*numbered(10, 11), source="agent")  # another source is no other agent
    assert agent.says(*numbered(90, 100), day=2)
    assert not agent.says(*numbered(0, 10), day=2)


def test_devices_have_their_own_and_agents_too() -> None:
    agent = Agent()
    assert agent.says(*numbered(0, 10))
    assert agent.says(*numbered(10, 20), source="snmp:sw-1", device="sw-1")
    assert not agent.says(*numbered(20, 30), source="traps:sw-1", device="sw-1")
    assert agent.series.take("may-2", "host", "", 7, lines(*numbered(20, 30)), 1)
    agent.series.forget("may-1")
    assert agent.says(*numbered(20, 30))


def test_sources_without_number_are_counted_all_the_same() -> None:
    agent = Agent()
    taken = [agent.says(*numbered(number, number + 1), source=f"host:{number}") for number in range(20)]
    assert taken == [True] * 10 + [False] * 10
