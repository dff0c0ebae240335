"""Files that must survive a crash whole, and that nobody else may read."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from haidang_wire.errors import ConfigError, HaidangError


def write_private(path: Path, text: str) -> None:
    """Durable and atomic, mode 0600, owned by the folder's owner. Raises HaidangError."""
    new = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # Enrolled by root, run by the agent's own user: the folder's owner owns it all.
            owner = path.parent.stat()
            os.chown(new, owner.st_uid, owner.st_gid)
        new.replace(path)
    except OSError as error:
        raise HaidangError(f"can't be written: {error.strerror}", where=str(path)) from error


def refuse_readable(path: Path) -> None:
    """Raises ConfigError for a file of secrets that others than its owner may read."""
    if sys.platform != "win32" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError("others can read it", where=str(path), remedy=f"Run: chmod 600 {path}")
