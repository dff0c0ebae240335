"""Certificates that no longer count, or never did, on fresh and on kept connections: ended, revoked, released, copied,
of another CA, of another kind, of a CA that was replaced."""

from __future__ import annotations

import base64
import http.client
import json
import re
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity.authority import Authority, Issued, new_key_and_request
from haidang_collector.ledger.database import Ledger

from tests.attacks.conftest import Machine, stands
from tests.conftest import Center, Processes, delivery, report, wait_for

pytestmark = pytest.mark.system

REFUSED = (401, 403)
# Where each kind is let in.
DOORS = {"agent": "/v1/assignment", "operator": "/v1/maintenance", "scraper": "/metrics/outages"}


class Client:
    """Somebody with a certificate, on one connection that is kept."""

    def __init__(self, center: Center, identity: Path) -> None:
        self.identity = identity
        self.connection = http.client.HTTPSConnection(
            center.address, center.port, timeout=30, context=center.context(identity)
        )

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> int:
        """The status. Raises OSError when the connection is not (or no longer) there."""
        assert self.connection.sock is not None or self.connection.connect() is None
        before = self.connection.sock
        self.connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        self.said = answer.read()
        assert self.connection.sock in (before, None)
        return answer.status


def refused_anew(center: Center, identity: Path, path: str) -> bool:
    """Whether a fresh connection is refused: in the handshake, or by the answer."""
    try:
        return Client(center, identity).ask(path) in REFUSED
    except (OSError, http.client.HTTPException):
        return True


def make(center: Center, kind: str, name: str, seconds: float = 86400, *, known: bool = True) -> tuple[Path, Issued]:
    """A certificate by the CA's own key; known to the ledger as if a command had made it."""
    key, request = new_key_and_request(name)
    issued = Authority(center.state).issue_client(request, kind, name, seconds / 86400)
    if known:
        ledger = Ledger(center.state)
        with ledger.transaction() as connection:
            certificates.note_issued(connection, kind, name, issued)
        ledger.close()
    file = center.folder / f"{kind}-{name}-{issued.serial[:8]}.pem"
    file.write_bytes(key + issued.pem.encode())
    return file, issued


@pytest.fixture
def guarded(tmp_path: Path, processes: Processes) -> Center:
    """A collector whose /metrics is closed to those who only come from this machine."""
    token = tmp_path / "token"
    token.write_text("open-sesame\n")
    return Center(tmp_path, processes, extra=f'metrics_token_file = "{token}"\n')


def enrolled(center: Center, name: str) -> Path:
    return Machine(center, name).identity


def test_one_that_ends_while_its_connection_is_kept(guarded: Center) -> None:
    enrolled(guarded, "may-1")
    made = {kind: make(guarded, kind, "may-1", 10) for kind in DOORS}
    clients = {kind: Client(guarded, file) for kind, (file, _) in made.items()}
    assert {client.ask(DOORS[kind]) for kind, client in clients.items()} == {200}
    wait_for("their end", lambda: time.time() > max(issued.ends for _, issued in made.values()) + 0.1, 20)
    for kind, client in clients.items():
        assert client.ask(DOORS[kind]) == 401, client.said
        assert client.ask("/v1/renew", "POST", renewal()) == 401
        assert client.ask("/v1/reports", "POST", delivery(report())) == 401
        assert b"ended" in client.said
        assert refused_anew(guarded, client.identity, DOORS[kind])


def test_one_that_has_ended_is_told_so(guarded: Center) -> None:
    """In words, and at the door it is a stranger."""
    enrolled(guarded, "may-1")
    clients = {kind: Client(guarded, make(guarded, kind, "may-1", -60)[0]) for kind in DOORS}
    for kind, client in clients.items():
        assert client.ask(DOORS[kind]) == 401
        assert b"ended" in client.said

    def connections() -> dict[str, str]:
        said = guarded.get("/metrics", None, {"Authorization": "Bearer open-sesame"})[1].decode()
        return dict(re.findall(r'haidang_collector_connections{peer="(\w+)"} ([\d.]+)', said))

    wait_for("they are seen", lambda: float(connections().get("unknown", 0)) >= len(DOORS), 20)
    assert float(connections()["known"]) == 0


def test_one_that_is_revoked_ends_with_its_next_request(guarded: Center) -> None:
    enrolled(guarded, "may-1")
    other = Client(guarded, make(guarded, "operator", "lan")[0])
    for kind in DOORS:
        for by_name in (False, True):
            file, issued = make(guarded, kind, "may-1")
            client = Client(guarded, file)
            assert client.ask(DOORS[kind]) == 200, (kind, by_name, client.said)
            guarded.command("certificates", "revoke", f"{kind}/may-1" if by_name else issued.serial)
            assert client.ask(DOORS[kind]) == 403, client.said
            assert b"revoked" in client.said
            assert client.ask("/v1/renew", "POST", renewal()) in REFUSED
            assert refused_anew(guarded, file, DOORS[kind])
    assert other.ask(DOORS["operator"]) == 200
    listed = guarded.command("certificates", "list")
    assert "operator/lan" in listed
    assert "may-1" not in listed
    every = [line for line in guarded.command("certificates", "list", "--all").splitlines() if "may-1" in line]
    assert len(every) >= 6
    assert all(" revoked " in line or " replaced " in line for line in every)
    # The person gets another one.
    assert Client(guarded, make(guarded, "operator", "may-1")[0]).ask(DOORS["operator"]) == 200


def test_a_released_machine_says_nothing_more(center: Center, honest: Machine) -> None:
    old = Machine(center, "may-cu")
    assert old.deliver(old.report())[0] == 200
    kept = copy(old.identity, center.folder / "kept.pem")
    center.command("agents", "release", "may-cu")
    for _ in range(2):  # on the kept connection, and on a new one
        assert old.deliver(old.report())[0] == 403
        assert old.post("/v1/renew", renewal())[0] == 403
        old.close()
    new = Machine(center, "may-cu")
    assert new.name == "may-cu"
    assert new.deliver(new.report())[0] == 200
    assert refused_anew(center, kept, DOORS["agent"])
    stands(center, honest)


def test_what_was_never_issued_here_counts_nowhere(guarded: Center) -> None:
    """Somebody has the CA's key: what he signs is not in the ledger."""
    enrolled(guarded, "may-1")
    for kind, path in DOORS.items():
        client = Client(guarded, make(guarded, kind, "may-1", known=False)[0])
        assert client.ask(path) == 401
        assert client.ask("/v1/reports", "POST", delivery(report())) == 401
        assert client.ask("/v1/renew", "POST", renewal()) == 401
        # Dated back to before this collector, too.
        assert Client(guarded, dated_back(guarded, kind)).ask(path) == 401
    assert guarded.get("/healthz")[0] == 200


def test_a_copy_ends_when_the_renewed_one_is_used(center: Center, honest: Machine) -> None:
    machine = Machine(center, "may-1")
    assert machine.deliver(machine.report())[0] == 200
    thief = Client(center, copy(machine.identity, center.folder / "copy.pem"))
    assert thief.ask(DOORS["agent"]) == 200
    key, request = new_key_and_request("may-1")
    status, answer = machine.post("/v1/renew", json.dumps({"request": request}).encode())
    assert status == 200
    # The answer may have been lost: until the new one is used the old one counts, and may ask again.
    assert machine.deliver(machine.report())[0] == 200
    key, request = new_key_and_request("may-1")
    status, answer = machine.post("/v1/renew", json.dumps({"request": request}).encode())
    assert status == 200
    machine.identity.write_bytes(key + answer["certificate"].encode())
    machine.close()
    assert machine.deliver(machine.report())[0] == 200
    assert thief.ask(DOORS["agent"]) == 403
    assert b"newer certificate" in thief.said
    assert thief.ask("/v1/renew", "POST", renewal()) == 403
    assert refused_anew(center, thief.identity, DOORS["agent"])
    stands(center, honest)  # and after a new start
    assert refused_anew(center, thief.identity, DOORS["agent"])
    assert machine.deliver(machine.report())[0] == 200


def test_renewing_without_end_fills_nothing(center: Center, honest: Machine) -> None:
    machine = Machine(center, "may-1")
    _, request = new_key_and_request("may-1")
    body = json.dumps({"request": request}).encode()
    answers = [machine.post("/v1/renew", body)[0] for _ in range(60)]
    assert answers == [200] * 24 + [429] * 36
    database = sqlite3.connect(f"file:{center.state / 'collector.db'}?mode=ro", uri=True)
    assert database.execute("SELECT count(*) FROM certificates WHERE name = 'may-1'").fetchone()[0] <= 100
    database.close()
    assert machine.deliver(machine.report())[0] == 200
    stands(center, honest)


@pytest.mark.parametrize("proxied", [False, True])
def test_of_another_ca(tmp_path: Path, processes: Processes, proxied: bool) -> None:
    center = Center(tmp_path, processes, extra='trusted_proxies = ["127.0.0.1"]\n' if proxied else "")
    (tmp_path / "other").mkdir()
    foreign = Authority(tmp_path / "other")
    key, request = new_key_and_request("may-1")
    enrolled_name = enrolled(center, "may-1")
    makers: list[Callable[[], bytes]] = [
        lambda: foreign.issue_client(request, "operator", "truc-ban", 1).pem.encode(),
        lambda: forged(center, foreign, request),
    ]
    for certificate in (each() for each in makers):
        file = tmp_path / "foreign.pem"
        file.write_bytes(key + certificate)
        if proxied:
            assert center.get("/v1/maintenance", None, in_header(certificate))[0] == 401
        else:
            assert refused_anew(center, file, "/v1/maintenance")
    if proxied:  # what is ours is judged as elsewhere
        certificate = enrolled_name.read_bytes()
        certificate = certificate[certificate.index(b"-----BEGIN CERTIFICATE") :]
        assert center.get("/v1/assignment", None, in_header(certificate))[0] == 200
        center.command("certificates", "revoke", "agent/may-1")
        assert center.get("/v1/assignment", None, in_header(certificate))[0] == 403


def test_of_another_kind(guarded: Center) -> None:
    enrolled(guarded, "may-1")
    for kind in DOORS:
        client = Client(guarded, make(guarded, kind, "may-1")[0])
        for other, path in DOORS.items():
            assert client.ask(path) == (200 if other == kind else 401), (kind, path)
    # The server's own certificate is none of a client.
    assert refused_anew(guarded, guarded.state / "server.pem", "/v1/assignment")


def test_old_certificates_of_people_live_a_year(center: Center) -> None:
    done = center.command("operator", "lan", str(center.folder / "lan.pem"))
    assert "until" in done
    certificate = x509.load_pem_x509_certificate((center.folder / "lan.pem").read_bytes())
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=365)
    with pytest.raises(AssertionError, match="1 to 365"):
        center.command("operator", "lan", str(center.folder / "lan.pem"), "--days", "366")
    assert Client(center, center.folder / "lan.pem").ask("/v1/maintenance") == 200
    name = 'haidang_collector_client_certificate_ends_timestamp_seconds{kind="operator",name="lan"}'
    wait_for("its end is seen", lambda: center.metrics().get(name, 0) > time.time() + 360 * 86400, 10)


def renewal() -> bytes:
    return json.dumps({"request": new_key_and_request("may-1")[1]}).encode()


def copy(file: Path, to: Path) -> Path:
    to.write_bytes(file.read_bytes())
    return to


def in_header(pem: bytes) -> dict[str, str]:
    data = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    return {"Client-Cert": f":{base64.b64encode(data).decode()}:"}


def certificate_by(
    key: ec.EllipticCurvePrivateKey, authority: Authority, public: Any, uri: str, begins: datetime
) -> bytes:
    """Whatever one wants, signed by a key; it names the authority as its signer."""
    issuer = authority.certificate
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "may-1")])).issuer_name(issuer.subject).public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins).not_valid_after(datetime.now(UTC) + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip


def forged(center: Center, foreign: Authority, request: str) -> bytes:
    """It says that our CA signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = x509.load_pem_x509_csr(request.encode()).public_key()
    return certificate_by(key, Authority(center.state), public, "haidang://operator/truc-ban", datetime.now(UTC))


def dated_back(center: Center, kind: str) -> Path:
    authority = Authority(center.state)
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(authority.key_file.read_bytes().split(b"-----BEGIN CERT")[0], None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    began = datetime.now(UTC) - timedelta(days=400)
    pem = certificate_by(signer, authority, key.public_key(), f"haidang://{kind}/may-1", began)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = center.folder / f"back-{kind}.pem"
    file.write_bytes(private + pem)
    return file
