"""Profiles: what is wrong is named with file and line, what is right is chosen and read rightly."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from haidang_agent import cli
from haidang_agent.eeprom.light import milliwatts_to_dbm
from haidang_agent.snmp.poll import meaning
from haidang_agent.snmp.profile import SHIPPED, Column, Profiles, load_profile, load_profiles
from haidang_agent.snmp.session import Value
from haidang_agent.snmp.values import address, bit, number, text, timestamp
from haidang_wire.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT

HEAD = "name: x\nmatch: {sysObjectID: [1.3.6.1.4.1.99999]}\n"
TABLE = HEAD + "tables:\n  - name: t\n    entry: 1.3.6.1.4.1.99999.1\n    read:\n"


@pytest.mark.parametrize(
    ("document", "line", "wanted"),
    [
        ("name: x\nvendr: y\n", 1, "unknown key 'vendr'"),
        ("- x\n", 1, "must be a mapping"),
        ("name: [\n", 2, "not valid YAML"),
        ("name: x\nname: y\n", 2, "stands twice"),
        ("match: {}\n", 1, "name is missing"),
        (HEAD + "extends: nobody\n", 0, "extends 'nobody', which does not exist"),
        (HEAD + "extends: x\n", 0, "extends itself: x → x"),
        (HEAD + "without: [nothing]\n", 0, "'nothing' is none of generic's tables"),
        ("name: x\nmatch:\n  sysDescr: '('\n", 3, "no regular expression"),
        ("name: x\nmatch:\n  sysObjectID: [enterprises]\n", 3, "must be an OID"),
        (TABLE + "      - {metric: optical_receive_power, column: 2}\n", 7, "there is no 'optical_receive_power'"),
        (TABLE + "      - {metric: host_cpus, column: 2}\n", 7, "there is no 'host_cpus' for devices"),
        (TABLE + "      - {metric: device_fan_ok, column: two}\n", 7, "must be an OID or a column number"),
        (TABLE + "      - {metric: device_fan_ok, column: 2, scale: much}\n", 7, "scale must be a number"),
        (TABLE + "      - {metric: device_fan_ok, column: 2, transform: log}\n", 7, "transform must be mw_to_dbm"),
        (TABLE + "      - {metric: device_fan_ok, column: 2, labels: {port: a}}\n", 7, "unknown key 'port'"),
        (
            TABLE + "      - {metric: device_fan_ok, column: 2, thresholds: {low_alarm: 3}}\n",
            7,
            "has no metric for them",
        ),
        (HEAD + "tables:\n  - {name: t, entry: 1.3.6, interface: index, read: []}\n", 4, "interface must be ifIndex"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, document: str, line: int, wanted: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(document)
    with pytest.raises(ConfigError) as error:
        Profiles([*(load_profile(f) for f in SHIPPED.glob("*.yaml")), load_profile(file)])
    assert wanted in str(error.value)
    assert (f"{file}:{line}:" if line else f"{file}") in str(error.value)


@given(st.data())
def test_any_damage_is_read_or_explained(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = data.draw(st.sampled_from(sorted(SHIPPED.glob("*.yaml")))).read_text()
    at = data.draw(st.integers(0, len(good)))
    piece = data.draw(
        st.text(max_size=8) | st.sampled_from(["[", "{", ": ", "- ", "\n  ", "'", "&a *a", "!!python/name:os"])
    )
    file = tmp_path_factory.getbasetemp() / "damaged.yaml"
    cut = data.draw(st.integers(0, 12))
    file.write_bytes((good[:at] + piece + good[at + cut :]).encode("utf-8", "replace"))
    try:
        load_profile(file)
    except ConfigError as error:
        assert str(file) in str(error)  # noqa: PT017 (some damage is none)


def test_the_worked_example_of_the_documentation_is_right(tmp_path: Path) -> None:
    page = (ROOT / "docs/snmp-profiles.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(name: example.*?)```", page, re.DOTALL)
    assert example
    (tmp_path / "example.yaml").write_text(example.group(1), encoding="utf-8")
    profiles = load_profiles(str(tmp_path))
    profile = profiles.choose("1.3.6.1.4.1.99999.5", "anything")
    assert profile.name == "example"
    power = next(r for t in profile.tables for r in t.readings if r.metric == "optical_receive_power_dbm")
    assert meaning(power.columns[0], 412) == pytest.approx(-3.85, abs=0.01)
    assert meaning(dict(power.thresholds)["low_alarm"], 20) == pytest.approx(-16.99, abs=0.01)
    assert meaning(power.columns[0], 0) is None
    assert cli.main(["profiles", "check", str(tmp_path)]) == 0


def test_a_folder_replaces_a_shipped_profile(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: huawei\nvendor: Ours\nmatch: {sysObjectID: [1.3.6.1.4.1.2011]}\n")
    assert load_profiles(str(tmp_path)).choose("1.3.6.1.4.1.2011.2.23", "").vendor == "Ours"
    assert load_profiles().choose("1.3.6.1.4.1.2011.2.23", "").vendor == "Huawei"


@pytest.mark.parametrize(
    ("object_id", "description", "wanted"),
    [
        ("1.3.6.1.4.1.9.1.1208", "Cisco IOS Software", "cisco"),
        ("1.3.6.1.4.1.9.1.2404", "Cisco Adaptive Security Appliance Version 9.12", "cisco-asa"),
        ("1.3.6.1.4.1.99.1", "", "generic"),  # 99 is not 9
        ("", "", "generic"),
        ("1.0.3.0.6", "SonicWALL TZ 570", "sonicwall-7"),
    ],
)
def test_the_longest_prefix_wins(object_id: str, description: str, wanted: str) -> None:
    assert load_profiles().choose(object_id, description).name == wanted


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"-6.556 dBm", -6.556), (b"  43,5 C", 43.5), (b"\0", None), (b"N/A", None), (b"", None), (None, None),
        (b"+1.5e3", 1500.0), (7, 7.0), (math.nan, None), (math.inf, None), (b"1e999", None), ("1.3.6", 1.3),
    ],
)  # fmt: skip
def test_numbers(raw: Value, wanted: float | None) -> None:
    assert number(raw) == wanted


@given(st.none() | st.binary(max_size=64) | st.text(max_size=64) | st.integers() | st.floats() | st.booleans())
def test_no_answer_of_a_device_raises(raw: Value) -> None:
    assert "\n" not in text(raw)
    for column in (Column("1.3", enum={"1": 1.0}), Column("1.3", transform="mw_to_dbm"), Column("1.3", part=r"(\d+)")):
        value = meaning(column, raw)
        assert value is None or math.isfinite(value)


def test_text_of_devices() -> None:
    assert text("Sở Y tế".encode()) == "Sở Y tế"
    assert text(b"caf\xe9\0") == "café"
    assert text(b"a\x00b\nc  d") == "a b c d"
    assert text(b"\x00\x01\xff\xfe") == "0001fffe"


@pytest.mark.parametrize(("milliwatts", "dbm"), [(1.0, 0.0), (0.078, -11.08), (0.0, None), (-1.0, None)])
def test_light(milliwatts: float, dbm: float | None) -> None:
    found = milliwatts_to_dbm(milliwatts)
    assert found == (None if dbm is None else pytest.approx(dbm, abs=0.005))


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (bytes([7, 234, 11, 25, 8, 30, 0, 0]), 1795595400),  # 2026-11-25 08:30:00, no zone
        (bytes([7, 234, 11, 25, 15, 30, 0, 0]) + b"+" + bytes([7, 0]), 1795595400),
        (b"91.04432(2026-11-25 08:30)", 1795595400),
        (b"Nov 25 2026", 1795564800),
        (b"25 Nov 2026", 1795564800),
        (b"Wed Nov 25 08:30:00 2026", 1795595400),
        (b"2026/11/25 08:30:00", 1795595400),
        (b"fail", None),
        (bytes([7, 234, 13, 40, 8, 30, 0, 0]), None),
        (None, None),
    ],
)
def test_dates_of_devices(raw: Any, wanted: float | None) -> None:
    assert timestamp(raw) == wanted


def test_bits_and_addresses() -> None:
    assert [bit(b"\x3d", place) for place in range(9)] == [False, False, True, True, True, True, False, True, False]
    assert not bit(None, 0)
    assert address(["1", "4", "10", "0", "0", "7"]) == "10.0.0.7"
    assert address(["2", "16", *["0"] * 15, "1"]) == "::1"
    assert address(["1", "4", "10", "0"]) == "1.4.10.0"
    assert address(["x", "y"]) == "x.y"


@given(st.one_of(st.none(), st.binary(max_size=40), st.text(max_size=40), st.integers(), st.floats()))
def test_any_value_is_a_date_or_none(value: Any) -> None:
    found = timestamp(value)
    assert found is None or -1e12 < found < 1e12
    bit(value, 3)


@given(st.lists(st.text(max_size=5), max_size=24))
def test_any_index_is_an_address(parts: list[str]) -> None:
    assert isinstance(address(parts), str)


COLUMN = Column("1.3")


@pytest.mark.parametrize(
    ("column", "raw", "wanted"),
    [
        (replace(COLUMN, transform="present"), b"uplink", 1.0),
        (replace(COLUMN, transform="present"), b"  ", None),
        (replace(COLUMN, transform="timestamp"), b"Nov 25 2026", 1795564800),
        (replace(COLUMN, bit=5), b"\x3c", 1.0),
        (replace(COLUMN, bit=5), b"\xc0", 0.0),
        (replace(COLUMN, scale=0.5), 7, 3.5),
        (replace(COLUMN, scale=0.5, absent=(7.0,)), 7, None),
    ],
)
def test_what_columns_mean(column: Column, raw: Any, wanted: float | None) -> None:
    assert meaning(column, raw) == wanted


@pytest.mark.parametrize("command", [["device", "127.0.0.1"], ["once", "--config", "agent.toml"]])
def test_without_the_probes_libraries_it_says_what_to_install(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "agent.toml").write_text("[sources.snmp]\nenabled = true\n")
    program = (
        f"import sys; sys.modules['gufo.snmp'] = None; from haidang_agent.cli import main; sys.exit(main({command}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "haidang[probe]" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
