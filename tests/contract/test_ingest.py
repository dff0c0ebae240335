"""Everything an agent can send, good and bad, against the real collector over TLS."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_wire.metrics import CATALOGUE, samples_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Center, Processes, agent_command, delivery, report, require

SAMPLE = {"metric": "haidang_host_load_average", "labels": {"window": "1m"}, "value": 0.5}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Center, Path]]:
    folder = Path(tempfile.mkdtemp())
    processes = Processes(folder)
    center = Center(folder, processes)
    yield center, center.enrol(folder / "agent") / "identity.pem"
    processes.stop()
    shutil.rmtree(folder)


_next = iter(range(10, 10_000_000))


def send(shared: tuple[Center, Path], *reports: dict[str, Any], **options: Any) -> tuple[int, Any]:
    center, identity = shared
    body = gzip.compress(delivery(*reports, **options))
    return center.post("/v1/reports", body, identity, {"Content-Encoding": "gzip"})


def with_sample(**changes: Any) -> dict[str, Any]:
    return report(sequence=next(_next), samples=[report()["samples"][0], {**SAMPLE, **changes}])


def healthy(shared: tuple[Center, Path]) -> None:
    """A good report is still taken, and promtool finds no fault in the exposition."""
    status, receipt = send(shared, report(sequence=next(_next)))
    assert (status, receipt["accepted"]) == (200, 1)
    text = shared[0].get("/metrics")[1]
    done = subprocess.run([require("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert done.returncode == 0, done.stderr + done.stdout


def test_an_agent_has_no_more_series_than_it_may(tmp_path: Path) -> None:
    """The report beside it is kept, and what the agent had stays."""
    processes = Processes(tmp_path)
    try:
        center = Center(tmp_path, processes, extra="[limits]\nseries_an_agent = 30\n")
        only = (center, center.enrol(tmp_path / "agent") / "identity.pem")
        few = [{**SAMPLE, "labels": {"window": f"{number}m"}} for number in range(20)]
        assert send(only, report(sequence=1, samples=few))[1]["accepted"] == 1
        assert send(only, report(sequence=2, samples=few))[1]["accepted"] == 1  # in its own place
        sample = {"metric": "haidang_path_up", "value": 1}
        many = [{**sample, "labels": {"target": f"t{number}"}} for number in range(20)]
        receipt = send(only, report(sequence=3, source="reachability", samples=many), report(sequence=4, samples=few))[
            1
        ]
        assert (receipt["accepted"], len(receipt["refused"])) == (1, 1)
        assert "series_an_agent" in receipt["refused"][0]["detail"]
        metrics = center.metrics()
        assert metrics['haidang_collector_refused_reports_total{reason="too_many_series"}'] == 1
        assert sum(name.startswith("haidang_host_load_average") for name in metrics) == 20
    finally:
        processes.stop()


def test_a_report_is_exposed_once(shared: tuple[Center, Path]) -> None:
    sequence = next(_next)
    assert send(shared, report(sequence=sequence))[1]["accepted"] == 1
    again = send(shared, report(sequence=sequence))[1]
    assert (again["accepted"], again["duplicates"]) == (0, 1)
    metrics = shared[0].metrics()
    assert metrics['haidang_host_processes{site="ttdl",agent="may-1"}'] == 7
    assert metrics['haidang_agent_up{site="ttdl",agent="may-1"}'] == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metric": "made_up"}, "unknown_metric"),
        ({"metric": "haidang_agent_spool_bytes", "labels": {}}, "wrong_source"),
        ({"labels": {}}, "wrong_labels"),
        ({"labels": {"window": "1m", "more": "x"}}, "wrong_labels"),
        ({"labels": {f"l{i}": "x" for i in range(10_000)}}, "wrong_labels"),
        ({"labels": {"window": "x" * 600}}, "label_too_long"),
        ({"labels": {"window": "1m", "site": "so-tttt"}}, "foreign_site"),
        ({"metric": "haidang_interface_up", "labels": {"device": "other", "interface": "eth0"}}, "foreign_device"),
        ({"metric": "haidang_host_processes", "labels": {}}, "duplicate"),
    ],
)
def test_a_bad_sample_costs_only_itself(shared: tuple[Center, Path], changes: dict[str, Any], reason: str) -> None:
    name = f'haidang_collector_refused_samples_total{{reason="{reason}"}}'
    before = shared[0].metrics().get(name, 0)
    status, receipt = send(shared, with_sample(**changes))
    assert (status, receipt["accepted"], receipt["samples_refused"]) == (200, 1, 1)
    assert shared[0].metrics()[name] == before + 1
    healthy(shared)


def test_documents_it_may_not_say_are_named_in_the_receipt(shared: tuple[Center, Path]) -> None:
    foreign = {"kind": "anything", "key": "another-machine", "body": {}}
    own = {**foreign, "key": "may-1"}
    told = {"kind": "network_device_new", "at": time.time(), "body": {}}
    sequence = next(_next)
    status, receipt = send(shared, report(sequence=sequence, facts=[foreign, own, foreign], events=[told]))
    assert (status, receipt["accepted"], receipt["refused"]) == (200, 1, [])
    named = [(each["sequence"], each["detail"]) for each in receipt["left_out"]]
    assert named == [
        (sequence, "host: 2 facts or events are refused (foreign_key)"),
        (sequence, "host: 1 facts or events are refused (reserved_kind)"),
    ]
    healthy(shared)


def test_an_infinite_number_is_refused(shared: tuple[Center, Path]) -> None:
    body = delivery(with_sample(value=12345678)).replace(b"12345678", b"1e999")
    status, answer = shared[0].post("/v1/reports", body, shared[1])
    assert status == 422 or answer["samples_refused"] == 1
    healthy(shared)


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_json_does_not_have_are_400(shared: tuple[Center, Path], literal: bytes) -> None:
    body = delivery(with_sample(value=12345678)).replace(b"12345678", literal)
    assert shared[0].post("/v1/reports", body, shared[1])[0] == 400
    healthy(shared)


def test_labels_can_not_break_out(shared: tuple[Center, Path]) -> None:
    evil = 'x"} 1\nhaidang_agent_up{site="y",agent="z\\'
    assert send(shared, with_sample(labels={"window": evil}))[1]["samples_refused"] == 0
    lines = shared[0].get("/metrics")[1].decode().splitlines()
    assert any(
        line.startswith('haidang_host_load_average{site="ttdl",agent="may-1",window="x\\"} 1\\nhaidang')
        for line in lines
    )
    assert not any(line.startswith('haidang_agent_up{site="y"') for line in lines)
    healthy(shared)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"agent": "somebody-else"}, "foreign_agent"),
        ({"sequence": -1}, "out_of_range"),
        ({"epoch": 2**60}, "out_of_range"),
        ({"interval": 0}, "out_of_range"),
        ({"source": "made:up:source"}, "unknown_source"),
        ({"samples": "none"}, "malformed"),
        ({"samples": [SAMPLE] * 50_001}, "too_large"),
        ({"events": [{"kind": "", "at": 1, "body": {}}]}, "out_of_range"),
    ],
)
def test_a_bad_report_costs_only_itself(shared: tuple[Center, Path], changes: dict[str, Any], reason: str) -> None:
    bad = report(sequence=next(_next))
    bad.update(changes)
    name = f'haidang_collector_refused_reports_total{{reason="{reason}"}}'
    before = shared[0].metrics().get(name, 0)
    assert send(shared, bad)[0] == 422
    status, receipt = send(shared, bad, report(sequence=next(_next)))
    assert (status, receipt["accepted"], len(receipt["refused"])) == (200, 1, 1)
    assert shared[0].metrics()[name] >= before + 1
    healthy(shared)


def test_bodies_that_are_no_delivery(shared: tuple[Center, Path]) -> None:
    center, identity = shared
    good = delivery(report(sequence=next(_next)))
    gz = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 50_000_000)
    for body, headers, wanted in (
        (b"", {}, 400),
        (good[:-20], {}, 400),
        (good.replace(b"host", b"h\xff\xfest"), {}, 422),
        (b'{"sent":1,"reports":[]}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (gzip.compress(good)[:-9], gz, 400),
        (good, gz, 400),
        (bomb, gz, 413),
        (bytes(2_000_000), {}, 413),
        (good, {"Content-Encoding": "br"}, 415),
    ):
        status, problem = center.post("/v1/reports", body, identity, headers)
        assert status == wanted, problem
        assert problem["status"] == wanted
        assert problem["detail"]
    assert center.post("/v1/reports", good)[0] == 401
    healthy(shared)


def test_lone_surrogates_and_control_characters(shared: tuple[Center, Path]) -> None:
    event = {"kind": "x", "at": time.time(), "body": {"text": "\ud800"}}
    for changes in ({"events": [event]}, {"samples": [{**SAMPLE, "labels": {"window": "a\x00\x1b\u2028\ud800"}}]}):
        assert send(shared, report(sequence=next(_next), **changes))[0] in (200, 400, 422)
        healthy(shared)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_damage_never_is_a_500(shared: tuple[Center, Path], data: st.DataObject) -> None:
    document: Any = json.loads(delivery(with_sample()))
    place: Any = document
    for _ in range(data.draw(st.integers(0, 4))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    body = bytearray(json.dumps(document).encode())
    if data.draw(st.booleans()):
        rng = random.Random(data.draw(st.integers()))
        for _ in range(3):
            body[rng.randrange(len(body))] = rng.randrange(256)
    status, _ = shared[0].post("/v1/reports", bytes(body), shared[1])
    assert status in (200, 400, 413, 422)


def test_the_collector_survived_all_of_it(shared: tuple[Center, Path]) -> None:
    healthy(shared)
    openmetrics = shared[0].get("/metrics", headers={"Accept": "application/openmetrics-text"})[1]
    assert openmetrics.endswith(b"# EOF\n")
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    names = [family.name for family in text_string_to_metric_families(openmetrics.decode())]
    assert len(names) == len(set(names))
    assert "haidang_site" in names


def test_openapi_is_honoured(shared: tuple[Center, Path]) -> None:
    """schemathesis on the document: no 5xx, and only documented answers."""
    center, identity = shared
    program = require(str(Path(__import__("sys").executable).parent / "schemathesis"))
    done = subprocess.run(
        [
            program, "run", f"{center.url}/openapi.json", "--tls-verify", str(center.state / "ca.pem"),
            "--request-cert", str(identity), "--checks", "not_a_server_error,status_code_conformance",
            "--max-examples", "25", "--workers", "1", "--no-color",
        ],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-9000:] + done.stderr[-1000:]
    healthy(shared)


SOURCE_OF = {name: metric.sources[0] for metric in CATALOGUE.values() for name in samples_of(metric)}


def test_once_reports_only_what_the_catalogue_declares(shared: tuple[Center, Path]) -> None:
    """The whole of what this machine's agent would say is accepted, sample by sample."""
    document = json.loads(agent_command("once", "--json").stdout)
    by_source: dict[str, list[Any]] = {}
    for sample in document["samples"]:
        kind = SOURCE_OF[sample["metric"]]
        sample["labels"].update({"device": "may-1"} if "device" in sample["labels"] else {})
        by_source.setdefault(kind, []).append(sample)
    reports = [report(sequence=next(_next), source=kind, samples=samples) for kind, samples in by_source.items()]
    status, receipt = send(shared, *reports)
    assert (status, receipt["accepted"], receipt["samples_refused"]) == (200, len(reports), 0)
