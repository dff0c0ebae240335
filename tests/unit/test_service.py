"""The life of a running agent, as whoever starts and stops services sees it."""

from __future__ import annotations

import json
import signal
import socket
import threading
from dataclasses import asdict
from pathlib import Path

from haidang_agent.config import (
    AgentConfig,
    InventoryConfig,
    ReachabilityConfig,
    SourceConfig,
    SourcesConfig,
    UplinkConfig,
)
from haidang_agent.delivery.spool import Spool, check
from haidang_agent.identity import enrolment as identities
from haidang_agent.service import SPOOL_FILE, Service
from haidang_collector.identity.authority import Authority, new_key_and_request

from tests.conftest import BIN, Processes, free_port, wait_for


def enrolled(folder: Path) -> Path:
    """The folder of an agent whose collector is away."""
    (folder / "ca").mkdir()
    authority = Authority(folder / "ca")
    state = folder / "agent"
    state.mkdir(mode=0o700)
    key, request = new_key_and_request("may-1")
    issued = authority.issue_client(request, "agent", "may-1", 30)
    (state / "identity.pem").write_bytes(key + issued.pem.encode())
    (state / "ca.pem").write_text(authority.pem)
    url = f"https://127.0.0.1:{free_port()}"
    known = asdict(identities.Identity(state, url, "may-1", "ttdl", issued.begins, issued.ends))
    del known["state_dir"]
    (state / "enrolment.json").write_text(json.dumps(known))
    return state


def test_it_is_stopped_from_another_thread_and_says_goodbye(tmp_path: Path) -> None:
    """As a service of Windows is, where no signal comes."""
    state = enrolled(tmp_path)
    none = {"host": SourceConfig(enabled=False), "inventory": InventoryConfig(enabled=False)}
    sources = SourcesConfig(**none, reachability=ReachabilityConfig(enabled=False))
    service = Service(AgentConfig(state_dir=str(state), sources=sources, uplink=UplinkConfig(timeout_seconds=1.0)))
    ended: list[int] = []
    running = threading.Thread(target=lambda: ended.append(service.run()))
    running.start()
    wait_for("it has begun", lambda: (held := check(state / SPOOL_FILE)) and held.reports)
    service.stop()
    running.join(30)
    assert ended == [0]
    assert (state / "status.json").exists()
    assert said(state) == ["agent_started", "agent_stopped"]


def test_systemd_is_told_how_it_goes_and_ends_it_by_a_signal(tmp_path: Path, processes: Processes) -> None:
    state, config = enrolled(tmp_path), tmp_path / "agent.toml"
    off = "".join(f"[sources.{name}]\nenabled = false\n" for name in ("host", "inventory", "reachability"))
    config.write_text(f"uplink.timeout_seconds = 1\n{off}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(60)
        agent = processes.start(
            "agent", str(BIN / "haidang-agent"), "run", "--state-dir", str(state), "--config", str(config),
            env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"},
        )  # fmt: skip
        assert [notify.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        agent.send_signal(signal.SIGTERM)
        while (told := notify.recv(100)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1"
    assert agent.wait(30) == 0
    assert "agent_stopped" in said(state)


def said(state: Path) -> list[str]:
    """The events that wait in the spool of an agent that has ended."""
    kept = Spool(state / SPOOL_FILE, 10**7, 86400.0).newest(100)
    return sorted(event["kind"] for each in kept for event in json.loads(each.body)["events"])
