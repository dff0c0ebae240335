"""STAMP packets against RFC 8762's layouts octet by octet, and against scapy's definitions of them."""

from __future__ import annotations

import hashlib
import hmac
import logging

import pytest
from haidang_agent.path import stamp
from hypothesis import given
from hypothesis import strategies as st

logging.getLogger("scapy").setLevel(logging.ERROR)
scapy = pytest.importorskip("scapy.contrib.stamp")

KEY = bytes(range(32))
NOW = 1_764_000_000_123_456_789
NANOSECONDS = st.integers(0, 4_000_000_000 * 10**9)
NUMBER = st.integers(0, 2**32 - 1)


def test_a_sender_packet_is_laid_out_as_section_4_2_1_draws_it() -> None:
    packet = stamp.sender_packet(7, NOW)
    assert len(packet) == 44
    assert packet[0:4] == b"\0\0\0\x07"
    assert int.from_bytes(packet[4:8], "big") == 1_764_000_000 + 2_208_988_800
    assert int.from_bytes(packet[8:12], "big") / 2**32 == pytest.approx(0.123456789)
    assert packet[12:14] == b"\x20\x01"  # S=0 Z=0 scale=32 multiplier=1
    assert packet[14:] == bytes(30)


def test_an_authenticated_sender_packet_is_laid_out_as_section_4_2_2_draws_it() -> None:
    packet = stamp.sender_packet(7, NOW, KEY)
    assert len(packet) == 112
    assert packet[0:4] == b"\0\0\0\x07"
    assert packet[4:16] == bytes(12)
    assert packet[16:26] == stamp.sender_packet(7, NOW)[4:14]
    assert packet[26:96] == bytes(70)
    assert packet[96:] == hmac.new(KEY, packet[:96], hashlib.sha256).digest()[:16]


def test_a_reflected_packet_is_laid_out_as_section_4_3_1_draws_it() -> None:
    sent = stamp.sender_packet(7, NOW)
    packet = stamp.answer(sent, 3, NOW + 5_000_000, NOW + 6_000_000, 61)
    assert len(packet) == 44
    assert packet[0:4] == b"\0\0\0\x03"
    assert packet[4:12] == stamp.ntp(NOW + 6_000_000).to_bytes(8, "big")
    assert packet[12:14] == b"\x20\x01"
    assert packet[14:16] == b"\0\0"
    assert packet[16:24] == stamp.ntp(NOW + 5_000_000).to_bytes(8, "big")
    assert packet[24:38] == sent[0:14]  # sequence, timestamp, error estimate of the sender
    assert packet[38:40] == b"\0\0"
    assert packet[40] == 61
    assert packet[41:] == bytes(3)


def test_an_authenticated_reflected_packet_is_laid_out_as_section_4_3_2_draws_it() -> None:
    sent = stamp.sender_packet(7, NOW, KEY)
    packet = stamp.answer(sent, 3, NOW + 5, NOW + 6, 61, KEY)
    assert len(packet) == 112
    assert packet[0:16] == b"\0\0\0\x03" + bytes(12)
    assert packet[16:26] == stamp.ntp(NOW + 6).to_bytes(8, "big") + b"\x20\x01"
    assert packet[26:32] == bytes(6)
    assert packet[32:40] == stamp.ntp(NOW + 5).to_bytes(8, "big")
    assert packet[40:48] == bytes(8)
    assert packet[48:52] == sent[0:4]
    assert packet[52:64] == bytes(12)
    assert packet[64:74] == sent[16:26]
    assert packet[74:80] == bytes(6)
    assert packet[80] == 61
    assert packet[81:96] == bytes(15)
    assert packet[96:] == hmac.new(KEY, packet[:96], hashlib.sha256).digest()[:16]


@given(sequence=NUMBER, at=NANOSECONDS)
def test_scapy_reads_what_we_send(sequence: int, at: int) -> None:
    read = scapy.STAMPSessionSenderTestUnauthenticated(stamp.sender_packet(sequence, at))
    assert (read.seq, read.err_estimate.S, read.err_estimate.Z) == (sequence, 0, 0)
    assert (read.err_estimate.scale, read.err_estimate.multiplier, read.ssid) == (32, 1, 0)
    assert read.getfieldval("ts") == stamp.ntp(at)


@given(sequence=NUMBER, own=NUMBER, ttl=st.integers(0, 255), session=st.integers(0, 65535))
def test_we_read_and_answer_what_scapy_writes(sequence: int, own: int, ttl: int, session: int) -> None:
    sent = bytes(scapy.STAMPSessionSenderTestUnauthenticated(seq=sequence, ssid=session, ts=3_900_000_000.5))
    assert stamp.sender_sequence(sent) == sequence
    answer = stamp.answer(sent, own, NOW, NOW + 1000, ttl)
    read = scapy.STAMPSessionReflectorTestUnauthenticated(answer)
    assert (read.seq, read.seq_sender, read.ssid, read.ttl_sender) == (own, sequence, session, ttl)
    assert read.ts_sender == 3_900_000_000.5
    again = stamp.read_reflected(bytes(read))
    assert again is not None
    assert (again.sequence, again.sender_sequence, again.sender_ttl) == (own, sequence, ttl)


@given(at=NANOSECONDS)
def test_times_survive_the_way_there_and_back(at: int) -> None:
    assert abs(stamp.unix_ns(stamp.ntp(at)) - at) <= 1


@pytest.mark.parametrize("length", [0, 1, 13])
def test_what_is_too_short_is_no_test_packet(length: int) -> None:
    assert stamp.sender_sequence(bytes(length)) is None
    assert stamp.read_reflected(bytes(length)) is None


@given(data=st.binary(max_size=200))
def test_garbage_is_never_taken_for_signed(data: bytes) -> None:
    assert stamp.sender_sequence(data, KEY) is None
    assert stamp.read_reflected(data, KEY) is None


def test_a_changed_octet_or_another_key_breaks_the_signature() -> None:
    packet = bytearray(stamp.sender_packet(1, NOW, KEY))
    assert stamp.sender_sequence(bytes(packet), KEY) == 1
    assert stamp.sender_sequence(bytes(packet), KEY[::-1]) is None
    for place in (0, 20, 50, 95, 111):
        packet[place] ^= 1
        assert stamp.sender_sequence(bytes(packet), KEY) is None
        packet[place] ^= 1


def test_twamp_light_without_padding_gets_the_shortest_answer_and_padding_comes_back() -> None:
    short = stamp.sender_packet(9, NOW)[:14]
    assert len(stamp.answer(short, 1, NOW, NOW, 64)) == 41
    long = stamp.sender_packet(9, NOW) + b"tlv"
    answer = stamp.answer(long, 1, NOW, NOW, 64)
    assert len(answer) == len(long)
    assert answer.endswith(b"tlv")
    reflected = stamp.read_reflected(stamp.answer(short, 1, NOW, NOW, 64))
    assert reflected is not None
    assert reflected.sender_sequence == 9
