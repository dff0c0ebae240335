"""What an installation needs of Linux (`system.py`): systemd's units, a user, a link that changes in one step."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .system import BY_HAND, Seen, run
from .texts import Failure, Texts

SCRIPT = "haidang.sh"
FOLDER = Path("/opt")
LINK = FOLDER / "haidang"
STATE = Path("/var/lib/haidang-agent")
CONFIGURATION = Path("/etc/haidang")
UNITS = Path("/etc/systemd/system")
SERVICE, PRIVILEGED, TIMER = (
    "haidang-agent.service",
    "haidang-agent-privileged.service",
    "haidang-agent-privileged.timer",
)
DROP_INS = UNITS / f"{SERVICE}.d"
USER = "haidang-agent"
ROLES: tuple[str, ...] = ("probe", "switch", "wan")

WORDS: Texts = {
    "not root": ("must run as root: sudo sh haidang.sh", "phải chạy bằng quyền root: sudo sh haidang.sh"),
    "no systemd": ("this machine does not run systemd: see docs/install-agency.md for an installation by hand",
                   "máy này không dùng systemd: xem docs/vi/install-agency.md để cài bằng tay"),
    "unknown host": ("the name {host} is not known here: check /etc/resolv.conf, or ask for a line with the address",
                     "không phân giải được tên {host}: kiểm tra /etc/resolv.conf, hoặc xin dòng lệnh dùng địa chỉ IP"),
    "no route": ("there is no route to {host}: check the cable, the address and the gateway (ip route), then the WAN link",
                 "không có đường đến {host}: kiểm tra cáp, địa chỉ và cổng mặc định (ip route), rồi đường WAN"),
    "time": ("by this machine's clock the certificate of {host} does not count ({detail}): set the clock (timedatectl"
             " set-time) and run this again; if it is right, tell the data center",
             "theo đồng hồ máy này, chứng thư của {host} không có hiệu lực ({detail}): hãy chỉnh đồng hồ (timedatectl"
             " set-time) rồi chạy lại; nếu đồng hồ đúng thì báo trung tâm dữ liệu"),
    "clock": ("this machine's clock is wrong by {seconds} s: set it (timedatectl set-time); the agent copes until then",
              "đồng hồ máy này sai {seconds} giây: hãy chỉnh (timedatectl set-time); tạm thời tác tử tự bù"),
}  # fmt: skip


# The process


def settle() -> None:
    """Give this process a folder, rights of new files and a path for tools that are nobody's."""
    os.chdir("/")  # what is run from here on finds nothing in a folder of somebody's
    os.umask(0o022)  # the agent's user must be able to read its program, whatever root is used to
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"  # as after `su`


def require() -> None:
    """Raises Failure without root's rights or systemd."""
    if os.geteuid() != 0:
        raise Failure("not root")
    if not Path("/run/systemd/system").is_dir():
        raise Failure("no systemd")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No two installations at once. Raises Failure."""
    with Path("/run/haidang-install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failure("running") from error
        yield


# Versions


def program(folder: Path, name: str) -> Path:
    """Where a program of a version is."""
    return folder / "bin" / name


def finish(folder: Path) -> None:
    """What SELinux wants of programs under /opt."""
    if shutil.which("restorecon"):
        run("restorecon", "-R", str(folder))


def current() -> Path | None:
    """The folder of the version in use."""
    return LINK.resolve() if LINK.is_symlink() and LINK.exists() else None


def adopt() -> Path | None:
    """An installation by hand is a folder where the link is to be: it becomes the version before."""
    if LINK.is_symlink() or not LINK.exists():
        return None
    folder = LINK.rename(LINK.with_name(f"{BY_HAND}{int(time.time())}"))
    LINK.symlink_to(folder.name)
    return folder


def switch(folder: Path, roles: tuple[str, ...]) -> None:
    """Make a version the one in use, and start it."""
    _put_units(_units(folder, roles))
    new = LINK.with_name(f"{LINK.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(folder.name)
    new.replace(LINK)
    run("systemctl", "enable", "--quiet", SERVICE, TIMER)
    run("systemctl", "reset-failed", SERVICE, check=False)
    run("systemctl", "restart", SERVICE, check=False)  # whether it works is asked of it, not of systemd
    run("systemctl", "restart", TIMER)


# The service


def roles() -> tuple[str, ...]:
    """The roles the agent has."""
    return tuple(role for role in ROLES if (DROP_INS / f"{role}.conf").exists())


def is_service_of(folder: Path, roles: tuple[str, ...]) -> bool:
    """Whether exactly the units of a version are in place."""
    wanted = _units(folder, roles)
    ours = [*DROP_INS.glob("*.conf")] if DROP_INS.is_dir() else []
    if any(file not in wanted for file in ours if file.stem in ROLES):
        return False
    return all(file.exists() and file.read_text(encoding="utf-8") == text for file, text in wanted.items())


def _units(folder: Path, roles: tuple[str, ...]) -> dict[Path, str]:
    """The unit files of a version."""
    packaging = next(folder.glob("lib/python3*/site-packages/haidang_agent/packaging"), None)
    if packaging is None:
        raise Failure("disk", where=folder, detail="no units in it")
    found = {UNITS / name: packaging / name for name in (SERVICE, PRIVILEGED, TIMER)}
    found.update({DROP_INS / f"{role}.conf": packaging / f"{role}.conf" for role in roles})
    return {to: file.read_text(encoding="utf-8") for to, file in found.items() if file.exists()}


def _put_units(wanted: dict[Path, str]) -> None:
    for role in ROLES:
        file = DROP_INS / f"{role}.conf"
        if file not in wanted:
            file.unlink(missing_ok=True)
    for file, text in wanted.items():
        file.parent.mkdir(exist_ok=True)
        new = file.with_name(f"{file.name}.new")  # a full disk must not leave half a unit
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(file)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    run("systemctl", "daemon-reload")


def look() -> Seen:
    """How the service goes."""
    active = run("systemctl", "is-active", SERVICE, check=False)
    again = run("systemctl", "show", "--value", "--property", "NRestarts", SERVICE, check=False)
    failed = active not in ("active", "activating") or (again.isdigit() and int(again) >= 2)
    return Seen(active == "active", failed)


def last_words() -> str:
    """The end of the service's log."""
    return run("journalctl", "-u", SERVICE, "-n", "3", "-o", "cat", "--no-pager", check=False)


def read_status() -> bytes:
    """What the agent says of itself. Its user may put anything there: only a file is read, and no more than it writes."""
    descriptor = os.open(STATE / "status.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(2**16) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


# The agent's user, and the end


def make_user() -> None:
    """The agent's user, and the folders of its state and configuration."""
    if run("getent", "passwd", USER, check=False) == "":
        run("useradd", "--system", "--home-dir", str(STATE), "--shell", "/usr/sbin/nologin", USER)
    STATE.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(STATE, USER, USER)
    CONFIGURATION.mkdir(exist_ok=True)


def parts() -> list[Path]:
    """What beside versions is put onto a machine, for people."""
    return [*(UNITS / name for name in (SERVICE, PRIVILEGED, TIMER)), LINK]


def remove() -> None:
    """Stop the service and take `parts` away."""
    run("systemctl", "disable", "--now", SERVICE, TIMER, check=False)
    for name in (SERVICE, PRIVILEGED, TIMER):
        (UNITS / name).unlink(missing_ok=True)
    shutil.rmtree(DROP_INS, ignore_errors=True)
    run("systemctl", "daemon-reload")
    LINK.unlink(missing_ok=True) if LINK.is_symlink() else shutil.rmtree(LINK, ignore_errors=True)


def remove_user() -> None:
    """The agent's user."""
    run("userdel", USER, check=False)
