"""STAMP test packets (RFC 8762): unauthenticated of 44 bytes, authenticated of 112.

TWAMP Light (RFC 5357, appendix I) is understood too: its unauthenticated packets have the same
fields at the same places, with padding behind them that may be missing.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

UNAUTHENTICATED_BYTES = 44
AUTHENTICATED_BYTES = 112
# What TWAMP Light sends at least, and answers at least.
_TWAMP_SENT, _TWAMP_ANSWERED = 14, 41
_HMAC_BYTES = 16

# Section 4.1.1: whether a clock is synchronised is not known here (S = 0), NTP format (Z = 0),
# error about a second: 1 * 2^-32 * 2^32.
ERROR_ESTIMATE = 0x2001
# Seconds from 1900 to 1970 (RFC 5905, section 6).
_NTP_EPOCH = 2_208_988_800
_SECOND_NS = 1_000_000_000

_SENT = struct.Struct("!IQH")
# Section 4.3.1: T3, T2, the sender's own sequence, time and error, and its TTL. The two octets behind
# our error estimate are the session's id for those who have one (RFC 8972, section 3).
_ANSWER = struct.Struct("!IQH2sQIQHxxB")
_SESSION_ID = slice(14, 16)
_AUTHENTICATED_SENT = struct.Struct("!I12xQH")
_AUTHENTICATED_ANSWER = struct.Struct("!I12xQH2s4xQ8xI12xQH6xB")
_AUTHENTICATED_SESSION_ID = slice(26, 28)


def ntp(time_ns: int) -> int:
    """64 bits of NTP time (RFC 5905, section 6) of a Unix time in nanoseconds."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    return ((seconds + _NTP_EPOCH) & 0xFFFFFFFF) << 32 | (rest << 32) // _SECOND_NS


def unix_ns(timestamp: int) -> int:
    """Unix time in nanoseconds of 64 bits of NTP time; good until 2036, and from then to 2104."""
    seconds, fraction = timestamp >> 32, timestamp & 0xFFFFFFFF
    if seconds < 0x80000000:  # the next era
        seconds += 1 << 32
    # Rounded up: the fraction was rounded down, and a time must survive the way there and back.
    return (seconds - _NTP_EPOCH) * _SECOND_NS + -(-fraction * _SECOND_NS >> 32)


@dataclass(frozen=True)
class Reflected:
    """What a session-reflector says; times in Unix nanoseconds, of the clock of whoever took them."""

    sequence: int
    sent_ns: int
    received_ns: int
    sender_sequence: int
    sender_ttl: int


def sender_packet(sequence: int, time_ns: int, key: bytes = b"") -> bytes:
    """A session-sender's test packet (sections 4.2.1 and 4.2.2); with a key, authenticated."""
    if not key:
        return _SENT.pack(sequence, ntp(time_ns), ERROR_ESTIMATE).ljust(UNAUTHENTICATED_BYTES, b"\0")
    packet = _AUTHENTICATED_SENT.pack(sequence, ntp(time_ns), ERROR_ESTIMATE)
    return _signed(packet.ljust(AUTHENTICATED_BYTES - _HMAC_BYTES, b"\0"), key)


def read_reflected(data: bytes, key: bytes = b"") -> Reflected | None:
    """A session-reflector's packet; None for what is none, or is not signed with the key."""
    if not key:
        if len(data) < _TWAMP_ANSWERED:
            return None
        sequence, sent, _, _, received, sender_sequence, _, _, ttl = _ANSWER.unpack_from(data)
    else:
        if not _is_signed(data, key):
            return None
        sequence, sent, _, _, received, sender_sequence, _, _, ttl = _AUTHENTICATED_ANSWER.unpack_from(data)
    return Reflected(sequence, unix_ns(sent), unix_ns(received), sender_sequence, ttl)


def sender_sequence(data: bytes, key: bytes = b"") -> int | None:
    """The sequence number of a session-sender's packet; None for what is none, or is not signed with the key."""
    if key and not _is_signed(data, key):
        return None
    return int.from_bytes(data[:4], "big") if len(data) >= _TWAMP_SENT else None


def session_id(data: bytes, key: bytes = b"") -> bytes:
    """Two octets; zeros where there is none (RFC 8972, section 3)."""
    return data[_AUTHENTICATED_SESSION_ID if key else _SESSION_ID].ljust(2, b"\0")


def answer(data: bytes, sequence: int, received_ns: int, sent_ns: int, ttl: int, key: bytes = b"") -> bytes:
    """What a session-reflector sends back for a packet `sender_sequence` took (sections 4.3.1 and 4.3.2),
    as long as that packet where it may be: what stands behind the base packet comes back unchanged."""
    own = (sequence, ntp(sent_ns), ERROR_ESTIMATE)
    if not key:
        theirs = _SENT.unpack_from(data)
        reply = _ANSWER.pack(*own, session_id(data), ntp(received_ns), *theirs, min(ttl, 255))
        size = min(UNAUTHENTICATED_BYTES, max(len(data), _TWAMP_ANSWERED))
        return reply.ljust(size, b"\0") + data[UNAUTHENTICATED_BYTES:]
    theirs = _AUTHENTICATED_SENT.unpack_from(data)
    reply = _AUTHENTICATED_ANSWER.pack(*own, session_id(data, key), ntp(received_ns), *theirs, min(ttl, 255))
    return _signed(reply.ljust(AUTHENTICATED_BYTES - _HMAC_BYTES, b"\0"), key) + data[AUTHENTICATED_BYTES:]


def _signed(packet: bytes, key: bytes) -> bytes:
    # Section 4.4: HMAC-SHA-256 over all fields before it, cut to 128 bits.
    return packet + hmac.digest(key, packet, "sha256")[:_HMAC_BYTES]


def _is_signed(data: bytes, key: bytes) -> bool:
    if len(data) < AUTHENTICATED_BYTES:
        return False
    signed = AUTHENTICATED_BYTES - _HMAC_BYTES
    expected = hmac.digest(key, data[:signed], "sha256")[:_HMAC_BYTES]
    return hmac.compare_digest(expected, data[signed:AUTHENTICATED_BYTES])
