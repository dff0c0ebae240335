"""`make lab`: a small province of real machines on this one, installed by Ansible, and a shell to break it with."""

from __future__ import annotations

import cmd
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.lab import base
from tests.lab.lab import Lab, unable
from tests.lab.province import CENTER, TOPOLOGY, Province, make_bundle


class Shell(cmd.Cmd):
    """One line a fault. `help` lists them."""

    prompt = "lab> "

    def __init__(self, province: Province) -> None:
        super().__init__()
        self.province, self.lab = province, province.lab

    def onecmd(self, line: str) -> bool:
        """Say what is wrong with a line, and go on."""
        try:
            return bool(super().onecmd(line))
        except KeyError as error:
            fibers = ", ".join(" ".join(fiber) for fiber in self.lab.topology.fibers)
            print(f"there is no {error}; there are {', '.join(self.lab.machines)}; fibers: {fibers}")
        except (AssertionError, TypeError, ValueError, OSError) as error:
            print(error)
        return False

    def do_cut(self, line: str) -> None:
        """cut A B: cut the fiber between them"""
        self.lab.cut(*line.split())

    def do_restore(self, line: str) -> None:
        """restore A B: splice it"""
        self.lab.restore(*line.split())

    def do_saturate(self, line: str) -> None:
        """saturate A B [RATE]: the fiber carries so little (256kbit); `saturate A B ""` for all it can"""
        self.lab.saturate(*shlex.split(line))

    def do_unplug(self, line: str) -> None:
        """unplug X: its power is gone"""
        self.lab[line].unplug()

    def do_plug(self, line: str) -> None:
        """plug X: its power is back"""
        self.lab[line].plug()

    def do_freeze(self, line: str) -> None:
        """freeze X: it hangs (mend X goes on)"""
        self.lab[line].freeze()

    def do_lose(self, line: str) -> None:
        """lose X PERCENT: it loses so much of what arrives (mend X)"""
        name, percent = line.split()
        self.lab[name].lose(int(percent))

    def do_fill(self, line: str) -> None:
        """fill X: its disk is full (mend X)"""
        self.lab[line].fill_disk()

    def do_clock(self, line: str) -> None:
        """clock X SHIFT: its agent's clock is wrong, as -3y; `clock X ""` for right"""
        name, shift = shlex.split(line)
        self.lab[name].shift_clock("haidang-agent", shift)

    def do_mend(self, line: str) -> None:
        """mend X: undo freeze, lose and fill"""
        self.lab[line].mend()

    def do_run(self, line: str) -> None:
        """run X COMMAND: a command on it, as root"""
        name, _, rest = line.partition(" ")
        print(self.lab[name].run("sh", "-c", rest, check=False))

    def do_ssh(self, line: str) -> None:
        """ssh X: log in there"""
        subprocess.run(self.lab.ssh(line), check=False)

    def do_query(self, line: str) -> None:
        """query PROMQL: ask its Prometheus"""
        for each in self.province.query(line):
            labels = ", ".join(f"{name}={value}" for name, value in each["metric"].items())
            print(f"{each['value'][1]:>12}  {labels}")

    def do_machines(self, line: str) -> None:
        """machines: which there are"""
        for machine in self.lab.machines.values():
            print(f"{machine.name:<8} {machine.address:<12} {'runs' if machine.runs else 'without power'}")

    def do_quit(self, line: str) -> bool:
        """quit: end all of it"""
        return True

    do_EOF = do_quit  # cmd's name for the end of input

    def emptyline(self) -> bool:
        return False


def main() -> int:
    if reason := unable():
        print(reason, file=sys.stderr)
        return 1
    print("Making the machines' base (minutes the first time)", flush=True)
    base.base()
    with tempfile.TemporaryDirectory(prefix="haidang-lab-") as folder:
        began = time.monotonic()
        print("Starting the machines", flush=True)
        with Lab(TOPOLOGY, Path(folder)) as lab:
            province = Province(lab, Path(folder), make_bundle(Path(folder)))
            province.write_inventory()
            print("Installing the data center, a switch and four communes with Ansible (minutes)", flush=True)
            province.install()
            print(f"Ready after {time.monotonic() - began:.0f} s\n")
            print(f"Prometheus: http://{lab[CENTER].address}:9090")
            print(f"Collector: https://{lab[CENTER].address}:8443, its pages: https://{lab[CENTER].address}/console/")
            print("Machines: `machines`; faults: `help`, as `cut huyen xa-1`; then `query haidang_outage_info`\n")
            try:
                Shell(province).cmdloop()
            except KeyboardInterrupt:
                print()
            print("Ending the lab", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
