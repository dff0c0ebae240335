"""A collector killed with -9 a hundred times under load: nothing acknowledged is lost, nothing is counted twice.

    python bench/kill.py [KILLS [AGENTS]]     (default: 100, 40)

Agents send without a pause, over real TLS, and send again what was not acknowledged, as the uplink does. Each report
has an event of its own name; the ledger is asked for them at the end. The exit code is 1 when one is missing or twice
there.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import sqlite3
import ssl
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from common import BIN, folder, free_port
from fleet import prepare

from tests.conftest import report

_A_DELIVERY = 5
_ALIVE_SECONDS = (0.3, 2.0)


class Agent:
    """What it sent and what was acknowledged, by the number in each event."""

    def __init__(self, number: int, place: Path, port: int) -> None:
        self.name = f"agent-{number}"
        self.acknowledged: set[str] = set()
        self.again = 0
        self._port = port
        self._sequence = 0
        self._context = ssl.create_default_context(cafile=str(place / "collector/ca.pem"))
        self._context.load_cert_chain(place / f"{number}.pem")

    async def run(self, stop: asyncio.Event) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not stop.is_set():
            numbers = range(self._sequence + 1, self._sequence + 1 + _A_DELIVERY)
            self._sequence += _A_DELIVERY
            while not stop.is_set():  # until this delivery is acknowledged
                try:
                    if connection is None:
                        connection = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
                    if await self._deliver(*connection, numbers):
                        break
                except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
                    if connection is not None:
                        connection[1].close()
                    connection = None
                self.again += 1
                await asyncio.sleep(0.05)
        if connection is not None:
            connection[1].close()

    async def _deliver(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, numbers: range) -> bool:
        now = time.time()
        reports = [
            report(self.name, number, events=[{"kind": "count", "at": now, "body": {"id": f"{self.name}/{number}"}}])
            for number in numbers
        ]
        document = {"sent": now, "reports": [{"age": 0, "report": each} for each in reports]}
        body = gzip.compress(json.dumps(document).encode(), 1)
        head = f"POST /v1/reports HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        receipt = json.loads(await reader.readexactly(length))
        if not answer.startswith(b"HTTP/1.1 200") or receipt["refused"]:
            return False
        self.acknowledged |= {f"{self.name}/{number}" for number in numbers}
        return True


def start(place: Path, config: Path) -> subprocess.Popen[bytes]:
    with (place / "log").open("ab") as log:
        return subprocess.Popen([str(BIN / "haidang-collector"), "--config", str(config), "serve"], stderr=log)


async def listens(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


async def drive(agents: list[Agent], kills: int, place: Path, config: Path, port: int) -> None:
    stop, process = asyncio.Event(), start(place, config)
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            tasks.create_task(agent.run(stop))
        for _ in range(kills):
            await listens(port)
            await asyncio.sleep(random.uniform(*_ALIVE_SECONDS))
            process.kill()
            process.wait()
            process = start(place, config)
        await listens(port)
        await asyncio.sleep(2)
        stop.set()
    process.terminate()
    process.wait()


def main(kills: int, count: int) -> int:
    with folder() as place:
        prepare(place, count)
        port = free_port()
        config = place / "collector.toml"
        config.write_text(f'state_dir = "{place / "collector"}"\nlisten_port = {port}\n')
        agents = [Agent(number, place, port) for number in range(count)]
        asyncio.run(drive(agents, kills, place, config, port))
        database = sqlite3.connect(place / "collector/collector.db")
        rows = database.execute("SELECT body FROM events WHERE kind = 'count'")
        stored = Counter(json.loads(body)["id"] for (body,) in rows)
    acknowledged = set().union(*(agent.acknowledged for agent in agents))
    lost, twice = acknowledged - stored.keys(), [name for name, times in stored.items() if times > 1]
    print(f"killed {kills} times; {sum(agent.again for agent in agents)} deliveries were sent again")
    print(f"acknowledged {len(acknowledged)}, stored {sum(stored.values())}, lost {len(lost)}, twice {len(twice)}")
    return int(bool(lost or twice))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, int(sys.argv[2]) if len(sys.argv) > 2 else 40))
