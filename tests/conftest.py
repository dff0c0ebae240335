"""Shared pieces of the tests: real processes on free ports, waiting with a deadline."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
from haidang_collector.cli.main import main as collector_main
from hypothesis import settings

# What CI runs is the same each time; by hand every run tries something new.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("hand", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "hand")

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
REGISTRY = ROOT / "docs/examples/registry.yaml"
T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 30.0) -> T:
    """The first true value of condition(), asked again until the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def unavailable(reason: str) -> NoReturn:
    """What a test needs is not here: a failure in CI, a skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def require(program: str) -> str:
    """The path of a program that must be installed."""
    return shutil.which(program) or unavailable(f"{program} is not installed")


def node_modules() -> Path:
    """What tests need from npm, installed once (tests/node)."""
    folder = ROOT / "tests/node"
    with (ROOT / "tests/node/package-lock.json").open() as lock:
        # Tests run in parallel; one of them installs.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules/.package-lock.json").exists():
            command = [require("npm"), "ci", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return folder / "node_modules"


class Processes:
    """Processes of one test, ended by their id whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        # Whatever ends the tests ends it too.
        with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*with_us, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )
        self._running.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for process in reversed(self._running):
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    running = Processes(tmp_path)
    yield running
    running.stop()


class Center:
    """A real collector in a folder of the test, and its commands."""

    def __init__(self, folder: Path, processes: Processes, address: str = "127.0.0.1", extra: str = "") -> None:
        self.folder = folder
        self.processes = processes
        self.port = free_port()
        self.address = address
        self.url = f"https://{address}:{self.port}"
        self.config = folder / "collector.toml"
        self.state = folder / "collector"
        names = sorted({"localhost", "127.0.0.1", address})
        self.config.write_text(
            f'state_dir = "{self.state}"\nlisten_address = "{address}"\nlisten_port = {self.port}\n'
            f"names = {json.dumps(names)}\n{extra}"
        )
        self.command("registry", "load", str(REGISTRY))
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        self.process = self.processes.start(
            "collector", str(BIN / "haidang-collector"), "--config", str(self.config), "serve"
        )
        wait_for("collector is ready", lambda: self._ready(), 120)
        return self.process

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.processes.log("collector")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def command(self, *arguments: str) -> str:
        """What a command prints. It runs in this process: a new one would first read all of its libraries, a second of
        processor time for each of some thousand."""
        printed, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            code = collector_main(["--config", str(self.config), *arguments])
        assert code == 0, errors.getvalue()
        return printed.getvalue().strip()

    def context(self, identity: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.state / "ca.pem"))
        if identity:
            context.load_cert_chain(identity)
        return context

    def get(self, path: str, identity: Path | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, headers=headers or {})
        return _open(request, self.context(identity))

    def post(
        self, path: str, body: bytes, identity: Path | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, body, headers or {}, method="POST")
        status, data = _open(request, self.context(identity))
        return status, json.loads(data)

    def metrics(self) -> dict[str, float]:
        """Every series of /metrics with its value."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def enrol(self, folder: Path, site: str = "ttdl", name: str = "may-1") -> Path:
        """Enrol an agent; the folder with its identity."""
        token = self.command("token", "create", "--site", site)
        done = agent_command(
            "enrol", "--state-dir", str(folder), "--collector", self.url, "--name", name, "--token", token
        )
        assert done.returncode == 0, done.stderr
        return folder


def _open(request: urllib.request.Request, context: ssl.SSLContext) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=15) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def agent_command(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / "haidang-agent"), *arguments], input=text, capture_output=True, text=True)


@pytest.fixture
def center(tmp_path: Path, processes: Processes) -> Center:
    return Center(tmp_path, processes)


def report(agent: str = "may-1", sequence: int = 1, **changes: Any) -> dict[str, Any]:
    """A good report of one sample, with changes."""
    sample = {"metric": "haidang_host_processes", "labels": {}, "value": 7}
    document: dict[str, Any] = {
        "agent": agent, "epoch": 1, "sequence": sequence, "source": "host", "taken": time.time(), "interval": 60,
        "samples": [sample], "facts": [], "events": [],
    }  # fmt: skip
    return {**document, **changes}


def delivery(*reports: dict[str, Any], age: float = 0.0) -> bytes:
    return json.dumps({"sent": time.time(), "reports": [{"age": age, "report": r} for r in reports]}).encode()
