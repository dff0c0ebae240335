"""One machine of the lab: a Debian that boots on an overlay of the base, in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import wait_for

RUN = Path("/run/haidang-lab")
PREFIX = "hdl-"
CONTROL_GROUPS = Path("/sys/fs/cgroup")
DISK = "1500M"
BRIDGE = "br0"


def command(*words: str, text: str | None = None, check: bool = True) -> str:
    """What a command of this machine printed, stripped."""
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout.strip()


class Machine:
    """`name` is its host name. Its files live in memory until `remove()`, whatever happens to its power."""

    def __init__(self, name: str, address: str, lower: Path) -> None:
        self.name, self.address = name, address
        self.namespace = f"{PREFIX}{name}"
        self.folder = RUN / name
        self.root = self.folder / "root"
        self._lower = lower
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def make(self, authorized_key: str) -> None:
        """Its disk and its network, without a cable."""
        self.folder.mkdir(parents=True)
        command("mount", "-t", "tmpfs", "-o", f"size={DISK}", f"{PREFIX}disk", str(self.folder))
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir()
        layers = f"lowerdir={self._lower},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        command("mount", "-t", "overlay", f"{PREFIX}{self.name}", "-o", layers, str(self.root))
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        (self.root / "root/.ssh/authorized_keys").write_text(f"{authorized_key}\n")
        command("ip", "netns", "add", self.namespace)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "add", BRIDGE, "type", "bridge")
        self.ip("address", "add", f"{self.address}/24", "dev", BRIDGE)
        self.ip("link", "set", BRIDGE, "up")

    def start(self) -> None:
        """Press the button; returns at once."""
        assert not self.runs, self.name
        arguments = [
            "systemd-nspawn", "-q", "-D", str(self.root), "--boot", f"--machine={self.namespace}", "--register=no",
            "--keep-unit", f"--network-namespace-path=/run/netns/{self.namespace}", "--console=pipe",
            f"--hostname={self.name}", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        ]  # fmt: skip
        # In control groups of its own: machines that share one would take each other's services for theirs.
        groups = list(_make_groups(self.namespace))
        into = "".join(f"echo $$ > {group}/cgroup.procs && " for group in groups)
        with (self.folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", f'{into}exec "$@"', "sh", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self, seconds: float = 60) -> None:
        """Until it has booted and takes connections."""
        wait_for(f"{self.name} boots", lambda: self.init and self._is_up(), seconds)

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False)
        return state in ("running", "degraded")

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def init(self) -> int | None:
        """The process of its systemd, as this machine counts."""
        if self._process is None or self._process.poll() is not None:
            return None
        number = self._process.pid
        with contextlib.suppress(OSError, ValueError):
            children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
            return int(children[0]) if children else None
        return None

    def run(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """A command within it, as root."""
        init = self.init
        assert init, f"{self.name} does not run"
        return command("nsenter", "--target", str(init), "--all", "--", *words, text=text, check=check)

    def ip(self, *words: str) -> str:
        """`ip` in its network."""
        return command("ip", "-n", self.namespace, *words)

    def file(self, path: str) -> Path:
        """Where a file of its disk is on this machine."""
        return self.root / path.lstrip("/")

    def unplug(self) -> None:
        """Its power is gone at once: nothing of it is told."""
        init = self.init
        if init:
            self.thaw()
            os.kill(init, signal.SIGKILL)  # the first process of a PID namespace takes all with it
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self._process.kill()
            self._process.wait()
        self._process = None

    def plug(self) -> None:
        """Its power is back."""
        self.start()

    def remove(self) -> None:
        """Everything of it, its disk too."""
        self.unplug()
        sweep(self.name)

    # Faults

    def freeze(self) -> None:
        """It hangs: nothing in it runs."""
        _freeze(self.namespace, frozen=True)

    def thaw(self) -> None:
        """It goes on."""
        _freeze(self.namespace, frozen=False)

    def lose(self, percent: int) -> None:
        """Drop a share of what arrives here."""
        self._forget_losses()
        drop = f"numgen random mod 100 < {percent} drop"
        rules = f"table inet lab {{\n chain in {{\n type filter hook input priority 0\n {drop}\n }}\n}}\n"
        command("ip", "netns", "exec", self.namespace, "nft", "-f", "-", text=rules)

    def _forget_losses(self) -> None:
        command("ip", "netns", "exec", self.namespace, "nft", "delete", "table", "inet", "lab", check=False)

    def fill_disk(self) -> None:
        """To the last byte."""
        with self.file("/var/tmp/full").open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
                file.flush()

    def empty_disk(self) -> None:
        self.file("/var/tmp/full").unlink(missing_ok=True)

    def shift_clock(self, unit: str, by: str) -> None:
        """A service lives at another time (as `-3y`); an empty shift brings it back."""
        folder = self.file(f"/etc/systemd/system/{unit}.service.d")
        folder.mkdir(exist_ok=True, parents=True)
        library = next(self.file("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        preload = "/" + str(library.relative_to(self.root))
        text = f'[Service]\nEnvironment=LD_PRELOAD={preload} "FAKETIME={by}" FAKETIME_DONT_FAKE_MONOTONIC=1\n'
        (folder / "clock.conf").write_text(text if by else "")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", unit)

    def move_to(self, address: str) -> None:
        """Another address."""
        self.ip("address", "flush", "dev", BRIDGE)
        self.ip("address", "add", f"{address}/24", "dev", BRIDGE)
        self.address = address

    def stop(self, unit: str) -> None:
        """A service ends."""
        self.run("systemctl", "stop", unit)

    def mend(self) -> None:
        """Undo what was done to it, but for its clock and address."""
        self.thaw()
        self._forget_losses()
        self.empty_disk()


def _hierarchies() -> Iterator[Path]:
    """Where control groups are: one place, or (version 1) one a controller."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        # cpuset takes nobody before it was told of processors; nothing here asks for it.
        if kind in ("cgroup", "cgroup2") and "cpuset" not in options.split(","):
            yield Path(place)


def _make_groups(name: str) -> Iterator[Path]:
    for place in _hierarchies():
        (place / name).mkdir(exist_ok=True)
        yield place / name


def _freeze(name: str, *, frozen: bool) -> None:
    old = CONTROL_GROUPS / "freezer" / name / "freezer.state"
    new = CONTROL_GROUPS / name / "cgroup.freeze"
    if old.exists():
        old.write_text("FROZEN" if frozen else "THAWED")
    elif new.exists():
        new.write_text(str(int(frozen)))


def _remove_groups(name: str) -> None:
    for place in _hierarchies():
        for folder, _, _ in os.walk(place / name, topdown=False):
            with contextlib.suppress(OSError):  # the last processes are still ending
                Path(folder).rmdir()


def sweep(name: str) -> None:
    """What is there of a machine of this name, whoever left it."""
    namespace = f"{PREFIX}{name}"
    _freeze(namespace, frozen=False)  # what is frozen can't be ended
    pattern = f"--machine={namespace}"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if pattern.encode() in words:
                for child in (folder / "task" / folder.name / "children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
                os.kill(int(folder.name), signal.SIGKILL)
    deadline = time.monotonic() + 10
    place = RUN / name
    for mount in (place / "root", place):
        while os.path.ismount(mount) and time.monotonic() < deadline:
            if subprocess.run(["umount", str(mount)], capture_output=True).returncode:
                time.sleep(0.1)  # a process of it is still ending
    shutil.rmtree(place, ignore_errors=True)
    _remove_groups(namespace)
    if Path(f"/run/netns/{namespace}").exists():
        command("ip", "netns", "delete", namespace)
