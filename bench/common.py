"""Processes of a benchmark, their processor time and memory, and how a ratio is printed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT))


def free_port(lowest: int = 0, highest: int = 0) -> int:
    """A free port, of a range if one is given."""
    for port in range(lowest, highest + 1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no free port in the range")


def need(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        sys.exit(f"{program} is not installed: `make bench` installs it as root")
    return path


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@contextlib.contextmanager
def running(*command: str, log: Path | None = None, env: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    """A process, ended at the end."""
    with (log or Path("/dev/null")).open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=env)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_http(url: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def cpu_seconds(process: psutil.Process) -> float:
    """Of the process and all below it."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def pss_bytes(process: psutil.Process) -> int:
    """Proportional set size of the process and all below it."""
    return sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)])


def show(what: str, ours: float, theirs: float, peer: str, goal: str, unit: str = "") -> None:
    """One line a comparison; the ratio is ours over theirs."""
    print(
        f"{what}: ours {ours:,.4g}{unit}, {peer} {theirs:,.4g}{unit}, ratio {ours / theirs:.2f} (goal: {goal})",
        flush=True,
    )
