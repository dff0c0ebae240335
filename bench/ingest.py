"""Ingest of reports of 100 samples from 1,000 agents: against Pushgateway (as many pushes, a group an
agent) by the clock, and against VictoriaMetrics' import of Prometheus text per CPU-second.

Ours does more for it: checks every sample, identifies the agent, refuses duplicates and answers
only when the report is on disk; TLS is left out of all three.

    python bench/ingest.py [REPORTS]     (default: 5000)
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import http.client
import sys
import threading
import time

import httptools  # noqa: F401 - fails early when the extra `collector` is not installed
import uvicorn
from common import cpu_seconds, folder, free_port, need, running, show, wait_http
from haidang_collector.collector import Collector
from haidang_collector.http.app import create_app
from haidang_collector.identity import agents as identities
from haidang_collector.identity.authority import Issued, Presented
from haidang_collector.principals import Principal
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry
from haidang_collector.settings import Settings
from starlette.types import Receive, Scope, Send

from tests.conftest import REGISTRY, delivery, report

AGENTS, PER_REPORT, CONNECTIONS = 1000, 100, 16


def serve(path: str, port: int) -> None:
    """The collector without TLS (the peer's name comes in a header), for this comparison only."""
    collector = Collector(Settings(state_dir=path))
    identifier, ends = collector.authority.key_identifier, time.time() + 86400
    with collector.ledger.transaction() as connection:
        registry_store.save_registry(connection, Principal.itself(), load_registry(REGISTRY))
        for number in range(AGENTS):
            identities.add_agent(connection, Principal.itself(), f"agent-{number}", "ttdl", "t", 0.0)
            issued = Issued("", 0.0, ends, f"{number + 1:x}", identifier)
            identities.note_certificate(connection, f"agent-{number}", issued)
    app = create_app(collector)

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        name = dict(scope["headers"]).get(b"x-bench-agent", b"").decode()
        serial = f"{int(name.partition('-')[2]) + 1:x}" if name else ""
        peer = Presented(serial, "agent", name, 0.0, ends, identifier) if name else None
        scope["extensions"] = {"tls": {"peer_certificate": peer}}
        await app(scope, receive, send)

    async def run() -> None:
        await collector.start()
        gc.freeze()  # as the server does
        gc.set_threshold(50_000, 20, 50)
        config = uvicorn.Config(named, port=port, http="httptools", lifespan="off", access_log=False, log_level="error")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(collector.run())
            tasks.create_task(uvicorn.Server(config).serve())

    uvicorn_loop = __import__("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=uvicorn_loop) as runner:
        runner.run(run())


def load(port: int, requests: list[tuple[str, str, bytes, dict[str, str]]]) -> float:
    """Send them over a few kept connections; the seconds it took."""
    queue = iter(requests)
    lock = threading.Lock()
    failures: list[int] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                request = next(queue, None)
            if request is None:
                return
            connection.request(*request)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 300:
                failures.append(answer.status)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(f"{len(failures)} requests failed: {set(failures)}")
    return time.monotonic() - started


def samples(sequence: int) -> list[dict[str, object]]:
    return [
        {"metric": "haidang_host_temperature_celsius", "labels": {"sensor": f"s{n}"}, "value": n + sequence / 1000}
        for n in range(PER_REPORT)
    ]


def our_requests(count: int) -> list[tuple[str, str, bytes, dict[str, str]]]:
    made = []
    for number in range(count):
        agent = f"agent-{number % AGENTS}"
        body = delivery(report(agent, number // AGENTS + 1, samples=samples(number)))
        made.append(
            ("POST", "/v1/reports", gzip.compress(body, 6), {"Content-Encoding": "gzip", "X-Bench-Agent": agent})
        )
    return made


def text(number: int, labels: str) -> bytes:
    metric = "haidang_host_temperature_celsius"
    return "".join(f'{metric}{{{labels}sensor="s{n}"}} {n + number / 1000}\n' for n in range(PER_REPORT)).encode()


def main(count: int) -> None:
    with folder() as place:
        port = free_port()
        with running(sys.executable, __file__, "serve", str(place / "state"), str(port), log=place / "log") as process:
            wait_http(f"http://127.0.0.1:{port}/healthz")
            made = our_requests(AGENTS + count)
            load(port, made[:AGENTS])  # a certificate's first use is written: what is measured is the steady state
            before = cpu_seconds(process)
            seconds = load(port, made[AGENTS:])
            ours_wall, ours_cpu = count / seconds, count / (cpu_seconds(process) - before)
        port = free_port()
        with running(need("prometheus-pushgateway"), f"--web.listen-address=127.0.0.1:{port}") as process:
            wait_http(f"http://127.0.0.1:{port}/-/ready")
            pushes = [
                ("PUT", f"/metrics/job/haidang/agent/agent-{n}", text(n, 'site="ttdl",'), {}) for n in range(AGENTS)
            ]
            load(port, pushes)  # all groups are there: what is measured is the steady state
            wanted = min(count, 200)
            pushgateway_wall = wanted / load(port, pushes[:wanted])
        port = free_port()
        victoria = (need("victoria-metrics"), f"-storageDataPath={place / 'vm'}", f"-httpListenAddr=127.0.0.1:{port}")
        with running(*victoria) as process:
            wait_http(f"http://127.0.0.1:{port}/health")
            imports = []
            for n in range(count):
                body = gzip.compress(text(n, f'site="ttdl",agent="agent-{n % AGENTS}",'), 6)
                imports.append(("POST", "/api/v1/import/prometheus", body, {"Content-Encoding": "gzip"}))
            load(port, imports[:50])
            before = cpu_seconds(process)
            load(port, imports)
            victoria_cpu = count / (cpu_seconds(process) - before)
    show("ingest", ours_wall, pushgateway_wall, "Pushgateway", ">= 50", " reports/s")
    show("ingest", ours_cpu, victoria_cpu, "VictoriaMetrics", ">= 0.5", " reports a CPU-second")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
