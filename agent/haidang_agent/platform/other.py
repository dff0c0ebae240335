"""Systems without a file of their own: what psutil and the standard library know, and files by their path. There is no
root here whom somebody could fool, and nobody to tell how a service goes."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from haidang_agent.platform.arrival import Arrival

FAMILY = "windows" if os.name == "nt" else "linux"
CONFIGURATION_FOLDER = Path("/etc/haidang")
STATE_FOLDER = Path("/var/lib/haidang-agent")
PRIVILEGED_FOLDER = Path("/run/haidang-agent")
TOOL_FOLDERS = ("/usr/sbin", "/sbin")
START_COMMAND = "haidang-agent run"
IDLE: dict[str, Any] = {
    "creationflags": getattr(subprocess, "IDLE_PRIORITY_CLASS", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
}
APART: dict[str, Any] = {}

# The machine


def boot_id() -> str:
    """A text that is another one after each boot; the boot time, to ten seconds, because
    some systems compute it anew from a clock that is set meanwhile."""
    return f"boot-{psutil.boot_time() // 10:.0f}"


def boot_seconds() -> float:
    """Seconds on a clock nobody sets."""
    return time.monotonic()


def default_gateway() -> str | None:
    """Unknown here: name the gateway as a target in the configuration."""
    return None


def interface_kind(name: str) -> str:
    """Unknown here."""
    return "unknown"


def is_whole_disk(disk: str) -> bool:
    """Unknown here: all are counted."""
    return True


def system_name() -> str:
    """The system's own name, of Windows with its version."""
    return f"{platform.system()} {platform.version() if os.name == 'nt' else ''}".strip()


# The life of a service


def serve(run: Callable[[], int], stop: Callable[[], None]) -> int:
    """What `run` returns; `stop` is called when the service is to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    return run()


def log_handler() -> logging.Handler:
    """Where the log goes: the standard error."""
    return logging.StreamHandler(sys.stderr)


def say_ready() -> None:
    """Nobody is to be told."""


def say_alive() -> None:
    """Nobody is to be told."""


def say_stopping() -> None:
    """Nobody is to be told."""


def watchdog_seconds() -> float:
    """Nobody watches."""
    return math.inf


def lower_priority() -> None:
    """Put this process beneath everything people run, where its parent has not done so (IDLE)."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(19)


# Packets


def note_arrivals(opened: socket.socket, *, answers: bool) -> None:
    """The system notes nothing."""


def receive(opened: socket.socket, most_bytes: int) -> Arrival:
    """One packet. Raises BlockingIOError when there is none, OSError for an ICMP error."""
    data, sender = opened.recvfrom(most_bytes)
    return Arrival(data, sender, None, None, [])


def answer(opened: socket.socket, arrival: Arrival, reply: bytes) -> None:
    """Send a reply to whom a packet came from. Raises OSError."""
    opened.sendto(reply, arrival.sender)


# Users and private files


def is_root() -> bool:
    """There is none."""
    return False


def is_roots(path: Path) -> bool:
    """There is no root."""
    return False


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int | None]:
    """Folders have no descriptors here."""
    yield None


def write_over(
    at: int | None, path: Path, data: bytes, *, by: str, mode: int, durable: bool, owned_by_folder: bool
) -> None:
    """Write a file anew, atomically, by way of another name. Raises OSError; then the file is what it was."""
    new = path.with_name(by)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        new.replace(path)
    except BaseException:  # whatever it was, it is raised again
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def open_file(at: int | None, path: Path, *, links: bool) -> int:
    """The descriptor of a file, to read. Raises OSError, also for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a file", str(path))
    return descriptor


@contextlib.contextmanager
def held(path: Path) -> Iterator[str]:
    """The name by which a library (OpenSSL) opens a file."""
    yield str(path)


def is_file(at: int | None, path: Path) -> bool:
    """Whether what is at a path is a file, and no link to one. Raises OSError."""
    return stat.S_ISREG(path.lstat().st_mode)


def remove(path: Path) -> None:
    """A file, if it is there. Raises OSError."""
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Nothing changes."""
    yield


def rights_of(at: int | None) -> list[str]:
    """A child has this process's rights."""
    return []


def become(user: str, group: str) -> None:
    """Nobody is asked to: `rights_of` is empty."""


def refuse_anothers(folder: Path) -> None:
    """There is no root."""


def is_private(path: Path) -> bool:
    """Unknown here: who may what stands in no mode."""
    return True


def is_readable_by_others(path: Path) -> bool:
    """Unknown here."""
    return False


def make_private(path: Path) -> None:
    """What is in an agent's folder is as private as the folder."""
    path.chmod(0o600)


def privacy_command(path: Path) -> str:
    """How people do that."""
    return f"chmod 600 {path}"
