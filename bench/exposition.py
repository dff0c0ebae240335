"""Rendering /metrics at a million series, against prometheus-client with as many.

python bench/exposition.py [AGENTS]     (default: 10000, of 100 series each)
"""

from __future__ import annotations

import json
import sys
import time

from common import show
from haidang_collector.exposition.latest import Latest
from haidang_collector.exposition.text import expose
from haidang_collector.intake.ingest import Speaker, prepare
from haidang_collector.settings import Limits
from haidang_collector.telemetry import Telemetry
from prometheus_client import CollectorRegistry, Gauge, generate_latest

PER_AGENT = 100


def main(agents: int) -> None:
    latest, now = Latest(), time.time()
    for number in range(agents):
        agent = f"agent-{number}"
        latest.enrol(agent, "ttdl")
        samples = [
            {"metric": "haidang_host_temperature_celsius", "labels": {"sensor": f"s{n}"}, "value": n + 0.5}
            for n in range(PER_AGENT)
        ]
        report = {
            "agent": agent,
            "epoch": 1,
            "sequence": 1,
            "source": "host",
            "taken": now,
            "interval": 3600,
            "samples": samples,
        }
        latest.put(agent, prepare(json.dumps(report).encode(), 0, Speaker(agent, "ttdl"), now, Limits()))
    telemetry = Telemetry()
    started = time.process_time()
    size = sum(len(block) for block in expose(latest, telemetry, openmetrics=False))
    ours = agents * PER_AGENT / (time.process_time() - started)

    registry = CollectorRegistry()
    gauge = Gauge("haidang_host_temperature_celsius", "Temperature.", ["site", "agent", "sensor"], registry=registry)
    for number in range(agents):
        for n in range(PER_AGENT):
            gauge.labels("ttdl", f"agent-{number}", f"s{n}").set(n + 0.5)
    started = time.process_time()
    generate_latest(registry)
    theirs = agents * PER_AGENT / (time.process_time() - started)
    print(f"{agents * PER_AGENT:,} series, {size / 1e6:.0f} MB")
    show("/metrics", ours, theirs, "prometheus-client", ">= 20", " series a CPU-second")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
