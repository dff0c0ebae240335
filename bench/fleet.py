"""Ten thousand simulated agents, each over its own mutual-TLS connection, a report of 60 samples every
30 s: the collector's processor share and memory, the time to the receipt, and nothing lost.

    python bench/fleet.py [AGENTS [SECONDS]]     (default: 10000, 120)

The agents are one process of coroutines with real certificates and real TLS; it runs on the same
two cores as the collector and takes more of them than it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import sqlite3
import ssl
import sys
import time
from pathlib import Path

import sqlalchemy as sa
import uvloop
from common import BIN, cpu_seconds, folder, free_port, running
from haidang_collector.identity import agents as identities
from haidang_collector.identity.authority import Authority, new_key_and_request
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry

from tests.conftest import REGISTRY, report

EVERY = 30.0
SAMPLES = 60


def prepare(place: Path, agents: int) -> None:
    """Certificates for all, without the collector's help: enrolment is not what is measured."""
    state = place / "collector"
    state.mkdir(mode=0o700)
    authority = Authority(state)
    ledger = Ledger(state)

    def add(connection: sa.Connection) -> None:
        registry_store.save_registry(connection, Principal.itself(), load_registry(REGISTRY))
        for number in range(agents):
            identities.add_agent(connection, Principal.itself(), f"agent-{number}", "ttdl", "t", 0.0)

    with ledger.transaction() as connection:
        add(connection)
        for number in range(agents):
            key, request = new_key_and_request("x")
            issued = authority.issue_client(request, "agent", f"agent-{number}", 1)
            identities.note_certificate(connection, f"agent-{number}", issued)
            (place / f"{number}.pem").write_bytes(key + issued.pem.encode())
    ledger.close()


class Agent:
    """One agent: its phase in the interval, its connection, what it was told."""

    def __init__(self, number: int, place: Path, port: int) -> None:
        self.name = f"agent-{number}"
        self.acknowledged = 0
        self.latencies: list[float] = []
        self._port = port
        self._context = ssl.create_default_context(cafile=str(place / "collector/ca.pem"))
        self._context.load_cert_chain(place / f"{number}.pem")

    async def run(self, phase: float, until: float) -> None:
        await asyncio.sleep(phase)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        sequence = 0
        while time.monotonic() < until:
            sequence += 1
            started = time.monotonic()
            writer.write(self._request(sequence))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            receipt = json.loads(await reader.readexactly(length))
            self.latencies.append(time.monotonic() - started)
            self.acknowledged += receipt["accepted"]
            await asyncio.sleep(max(0.0, started + EVERY - time.monotonic()))
        writer.close()

    def _request(self, sequence: int) -> bytes:
        metric = "haidang_host_temperature_celsius"
        samples = [
            {"metric": metric, "labels": {"sensor": f"s{n}"}, "value": n + sequence / 10} for n in range(SAMPLES)
        ]
        envelope = {"age": 0, "report": report(self.name, sequence, samples=samples)}
        document = {"sent": time.time(), "reports": [envelope]}
        body = gzip.compress(json.dumps(document).encode(), 1)
        head = f"POST /v1/reports HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


async def drive(agents: list[Agent], seconds: float) -> None:
    until = time.monotonic() + EVERY + seconds
    async with asyncio.TaskGroup() as tasks:
        for number, agent in enumerate(agents):
            tasks.create_task(agent.run(number / len(agents) * EVERY, until))


def main(count: int, seconds: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with folder() as place:
        prepare(place, count)
        port = free_port()
        config = place / "collector.toml"
        config.write_text(f'state_dir = "{place / "collector"}"\nlisten_port = {port}\n')
        command = (str(BIN / "haidang-collector"), "--config", str(config), "serve")
        with running(*command, log=place / "log") as process:
            deadline = time.monotonic() + 60
            while "listening" not in (place / "log").read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
            agents = [Agent(number, place, port) for number in range(count)]
            before, started = cpu_seconds(process), time.monotonic()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(drive(agents, seconds))
            share = (cpu_seconds(process) - before) / (time.monotonic() - started)
            memory = process.memory_info().rss / 1e6
        rows = sqlite3.connect(place / "collector/collector.db").execute("SELECT bits FROM delivered")
        stored = sum(bits.bit_count() for bits in (int.from_bytes(row[0], "big") for row in rows))
    latencies = sorted(latency for agent in agents for latency in agent.latencies)
    acknowledged = sum(agent.acknowledged for agent in agents)
    p50, p99 = (latencies[int(len(latencies) * quantile)] * 1000 for quantile in (0.5, 0.99))
    print(f"{count} agents every {EVERY:.0f} s, {len(latencies)} deliveries:")
    print(f"collector {share:.0%} of one core, {memory:.0f} MB; receipt p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    print(f"acknowledged {acknowledged}, stored {stored}, lost {max(0, acknowledged - stored)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, float(sys.argv[2]) if len(sys.argv) > 2 else 120.0)
