"""Probing a thousand paths once a second: processor time of each probe against fping and smokeping.

    python bench/paths.py [PATHS] [SECONDS]     (default: 1000 30)

All run in a network namespace of their own, towards a thousand addresses of another behind a veth pair. smokeping is
Debian's daemon with its probe FPing, a step of a minute with four echoes a path (it paces them ten milliseconds apart:
a thousand paths take ten seconds a round), two steps; its time is that of the daemon, its files and its fping. Ours
does more with each answer: up or down, the distribution, order, duplicates, and a report of all of it each 15 seconds.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
from common import folder, need, running, show

from tests.system.network import fiber, ip

FIRST = (10 << 24) + 256
LIMIT_SECONDS = 120
SMOKEPING_ECHOES, SMOKEPING_STEP, SMOKEPING_STEPS = 4, 60, 2


def addresses(count: int) -> list[str]:
    return [".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)) for number in range(FIRST, FIRST + count)]


def child_seconds(command: list[str], text: str = "") -> float:
    """Processor time of a command that ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input=text, text=True, capture_output=True, timeout=LIMIT_SECONDS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def smokeping(place: Path, targets: list[str]) -> float:
    """Processor seconds of a probe of smokeping's, its daemon and all it starts."""
    hosts = "".join(f"++ h{n}\nmenu = h{n}\ntitle = h{n}\nhost = {a}\n" for n, a in enumerate(targets))
    config = place / "smokeping.conf"
    config.write_text(
        "*** General ***\nowner = x\ncontact = x@example.org\nmailhost = localhost\ncgiurl = http://localhost/\n"
        f"imgcache = {place}\nimgurl = x\ndatadir = {place}\npiddir = {place}\nsmokemail = /etc/smokeping/smokemail\n"
        f"tmail = /etc/smokeping/tmail\n*** Database ***\nstep = {SMOKEPING_STEP}\npings = {SMOKEPING_ECHOES}\n"
        "AVERAGE 0.5 1 1008\n*** Presentation ***\ntemplate = /etc/smokeping/basepage.html\n+ overview\nwidth = 600\n"
        'height = 50\nrange = 10h\n+ detail\nwidth = 600\nheight = 200\n"Last 3 Hours" 3h\n'
        f"*** Probes ***\n+ FPing\nbinary = {need('fping')}\n*** Targets ***\nprobe = FPing\nmenu = Top\ntitle = Top\n"
        f"+ all\nmenu = all\ntitle = all\n{hosts}"
    )
    with running(need("smokeping"), f"--config={config}", "--nodaemon", log=place / "smokeping.log") as daemon:
        time.sleep(15)  # it makes a thousand files once
        before = _whole(daemon)
        time.sleep(SMOKEPING_STEP * SMOKEPING_STEPS)
        used = _whole(daemon) - before
    return used / (len(targets) * SMOKEPING_ECHOES * SMOKEPING_STEPS)


def _whole(daemon: psutil.Process) -> float:
    """Processor seconds of a process, what it started, and what of that has ended."""
    each = [daemon, *daemon.children(recursive=True)]
    return sum(sum(process.cpu_times()[:4]) for process in each)


def ours(targets: list[str], seconds: float) -> tuple[float, int]:
    """(processor seconds, probes) of the source as a probe runs it."""
    from haidang_agent.config import PathsConfig
    from haidang_agent.delivery.assignment import Assignments
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
        with folder() as place:
            smoke = smokeping(place, targets)
    a_probe, fpings = used / probes * 1e6, theirs / (count * seconds) * 1e6
    print(f"{count} paths at 1 s: {used / seconds * 100:.1f} % of a core, {probes} probes")
    show("processor time of a probe", a_probe, fpings, "fping", "0.5 or less", " µs")
    show(
        "processor time of a probe",
        a_probe,
        smoke * 1e6,
        "smokeping",
        "0.5 or less",
        " µs",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
