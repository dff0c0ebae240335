"""When an agent believes a certificate that its own clock denies: only where that clock can't be right."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from haidang_agent.known_time import KnownTime, begin, is_impossible, may_believe
from haidang_collector.identity.authority import Authority
from haidang_wire import RELEASED
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.conftest import require

DAY = 86400.0
YEAR = 365 * DAY
times = st.floats(0, RELEASED + 40 * YEAR)
after = st.floats(RELEASED, RELEASED + 40 * YEAR)


@given(true=after, told=times, begins=times, ends=times, since=st.floats(0, 2 * YEAR), drift=st.floats(-250, 250))
def test_a_right_clock_is_believed_and_nobody_else(
    true: float, told: float, begins: float, ends: float, since: float, drift: float
) -> None:
    """Whatever the other end says: the exception is not for a machine whose clock is right."""
    known = max(0.0, true - since)
    assume(true + drift <= known + 2 * YEAR)
    assert not may_believe(true + drift, told, begins, ends, known)


@given(true=after, now=st.floats(0, RELEASED - 400), left=st.floats(0, YEAR), known=st.none() | st.floats(0, 20 * YEAR))
def test_a_dead_battery_locks_nobody_out(true: float, now: float, left: float, known: float | None) -> None:
    """1970, 2000, the date of the board: the collector's certificate and word are good, and that is enough."""
    at = 0.0 if known is None else max(0.0, true - known)
    assert may_believe(now, true, true - DAY, true + left, at)


@given(now=times, told=times, begins=times, ends=times, known=after)
def test_what_ended_before_a_time_that_is_known_is_never_believed(
    now: float, told: float, begins: float, ends: float, known: float
) -> None:
    assume(ends < known - 300)
    assert not may_believe(now, told, begins, ends, known)


@given(now=times, told=times, begins=times, ends=times, known=st.just(0.0) | after)
def test_nobody_talks_a_machine_to_before_the_program_or_beyond_the_life(
    now: float, told: float, begins: float, ends: float, known: float
) -> None:
    if may_believe(now, told, begins, ends, known):
        assert is_impossible(now, known)
        assert max(begins, RELEASED - 300) <= told <= ends


def test_the_date_of_the_release_is_one() -> None:
    assert 0 < RELEASED < time.time()


@given(true=after, now=st.floats(0, RELEASED - 400), ahead=st.floats(0, 364 * DAY))
def test_a_time_that_was_told_by_a_wrong_clock_locks_nobody_out(true: float, now: float, ahead: float) -> None:
    """The collector was up to a year ahead, and its certificate is a new one since."""
    assert may_believe(now, true, true - 3600, true + YEAR, true + ahead)


def test_a_time_that_was_told_by_a_wrong_clock_is_taken_back(tmp_path: Path) -> None:
    known = KnownTime(tmp_path)
    known.note(RELEASED + 7 * YEAR, RELEASED + DAY)
    known.note(RELEASED + 2 * DAY, 0.0)  # this machine's clock knows nothing
    assert KnownTime(tmp_path).at == RELEASED + 7 * YEAR
    known.note(RELEASED + 3 * DAY, RELEASED + 3 * DAY - 2)
    assert known.at == KnownTime(tmp_path).at == RELEASED + 3 * DAY


def test_what_the_collector_told_only_grows_and_is_kept(tmp_path: Path) -> None:
    known = KnownTime(tmp_path, at_least=RELEASED)
    assert known.at == RELEASED
    for told in (RELEASED + DAY, RELEASED, float("nan"), float("inf"), -1.0, 1e300):
        known.note(told, 0.0)
    assert known.at == RELEASED + DAY
    assert KnownTime(tmp_path).at == RELEASED + DAY
    (tmp_path / "collector-time").write_text("1e999 nonsense")
    assert KnownTime(tmp_path, at_least=RELEASED).at == RELEASED
    begin(tmp_path, RELEASED + 5)  # enrolled anew, elsewhere
    assert KnownTime(tmp_path).at == RELEASED + 5


# Against somebody who answers, with a certificate of our CA.


def server_certificate(authority: Authority, folder: Path, begins: float, ends: float) -> Path:
    """By the CA's own key, of any time."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(authority.key_file.read_bytes().split(b"-----BEGIN CERT")[0], None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    name = authority.certificate.subject
    certificate = (
        x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC)).not_valid_after(datetime.fromtimestamp(ends, UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )  # fmt: skip
    file = folder / "somebody.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return file


@contextmanager
def somebody(certificate: Path, told: float) -> Iterator[int]:
    """A server that tells a time of its choice; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    while connection.recv(65536):
                        date = formatdate(told, usegmt=True)
                        connection.sendall(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\nok".encode())
            except OSError:
                continue

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


ASK = """
import json, sys, types
from pathlib import Path
from haidang_agent.transport import TlsError, Transport
url, ca_file, known = sys.argv[1:]
transport = Transport(url, ca_file=Path(ca_file), known_time=types.SimpleNamespace(at=float(known)))
try:
    print(json.dumps(transport.request("GET", "/").body.decode()))
except TlsError as error:
    print(json.dumps(error.reason))
"""
NOW = time.time()
ENDED = (NOW - 800 * DAY, NOW - 435 * DAY)
GOOD = (NOW - DAY, NOW + 90 * DAY)


CASES = {
    "right clock, ended 435 days ago": ("+0d", NOW - 60, ENDED, ENDED[0] + DAY, "time"),
    "right clock, never heard": ("+0d", 0.0, ENDED, ENDED[0] + DAY, "time"),
    "right clock, told the truth": ("+0d", 0.0, ENDED, NOW, "time"),
    "all is right": ("+0d", NOW - 60, GOOD, NOW, "ok"),
    "dead battery": ("2000-01-01 00:00:00", 0.0, GOOD, NOW, "ok"),
    "dead battery, heard": ("2000-01-01 00:00:00", NOW - 60, GOOD, NOW, "ok"),
    "1970": ("1970-01-02 00:00:00", NOW - 60, GOOD, NOW, "ok"),
    "hours behind a new certificate": ("-3h", NOW - 60, (NOW - 3600, NOW + 90 * DAY), NOW, "ok"),
    "ended before the program": ("2000-01-01 00:00:00", 0.0, ENDED, ENDED[0] + DAY, "time"),
    "ended before it was heard": (
        "2000-01-01 00:00:00", NOW, (RELEASED - 90 * DAY, RELEASED + 60), RELEASED + 30, "time"
    ),
    "dead battery, heard a time of next year": ("2000-01-01 00:00:00", NOW + 80 * DAY, GOOD, NOW, "ok"),
    "dead battery, heard a time beyond all certificates": ("2000-01-01 00:00:00", NOW + 7 * YEAR, GOOD, NOW, "time"),
    "right clock, heard a time beyond all certificates": ("+0d", NOW + 7 * YEAR, GOOD, NOW, "ok"),
    "years ahead": ("+3y", NOW - 60, GOOD, NOW, "ok"),
    "ahead, and nothing says so": ("+3y", 0.0, GOOD, NOW, "time"),
    "days ahead": ("+200d", NOW - 60, GOOD, NOW, "time"),
    "years ahead, ended": ("+3y", NOW - 60, ENDED, ENDED[0] + DAY, "time"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_whom_a_machine_believes(tmp_path: Path, case: str) -> None:
    clock, known, life, told, answer = CASES[case]
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        require("faketime")
    authority = Authority(tmp_path)
    env = {**os.environ, "LD_PRELOAD": str(libraries[0]), "FAKETIME": clock, "TZ": "UTC"}
    with somebody(server_certificate(authority, tmp_path, *life), told) as port:
        command = [sys.executable, "-c", ASK, f"https://127.0.0.1:{port}", str(authority.certificate_file), str(known)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == answer
