"""Services asked over real HTTP and TLS, and the network's devices by a real kernel."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from haidang_agent.config import LanConfig, ServicesConfig
from haidang_agent.sources import services as services_source
from haidang_agent.sources.lan import Lan, neighbours, networks
from haidang_agent.sources.services import Services, counts
from haidang_wire.assignment import AssignedService
from haidang_wire.errors import ConfigError, HaidangError

from tests.system.network import fiber

pytestmark = pytest.mark.system
TOKEN = "rat-bi-mat-0123456789"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/status/"):
            self._say(int(self.path.rpartition("/")[2]), b"")
        elif self.path == "/counts":
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._say(401, b"")
                return
            units = [
                {"code": "ttdl", "total": 200, "signed": {"total": 150}},
                {"code": "xa", "total": 10, "signed": {"total": 1}},
            ]
            self._say(200, json.dumps({"data": {"units": units}}).encode())
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                try:
                    self.wfile.write(b"x")
                    self.wfile.flush()
                except OSError:
                    return
                time.sleep(0.1)
        else:
            self._say(200, b"xin ch\xc3\xa0o")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class Server:
    """On a free port of loopback, with TLS when a certificate is given."""

    def __init__(self, certificate: Path | None = None) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def certificate(file: Path, ends: datetime) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dịch vụ")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(ends - timedelta(days=90)).not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + made.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(pem)
    return file


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.stop()


def ask(config: ServicesConfig, *services: AssignedService) -> dict[tuple[str, ...], float]:
    found = Services(config, lambda: services).collect()
    return {(s.metric.removeprefix("haidang_service_"), *s.labels.values()): s.value for s in found.samples}


def test_what_answers_and_what_does_not(servers: list[Server]) -> None:
    servers.append(Server())
    url = f"http://127.0.0.1:{servers[0].port}"
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        gone = closed.getsockname()[1]
        closed.close()
        started = time.monotonic()
        found = ask(
            ServicesConfig(answer_seconds=1.0),
            AssignedService("good", f"{url}/"), AssignedService("login", f"{url}/status/401"),
            AssignedService("ill", f"{url}/status/503"), AssignedService("gone", f"http://127.0.0.1:{gone}/"),
            AssignedService("silent", f"http://127.0.0.1:{silent.getsockname()[1]}/"),
            AssignedService("drip", f"{url}/drip"), AssignedService("nameless", "http://khong-co.invalid/"),
            AssignedService("no-url", "http://[::1/"),
        )  # fmt: skip
    assert time.monotonic() - started < 8  # each had a second, all at once
    up = {key[1]: value for key, value in found.items() if key[0] == "up"}
    assert up == {"good": 1, "login": 1, "ill": 0, "gone": 0, "silent": 0, "drip": 0, "nameless": 0, "no-url": 0}
    assert (found["status_code", "login"], found["status_code", "ill"]) == (401, 503)
    assert 0 < found["response_seconds", "good"] < 1


@pytest.mark.parametrize("piece", [b"X-A: b\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
def test_a_server_that_drips_its_head_holds_nobody(piece: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as client:
                if not piece.startswith(b"HTTP"):
                    client.sendall(b"HTTP/1.1 200 OK\r\n")
                for _ in range(600):
                    client.sendall(piece)
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        began = time.monotonic()
        found = ask(ServicesConfig(answer_seconds=1.0), AssignedService("slow", url))
        assert found == {("up", "slow"): 0}
        assert time.monotonic() - began < 30


def test_certificates(servers: list[Server], tmp_path: Path) -> None:
    now = datetime.now(UTC)
    good = certificate(tmp_path / "good.pem", now + timedelta(days=10))
    over = certificate(tmp_path / "over.pem", now - timedelta(days=1))
    servers += [Server(good), Server(over)]
    services = [AssignedService(f"s{n}", f"https://127.0.0.1:{server.port}/") for n, server in enumerate(servers)]
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(good.read_bytes() + over.read_bytes())
    found = ask(ServicesConfig(ca_file=str(trusted)), *services)
    assert (found["up", "s0"], found["up", "s1"]) == (1, 0)
    ends = [found["certificate_ends_timestamp_seconds", name] - now.timestamp() for name in ("s0", "s1")]
    assert ends == [pytest.approx(864000, abs=5), pytest.approx(-86400, abs=5)]
    # Of nobody that is known: it does not count, and its end is told all the same.
    found = ask(ServicesConfig(), services[0])
    assert found["up", "s0"] == 0
    assert ("certificate_ends_timestamp_seconds", "s0") in found


@pytest.mark.parametrize("version", [1, 4])
def test_a_certificate_that_is_odd_costs_no_other_service(servers: list[Server], tmp_path: Path, version: int) -> None:
    """Of a version that there is not: the library that reads it raises an error of its own."""
    file = certificate(tmp_path / "odd.pem", datetime.now(UTC) + timedelta(days=10))
    key, pem = file.read_text().split("-----BEGIN CERTIFICATE-----")
    der = bytearray(ssl.PEM_cert_to_DER_cert(f"-----BEGIN CERTIFICATE-----{pem}"))
    der[bytes(der).find(bytes.fromhex("a003020102")) + 4] = version
    file.write_text(key + ssl.DER_cert_to_PEM_cert(bytes(der)))
    servers += [Server(file), Server()]
    odd = AssignedService("odd", f"https://127.0.0.1:{servers[0].port}/")
    good = AssignedService("good", f"http://127.0.0.1:{servers[1].port}/")
    found = ask(ServicesConfig(), odd, good)
    assert {key[1]: value for key, value in found.items() if key[0] == "up"} == {"odd": 0, "good": 1}


def test_a_defect_that_a_service_brings_out_is_its_own(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    def get(url: str, *arguments: Any) -> Any:
        if "odd" in url:
            raise LookupError("an answer nobody thought of")
        return real(url, *arguments)

    real = services_source._get
    monkeypatch.setattr(services_source, "_get", get)
    servers.append(Server())
    url = f"http://127.0.0.1:{servers[0].port}"
    documents = document_system(url, documents_url=f"{url}/odd", credential="")
    found = ask(ServicesConfig(), AssignedService("odd", f"{url}/odd"), documents)
    assert {key[1]: value for key, value in found.items() if key[0] == "up"} == {"odd": 0, "qlvb": 1}


def document_system(url: str, **changes: str) -> AssignedService:
    known = {
        "credential": "qlvb", "documents_url": f"{url}/counts", "documents_items": "data.units",
        "documents_unit": "code", "documents_count": "total", "documents_electronic": "signed.total",
    }  # fmt: skip
    return AssignedService("qlvb", f"{url}/", **{**known, **changes})


def test_counts_of_documents(servers: list[Server], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    servers.append(Server())
    url = f"http://127.0.0.1:{servers[0].port}"
    secrets = tmp_path / "services.toml"
    secrets.write_text(f'[qlvb]\nbearer = "{TOKEN}"\n')
    config = ServicesConfig(credentials_file=str(secrets))
    with pytest.raises(ConfigError, match="chmod 600"):
        ask(config, document_system(url))
    secrets.chmod(0o600)
    found = ask(config, document_system(url))
    assert (found["documents", "qlvb", "ttdl"], found["documents_electronic", "qlvb", "xa"]) == (200, 1)
    with caplog.at_level(logging.WARNING):
        found = ask(config, document_system(url, documents_count="totals"))
        assert found["up", "qlvb"] == 1
        assert not [key for key in found if key[0].startswith("documents")]
        ask(config, document_system(url, credential=""))
    assert "there is no totals" in caplog.text
    assert "answer 401" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "document", [{}, [], None, {"data": {"units": 5}}, {"data": {"units": [{"code": 1, "total": True, "signed": {"total": 1}}]}},
                 {"data": {"units": [{"code": "a", "total": -1, "signed": {"total": 1}}]}}, {"data": {"units": ["x"]}}]
)  # fmt: skip
def test_counts_that_are_none_are_named(document: Any) -> None:
    with pytest.raises(HaidangError):
        counts(document, document_system("http://x"))


def test_devices_of_the_network_are_found() -> None:
    with fiber() as network:
        found = Lan(LanConfig(packets_a_second=500), "probe").collect().facts[0].body["devices"]
        (device,) = [each for each in found if each["address"] == network.site_address]
        command = network.in_site("ip", "-j", "link", "show", "wan0")
        said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        assert device["mac"] == said[0]["address"]


def test_listening_only_asks_nobody() -> None:
    with fiber():
        found = Lan(LanConfig(ask=False), "probe").collect().facts[0].body["devices"]
        assert [each for each in found if "." in each["address"]] == []


def test_what_the_kernel_says_is_read() -> None:
    table = [
        {"dst": "10.0.0.5", "lladdr": "58:11:22:aa:bb:01", "state": ["REACHABLE"]},
        {"dst": "fe80::5", "lladdr": "58:11:22:aa:bb:01", "state": ["STALE"]},
        {"dst": "10.0.0.6", "state": ["FAILED"]},
        {"dst": "10.0.0.7", "lladdr": "58:11:22:aa:bb:07", "state": ["FAILED"]},
        {"dst": "224.0.0.1", "lladdr": "01:00:5e:00:00:01", "state": ["NOARP"]},
    ]
    assert neighbours(table) == {"58:11:22:aa:bb:01": "10.0.0.5"}
    links = [
        {"flags": ["UP", "BROADCAST"], "addr_info": [{"family": "inet", "local": "10.0.0.9", "prefixlen": 24}]},
        {"flags": ["UP", "BROADCAST"], "addr_info": [{"family": "inet", "local": "10.1.0.9", "prefixlen": 16}]},
        {"flags": ["UP", "LOOPBACK"], "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
        {"flags": ["BROADCAST"], "addr_info": [{"family": "inet", "local": "10.2.0.9", "prefixlen": 24}]},
    ]
    assert [str(network) for network in networks(links, 1024)] == ["10.0.0.0/24"]
