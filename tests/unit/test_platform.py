"""What operating systems differ in has one room: another one is a file there, and no change elsewhere."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.platform import linux, linux_packets, other, posix, system

from tests.conftest import ROOT

AGENT = ROOT / "agent/haidang_agent"
# What is of no use but on Linux, and says so.
LINUX_ALONE = {
    "inventory/antivirus.py",
    "inventory/linux.py",
    "inventory/linux_security.py",
    "inventory/privileged.py",
    "path/discover.py",
    "sources/links.py",
    "sources/transceivers.py",
}
FILES = {
    str(file.relative_to(AGENT)): file for file in sorted(AGENT.rglob("*.py")) if file.parent != AGENT / "platform"
}

MODULES = {"fcntl", "grp", "msvcrt", "pwd", "resource", "signal", "termios", "winreg", "win32api", "win32service"}
OF_A_SYSTEM = {"linux", "linux_packets", "other", "posix"}  # of platform/: `system` chooses among them
NAMES = {
    "os": r"name|uname|nice|setsid|kill(pg)?|umask|getlogin|(get|set)(e|re|res)?[ug]id|(get|set)(groups|pgid|priority)"
    r"|initgroups|[lf]?chown|[lf]?chmod|fork|wait(pid)?|mkfifo|statvfs|sched_.*|O_(NOFOLLOW|DIRECTORY|BINARY|NONBLOCK)",
    "sys": r"platform|getwindowsversion",
    "time": r"clock_.*|CLOCK_.*",
    "socket": r"AF_(UNIX|NETLINK|PACKET)|SO_BINDTODEVICE|CMSG_.*",
    "stat": r"S_I.*",
    "subprocess": r".*_PRIORITY_CLASS|CREATE_.*",
}
METHODS = r"recvmsg|sendmsg|l?chmod"
KEYWORDS = r"preexec_fn|start_new_session|process_group|creationflags|startupinfo|close_fds|pass_fds|umask|dir_fd"
TEXTS = r"^/(etc|var|run|proc|sys|dev|usr|sbin|opt)\b|systemctl|journalctl|NOTIFY_SOCKET|WATCHDOG_|chmod|setpriv"


def used(text: str) -> Iterator[str]:
    """What of a module is one operating system's alone."""
    tree = ast.parse(text)
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documents:
            continue
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module in MODULES or module.rpartition("platform.")[2] in OF_A_SYSTEM:
                yield module
            for each in node.names:
                if re.fullmatch(NAMES.get(module, "$"), each.name):
                    yield f"{module}.{each.name}"
                if module == "haidang_agent.platform" and each.name in OF_A_SYSTEM:
                    yield f"platform.{each.name}"
        elif isinstance(node, ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            if re.fullmatch(NAMES.get(of, "$"), node.attr) or re.fullmatch(METHODS, node.attr):
                yield f"{of}.{node.attr}"
        elif isinstance(node, ast.keyword) and re.fullmatch(KEYWORDS, node.arg or ""):
            yield f"{node.arg}="
        elif isinstance(node, ast.Constant) and re.search(TEXTS, str(node.value)):
            yield repr(node.value)


@pytest.mark.parametrize("name", sorted(FILES.keys() - LINUX_ALONE))
def test_only_the_platform_knows_the_operating_system(name: str) -> None:
    assert list(used(FILES[name].read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", sorted(LINUX_ALONE))
def test_what_is_for_linux_alone_says_so(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert "Linux alone" in (ast.get_docstring(ast.parse(text)) or "")
    assert list(used(text))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import os\nif os.name == 'nt': pass", ["os.name"]),
        ("import os\nos.setresuid(1, 1, 1)", ["os.setresuid"]),
        ("from sys import platform", ["sys.platform"]),
        ("import signal", ["signal"]),
        ("from haidang_agent.platform.posix import is_root", ["haidang_agent.platform.posix"]),
        ("from haidang_agent.platform import linux", ["platform.linux"]),
        ("import subprocess\nsubprocess.run([], preexec_fn=None)", ["preexec_fn="]),
        ('"""Of /proc/meminfo."""\nf = "/proc/meminfo"', ["'/proc/meminfo'"]),
        ("import platform\nplatform.system()\n'a/etc/b'", []),
    ],
)
def test_what_counts_as_of_an_operating_system(text: str, what: list[str]) -> None:
    assert list(used(text)) == what


def _shape(what: Any) -> object:
    """What callers see of a part of the face."""
    if not callable(what):
        return type(what)
    return [
        (each.name, each.kind, each.default, each.annotation) for each in inspect.signature(what).parameters.values()
    ], (inspect.signature(what).return_annotation)


@pytest.mark.parametrize("name", system.__all__)
def test_every_system_has_the_same_face(name: str) -> None:
    ours = getattr(system, name)
    (room,) = [each for each in (linux, linux_packets, posix) if name in vars(each) and vars(each)[name] is ours]
    assert _shape(getattr(other, name)) == _shape(ours), room.__name__


def test_files_by_their_path_are_kept_as_whole_as_others(tmp_path: Path) -> None:
    """For systems without descriptors of folders: the same promises, but for those about root."""
    file = tmp_path / "kept"
    with other.opened(tmp_path) as at:
        other.write_over(at, file, b"one", by="kept.new", mode=0o600, durable=True, owned_by_folder=True)
        other.write_over(at, file, b"two", by="kept.new", mode=0o600, durable=False, owned_by_folder=True)
        assert other.is_file(at, file)
        with open(other.open_file(at, file, links=False), "rb") as found:  # noqa: PTH123 (a descriptor)
            assert found.read() == b"two"
        with pytest.raises(OSError, match="is not a file"):
            other.open_file(at, tmp_path, links=False)
        with pytest.raises(FileNotFoundError):
            other.write_over(at, tmp_path / "no/kept", b"", by="new", mode=0o600, durable=True, owned_by_folder=True)
    other.remove(file)
    other.remove(file)
    assert list(tmp_path.iterdir()) == []
