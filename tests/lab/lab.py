"""A small province out of real machines, from a few lines that say what there is.

    topology = Topology(machines=("dc", "a1"), switches=("hub",), fibers=(("dc", "hub"), ("hub", "a1")))
    with Lab(topology, folder) as lab:
        lab["a1"].run("hostname")
        lab.cut("hub", "a1")

Each machine boots Debian on a disk of its own. A machine's cables meet in its bridge, which has its address; a switch
answers SNMP and LLDP besides. This machine is the operators': its cable goes into the first machine. Nothing of it
reaches any other network. What a crash leaves is found by the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.lab import base
from tests.lab.machine import BRIDGE, PREFIX, RUN, Machine, command, sweep

NETWORK = "10.97.8"
CONSOLE = f"{PREFIX}console"
CARRIER = f"{PREFIX}carrier"
COMMUNITY = "lab"
PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter", "ip", "nft", "tc", "ssh", "ssh-keygen", "setpriv")


@dataclass(frozen=True)
class Topology:
    """Machines and switches by name, and the fibers between two of them; a tree, for nobody breaks loops."""

    machines: tuple[str, ...]
    switches: tuple[str, ...] = ()
    fibers: tuple[tuple[str, str], ...] = ()


def unable() -> str:
    """Why no lab can be made here; empty when one can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no lab: {', '.join(missing)} not installed"
    probe = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", "mount -t tmpfs none /mnt && cd /mnt && mkdir a b c d &&"
         " mount -t overlay none -o lowerdir=a,upperdir=b,workdir=c d && ip link add x type veth peer name y"],
        capture_output=True, text=True,
    )  # fmt: skip
    return f"no lab: {probe.stderr.strip().splitlines()[-1]}" if probe.returncode else ""


class Lab:
    """The machines, running. One lab at a time on a machine."""

    def __init__(self, topology: Topology, folder: Path) -> None:
        self.topology = topology
        self.folder = folder
        self.key = folder / "ssh-key"
        self.machines: dict[str, Machine] = {}
        self._joints: dict[tuple[str, str], str] = {}
        self._lock: IO[str] | None = None

    def __enter__(self) -> Lab:
        RUN.mkdir(exist_ok=True)
        self._lock = Path("/run/haidang-lab.lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sweep_all()
        try:
            self._make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for machine in self.machines.values():
            machine.unplug()
        sweep_all()
        if self._lock:
            self._lock.close()

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.key.exists():
            command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        self._lower = base.base()
        names = (*self.topology.machines, *self.topology.switches)
        for number, name in enumerate(names):
            self._make_machine(name, f"{NETWORK}.{10 + number}")
        for one, other in self.topology.fibers:
            self._join(one, other)
        self._plug_console()
        for machine in self.machines.values():
            machine.start()
        for machine in self.machines.values():
            machine.wait()

    def _make_machine(self, name: str, address: str) -> Machine:
        machine = self.machines[name] = Machine(name, address, self._lower)
        machine.make(Path(f"{self.key}.pub").read_text().strip())
        if name in self.topology.switches:
            _make_switch(machine)
        return machine

    def _join(self, one: str, other: str) -> None:
        """A fiber: each end's cable goes to the carrier, whose bridge joins them. LLDP passes, as it does on glass."""
        joint = f"j{len(self._joints)}" if (one, other) not in self._joints else self._joints[one, other]
        self._joints[one, other] = joint
        if not Path(f"/run/netns/{CARRIER}").exists():
            command("ip", "netns", "add", CARRIER)
        carrier = ("ip", "-n", CARRIER, "link")
        command(*carrier, "add", joint, "type", "bridge", "group_fwd_mask", "16384")
        for name, port, end in self._ends(one, other):
            command(*carrier, "add", end, "type", "veth", "peer", "name", port, "netns", f"{PREFIX}{name}")
            command(*carrier, "set", end, "master", joint, "up")
            self.machines[name].ip("link", "set", port, "master", BRIDGE, "up")
        command(*carrier, "set", joint, "up")

    def _ends(self, one: str, other: str) -> list[tuple[str, str, str]]:
        """(machine, its port, the carrier's end of it) of both."""
        if (one, other) not in self._joints:
            one, other = other, one
        joint = self._joints[one, other]
        return [(one, f"to-{other}", f"{joint}a"), (other, f"to-{one}", f"{joint}b")]

    def replace(self, name: str) -> Machine:
        """The machine is destroyed, disk and all; a new one stands at its place, with its cables and its address."""
        address = self.machines[name].address
        fibers = [fiber for fiber in self.topology.fibers if name in fiber]
        for fiber in fibers:  # taken away here, since the kernel would take its time with it
            command("ip", "-n", CARRIER, "link", "delete", self._joints[fiber])
            for _, _, end in self._ends(*fiber):
                command("ip", "-n", CARRIER, "link", "delete", end)
        if name == self.topology.machines[0]:
            command("ip", "link", "delete", CONSOLE)
        self.machines[name].remove()
        machine = self._make_machine(name, address)
        for one, other in fibers:
            self._join(one, other)
        if name == self.topology.machines[0]:
            self._plug_console()
        machine.start()
        machine.wait()
        return machine

    def _plug_console(self) -> None:
        first = self.machines[self.topology.machines[0]]
        command("ip", "link", "add", CONSOLE, "type", "veth", "peer", "name", "console", "netns", first.namespace)
        first.ip("link", "set", "console", "master", BRIDGE, "up")
        command("ip", "address", "add", f"{NETWORK}.1/24", "dev", CONSOLE)
        command("ip", "link", "set", CONSOLE, "up")

    # Fibers

    def cut(self, one: str, other: str) -> None:
        """Both ends lose their light."""
        for _, _, end in self._ends(one, other):
            command("ip", "-n", CARRIER, "link", "set", end, "down")

    def restore(self, one: str, other: str) -> None:
        """The fiber is spliced."""
        for _, _, end in self._ends(one, other):
            command("ip", "-n", CARRIER, "link", "set", end, "up")

    def saturate(self, one: str, other: str, rate: str = "256kbit") -> None:
        """The fiber carries so little in each direction; `rate` empty for all it can."""
        for name, port, _ in self._ends(one, other):
            there = ["tc", "-n", f"{PREFIX}{name}", "qdisc"]
            if rate:
                command(
                    *there, "replace", "dev", port, "root", "tbf", "rate", rate, "burst", "16kb", "latency", "400ms"
                )
            else:
                command(*there, "delete", "dev", port, "root", check=False)

    def ssh(self, name: str) -> list[str]:
        """The command that logs in there."""
        options = ["-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]  # fmt: skip
        return ["ssh", *options, f"root@{self.machines[name].address}"]


def _make_switch(machine: Machine) -> None:
    snmpd = machine.file("/etc/snmp/snmpd.conf")
    snmpd.write_text(f"rocommunity {COMMUNITY}\nagentaddress udp:161\nmaster agentx\nsysName {machine.name}\n")
    machine.file("/etc/default/lldpd").write_text('DAEMON_ARGS="-x"\n')
    machine.file("/etc/lldpd.d").mkdir(exist_ok=True)
    machine.file("/etc/lldpd.d/lab.conf").write_text(f"configure system hostname {machine.name}\n")
    wants = machine.file("/etc/systemd/system/multi-user.target.wants")
    for unit in ("snmpd", "lldpd"):
        with contextlib.suppress(FileExistsError):
            (wants / f"{unit}.service").symlink_to(f"/lib/systemd/system/{unit}.service")


def sweep_all() -> None:
    """Everything a lab that crashed has left."""
    names = {folder.name for folder in RUN.iterdir()} if RUN.is_dir() else set()
    names |= {file.name.removeprefix(PREFIX) for file in Path("/run/netns").glob(f"{PREFIX}*")}
    for name in sorted(names):
        sweep(name)
    if Path(f"/sys/class/net/{CONSOLE}").exists():
        command("ip", "link", "delete", CONSOLE)
