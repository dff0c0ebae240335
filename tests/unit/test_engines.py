"""Whose an SNMPv3 engine is, and what of it is new (virtual time). Whole datagrams: tests/recorded/test_traps.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from haidang_agent.snmp import fresh as fresh_module
from haidang_agent.snmp.device import Polled
from haidang_agent.snmp.fresh import Fresh, Repeated, Strange


def at_one_time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A steady clock to set."""
    now = [10_000.0]
    monkeypatch.setattr(fresh_module.time, "monotonic", lambda: now[0])
    return now


def again(fresh: Fresh) -> Fresh:
    return Fresh.of(json.loads(json.dumps(fresh.kept())))


def test_engines_that_count_no_boots_are_believed_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the device's own time, as polled, is that of the message."""
    now, fresh, sw = at_one_time(monkeypatch), Fresh(), ("sw", "v3", "10.0.0.1", b"engine")
    assert fresh.is_new(*sw, 1, 90_000)
    assert not fresh.is_new(*sw, 1, 20)
    fresh.note_poll(*sw[:3], Polled(b"engine", 1, 90_010, now[0]))
    assert not fresh.is_new(*sw, 1, 20)
    now[0] += 60
    fresh.note_poll(*sw[:3], Polled(b"engine", 1, 15, now[0]))
    assert fresh.is_new(*sw, 1, 20)
    assert fresh.is_new(*sw, 1, 21)
    assert not fresh.is_new(*sw, 0, 10**6)
    kept = again(fresh)
    assert not kept.is_new(*sw, 0, 10**6)
    assert not kept.is_new(*sw, 1, 21)
    assert kept.is_new(*sw, 1, 22)
    kept.keep({"other"})
    assert kept.kept() == {}


ENGINES_DAMAGED: list[Any] = [
    None, [], {"sw": 1}, {"sw": {}}, {"sw": {"credential": "v3", "engines": {"10.0.0.1": ["zz", 1, 2, 0, True]}}},
    {"sw": {"credential": "v3", "engines": {"10.0.0.1": ["00"]}}},
    {"sw": {"credential": "v3", "engines": {"10.0.0.1": ["00", "x", 1, 0, False]}}},
]  # fmt: skip


@pytest.mark.parametrize("damaged", ENGINES_DAMAGED)
def test_what_was_kept_of_engines_may_be_damaged(damaged: Any) -> None:
    assert Fresh.of(damaged).kept() == {}


def test_an_engine_is_one_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whose messages one key verifies: the one that was polled, before that the one that was heard first."""
    now, fresh = at_one_time(monkeypatch), Fresh()
    a, b, other = ("a", "v3", "10.0.0.1"), ("b", "same", "10.0.0.2"), ("c", "own", "10.0.0.3")
    fresh.kin = {"v3": "v3", "same": "v3", "own": "own"}
    assert fresh.is_new(*b, b"of-b", 1, 100)
    with pytest.raises(Strange):
        fresh.is_new(*a, b"of-b", 1, 101)
    assert fresh.is_new(*other, b"of-b", 1, 101)  # with another key: nobody recorded that
    fresh.note_poll(*a, Polled(b"of-b", 1, 110, now[0]))  # it stands at another place now
    assert fresh.is_new(*a, b"of-b", 1, 111)
    with pytest.raises(Strange):
        fresh.is_new(*b, b"of-b", 1, 112)
    for each in (fresh, again(fresh)):
        each.kin = fresh.kin
        with pytest.raises(Strange):
            each.is_new("d", "v3", "10.0.0.4", b"of-b", 1, 10**6)
        with pytest.raises(Strange):
            each.is_new(*a, b"of-nobody", 1, 1)
    fresh.note("a", "v3", b"datagram")
    for device, credential in (("a", "v3"), ("b", "same")):
        with pytest.raises(Repeated):
            fresh.note(device, credential, b"datagram")
    fresh.note("c", "own", b"datagram")


def test_each_address_of_a_device_may_have_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that stand in for each other; whichever answers at the common address is polled there."""
    now, fresh = at_one_time(monkeypatch), Fresh()
    common, first, second = (("fw", "v3", f"10.0.0.{n}") for n in (1, 2, 3))
    assert fresh.is_new(*first, b"first", 1, 100)
    fresh.note_poll(*common, Polled(b"first", 1, 101, now[0]))
    assert fresh.is_new(*common, b"first", 1, 102)
    assert fresh.is_new(*second, b"second", 7, 5)
    fresh.note_poll(*common, Polled(b"second", 7, 6, now[0]))
    for each in (fresh, again(fresh)):
        now[0] += 60
        assert each.is_new(*common, b"second", 7, 60)
        assert each.is_new(*first, b"first", 1, 160)
        with pytest.raises(Strange):
            each.is_new(*first, b"third", 1, 1)


def test_an_engine_that_is_gone_has_a_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no poll can tell; silence counts over restarts."""
    now, fresh, sw = at_one_time(monkeypatch), Fresh(), ("sw", "v3", "10.0.0.1")
    assert fresh.is_new(*sw, b"before", 3, 500)
    for _ in range(2):
        now[0] += 3 * 86400
        fresh = again(fresh)
        with pytest.raises(Strange):
            fresh.is_new(*sw, b"after", 1, 10)
    now[0] += 86400
    assert fresh.is_new(*sw, b"after", 1, 10)
    with pytest.raises(Strange):
        fresh.is_new(*sw, b"before", 3, 500)


def test_what_was_said_before_the_start_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing was kept: the engine's time, as polled, shows it."""
    now, fresh, sw = at_one_time(monkeypatch), Fresh(), ("sw", "v3", "10.0.0.1")
    now[0] += 10
    fresh.note_poll(*sw, Polled(b"engine", 4, 1000, now[0]))
    assert not fresh.is_new(*sw, b"engine", 4, 980)
    assert fresh.is_new(*sw, b"engine", 4, 992)
    now[0] += 60
    fresh.note_poll(*sw, Polled(b"engine", 5, 3, now[0]))
    assert fresh.is_new(*sw, b"engine", 5, 4)
    assert not fresh.is_new(*sw, b"engine", 4, 1050)
