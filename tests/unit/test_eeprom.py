"""Transceivers' memory maps: against what the `ethtool` program says of the same bytes, and against garbage."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from haidang_agent.eeprom import Optics, TooShort, decode
from haidang_agent.eeprom.light import milliwatts_to_dbm
from haidang_agent.sources import lldp, transceivers
from haidang_agent.sources.transceivers import Transceivers
from haidang_wire.metrics import CATALOGUE
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT

# Made by hand; the text beside each is ethtool 6.1's reading of it.
MODULES = ROOT / "tests/recorded/own/modules"
NAMES = ("sfp", "sfp-external", "qsfp28")
WORDS = {
    "Module temperature": ("temperature", "degrees C", 1.0, 0.01),
    "Module voltage": ("voltage", "V", 1.0, 0.0001),
    "Laser bias current": ("bias", "mA", 1000.0, 0.002),
    "Laser output power": ("transmit_power", "mW", 1.0, 0.0001),
    "Laser rx power": ("receive_power", "mW", 1.0, 0.0001),
}


def dump(name: str) -> bytes:
    return bytes.fromhex((MODULES / f"{name}.hex").read_text())


def no_page(number: int) -> bytes | None:
    return None


def read(name: str) -> Optics:
    found = decode(dump(name), no_page)
    assert found is not None
    return found


def said(name: str) -> dict[str, str]:
    lines = (MODULES / f"{name}.ethtool").read_text().splitlines()
    return {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}


def figure(text: str, unit: str) -> float:
    match = re.search(rf"(-?[\d.]+) {unit}\b", text)
    assert match, text
    return float(match.group(1))


@pytest.mark.parametrize("name", NAMES)
def test_values_and_limits_are_what_ethtool_reads(name: str) -> None:
    optics, ethtool = read(name), said(name)
    assert (optics.vendor, optics.part, optics.serial) == (
        ethtool["Vendor name"], ethtool["Vendor PN"], ethtool["Vendor SN"],
    )  # fmt: skip
    limits = 0
    for words, text in ethtool.items():
        match = re.fullmatch(r"(.*?) (high|low) (alarm|warning) threshold", words)
        if match:
            quantity, unit, factor, slack = WORDS[match.group(1)]
            mine = optics.limits[quantity][f"{match.group(2)}_{match.group(3)}"] * factor
            assert mine == pytest.approx(figure(text, unit), abs=slack), words
            limits += 1
    assert limits == 20
    assert optics.temperature == pytest.approx(figure(ethtool["Module temperature"], "degrees C"), abs=0.01)
    assert optics.voltage == pytest.approx(figure(ethtool["Module voltage"], "V"), abs=0.0001)
    for lane, each in optics.lanes.items():
        channel = rf"\(Channel {lane}\)" if lane else ""
        for pattern, value, unit in (
            (rf"Laser (tx )?bias current *{channel}", each.bias and each.bias * 1000, "mA"),
            (rf"(Laser output power|Transmit avg optical power) *{channel}", each.transmit_power, "mW"),
            (
                rf"(Receiver signal average optical power|Rcvr signal avg optical power) *{channel}",
                each.receive_power,
                "mW",
            ),
        ):
            (text,) = (text for words, text in ethtool.items() if re.fullmatch(pattern, words))
            assert value == pytest.approx(figure(text, unit), abs=0.002), pattern
    assert list(optics.lanes) == ([""] if name.startswith("sfp") else ["1", "2", "3", "4"])


def cmis(lanes: int, bias_scale: int = 1) -> tuple[bytes, Callable[[int], bytes | None]]:
    """A module of 400G: page 00h, and pages 01h, 02h, 11h by byte (OIF-CMIS-05.2, tables 8-5, 8-43, 8-54, 8-84)."""
    lower = bytearray(256)
    lower[0], lower[88] = 0x18, lanes
    lower[14:18] = int(45.5 * 256).to_bytes(2, "big") + (33000).to_bytes(2, "big")
    lower[129:137], lower[148:152], lower[166:170] = b"HAI DANG", b"DR4 ", b"HD03"
    pages = {1: bytearray(128), 2: bytearray(128), 0x11: bytearray(128)}
    pages[1][160 - 128] = {1: 0x00, 2: 0x08, 4: 0x10}[bias_scale]
    for at, values in ((128, (75 * 256, 0, 70 * 256, 5 * 256)), (192, (25119, 500, 19953, 800))):
        for number, value in enumerate(values):
            pages[2][at - 128 + 2 * number : at - 126 + 2 * number] = value.to_bytes(2, "big")
    for lane in range(8):
        for at, value in ((154, 10000 + lane), (170, 20000 + lane), (186, 5000 + lane)):
            pages[0x11][at - 128 + 2 * lane : at - 126 + 2 * lane] = value.to_bytes(2, "big")
    return bytes(lower), lambda number: bytes(pages[number])


@pytest.mark.parametrize(("lanes", "scale"), [(4, 1), (8, 2), (1, 4)])
def test_a_cmis_module(lanes: int, scale: int) -> None:
    optics = decode(*cmis(lanes, scale))
    assert optics is not None
    assert (optics.vendor, optics.part, optics.serial) == ("HAI DANG", "DR4", "HD03")
    assert (optics.temperature, optics.voltage) == (45.5, pytest.approx(3.3))
    assert list(optics.lanes) == [str(lane + 1) for lane in range(lanes)]
    first = optics.lanes["1"]
    assert (first.receive_power, first.transmit_power) == (pytest.approx(0.5), pytest.approx(1.0))
    assert first.bias == pytest.approx(0.04 * scale)
    assert optics.limits["temperature"] == {"high_alarm": 75, "low_alarm": 0, "high_warning": 70, "low_warning": 5}
    assert optics.limits["receive_power"]["low_alarm"] == pytest.approx(0.05)
    assert optics.limits["voltage"] == {}


def test_a_cable_and_a_module_without_diagnostics_measure_nothing() -> None:
    cable = bytearray(dump("qsfp28"))
    cable[22:58] = bytes(36)
    found = decode(bytes(cable), no_page)
    assert found is not None
    assert (found.temperature, found.lanes, found.limits) == (None, {}, {})
    plain = bytearray(dump("sfp"))
    plain[92] = 0
    found = decode(bytes(plain[:256]), no_page)
    assert found is not None
    assert (found.part, found.lanes) == ("LR-10KM", {})
    assert decode(b"\x7f" + bytes(600), no_page) is None  # a kind nobody described


@given(
    first=st.sampled_from([0x03, 0x0B, 0x0D, 0x11, 0x18, 0x19, 0x1E, 0x55]),
    rest=st.binary(max_size=700),
    page=st.one_of(st.none(), st.binary(max_size=200)),
)
def test_any_dump_is_optics_nothing_or_too_short(first: int, rest: bytes, page: bytes | None) -> None:
    try:
        found = decode(bytes([first]) + rest, lambda number: page)
    except TooShort:
        return
    if found is not None:
        for each in found.lanes.values():
            for power in (each.receive_power, each.transmit_power):
                assert power is None or milliwatts_to_dbm(power) is None or power > 0


@given(st.binary(max_size=400))
def test_any_answer_of_lldpd_is_neighbours_or_an_error(answer: bytes) -> None:
    try:
        lldp.neighbours(answer)
    except ValueError:
        return


NESTED = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["lldp", "interface", "chassis", "port", "name", "id", "value"]), inner, max_size=4
        ),
    ),
    max_leaves=20,
)


@given(NESTED)
def test_any_document_of_lldpd_is_neighbours(document: object) -> None:
    import json

    assert isinstance(lldp.neighbours(json.dumps(document).encode()), list)


FAKE = """#!/bin/sh
# ethtool -m INTERFACE raw on [page N ...]
case "$2" in
sfp0) cat {folder}/sfp.bin ;;
short0) head -c 100 {folder}/sfp.bin ;;
slow0) sleep 60 ;;
*) echo "netlink error: Operation not supported" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with ports of each kind. Its ethtool hands out the recorded bytes: no virtual interface
    has a module, and the real program hands out what the driver gives in the same way."""
    for name in ("copper0", "sfp0", "short0", "slow0", "br0"):
        (tmp_path / "net" / name).mkdir(parents=True)
        if name != "br0":
            (tmp_path / "net" / name / "device").mkdir()
    (tmp_path / "sfp.bin").write_bytes(dump("sfp"))
    (tmp_path / "ethtool").write_text(FAKE.format(folder=tmp_path))
    (tmp_path / "ethtool").chmod(0o755)
    monkeypatch.setattr(transceivers, "_NETWORK", tmp_path / "net")
    monkeypatch.setattr(transceivers, "_READ_SECONDS", 0.5)
    return tmp_path


def test_the_source_reports_what_a_switch_would_over_snmp(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Transceivers("sw-1", str(machine / "ethtool"))
    found = source.collect()
    values = {(s.metric, s.labels["lane"], s.labels.get("level")): s.value for s in found.samples}
    assert {s.labels["interface"] for s in found.samples} == {"sfp0"}
    for sample in found.samples:
        assert "transceivers" in CATALOGUE[sample.metric].sources
        assert sample.labels.keys() == set(CATALOGUE[sample.metric].labels)
        assert sample.labels["device"] == "sw-1"
    assert values["haidang_optical_receive_power_dbm", "", None] == pytest.approx(-13.85, abs=0.01)
    assert values["haidang_optical_receive_power_threshold_dbm", "", "low_alarm"] == pytest.approx(-14.4, abs=0.01)
    assert values["haidang_optical_temperature_celsius", "", None] == 41.5
    assert found.facts[0].body == {"modules": {"sfp0": {"vendor": "HAI DANG", "part": "LR-10KM", "serial": "HD0001"}}}
    assert "short0: its module can't be read" in caplog.text
    assert "slow0: its module does not answer" in caplog.text
    # Ports without a module are left alone for a while; no light has no dBm.
    dark = bytearray(dump("sfp"))
    dark[256 + 104 : 256 + 106] = bytes(2)
    (machine / "sfp.bin").write_bytes(dark)
    (machine / "net/slow0/device").rmdir()
    again = source.collect()
    assert "haidang_optical_receive_power_dbm" not in {s.metric for s in again.samples}
    assert "haidang_optical_transmit_power_dbm" in {s.metric for s in again.samples}


def test_what_is_missing_is_said(machine: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not installed"):
        Transceivers("sw-1", "no-such-ethtool").collect()
    (machine / "ethtool").write_text('#!/bin/sh\necho "netlink error: Operation not permitted" >&2\nexit 1\n')
    with pytest.raises(PermissionError, match="CAP_NET_ADMIN"):
        Transceivers("sw-1", str(machine / "ethtool")).collect()
