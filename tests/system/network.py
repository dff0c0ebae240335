"""A network of the test's own: two namespaces joined by a veth pair, the "fiber"."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.conftest import unavailable

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Fiber:
    """The center's end is in this process's own new namespace, the site's end in `site`."""

    site: str
    center_address: str = "192.0.2.1"
    site_address: str = "192.0.2.2"

    def set(self, state: str) -> None:
        """`up` or `down` at the center's end."""
        ip("link", "set", "fiber", state)
        if state == "up":
            ip("address", "replace", f"{self.center_address}/30", "dev", "fiber")

    def in_site(self, *command: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.site, *command)


@contextlib.contextmanager
def own_namespace() -> Iterator[None]:
    """Everything this thread does and starts meanwhile lives in a new network namespace."""
    if os.geteuid() != 0:
        unavailable("network namespaces need root")
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if _libc.unshare(_CLONE_NEWNET):
            unavailable(f"no network namespaces here: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            _libc.setns(before, _CLONE_NEWNET)
    finally:
        os.close(before)


@contextlib.contextmanager
def fiber() -> Iterator[Fiber]:
    """The center is in this thread's own namespace meanwhile, the site in another."""
    site = f"haidang-test-{os.getpid()}"
    with own_namespace(), _joined(site) as made:
        yield made


@contextlib.contextmanager
def _joined(site: str) -> Iterator[Fiber]:
    try:
        ip("netns", "add", site)
        ip("link", "set", "lo", "up")
        ip("link", "add", "fiber", "type", "veth", "peer", "name", "wan0", "netns", site)
        made = Fiber(site)
        made.set("up")
        ip("-n", site, "link", "set", "lo", "up")
        ip("-n", site, "address", "add", f"{made.site_address}/30", "dev", "wan0")
        ip("-n", site, "link", "set", "wan0", "up")
        ip("-n", site, "route", "add", "default", "via", made.center_address)
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", site], capture_output=True)
