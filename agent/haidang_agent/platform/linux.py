"""Linux: where an agent's folders are, its life under systemd, the clock that neither jumps nor stops, what /proc and
/sys say of the machine."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import os
import platform
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAMILY = "linux"
"""Whose readings the inventory takes: `linux` or `windows`."""

CONFIGURATION_FOLDER = Path("/etc/haidang")
STATE_FOLDER = Path("/var/lib/haidang-agent")
"""Identity and spool."""

PRIVILEGED_FOLDER = Path("/run/haidang-agent")
"""Where root leaves what only root may read."""

TOOL_FOLDERS = ("/usr/sbin", "/sbin")
"""Tools of administrators are not on everybody's path."""

START_COMMAND = "systemctl start haidang-agent"
"""How people start the installed agent."""

IDLE: dict[str, Any] = {}
"""How a child is started that is to be beneath everything people run: here it calls `lower_priority`."""


def serve(run: Callable[[], int], stop: Callable[[], None]) -> int:
    """What `run` returns; `stop` is called when the service is to end (SIGTERM, SIGINT)."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    return run()


def log_handler() -> logging.Handler:
    """Where the log goes: the standard error, of a service the journal."""
    return logging.StreamHandler(sys.stderr)


def say_ready() -> None:
    """Tell who started the service that it runs."""
    _notify("READY=1")


def say_alive() -> None:
    """Tell who watches the service that it does not hang."""
    _notify("WATCHDOG=1")


def say_stopping() -> None:
    """Tell who started the service that it ends."""
    _notify("STOPPING=1")


def watchdog_seconds() -> float:
    """A service that says nothing for so long is ended (sd_watchdog_enabled(3))."""
    given = os.environ.get("WATCHDOG_USEC")
    return int(given) / 1e6 if given is not None else math.inf


def _notify(state: str) -> None:
    """sd_notify(3); nothing happens where systemd did not start this."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.send(state.encode())


def lower_priority() -> None:
    """Put this process beneath everything people run."""
    with contextlib.suppress(OSError):
        os.nice(19)


def boot_id() -> str:
    """A text that is another one after each boot (random(4), boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def boot_seconds() -> float:
    """Seconds since boot, suspend included, untouched by whoever sets the clock
    (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def default_gateway() -> str | None:
    """The address of the default gateway with the lowest metric, IPv4 before IPv6."""
    return _ipv4_gateway() or _ipv6_gateway()


def _ipv4_gateway() -> str | None:
    # /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask ..., numbers in host order.
    best: tuple[int, str] | None = None
    for line in _lines("/proc/net/route")[1:]:
        columns = line.split()
        if len(columns) < 8 or columns[1] != "00000000" or columns[7] != "00000000":
            continue
        if not int(columns[3], 16) & 0x2:  # RTF_GATEWAY
            continue
        address = socket.inet_ntoa(struct.pack("=I", int(columns[2], 16)))
        best = min(best or (1 << 32, ""), (int(columns[6]), address))
    return best[1] if best else None


def _ipv6_gateway() -> str | None:
    # /proc/net/ipv6_route: destination length source length next-hop metric refcnt use flags device.
    best: tuple[int, str] | None = None
    for line in _lines("/proc/net/ipv6_route"):
        columns = line.split()
        if len(columns) < 10 or columns[0] != "0" * 32 or columns[1] != "00" or columns[4] == "0" * 32:
            continue
        address = ipaddress.IPv6Address(bytes.fromhex(columns[4]))
        scoped = f"{address}%{columns[9]}" if address.is_link_local else str(address)
        best = min(best or (1 << 32, ""), (int(columns[5], 16), scoped))
    return best[1] if best else None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no IPv6, or no /proc/net in a container
        return []


def interface_kind(name: str) -> str:
    """`physical` when a device of a bus stands behind the interface, else `virtual`."""
    return "physical" if Path(f"/sys/class/net/{name}/device").exists() else "virtual"


def is_whole_disk(disk: str) -> bool:
    """Partitions would be counted twice, and loop and RAM devices say nothing."""
    if not Path("/sys/block").is_dir():
        return True
    return (Path("/sys/block") / disk).exists() and not disk.startswith(("loop", "ram", "zram"))


def system_name() -> str:
    """`Debian GNU/Linux 12 (bookworm)` from os-release(5)."""
    for line in _lines("/etc/os-release"):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip("\"'")
    return platform.system()
