"""Linux: boot identity, the clock that neither jumps nor stops, the default gateway."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from pathlib import Path


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
        return Path(path).read_text().splitlines()
    except OSError:  # no IPv6, or no /proc/net in a container
        return []


def interface_kind(name: str) -> str:
    """`physical` when a device of a bus stands behind the interface, else `virtual`."""
    return "physical" if Path(f"/sys/class/net/{name}/device").exists() else "virtual"
