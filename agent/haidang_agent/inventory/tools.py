"""Running the systems' own tools: bounded in time and size, in the C locale, never raising for one that is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from haidang_agent.inventory.text import decode
from haidang_agent.platform.system import TOOL_FOLDERS, is_root, is_roots

_SECONDS = 60.0
_MOST_BYTES = 32 * 2**20
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), *TOOL_FOLDERS))


def run(*command: str, seconds: float = _SECONDS, environment: Mapping[str, str] | None = None) -> str | None:
    """What a tool prints, whatever its exit code; None when it is not there, can't be run, or is too slow. Root
    runs none that others could have put there."""
    path = shutil.which(command[0], path=_PATH)
    if path is None or (is_root() and not is_roots(Path(path))):
        return None
    own = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "C", **(environment or {})}
    try:
        done = subprocess.run(
            [path, *command[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=seconds, env=own, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return decode(done.stdout[:_MOST_BYTES])


def read(path: str | Path) -> str | None:
    """A small file's text; None when it can't be read."""
    data = read_bytes(path)
    return decode(data) if data is not None else None


def read_bytes(path: str | Path) -> bytes | None:
    """A small file; None when it can't be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES)
    except (OSError, ValueError):
        return None
