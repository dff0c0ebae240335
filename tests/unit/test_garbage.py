"""Every file that is read may be damaged or wrong: a clear error or a fresh start, never a crash."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haidang_agent import cli, status
from haidang_agent.config import load_config
from haidang_agent.delivery import spool as spools
from haidang_agent.delivery.spool import Spool
from haidang_agent.identity import enrolment as identity
from haidang_agent.schedule.source import Findings
from haidang_agent.status import Status
from haidang_collector.registry.file import load_registry
from haidang_collector.settings import load_settings
from haidang_wire.errors import HaidangError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import REGISTRY

AGENT_TOML = b"""log_level = "info"
state_dir = "/var/lib/x"
[spool]
max_bytes = 50000000
[sources.host]
interval_seconds = 15.0
[[sources.reachability.targets]]
name = "S\xe1\xbb\x9f"
address = "192.0.2.1"
"""
COLLECTOR_TOML = b"""state_dir = "/x"
listen_port = 8443
names = ["a"]
[limits]
body_bytes = 1000000
[remote_write]
url = "http://127.0.0.1/"
"""
ENROLMENT = {"collector": "https://a:1", "agent": "a", "site": "b", "begins": 1.0, "ends": 2.0}
STATUS = {
    "written": 1.0, "last_delivery": None, "last_error": "", "spool_reports": 1, "spool_bytes": 2,
    "spool_limit_bytes": 3, "sources": {"host": True},
}  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Random bytes, or a good file cut, overwritten or with something put in."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    at = draw(st.integers(0, len(good)))
    piece = draw(st.binary(max_size=12) | st.sampled_from([b"[", b"{", b'"', b"\n", b"= ", b"- ", b"nan", b"1e999"]))
    return draw(
        st.sampled_from([good[:at], good[:at] + piece + good[at:], good[:at] + piece + good[at + len(piece) :]])
    )


@st.composite
def altered(draw: st.DrawFn, good: dict[str, Any]) -> bytes:
    """A JSON document with a value replaced or gone, or another document, or damaged text."""
    way = draw(st.integers(0, 3))
    key = draw(st.sampled_from(sorted(good)))
    if way == 0:
        return json.dumps(draw(json_values)).encode()
    if way == 1:
        return draw(damaged(json.dumps(good).encode()))
    changed = {**good, key: draw(json_values)} if way == 2 else {k: v for k, v in good.items() if k != key}
    return json.dumps(changed).encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("garbage")


FILES: list[tuple[str, Callable[[Path], object], bytes]] = [
    ("agent.toml", load_config, AGENT_TOML),
    ("collector.toml", load_settings, COLLECTOR_TOML),
    ("registry.yaml", load_registry, REGISTRY.read_bytes()),
]


@pytest.mark.parametrize(("name", "read", "good"), FILES)
def test_the_undamaged_files_are_read(place: Path, name: str, read: Callable[[Path], object], good: bytes) -> None:
    (place / name).write_bytes(good)
    read(place / name)


@pytest.mark.parametrize(("name", "read", "good"), FILES)
@settings(max_examples=300)
@given(data=st.data())
def test_configuration_is_read_or_explained(
    place: Path, name: str, read: Callable[[Path], object], good: bytes, data: st.DataObject
) -> None:
    file = place / name
    file.write_bytes(data.draw(damaged(good)))
    try:
        read(file)
    except HaidangError as error:
        assert str(file) in str(error)  # noqa: PT017 (most damage is an error, some is none)


@given(altered(ENROLMENT))
def test_an_enrolment_is_read_or_explained(place: Path, body: bytes) -> None:
    (place / "enrolment.json").write_bytes(body)
    with contextlib.suppress(HaidangError):
        assert identity.load(place).renewal_due(time.time()) in (True, False)


@given(altered(STATUS))
def test_a_damaged_status_is_none(place: Path, body: bytes) -> None:
    (place / "enrolment.json").write_text(json.dumps(ENROLMENT))
    (place / "status.json").write_bytes(body)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert cli.main(["status", "--state-dir", str(place), "--language", "en"]) in (0, 1)
    assert "https://a:1" in output.getvalue()


def test_a_status_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "enrolment.json").write_text(json.dumps(ENROLMENT))
    for problem in ("", "lỗi"):
        good = Status(time.time(), 4.0, problem, 3, 2, 1, {"host": None, "agent": False})
        status.write(tmp_path, good)
        assert status.read(tmp_path) == good
        assert cli.main(["status", "--state-dir", str(tmp_path)]) == bool(problem)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_spool_is_set_aside_or_used(place: Path, data: st.DataObject) -> None:
    file = place / "spool.db"
    for leftover in place.glob("spool.*"):
        leftover.unlink()
    spool = Spool(file, 1_000_000, 86400.0)
    for _ in range(20):
        spool.put("a", "host", time.time(), 15.0, Findings())
    spool.close()
    good = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(good[: data.draw(st.integers(0, len(good)))] if data.draw(st.booleans()) else good)
    with contextlib.suppress(sqlite3.DatabaseError):
        spools.check(file)
    spool = Spool(file, 1_000_000, 86400.0)
    spool.put("a", "host", time.time(), 15.0, Findings())
    assert spool.newest(100)[0].sequence == 1
    spool.close()
