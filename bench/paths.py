"""Probing a thousand paths once a second: processor time of each probe against fping and smokeping's way with it.

    python bench/paths.py [PATHS] [SECONDS]     (default: 1000 30)

All run in a network namespace of their own, towards a thousand addresses of another behind a veth pair. smokeping
is its probe FPing, which starts fping for 20 echoes to every path each 300 seconds: it is run as smokeping runs it
(fping -C -i10 -p1000), without smokeping's own time for its files. Ours does more with each answer: up or down,
the distribution, order, duplicates, and a report of all of it each 15 seconds.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path

from common import need, show

from tests.system.network import fiber, ip

FIRST = (10 << 24) + 256
LIMIT_SECONDS = 120
# It sends 20 at a time; a probe costs the same, and a thousand paths take it ten seconds a round.
SMOKEPING_ECHOES = 4


def addresses(count: int) -> list[str]:
    return [".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)) for number in range(FIRST, FIRST + count)]


def child_seconds(command: list[str], text: str = "") -> float:
    """Processor time of a command that ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input=text, text=True, capture_output=True, timeout=LIMIT_SECONDS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(targets: list[str], seconds: float) -> tuple[float, int]:
    """(processor seconds, probes) of the source as a probe runs it."""
    from haidang_agent.assignment import Assignments
    from haidang_agent.config import PathsConfig
    from haidang_agent.sources.paths import Paths
    from haidang_wire.assignment import AssignedPath, Assignment

    program = Paths(PathsConfig(enabled=True), Assignments(Path("/nonexistent")))
    program._assignments.current = Assignment(paths=tuple(AssignedPath(a.replace(".", "-"), a) for a in targets))
    program._route_due = dict.fromkeys((a.replace(".", "-") for a in targets), 1e18)  # routes are another matter
    sent: list[float] = []

    def deliver(source: str, taken: float, interval: float, findings: object) -> None:
        if source == "paths":
            samples = findings.samples  # type: ignore[attr-defined]  # Findings
            sent.append(sum(s.value for s in samples if s.metric == "haidang_path_packets_sent_total"))

    async def watch() -> None:
        task = asyncio.ensure_future(program.run(deliver))
        await asyncio.sleep(seconds + 1)  # the last report is of a whole number of intervals
        task.cancel()

    before = time.process_time()
    asyncio.run(watch())
    return time.process_time() - before, int(sent[-1])


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    fping = need("fping")
    targets = addresses(count)
    with fiber() as line:
        ip("-n", line.site, "route", "add", "local", "10.0.0.0/8", "dev", "lo")
        ip("route", "add", "10.0.0.0/8", "via", line.site_address)
        used, probes = ours(targets, seconds)
        theirs = child_seconds([fping, "-q", "-i1", "-c", str(seconds), "-p1000", *targets])
        smoke = child_seconds([fping, "-C", str(SMOKEPING_ECHOES), "-q", "-B1", "-r1", "-i10", "-p1000", *targets])
    a_probe, fpings = used / probes * 1e6, theirs / (count * seconds) * 1e6
    print(f"{count} paths at 1 s: {used / seconds * 100:.1f} % of a core, {probes} probes")
    show("processor time of a probe", a_probe, fpings, "fping", "0.5 or less", " µs")
    show(
        "processor time of a probe",
        a_probe,
        smoke / (count * SMOKEPING_ECHOES) * 1e6,
        "smokeping's fping",
        "0.5 or less",
        " µs",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
