"""Traps: processor time of each against snmptrapd, and what a flood of 10,000 a second does to a probe.

    python bench/traps.py [TRAPS] [FLOOD_SECONDS]     (default: 5000 10)

The same datagram, a linkDown of version 2c as net-snmp's snmptrap makes it, is sent to both in turn. snmptrapd
writes its log to /dev/null; ours understands the trap and makes an event of it. The flood goes to the receiver
as it is shipped, behind its gate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from common import cpu_seconds, folder, free_port, need, running, show

LINK_DOWN = ("1.3.6.1.6.3.1.1.5.3", "1.3.6.1.2.1.2.2.1.1.7", "i", "7", "1.3.6.1.2.1.2.2.1.8.7", "i", "2")


def datagram() -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        subprocess.run([need("snmptrap"), "-v2c", "-c", "public", to, "", *LINK_DOWN], check=True, capture_output=True)
        return listener.recv(65536)


def send(port: int, count: int, a_second: float) -> float:
    """The seconds it took; never faster than a_second."""
    packet = datagram()
    started = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(count):
            sender.sendto(packet, ("127.0.0.1", port))
            if number % 50 == 49:
                time.sleep(max(0.0, started + number / a_second - time.monotonic()))
    return time.monotonic() - started


async def receive(port: int, seconds: float, a_second: float) -> None:
    from haidang_agent.config import TrapsConfig
    from haidang_agent.snmp.credentials import Credential
    from haidang_agent.snmp.flood import Summary
    from haidang_agent.snmp.notifications import understand
    from haidang_agent.snmp.traps import OUTCOMES, Receiver

    summary, counts = Summary(), dict.fromkeys(OUTCOMES, 0)
    receiver = Receiver(
        TrapsConfig(address="127.0.0.1", port=port, a_second=a_second),
        {"core": Credential(community="public")},
        lambda address: "sw",
        lambda device, bindings: bool(summary.add(device, understand(bindings, {"7": "ge7"}, {}))),
        lambda device: None,
        counts, 1, b"\x80\x00\x00\x00\x05benchmark",
    )  # fmt: skip
    await receiver.open()
    process, late, before = psutil.Process(), 0.0, time.process_time()
    start_memory = process.memory_full_info().uss
    print("ready", flush=True)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        due = time.monotonic() + 0.02
        await asyncio.sleep(0.02)  # as a poll would wait for its answer
        late = max(late, time.monotonic() - due)
        summary.take()
    used = {"cpu": time.process_time() - before, "late": late, "grown": process.memory_full_info().uss - start_memory}
    print(json.dumps({**used, **counts}), flush=True)
    receiver.close()


def ours(seconds: float, a_second: float, count: int, sent_a_second: float) -> dict[str, float]:
    port = free_port()
    command = [sys.executable, __file__, "receive", str(port), str(seconds), str(a_second)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        send(port, count, sent_a_second)
        result: dict[str, float] = json.loads(process.stdout.readline())
        return result


def theirs(place: Path, count: int) -> float:
    port = free_port()
    config = place / "snmptrapd.conf"
    config.write_text("disableAuthorization yes\n")
    command = (need("snmptrapd"), "-f", "-n", "-Lf", "/dev/null", "-C", "-c", str(config), f"udp:127.0.0.1:{port}")
    with running(*command) as daemon:
        time.sleep(2)
        before = cpu_seconds(daemon)
        send(port, count, 500)
        time.sleep(1)
        return (cpu_seconds(daemon) - before) / count


def main(count: int, flood_seconds: float) -> None:
    with folder() as place, contextlib.ExitStack():
        each = ours(count / 500 + 2, 1e9, count, 500)
        mine = each["cpu"] / each["accepted"]
        show("traps, microseconds of processor time each", mine * 1e6, theirs(place, count) * 1e6, "snmptrapd", "-")
        print(f"  {each['accepted']:.0f} of {count} were read; at full speed {1 / mine:,.0f} a second of one core")
        flood = ours(flood_seconds + 2, 100.0, int(10_000 * flood_seconds), 10_000)
        sent = int(10_000 * flood_seconds)
        print(
            f"  {sent} in {flood_seconds:.0f} s: {flood['accepted']:.0f} read, {flood['too_many']:.0f} counted,"
            f" {sent - flood['accepted'] - flood['too_many']:.0f} left in the kernel's queue;"
            f" {flood['cpu'] / flood_seconds * 100:.0f} % of a core, memory {flood['grown'] / 1e6:+.1f} MB,"
            f" an event loop's turn at most {flood['late'] * 1000:.0f} ms late"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["receive"]:
        asyncio.run(receive(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
    else:
        arguments = [float(argument) for argument in sys.argv[1:]]
        traps, seconds_ = arguments + [5000.0, 10.0][len(arguments) :]
        main(int(traps), seconds_)
