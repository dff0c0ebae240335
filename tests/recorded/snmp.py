"""Recordings of real devices, served by snmpsim, and what is expected of them."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.poll import poll
from haidang_agent.snmp.profile import load_profiles
from haidang_agent.snmp.session import DeviceError, Session

from tests.conftest import BIN, ROOT, Processes, free_port, unavailable, wait_for

FOLDER = Path(os.environ.get("HAIDANG_FIXTURES", ROOT.parent / "shared/fixtures")) / "snmp"


def recordings() -> list[str]:
    """Their names. None: a failure in CI, a skip elsewhere."""
    return sorted(file.name.removesuffix(".snmprec") for file in FOLDER.glob("*.snmprec"))


def require_recordings() -> None:
    if not recordings():
        unavailable(f"{FOLDER} holds no recordings")


@dataclass(frozen=True)
class Recording:
    """A polled recording beside what is expected."""

    name: str
    found: Poll
    expected: dict[str, Any]

    def by_oid(self) -> dict[str, list[tuple[str, float]]]:
        """Instance OID → the samples that came from it, as (metric, value)."""
        result: dict[str, list[tuple[str, float]]] = {}
        for at, oids in self.found.origin.items():
            if at in self.found.samples:
                for oid in oids:
                    result.setdefault(oid, []).append((at[0], self.found.samples[at]))
        return result

    def of_ports(self, metric: str) -> dict[str, float]:
        return {
            dict(labels)["interface"]: value
            for (name, labels), value in self.found.samples.items()
            if name == f"haidang_{metric}"
        }


class Simulator:
    """snmpsim over a folder of recordings; the community chooses one."""

    def __init__(self, folder: Path, work: Path, processes: Processes) -> None:
        self.port = free_port()
        user = pwd.getpwuid(os.geteuid()).pw_name
        process = processes.start(
            "snmpsim",
            str(BIN / "snmpsim-command-responder"),
            f"--data-dir={folder}",
            f"--cache-dir={work / 'snmpsim-cache'}",
            f"--agent-udpv4-endpoint=127.0.0.1:{self.port}",
            *([f"--process-user={user}", f"--process-group={user}"] if os.geteuid() == 0 else []),
        )
        first = sorted(folder.glob("*.snmprec"))[0].name.removesuffix(".snmprec")

        def ready() -> bool:
            assert process.poll() is None, processes.log("snmpsim")
            return asyncio.run(self._answers(first))

        wait_for("snmpsim answers", ready, 60)

    async def _answers(self, community: str) -> bool:
        try:
            session = Session("127.0.0.1", self.port, Credential(community=community), timeout_seconds=1, retries=0)
            return bool(await session.get(["1.3.6.1.2.1.1.2.0"]))
        except DeviceError:
            return False

    def poll(self, community: str) -> Poll:
        # It indexes a recording at its first request.
        session = Session("127.0.0.1", self.port, Credential(community=community), timeout_seconds=20)
        return asyncio.run(poll(community, session, load_profiles(), trace=True))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Recording]]:
    """Every recording, polled once."""
    require_recordings()
    work = tmp_path_factory.mktemp("snmpsim")
    processes = Processes(work)
    try:
        simulator = Simulator(FOLDER, work, processes)
        yield {
            name: Recording(
                name, simulator.poll(name), json.loads((FOLDER / f"{name}.expected.json").read_text(encoding="utf-8"))
            )
            for name in recordings()
        }
    finally:
        processes.stop()
