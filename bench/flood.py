"""What others notice while one agent floods: thousands of honest agents, each over its own mutual-TLS connection, a
report of 60 samples every 30 s; the time to their receipts alone, and while one more sends as much as it can, of each
kind in turn, over many connections, without caring for what it is told.

    python bench/flood.py [AGENTS [SECONDS]]     (default: 5000 agents, 15 seconds a kind)

Agents and flood run on the same two cores as the collector and take more of them than it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import resource
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvloop
from common import BIN, folder, free_port, running
from fleet import EVERY, Agent, prepare

from tests.conftest import delivery, report

FLOODER = "agent-0"
CONNECTIONS = 16  # as many as the door lets one certificate have
BODIES = 30

_sequences = itertools.count(1)


def _report(**changes: Any) -> dict[str, Any]:
    return report(FLOODER, next(_sequences), **{"samples": [], **changes})


def _big(number: int) -> bytes:
    metric = "haidang_host_temperature_celsius"
    samples = [{"metric": metric, "labels": {"sensor": f"s{n}"}, "value": n + number} for n in range(50_000)]
    return delivery(_report(samples=samples))


def _nested(number: int) -> bytes:
    body = b'{"x":[' + b",".join([b"[]"] * 5_000_000) + b"]}"
    document = delivery(_report(facts=[{"kind": "a", "key": "a", "body": "BODY"}]))
    return document.replace(b'"BODY"', body)


def _software(number: int) -> bytes:
    packages = [{"name": f"{number} {n} {'x' * 250}", "version": "1", "publisher": "p"} for n in range(20_000)]
    fact = {"kind": "software", "key": FLOODER, "body": {"packages": packages}}
    machine = {"kind": "machine", "key": FLOODER, "body": {"name": "x", "uuid": f"u{number}"}}
    return delivery(_report(source="inventory", facts=[machine, fact]))


def _facts(number: int) -> bytes:
    return delivery(_report(facts=[{"kind": "x", "key": f"k{n}", "body": {"n": number}} for n in range(1000)]))


def _events(number: int) -> bytes:
    return delivery(*(_report(events=[{"kind": "x", "at": time.time(), "body": {}}] * 1000) for _ in range(5)))


def _late(number: int) -> bytes:
    return delivery(*(_report(samples=report()["samples"]) for _ in range(1000)), age=3600.0)


def _same(number: int) -> bytes:
    return delivery(*(report(FLOODER, n) for n in range(1000)))


KINDS: dict[str, Callable[[int], bytes]] = {
    "many small deliveries": lambda number: delivery(_report(samples=report()["samples"])),
    "large deliveries": _big,
    "nested empty lists": _nested,
    "late reports": _late,
    "facts": _facts,
    "software": _software,
    "events": _events,
    "duplicates": _same,
}


def flood(kind: str, place: Path, port: int, seconds: float) -> None:
    """Send bodies of a kind over all connections, one after the other, whatever is answered."""
    packed = [gzip.compress(KINDS[kind](number), 6) for number in range(5 if kind == "nested empty lists" else BODIES)]
    bodies: Iterator[bytes] = itertools.cycle(packed)
    context = ssl.create_default_context(cafile=str(place / "collector/ca.pem"))
    context.load_cert_chain(place / "0.pem")
    answers: dict[str, int] = {}

    async def send(until: float) -> None:
        while time.monotonic() < until:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                while time.monotonic() < until:
                    body = next(bodies)
                    head = (
                        f"POST /v1/reports HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}"
                    )
                    writer.write(f"{head}\r\n\r\n".encode() + body)
                    await writer.drain()
                    answer = await reader.readuntil(b"\r\n\r\n")
                    status = answer.split(b" ", 2)[1].decode()
                    answers[status] = answers.get(status, 0) + 1
                    await reader.readexactly(int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                writer.close()

    async def run() -> None:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        tasks = [asyncio.create_task(send(time.monotonic() + seconds)) for _ in range(CONNECTIONS)]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    print(json.dumps(answers), flush=True)


def _latencies(agents: list[Agent], begins: list[int]) -> list[float]:
    return sorted(each for agent, begin in zip(agents, begins, strict=True) for each in agent.latencies[begin:])


def _quantile(latencies: list[float], share: float) -> float:
    return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000


async def measure(agents: list[Agent], place: Path, port: int, seconds: float) -> None:
    tasks = [
        asyncio.create_task(agent.run(number / len(agents) * EVERY, time.monotonic() + 1e6))
        for number, agent in enumerate(agents)
    ]
    await asyncio.sleep(EVERY + 2)  # all are connected
    usual = 0.0
    for kind in ("", *KINDS):
        child = None
        if kind:
            command = (sys.executable, __file__, "flood", kind, str(place), str(port), str(seconds))
            child = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert child.stdin
            assert child.stdout
            await child.stdout.readline()  # its bodies are made
            child.stdin.write(b"\n")
        begins = [len(agent.latencies) for agent in agents]
        await asyncio.sleep(seconds)
        latencies = _latencies(agents, begins)
        p50, p99 = _quantile(latencies, 0.5), _quantile(latencies, 0.99)
        said = ""
        if child is None:
            usual = p99
        else:
            answers = json.loads((await child.communicate())[0] or b"{}")
            said = f", {p99 / usual:.2f} of the usual (goal: <= 2); the flood was answered {answers}"
        print(f"{kind or 'alone'}: {len(latencies)} receipts, p50 {p50:.0f} ms, p99 {p99:.0f} ms{said}", flush=True)
        await asyncio.sleep(5)
    failed = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    print(f"{len(failed)} of {len(agents)} honest agents lost their connection", flush=True)


def main(count: int, seconds: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with folder() as place:
        prepare(place, count + 1)
        port = free_port()
        config = place / "collector.toml"
        # All of them come from one address here.
        config.write_text(f'state_dir = "{place / "collector"}"\nlisten_port = {port}\n')
        with running(str(BIN / "haidang-collector"), "--config", str(config), "serve", log=place / "log") as process:
            deadline = time.monotonic() + 60
            while "listening" not in (place / "log").read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
            agents = [Agent(number + 1, place, port) for number in range(count)]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measure(agents, place, port, seconds))
            memory = process.memory_info().rss / 1e6
        size = sum(file.stat().st_size for file in (place / "collector").glob("collector.db*")) / 1e6
    print(f"collector {memory:.0f} MB, its database {size:.0f} MB", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "flood":
        flood(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000, float(sys.argv[2]) if len(sys.argv) > 2 else 15.0)
