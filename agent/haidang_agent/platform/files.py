"""Files that must survive a crash whole, that nobody else may read, and by which nobody fools root.

Root enrols, reads serials and looks for faults in folders of the agent's user, who may put anything there at any
instant: links to others' files, pipes, another folder in place of this one. So a folder is opened once, by a way that
only root and the folder's owner could bend, and what is in it through its descriptor: never along a link, only what
is a file, and a new file under a name that nobody can guess.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from haidang_wire.errors import ConfigError, HaidangError

# Windows has neither descriptors of folders nor a root: there files are named by their path.
_BY_DESCRIPTOR = os.open in os.supports_dir_fd
_O_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_O_FILE = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW = ".new"
_LEFT_SECONDS = 3600.0
_MOST_STEPS = 100
_MOST_BYTES = 16 * 2**20


def is_root() -> bool:
    """Whether this process may do what others only may to their own."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def is_roots(path: Path) -> bool:
    """Whether root alone could have put there what a path leads to."""
    real = Path(os.path.realpath(path))
    for each in (real, *real.parents):
        found = each.stat()
        shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        # In a folder as /tmp others may make names, but not change root's.
        if found.st_uid != 0 or (shared and not (each != real and found.st_mode & stat.S_ISVTX)):
            return False
    return True


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int | None]:
    """The folder's descriptor, for `put` and `get`; None where there is no such thing.

    Raises OSError: NotADirectoryError, PermissionError for one that others than root and its owner could have put
    there.
    """
    if not _BY_DESCRIPTOR:
        yield None
        return
    at = _walk(folder) if is_root() else os.open(folder, _O_FOLDER & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        yield at
    finally:
        os.close(at)


def _walk(folder: Path) -> int:
    """Open a folder step by step. Who owns a part of the way decides what comes behind it: once that is not root, all
    behind must be theirs. A link on the way counts like a folder; the last step must be none."""
    parts = list(reversed(folder.absolute().parts))
    at = os.open(parts.pop(), _O_FOLDER)
    try:
        owner = os.fstat(at).st_uid
        for _ in range(_MOST_STEPS):
            if not parts:
                return at
            name = parts.pop()
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
            link = stat.S_ISLNK(found.st_mode)
            if link and not parts:
                raise NotADirectoryError(errno.ENOTDIR, "is a link, not a folder", str(folder))
            if link:
                target = Path(os.readlink(name, dir_fd=at))
                parts += reversed(target.parts)
                step = os.open(parts.pop(), _O_FOLDER) if target.is_absolute() else os.dup(at)
            else:
                step = os.open(name, _O_FOLDER, dir_fd=at)
                found = os.fstat(step)
            os.close(at)
            at = step
            if owner not in (0, found.st_uid):
                raise PermissionError(errno.EPERM, "lies in a folder of another user", str(folder))
            owner = found.st_uid
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
    except BaseException:  # whatever it was, it is raised again
        os.close(at)
        raise


def put(
    at: int | None, path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True, owned_by_folder: bool = True
) -> None:
    """Write a file of the opened folder anew, atomically. As root it is given to the folder's owner, or stays root's.
    Raises OSError; then the file is what it was."""
    name = path.name if at is not None else str(path)
    new = f"{name}.{secrets.token_hex(8)}{_NEW}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_FILE, 0o600, dir_fd=at)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            if at is not None:
                # By its descriptor: what has the name by now may be another's.
                if owned_by_folder and is_root():
                    owner = os.fstat(at)
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                os.fchmod(file.fileno(), mode)
        os.replace(new, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:  # whatever it was, it is raised again
        with contextlib.suppress(OSError):
            os.unlink(new, dir_fd=at)
        raise
    if durable and at is not None:
        os.fsync(at)


def _open(at: int | None, path: Path, *, links: bool) -> int:
    flags = os.O_RDONLY | _O_FILE | getattr(os, "O_NONBLOCK", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0))
    descriptor = os.open(path.name if at is not None else str(path), flags, dir_fd=at)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a file", str(path))
    if at is not None and is_root() and found.st_nlink > 1 and found.st_uid != os.fstat(at).st_uid:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "is another user's", str(path))
    return descriptor


def get(at: int | None, path: Path, *, most_bytes: int = _MOST_BYTES, links: bool = False) -> bytes:
    """The content of a file of the opened folder; `links` where it may be one to a file elsewhere. Raises OSError,
    also for what is no file (a pipe would be waited for) or larger."""
    with os.fdopen(_open(at, path, links=links), "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes} bytes", str(path))
    return data


@contextlib.contextmanager
def held(path: Path) -> Iterator[str]:
    """The name by which a library (OpenSSL) opens just the file that is there now. Raises OSError."""
    with opened(path.parent) as at:
        if at is None:
            yield str(path)
            return
        descriptor = _open(at, path, links=False)
        try:
            yield f"/dev/fd/{descriptor}"
        finally:
            os.close(descriptor)


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


def remove(path: Path) -> None:
    """A file of a folder, if it is there. Raises OSError."""
    with opened(path.parent) as at, contextlib.suppress(FileNotFoundError):
        os.unlink(path.name if at is not None else path, dir_fd=at)


def tidy(folder: Path) -> None:
    """Remove what writes left that a power cut ended."""
    for left in folder.glob(f"*.{'[0-9a-f]' * 16}{_NEW}"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _LEFT_SECONDS:
                left.unlink()


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """What root does meanwhile it does with the rights of the folder's owner alone: for SQLite, which opens files by
    their path, and leaves others beside them. Not for two threads at a time. Raises OSError."""
    if sys.platform == "win32" or not is_root():
        yield
        return
    with opened(folder) as at:
        assert at is not None
        owner = os.fstat(at)
    if owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    try:
        os.setgroups([owner.st_gid])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def refuse_readable(path: Path) -> None:
    """Raises ConfigError for a file of secrets that others than its owner may read."""
    if sys.platform != "win32" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError("others can read it", where=str(path), remedy=f"Run: chmod 600 {path}")
