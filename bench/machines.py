"""The inventory of a province: 400 sites, 20,000 workstations and 90 days of changes through the real ingest; then
searches and exports over HTTP, as an operator asks.

    python bench/machines.py [MACHINES]     (default: 20000)

Deliveries come as from a reverse proxy that ended TLS (the certificate in a header), so that the handshakes of twenty
thousand agents are not what is measured.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import random
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import sqlalchemy as sa
from common import BIN, cpu_seconds, folder, free_port, running
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from haidang_collector.identity import agents as identities
from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity.authority import Authority, new_key_and_request
from haidang_collector.identity.files import write_private
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.model import Registry

from tests.conftest import report

SITES = 400
DAYS = 90
CHANGED_A_DAY = 0.02
PACKAGES = [(f"Phần mềm {number % 700}", f"{number // 700}.{number % 9}.{number % 31}") for number in range(4000)]
MODELS = [("Dell Inc.", "OptiPlex 3080"), ("HP", "ProDesk 400 G6"), ("LENOVO", "ThinkCentre M70q"), ("Acer", "Veriton")]
SYSTEMS = [("Windows 10 Pro", "22H2"), ("Windows 11 Pro", "24H2"), ("Windows 7 Professional", ""), ("Ubuntu", "22.04")]


def registry() -> Registry:
    sites = [
        {"id": f"site-{n}", "name": f"Cơ quan {n}", "level": "province" if n == 0 else "commune", "officials": 50}
        for n in range(SITES)
    ]
    return Registry.model_validate({"province": {"name": "Tỉnh Ví Dụ"}, "sites": sites})


class Machine:
    """One workstation and what changes on it."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.agent = f"pc-{number}"
        self.sequence = 0
        self.packages = chance.sample(PACKAGES, 120)
        maker, model = chance.choice(MODELS)
        self.memory: list[dict[str, Any]] = [
            {"slot": f"DIMM{n}", "size_bytes": 4 << 30, "serial": f"{number:x}{n}"} for n in (1, 2)
        ]
        self.machine: dict[str, Any] = {
            "name": f"MAY-{number:05d}", "manufacturer": maker, "model": model, "serial": f"SN{number:08d}",
            "uuid": f"{number:08x}-0033-4d10-8034-b3c04f4e3332", "machine_id": f"{number:032x}",
            "macs": [f"58:11:22:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"],
            "chassis": "laptop" if number % 5 == 0 else "desktop",
        }  # fmt: skip
        system, release = chance.choice(SYSTEMS)
        self.system = {"name": system, "release": release, "version": "10", "updates": {"pending": chance.randrange(9)}}

    def facts(self, *kinds: str) -> list[dict[str, Any]]:
        total = sum(module["size_bytes"] for module in self.memory)
        bodies = {
            "machine": {**self.machine, "memory": {"total_bytes": total, "slots": 4, "modules": self.memory}},
            "system": self.system,
            "software": {"packages": [{"name": n, "version": v, "source": "windows"} for n, v in self.packages]},
            "disks": {"disks": [{"name": "sda", "serial": self.agent, "size_bytes": 500 << 30, "healthy": True}],
                      "volumes": [{"mount": "C:", "free_ratio": (hash(self.agent) % 20) / 20}]},
            "security": {"antivirus": [{"name": "Bkav", "on": hash(self.agent) % 3 != 0}], "encryption": []},
        }  # fmt: skip
        return [{"kind": kind, "key": self.agent, "body": bodies[kind]} for kind in kinds]

    def change(self, chance: random.Random) -> list[dict[str, Any]]:
        """Mostly software; now and then a module of memory."""
        if chance.random() < 0.05:
            more = [*self.memory, {"slot": "DIMM2", "size_bytes": 8 << 30}]
            self.memory = self.memory[:1] if len(self.memory) > 1 else more
            return self.facts("machine")
        for _ in range(3):
            self.packages[chance.randrange(len(self.packages))] = chance.choice(PACKAGES)
        self.packages = list(dict.fromkeys(self.packages))
        return self.facts("software")


class Caller:
    """One kept connection, as of a proxy or an operator."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=300)

    def deliver(self, certificate: str, machine: Machine, facts: list[dict[str, Any]], age: float) -> None:
        machine.sequence += 1
        sent = report(machine.agent, machine.sequence, source="inventory", interval=14400, samples=[], facts=facts)
        body = gzip.compress(json.dumps({"sent": time.time(), "reports": [{"age": age, "report": sent}]}).encode(), 1)
        self._connection.request("POST", "/v1/reports", body, {"Content-Encoding": "gzip", "Client-Cert": certificate})
        answer = self._connection.getresponse()
        receipt = json.loads(answer.read())
        assert answer.status == 200, receipt
        assert receipt["accepted"] == 1, receipt

    def get(self, path: str) -> tuple[float, int]:
        """(seconds, bytes)."""
        started, size = time.perf_counter(), 0
        self._connection.request("GET", path, headers={"Client-Cert": self.certificate})
        answer = self._connection.getresponse()
        while block := answer.read(1 << 16):
            size += len(block)
        assert answer.status == 200, (path, answer.status)
        return time.perf_counter() - started, size

    certificate = ""


def in_header(pem: str) -> str:
    data = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    return f":{base64.b64encode(data).decode()}:"


def prepare(place: Path, count: int) -> tuple[list[str], str]:
    """Certificates of all agents and of an operator, as a proxy passes them on."""
    state = place / "collector"
    state.mkdir(mode=0o700)
    authority, ledger = Authority(state), Ledger(state)

    def add(connection: sa.Connection) -> None:
        registry_store.save_registry(connection, Principal.itself(), registry())
        for number in range(count):
            identities.add_agent(connection, Principal.itself(), f"pc-{number}", f"site-{number % SITES}", "t", 0.0)
            issued = authority.issue_client(request, "agent", f"pc-{number}", 1)
            identities.note_certificate(connection, f"pc-{number}", issued)
            headers.append(in_header(issued.pem))
        certificates.note_issued(connection, "operator", "truc-ban", operator)

    key, request = new_key_and_request("x")
    operator = authority.issue_client(request, "operator", "truc-ban", 1)
    headers: list[str] = []
    with ledger.transaction() as connection:
        add(connection)
    ledger.close()
    write_private(place / "operator.pem", key + operator.pem.encode())
    return headers, in_header(operator.pem)


def questions(chance: random.Random, count: int) -> list[str]:
    """What operators ask, in turn."""
    asked = []
    for _ in range(40):
        name, version = chance.choice(PACKAGES)
        asked += [
            f"/v1/machines?text=may-{chance.randrange(count):05d}",
            f"/v1/machines?text=optiplex&sort=last_seen&descending=true&offset={chance.randrange(2000)}",
            f"/v1/machines?software={quote(name)}&software_version={version}",
            f"/v1/machines?site=site-{chance.randrange(SITES)}&support_ended=true",
            "/v1/machines?antivirus_on=false&low_disk=true&sort=least_free_ratio",
            f"/v1/machines/{chance.randrange(1, count)}",
            f"/v1/changes?machine={chance.randrange(1, count)}",
            "/v1/changes?what=memory_removed",
            f"/v1/software?text={quote(name)}",
        ]
    return asked


def main(count: int) -> None:
    chance = random.Random(1)
    with folder() as place:
        headers, operator = prepare(place, count)
        port = free_port()
        config = place / "collector.toml"
        config.write_text(
            f'state_dir = "{place / "collector"}"\nlisten_port = {port}\ntrusted_proxies = ["127.0.0.1"]\n'
        )
        command = (str(BIN / "haidang-collector"), "--config", str(config), "serve")
        with running(*command, log=place / "log") as process:
            deadline = time.monotonic() + 60
            while "listening" not in (place / "log").read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
            caller = Caller(port, ssl.create_default_context(cafile=str(place / "collector/ca.pem")))
            caller.certificate = operator
            load(caller, process, headers, count, chance)
            size = sum(file.stat().st_size for file in (place / "collector").glob("collector.db*"))
            print(f"database {size / 1e6:.0f} MB")
            search(caller, chance, count)
            export(caller, process)


def load(caller: Caller, process: psutil.Process, headers: list[str], count: int, chance: random.Random) -> None:
    machines = [Machine(number, chance) for number in range(count)]
    started, before = time.monotonic(), cpu_seconds(process)
    for machine, header in zip(machines, headers, strict=True):
        everything = machine.facts("machine", "system", "software", "disks", "security")
        caller.deliver(header, machine, everything, DAYS * 86400.0)
    seconds, used = time.monotonic() - started, cpu_seconds(process) - before
    each = used / count * 1e3
    print(f"{count} machines of 120 packages: {seconds:.0f} s, {each:.1f} ms of the collector's processor each")
    started, changed = time.monotonic(), 0
    for day in range(DAYS - 1, -1, -1):
        for number in chance.sample(range(count), int(count * CHANGED_A_DAY)):
            caller.deliver(headers[number], machines[number], machines[number].change(chance), day * 86400.0)
            changed += 1
    print(f"{changed} changes over {DAYS} days: {(time.monotonic() - started) / changed * 1e3:.1f} ms each", flush=True)


def search(caller: Caller, chance: random.Random, count: int) -> None:
    asked = questions(chance, count)
    times = [(caller.get(path)[0], path) for path in asked]
    by_time = sorted(times)
    p50, p95 = (by_time[int(len(by_time) * quantile)][0] * 1e3 for quantile in (0.5, 0.95))
    seconds, path = by_time[-1]
    print(
        f"{len(asked)} questions: p50 {p50:.1f} ms, p95 {p95:.1f} ms (goal 100), slowest {seconds * 1e3:.0f} ms {path}"
    )


def export(caller: Caller, process: psutil.Process) -> None:
    for path in ("/v1/machines.csv", "/v1/machines.xlsx"):
        before = process.memory_info().rss
        seconds, size = caller.get(path)
        grown = (process.memory_info().rss - before) / 1e6
        print(f"{path}: {size / 1e6:.1f} MB in {seconds:.1f} s, the collector's memory {grown:+.0f} MB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
