"""Registry, latest, ledger and remote write by themselves."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.exposition.latest import Latest
from haidang_collector.exposition.text import expose
from haidang_collector.identity import agents as identities
from haidang_collector.identity import tokens
from haidang_collector.intake import facts
from haidang_collector.intake.clock import Clock
from haidang_collector.intake.ingest import Batch, Speaker, prepare, read_delivery
from haidang_collector.intake.writer import Shown, Writer
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.quotas.holdings import Keeper
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import RegistryError, load_registry
from haidang_collector.settings import Limits, load_settings
from haidang_collector.telemetry import Telemetry
from haidang_wire.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import REGISTRY, delivery, report

LIMITS = Limits()
GOOD = "province: {name: X}\nsites: [{id: a, name: A, level: commune}]\n"
PORTS = f"{GOOD}devices: [{{id: d, site: a, address: 10.0.0.1}}]\n"
END = "{site: a, device: d, interface: i}"
SPEAKER = Speaker("may-1", "ttdl")


def raw(**changes: Any) -> bytes:
    return json.dumps(report(**changes)).encode()


def test_registry_faults_name_file_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(
        "province: {name: X}\nsites:\n  - id: a\n    name: A\n    level: town\n  - id: a\n    nme: B\n    level: commune\n"
    )
    with pytest.raises(RegistryError) as error:
        load_registry(file)
    text = str(error.value)
    assert f"{file}:5: sites[0].level:" in text
    assert f"{file}:7: sites[1].nme: unknown key 'nme'" in text
    assert f"{file}:6: sites[1].name: 'name' is missing" in text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: [", "not valid YAML"),
        ("- x", "must be a mapping"),
        ("", "'province' is missing"),
        ("province: {name: X, name: Y}\nsites: [{id: a, name: A, level: commune}]", "stands twice"),
        ("province: {name: X}\nsites: [{id: a, name: A, level: commune, parent: b}]", "there is no site 'b'"),
        ("province: {name: X}\nsites: [{id: a, name: A, level: commune, parent: a}]", "its own ancestor"),
        (f"{GOOD}devices: [{{id: d, site: b, address: 10.0.0.1}}]", "there is no site 'b'"),
        (f"{GOOD}devices: [{{id: d, site: a, address: here}}]", "'here' does not appear to be an IPv4 or IPv6 address"),
        (f"{GOOD}devices: [{{id: d, site: a, address: 10.0.0.1, agent: p}}]", "give both `agent` and `credential`"),
        (f"{GOOD}devices: [{{id: d, site: a, address: 10.0.0.1}}, {{id: e, site: a, address: 10.0.0.1}}]", "is that of 'd' already"),
        (f"{GOOD}devices: [{{id: d, site: a, address: 10.0.0.1, agent: 'x\"}} 1', credential: c}}]", "should match pattern"),
        (f"{GOOD}devices: [{{id: d, site: a, address: 10.0.0.1, port: 0}}]", "greater than or equal to 1"),
        (f"{GOOD}circuits: [{{id: c, ends: [{{site: a}}]}}]", "at least 2 items"),
        (f"{GOOD}circuits: [{{id: c, carrier: x, ends: [{{site: a}}, {{site: a}}]}}]", "there is no carrier 'x'"),
        (f"{GOOD}circuits: [{{id: c, ends: [{{site: a}}, {{site: a, device: d}}]}}]", "there is no device 'd'"),
        (f"{GOOD}circuits: [{{id: c, ends: [{{site: a}}, {{site: a, interface: i}}]}}]", "needs the device"),
        (f"{PORTS}circuits: [{{id: c, ends: [{END}, {END}]}}]", "'i' of 'd' is that of 'c' already"),
        (f"{PORTS}circuits: [{{id: c, ends: [{END}, {{site: a}}]}}, {{id: c2, ends: [{END}, {{site: a}}]}}]", "'i' of 'd' is that of 'c' already"),
        ("province: {name: X, center: b}\nsites: [{id: a, name: A, level: commune}]", "there is no site 'b'"),
        ("province: {name: X}\nsites: [{id: a, name: A, level: commune, address: router}]", "'router' does not appear to be"),
        ("province: {name: X}\nsites: [{id: a, name: A, level: commune, stamp_port: 70000}]", "less than or equal to 65535"),
        ("province: {name: X}\nsites: [{id: a, name: A, level: commune, probe: 'A b'}]", "should match pattern"),
        ("province: {name: X}\nsites: [{id: a, name: A, level: commune, address: 10.0.0.1}, {id: b, name: B, level: commune, address: 10.0.0.1}]", "10.0.0.1 is that of 'a' already"),
        (f"{GOOD}circuits: [{{id: a, ends: [{{site: a}}, {{site: a}}]}}]", "'a' is a site: paths are named by either"),
        (f"{GOOD}circuits: [{{id: c, ends: [{{site: a}}, {{site: a}}]}}]", "it joins no two sites"),
        ("province: &p {name: X, more: *p}\nsites: []", "contains itself"),
        ("x0: &x0 [a,a,a,a,a,a,a,a,a,a]\n" + "".join(f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9)), "too large"),
    ],
)  # fmt: skip
def test_bad_registries_are_explained(tmp_path: Path, text: str, wanted: str) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(text)
    with pytest.raises(RegistryError, match=wanted):
        load_registry(file)


@given(st.text(max_size=200))
def test_any_text_is_a_registry_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "random.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(RegistryError):
        load_registry(file)


def test_settings_refuse_unknown_keys_by_name(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[limits]\nbody_byts = 1\n")
    with pytest.raises(ConfigError, match="body_byts"):
        load_settings(file)


def test_latest_shows_the_newest_until_it_expires() -> None:
    latest, now = Latest(), time.time()
    latest.enrol("may-1", "ttdl")
    latest.put("may-1", prepare(raw(interval=10), 0, SPEAKER, now, LIMITS))
    latest.put("may-1", prepare(raw(interval=10, samples=[]), 5, SPEAKER, now, LIMITS))  # older: nothing changes
    assert latest.series == 1
    assert latest.agents["may-1"].up
    latest.expire(now + 24.9)
    assert latest.series == 1
    latest.expire(now + 25.1)
    assert (latest.series, list(latest.families()), latest.agents["may-1"].up) == (0, [], False)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["host", "agent"]), st.integers(0, 50), st.booleans()),
        max_size=40,
    )
)
def test_latest_never_loses_count(steps: list[tuple[str, str, int, bool]]) -> None:
    latest = Latest()
    for agent, source, second, forget in steps:
        latest.enrol(agent, "ttdl")
        metric = "haidang_host_processes" if source == "host" else "haidang_agent_spool_bytes"
        samples = [{"metric": metric, "labels": {}, "value": second}] * (second % 2)
        document = raw(agent=agent, source=source, interval=4, samples=samples)
        latest.put(agent, prepare(document, 0, Speaker(agent, "ttdl"), 1e9 + second, LIMITS))
        latest.expire(1e9 + second)
        if forget:
            latest.forget(agent)
        lines = sum(block.count(b"\n") for _, block in latest.families())
        assert latest.series == lines == sum(state.series for state in latest.agents.values())


def test_a_stopped_agent_is_down_and_says_so() -> None:
    latest = Latest()
    latest.enrol("may-1", "ttdl")
    latest.put("may-1", prepare(raw(), 0, SPEAKER, time.time(), LIMITS))
    latest.agents["may-1"].stopped = True
    text = b"".join(expose(latest, Telemetry(), openmetrics=False)).decode()
    assert 'haidang_agent_up{site="ttdl",agent="may-1"} 0' in text
    assert 'haidang_agent_stopped{site="ttdl",agent="may-1"} 1' in text


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    opened = Ledger(tmp_path)
    with opened.transaction() as connection:
        registry_store.save_registry(connection, Principal.itself(), load_registry(REGISTRY))
        identities.add_agent(connection, Principal.itself(), "may-1", "ttdl", "t", 0.0)
    yield opened
    opened.close()


def batch(*reports: dict[str, Any], age: float = 0.0) -> Batch:
    return read_delivery(delivery(*reports, age=age), Speaker("may-1", "ttdl"), time.time(), LIMITS)


def test_a_token_never_looks_like_an_option(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        made = [
            tokens.create_token(connection, Principal.itself(), "ttdl", uses=1, life_seconds=60)[1] for _ in range(100)
        ]
    assert all(secret.startswith("hd_") for secret in made)
    assert len(set(made)) == 100


def test_exactly_once_in_any_order(ledger: Ledger) -> None:
    """Deliveries out of order, overlapping and repeated: each report counts once."""
    import random

    writer = Writer(keep_late=True)
    random_ = random.Random(5)
    numbers = [random_.randrange(3000) for _ in range(2000)]
    counted: Counter[str] = Counter()
    for start in range(0, len(numbers), 50):
        with ledger.transaction() as connection:
            (outcome,) = writer.write(connection, [batch(*(report(sequence=n) for n in numbers[start : start + 50]))])
        writer.committed()
        counted["new"] += len(outcome.live) + len(outcome.late)
        counted["duplicate"] += outcome.duplicates
    assert counted == {"new": len(set(numbers)), "duplicate": len(numbers) - len(set(numbers))}


def test_a_rolled_back_group_may_come_again(ledger: Ledger) -> None:
    writer = Writer(keep_late=True)
    with pytest.raises(ZeroDivisionError), ledger.transaction() as connection:
        writer.write(connection, [batch(report())])
        raise ZeroDivisionError
    writer.roll_back()
    with ledger.transaction() as connection:
        (outcome,) = writer.write(connection, [batch(report())])
    assert len(outcome.live) == 1


def test_a_start_said_late_still_ends_the_stop(ledger: Ledger) -> None:
    writer = Writer(keep_late=True)
    stop = report(
        sequence=1, source="lifecycle", samples=[], events=[{"kind": "agent_stopped", "at": time.time(), "body": {}}]
    )
    start = report(
        sequence=2, source="lifecycle", samples=[], events=[{"kind": "agent_started", "at": time.time(), "body": {}}]
    )
    for document, age, wanted in ((stop, 9000.0, True), (start, 8000.0, False)):
        with ledger.transaction() as connection:
            (outcome,) = writer.write(connection, [batch(document, age=age)])
        writer.committed()
        assert outcome.stopped is wanted


def test_facts_keep_their_history_newest_first(ledger: Ledger) -> None:
    bodies = {100: "a", 200: "a", 300: "b", 400: "b", 500: "c"}
    with ledger.transaction() as connection:
        for taken in sorted(bodies, reverse=True):
            told = [("hardware", "cpu", json.dumps({"is": bodies[taken]}))]
            holding = Keeper().holding(connection, "may-1")
            assert not facts.keep(connection, "may-1", "ttdl", float(taken), told, holding)
        current = connection.exec_driver_sql("SELECT body, since FROM facts").fetchall()
        history = connection.exec_driver_sql("SELECT body, since, until FROM fact_history ORDER BY since").fetchall()
    assert current == [('{"is": "c"}', 500.0)]
    assert history == [('{"is": "a"}', 100.0, 300.0), ('{"is": "b"}', 300.0, 500.0)]


def test_a_probe_is_assigned_the_paths_of_its_site() -> None:
    from haidang_collector.registry.assignments import Assignments
    from haidang_collector.registry.model import Registry
    from haidang_wire.assignment import AssignedPath, assignment_from, assignment_json

    document = {
        "province": {"name": "X"},
        "sites": [
            {"id": "c", "name": "C", "level": "province", "address": "10.0.0.1", "probe": "probe"},
            {"id": "a", "name": "A", "level": "commune", "address": "10.0.1.1", "probe": "pc", "stamp_port": 862, "stamp_key": "k"},
            {"id": "b", "name": "B", "level": "commune", "address": "2001:DB8::1"},
            {"id": "d", "name": "D", "level": "commune"},
        ],
        "circuits": [
            {"id": "ca", "ends": [{"site": "c", "address": "10.1.0.0"}, {"site": "a", "address": "10.1.0.1"}]},
            {"id": "ab", "ends": [{"site": "a"}, {"site": "b", "address": "10.1.0.3"}]},
        ],
    }  # fmt: skip
    assignments = Assignments(Registry.model_validate(document))
    assert assignments.of("probe", "c").paths == (
        AssignedPath("a", "10.0.1.1", 862, "k"), AssignedPath("b", "2001:db8::1"), AssignedPath("ca", "10.1.0.1"),
    )  # fmt: skip
    assert assignments.of("pc", "a").paths == (
        AssignedPath("c", "10.0.0.1"), AssignedPath("ca", "10.1.0.0"), AssignedPath("ab", "10.1.0.3"),
    )  # fmt: skip
    of_pc = assignments.of("pc", "a")
    assert assignment_from(json.loads(json.dumps(assignment_json(of_pc)))) == of_pc
    assert assignments.version("pc", "a") != assignments.version("probe", "c")
    # The same name at another site is another machine, with nothing to do.
    assert assignments.of("probe", "a").paths == ()


def test_what_reports_each_few_hours_does_not_keep_an_agent_up() -> None:
    latest, now = Latest(), time.time()
    latest.enrol("may-1", "ttdl")
    latest.put("may-1", prepare(raw(interval=10), 0, SPEAKER, now, LIMITS))
    latest.put("may-1", prepare(raw(source="inventory", interval=14400, samples=[]), 0, SPEAKER, now, LIMITS))
    assert latest.agents["may-1"].up
    latest.expire(now + 30)
    assert not latest.agents["may-1"].up
    # One that reports seldom altogether is judged by what it has.
    latest.enrol("may-2", "ttdl")
    seldom = prepare(raw(agent="may-2", interval=3600), 0, Speaker("may-2", "ttdl"), now, LIMITS)
    latest.put("may-2", seldom)
    assert latest.agents["may-2"].up


@pytest.mark.parametrize("other", ["host", "agent"])
def test_an_agent_whose_interval_grows_stays_up(other: str) -> None:
    """The same source, or another one than was there before: what comes now says how often to expect it."""
    latest, now = Latest(), time.time()
    latest.enrol("may-1", "ttdl")
    state = latest.agents["may-1"]
    latest.put("may-1", prepare(raw(interval=15), 0, SPEAKER, now, LIMITS))
    latest.expire(now + 40)
    assert not state.up
    latest.put("may-1", prepare(raw(source=other, interval=600, samples=[]), 0, SPEAKER, now + 50, LIMITS))
    latest.expire(now + 51)
    assert state.up
    latest.expire(now + 50 + 1501)
    assert not state.up
    latest.put("may-1", prepare(raw(interval=15), 0, SPEAKER, now + 2000, LIMITS))
    assert state.shortest_interval == 15


def test_expiries_are_as_many_as_sources() -> None:
    latest, now = Latest(), time.time()
    latest.enrol("may-1", "ttdl")
    for second in range(5000):
        latest.put("may-1", prepare(raw(interval=7 * 86400), 0, SPEAKER, now + second, LIMITS))
    assert len(latest._expiries) < 1100
    latest.expire(now + 4999 + 2.5 * 7 * 86400 - 1)
    assert latest.series == 1
    latest.expire(now + 4999 + 2.5 * 7 * 86400 + 1)
    assert latest.series == 0


def test_late_samples_are_not_written_between_those_that_were_shown() -> None:
    """A report is shown for 2.5 intervals: a counter's later values written into that time would go back."""
    began = 1e9
    shown = Shown(began=float("inf"))
    one = prepare(raw(interval=10), 0, SPEAKER, began, LIMITS)
    shown = shown.followed_by(one, began)
    assert not shown.hides(began - 1)  # of before the agent was known here
    after_the_gap = prepare(raw(interval=10), 0, SPEAKER, began + 100, LIMITS)
    shown = shown.followed_by(after_the_gap, began + 100)
    hidden = [second for second in range(101) if shown.hides(began + second)]
    assert hidden == list(range(1, 25))
    # What follows without a gap leaves nothing to fill in.
    shown = shown.followed_by(prepare(raw(interval=10), 0, SPEAKER, began + 110, LIMITS), began + 110)
    assert [second for second in range(111) if shown.hides(began + second)] == [*hidden, *range(101, 111)]


def test_what_a_cut_line_held_up_is_dated_when_it_was_sent() -> None:
    """TCP sends it again when the line is back: its measurements are as old as their request."""
    speaker = Speaker("may-1", "ttdl")

    def taken(sent: float, received: float) -> float:
        document = json.dumps({"sent": sent, "reports": [{"age": 1.0, "report": report()}]}).encode()
        return read_delivery(document, speaker, 1e9 + received, LIMITS).prepared[0].taken - 1e9

    assert taken(1e9 + 990.0, 1490.0) == 989.0  # 500 s behind, or on its way so long
    assert taken(1e9 + 1000.0, 1500.0) == 1499.0  # behind: no two are held up alike
    assert taken(1e9 + 1010.0, 1522.0) == 1509.0
    assert taken(1e9 + 1023.0, 1523.25) == 1522.0
    assert speaker.clock.offset == 500.0


def test_a_clock_that_was_set_is_followed() -> None:
    clock = Clock()
    assert [clock.held_up(seen) for seen in (5.0, 5.0, 4.0, 4.5, 4.5)] == [5.0, 0.0, 0.0, 0.5, 0.0]
    assert [clock.held_up(seen) for seen in (34.5, 34.6, 34.5)] == [30.0, pytest.approx(0.1), 0.0]
    assert clock.offset == 34.5
    # Whether a delivery was on its way for an hour or the clock was set, the next one shows.
    assert [clock.held_up(seen) for seen in (3634.5, 34.5, 3634.5, 3634.5)] == [3600.0, 0.0, 3600.0, 0.0]
    # None is there before it is sent. After years off it is dated a day back, which is late enough.
    assert [clock.held_up(seen) for seen in (-86400.0, 1e9)] == [0.0, 86400.0]
    assert clock.offset == -86400.0


def test_a_report_that_is_read_in_pieces_is_the_same() -> None:
    """Large ones are: each sample is there, in its place, and one that is none spoils the report as it does a small."""
    metric = "haidang_host_temperature_celsius"
    samples = [{"metric": metric, "labels": {"sensor": f"cảm biến {n}"}, "value": n} for n in range(1201)]
    (read,) = batch(report(samples=samples)).prepared
    assert [sample.value for sample in read.report.samples] == list(range(1201))
    assert read.kept_samples == list(range(1201))
    assert read.blocks[metric].count(b"\n") == 1201
    for bad in ({"metric": metric}, {"metric": metric, "labels": {"sensor": 1}, "value": 1}, [], None, "x"):
        spoilt = batch(report(samples=[*samples[:777], bad, *samples[777:]]))
        assert spoilt.prepared == []
        assert spoilt.refused_reasons == {"malformed": 1}
