"""Files that must survive a crash whole, that nobody else may read, and by which nobody fools root.

Root enrols, reads serials and looks for faults in folders of the agent's user, who may put anything there at any
instant: links to others' files, pipes, another folder in place of this one. How each system keeps what is an agent's
from others, and itself from being fooled, is its own (`posix.py`); a new file has a name that nobody can guess.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from pathlib import Path

from haidang_wire.errors import ConfigError, HaidangError

from haidang_agent.platform import system
from haidang_agent.platform.system import as_owner, held, is_file, is_private, make_private, opened, remove

__all__ = [
    "as_owner",
    "get",
    "held",
    "is_file",
    "is_private",
    "make_private",
    "opened",
    "put",
    "read_private",
    "refuse_readable",
    "remove",
    "tidy",
    "write_private",
]

_NEW = ".new"
_LEFT_SECONDS = 3600.0
_MOST_BYTES = 16 * 2**20


def put(
    at: int | None, path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True, owned_by_folder: bool = True
) -> None:
    """Write a file of the opened folder anew, atomically. As root it is given to the folder's owner, or stays root's.
    Raises OSError; then the file is what it was."""
    by = f"{path.name}.{secrets.token_hex(8)}{_NEW}"
    system.write_over(at, path, data, by=by, mode=mode, durable=durable, owned_by_folder=owned_by_folder)


def get(at: int | None, path: Path, *, most_bytes: int = _MOST_BYTES, links: bool = False) -> bytes:
    """The content of a file of the opened folder; `links` where it may be one to a file elsewhere. Raises OSError,
    also for what is no file (a pipe would be waited for) or larger."""
    with os.fdopen(system.open_file(at, path, links=links), "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes} bytes", str(path))
    return data


def write_private(path: Path, text: str, *, durable: bool = True) -> None:
    """Atomic, mode 0600, owned by the folder's owner; it survives a power cut if `durable`. Raises HaidangError."""
    try:
        with opened(path.parent) as at:
            put(at, path, text.encode("utf-8", "backslashreplace"), durable=durable)
    except OSError as error:
        raise HaidangError(f"can't be written: {error.strerror}", where=str(path)) from error


def read_private(path: Path, *, most_bytes: int = _MOST_BYTES) -> str:
    """A file that `write_private` wrote. Raises OSError, UnicodeDecodeError."""
    with opened(path.parent) as at:
        return get(at, path, most_bytes=most_bytes).decode("utf-8")


def tidy(folder: Path) -> None:
    """Remove what writes left that a power cut ended."""
    for left in folder.glob(f"*.{'[0-9a-f]' * 16}{_NEW}"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _LEFT_SECONDS:
                left.unlink()


def refuse_readable(path: Path) -> None:
    """Raises ConfigError for a file of secrets that others than its owner may read."""
    if system.is_readable_by_others(path):
        raise ConfigError("others can read it", where=str(path), remedy=f"Run: {system.privacy_command(path)}")
