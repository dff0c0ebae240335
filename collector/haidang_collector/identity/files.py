"""Files that one user alone may read: keys and certificates of the collector and its commands."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(path: Path, content: bytes, *, mode: int = 0o600, as_folder: bool = False) -> None:
    """Atomic and durable: a new file of the caller's own, whatever lies there; `as_folder` gives what root writes to
    the folder's owner. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    new = f"{path.name}.{secrets.token_hex(8)}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                if as_folder and os.geteuid() == 0:
                    owner = os.fstat(folder)
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.replace(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:  # whatever it was, it is raised again
            os.unlink(new, dir_fd=folder)
            raise
        os.fsync(folder)
    finally:
        os.close(folder)
