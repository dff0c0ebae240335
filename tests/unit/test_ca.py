"""The CA's files: replaced as one, by whoever trusts which, and whole after every crash."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from cryptography import x509
from haidang_collector.http.tls import Tls
from haidang_collector.identity import authority as ca
from haidang_collector.identity.authority import Authority, fingerprint, new_key_and_request
from haidang_wire import authorities
from haidang_wire.errors import HaidangError

NAMES = ("localhost", "127.0.0.1")


def client(authority: Authority, folder: Path, name: str) -> Path:
    key, request = new_key_and_request(name)
    file = folder / f"{name}.pem"
    file.write_bytes(key + authority.issue_client(request, "agent", name, 1).pem.encode())
    return file


def meet(server: ssl.SSLContext, trusted: str, identity: Path | None = None) -> str:
    """What becomes of a connection: `ok`, or which side refuses the other. Never by time, as an agent with a wrong
    clock would."""
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    mine.load_verify_locations(cadata=trusted)
    mine.verify_flags |= ssl.VERIFY_X509_STRICT
    if identity:
        mine.load_cert_chain(identity)
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as connection:
                connection.sendall(b"x" if connection.getpeercert() or not identity else b"-")
        except OSError:
            far.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        with mine.wrap_socket(near, server_hostname="localhost") as connection:
            return "ok" if connection.recv(1) == b"x" else "client refused"
    except ssl.SSLCertVerificationError:
        return "server refused"
    except OSError:
        return "client refused"
    finally:
        near.close()
        thread.join(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


def set_ahead(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """This machine's clock, until the patch is undone."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no clock says another class
            return datetime.now(tz) + timedelta(days=days)

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * 86400)
    monkeypatch.setattr(ca, "datetime", Ahead)


def meet_in_time(server: ssl.SSLContext, authority: Authority, identity: Path | None = None) -> str:
    """As `meet`, of a client whose clock is right, and trusts what was written by the collector."""
    return meet(server, authority.certificate_file.read_text(), identity)


def test_what_was_made_while_the_clock_was_ahead_counts_when_it_is_right(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_ahead(monkeypatch, 300)
    authority = Authority(folder)
    tls = Tls(authority, NAMES)
    identity = client(authority, tmp_path, "x")
    monkeypatch.undo()
    tls.follow()  # no check is due
    assert tls.ends < time.time() + 366 * 86400
    assert meet_in_time(tls.context, authority, identity) == "ok"
    # A collector that was started once with such a clock, and now with a right one.
    set_ahead(monkeypatch, 300)
    Tls(authority, NAMES)
    monkeypatch.undo()
    again = Tls(Authority(folder), NAMES)
    assert meet_in_time(again.context, authority, identity) == "ok"
    content = authority.server_file.read_bytes()
    again.follow()
    assert authority.server_file.read_bytes() == content
    # The next CA, too.
    set_ahead(monkeypatch, 300)
    authority.take(authority.successor(700))
    monkeypatch.undo()
    again = Tls(Authority(folder), NAMES)
    for trusted in authorities.split(authority.pem):
        assert meet(again.context, trusted, client(authority, tmp_path, "y")) == "ok"


def test_while_the_ca_is_replaced_both_are_believed_and_then_one(folder: Path, tmp_path: Path) -> None:
    authority = Authority(folder)
    tls = Tls(authority, NAMES)
    old, of_old = authority.pem, client(authority, tmp_path, "old")
    assert meet(tls.context, old, of_old) == "ok"
    before = authority.fingerprint
    authority.take(authority.successor(90))
    tls.follow()
    new = authority.trusted[0]
    of_new = client(authority, tmp_path, "new")
    assert fingerprint(new) != before
    assert [fingerprint(each) for each in authority.trusted][1:] == [before]
    new_alone = authorities.split(authority.pem)[0]
    for trusted in (old, new_alone, authority.pem):
        for identity in (of_old, of_new, None):
            assert meet(tls.context, trusted, identity) == "ok"
    # The server's own certificate is of the new one: the old key is not needed, nor kept.
    assert authority.server_file.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert authority.key_file.read_bytes().count(b"PRIVATE KEY") == 2
    with pytest.raises(HaidangError, match="counts until"):
        authority.take(authority.successor(90))
    authority.take(authority.without_previous())
    tls.follow()
    assert meet(tls.context, new_alone, of_new) == "ok"
    assert meet(tls.context, authority.pem, of_old) == "client refused"
    assert meet(tls.context, old, of_new) == "server refused"
    assert authority.pem == new_alone
    with pytest.raises(HaidangError, match="no CA is being replaced"):
        authority.take(authority.without_previous())


def test_the_old_one_ends_at_its_time_by_itself(folder: Path) -> None:
    authority = Authority(folder)
    tls = Tls(authority, NAMES)
    old = authority.pem
    authority.take(authority.successor(3 / 86400))
    tls.follow()
    assert meet(tls.context, old) == "ok"
    assert not authority.changed()
    version = authority.version
    deadline = time.monotonic() + 30
    while not authority.changed() and time.monotonic() < deadline:
        time.sleep(0.1)
    authority.load()
    tls.follow()
    assert authority.version != version
    assert len(authority.trusted) == 1
    assert meet(tls.context, old) == "server refused"
    assert meet(tls.context, authority.pem) == "ok"
    authority.take(authority.successor(90))  # and the next may begin
    assert len(authority.trusted) == 2


@pytest.mark.parametrize("lost", [("ca.pem", "server.pem"), ("server.pem",), ("ca.pem",)])
@pytest.mark.parametrize("step", ["rotate", "retire"])
def test_a_crash_between_two_files_leaves_one_ca(
    folder: Path, tmp_path: Path, step: str, lost: tuple[str, ...]
) -> None:
    """The key's file is written first, and all else is made of it again."""
    authority = Authority(folder)
    Tls(authority, NAMES)
    if step == "retire":
        authority.take(authority.successor(90))
        Tls(authority, NAMES)
    kept = {name: (folder / name).read_bytes() for name in lost}
    authority.take(authority.successor(90)) if step == "rotate" else authority.take(authority.without_previous())
    Tls(authority, NAMES)
    for name, content in kept.items():  # as if it had been killed before it wrote these
        (folder / name).write_bytes(content)
    again = Authority(folder)
    tls = Tls(again, NAMES)
    assert again.trusted == authority.trusted
    assert (folder / "ca.pem").read_text() == authority.pem
    for trusted in authorities.split(authority.pem):
        assert meet(tls.context, trusted, client(again, tmp_path, "x")) == "ok"
    assert not list(folder.glob("*.new"))


def test_a_folder_of_the_first_version_is_taken_over(folder: Path) -> None:
    authority = Authority(folder, b"secret")
    key, _, _ = authority.key_file.read_bytes().partition(b"-----BEGIN CERTIFICATE")
    authority.key_file.write_bytes(key)
    again = Authority(folder, b"secret")
    assert again.fingerprint == authority.fingerprint
    again.certificate_file.unlink()
    assert Authority(folder, b"secret").fingerprint == authority.fingerprint
    again.take(again.successor(90))
    assert b"ENCRYPTED" in again.key_file.read_bytes()
    with pytest.raises(HaidangError, match="can't be used"):
        Authority(folder, b"wrong")


def test_files_that_are_not_of_each_other_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    ours, other = Authority(folder), Authority(tmp_path / "other")
    whole = ours.key_file.read_bytes()
    key, begin, _ = whole.partition(b"-----BEGIN CERTIFICATE")
    _, _, foreign = other.key_file.read_bytes().partition(b"-----BEGIN CERTIFICATE")
    for broken in (key + begin + foreign, whole + begin + foreign, whole[: len(whole) // 2], b""):
        ours.key_file.write_bytes(broken)
        with pytest.raises(HaidangError, match="can't be used"):
            Authority(folder)
        assert ours.changed()
        with pytest.raises((ValueError, TypeError), match=r"\w"):
            ours.load()
    shutil.copy(other.key_file, ours.key_file)
    ours.load()
    assert ours.fingerprint == other.fingerprint


def test_no_certificate_outlives_its_ca(folder: Path) -> None:
    authority = Authority(folder)
    _, request = new_key_and_request("x")
    issued = authority.issue_client(request, "agent", "x", 40 * 365)
    assert issued.ends == authority.certificate.not_valid_after_utc.timestamp()
    assert x509.load_pem_x509_certificate(issued.pem.encode()).serial_number == int(issued.serial, 16)
