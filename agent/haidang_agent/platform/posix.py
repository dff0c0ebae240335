"""POSIX: users and what they may, and files by which nobody fools root (see `files.py`).

A folder is opened once, by a way that only root and the folder's owner could bend, and what is in it through its
descriptor: never along a link, and only what is a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haidang_wire.errors import HaidangError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_STEPS = 100

APART: dict[str, Any] = {"env": {}, "start_new_session": True}
"""How a child of root's is started that is to `become` another: nothing of the environment, no terminal."""


def is_root() -> bool:
    """Whether this process may do what others only may to their own."""
    return os.geteuid() == 0


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
    """The folder's descriptor, by which the functions below find what is in it. Without one (None) they take a path as
    it is.

    Raises OSError: NotADirectoryError, PermissionError for one that others than root and its owner could have put
    there.
    """
    at = _walk(folder) if is_root() else os.open(folder, _FOLDER)
    try:
        yield at
    finally:
        os.close(at)


def _walk(folder: Path) -> int:
    """Open a folder step by step. Who owns a part of the way decides what comes behind it: once that is not root, all
    behind must be theirs. A link on the way counts like a folder; the last step must be none."""
    parts = list(reversed(folder.absolute().parts))
    at = os.open(parts.pop(), _FOLDER | os.O_NOFOLLOW)
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
                step = os.open(parts.pop(), _FOLDER | os.O_NOFOLLOW) if target.is_absolute() else os.dup(at)
            else:
                step = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
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


def write_over(
    at: int | None, path: Path, data: bytes, *, by: str, mode: int, durable: bool, owned_by_folder: bool
) -> None:
    """Write a file of the opened folder anew, atomically, by way of another name. As root it is given to the folder's
    owner, or stays root's. Raises OSError; then the file is what it was."""
    name, new = _name(at, path), _name(at, path.with_name(by))
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=at)
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


def _name(at: int | None, path: Path) -> str:
    return path.name if at is not None else str(path)


def open_file(at: int | None, path: Path, *, links: bool) -> int:
    """The descriptor of a file of the opened folder, to read; `links` where it may be one to a file elsewhere. Raises
    OSError, also for what is no file (a pipe would be waited for)."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
    descriptor = os.open(_name(at, path), flags, dir_fd=at)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a file", str(path))
    if at is not None and is_root() and found.st_nlink > 1 and found.st_uid != os.fstat(at).st_uid:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "is another user's", str(path))
    return descriptor


@contextlib.contextmanager
def held(path: Path) -> Iterator[str]:
    """The name by which a library (OpenSSL) opens just the file that is there now. Raises OSError."""
    with opened(path.parent) as at:
        descriptor = open_file(at, path, links=False)
        try:
            yield f"/dev/fd/{descriptor}"
        finally:
            os.close(descriptor)


def is_file(at: int | None, path: Path) -> bool:
    """Whether what is under a name of the opened folder is a file, and no link to one. Raises OSError."""
    return stat.S_ISREG(os.stat(_name(at, path), dir_fd=at, follow_symlinks=False).st_mode)


def remove(path: Path) -> None:
    """A file of a folder, if it is there. Raises OSError."""
    with opened(path.parent) as at, contextlib.suppress(FileNotFoundError):
        os.unlink(_name(at, path), dir_fd=at)


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """What root does meanwhile it does with the rights of the folder's owner alone: for SQLite, which opens files by
    their path, and leaves others beside them. Not for two threads at a time. Raises OSError."""
    if not is_root():
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


def rights_of(at: int | None) -> list[str]:
    """What a child of root's needs to `become` the owner of an opened folder. Nothing where this is not root: the child
    has this process's rights."""
    if at is None or not is_root():
        return []
    owner = os.fstat(at)
    return [str(owner.st_uid), str(owner.st_gid)]


def become(user: str, group: str) -> None:
    """Have from now on a user's rights alone, for good: nobody may trace what was root. Raises OSError."""
    os.setgroups([int(group)])
    os.setgid(int(group))
    os.setuid(int(user))


def refuse_anothers(folder: Path) -> None:
    """As root, in the folder of the agent's user: what root leaves there that user can't use. Raises HaidangError."""
    owner = folder.stat().st_uid if folder.exists() else 0
    if is_root() and owner != 0:
        raise HaidangError(
            f"belongs to the user with the number {owner}", where=str(folder),
            remedy=f"Run: setpriv --reuid {owner} --init-groups haidang-agent run",
        )  # fmt: skip


def is_private(path: Path) -> bool:
    """Whether nobody but a file's owner (and root) may do anything with it. Raises OSError."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def is_readable_by_others(path: Path) -> bool:
    """Whether others than a file's owner (and root) may read it. Raises OSError."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def make_private(path: Path) -> None:
    """Leave a file to its owner alone. Raises OSError."""
    path.chmod(0o600)


def privacy_command(path: Path) -> str:
    """How people do that."""
    return f"chmod 600 {path}"
