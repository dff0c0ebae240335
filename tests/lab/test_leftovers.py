"""What a lab leaves that was killed is found and taken away by the next one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, unavailable, wait_for
from tests.lab.lab import CONSOLE, Lab, Topology, unable
from tests.lab.machine import PREFIX, RUN

pytestmark = [pytest.mark.system, pytest.mark.alone]
_CHILD = """
import sys, time
from pathlib import Path
from tests.lab.lab import Lab, Topology
with Lab(Topology(("one", "two"), (), (("one", "two"),)), Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""


def leftovers() -> list[str]:
    found = [str(each) for each in Path("/run/netns").glob(f"{PREFIX}*")] if Path("/run/netns").is_dir() else []
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(RUN) in line]
    found += [CONSOLE] if Path(f"/sys/class/net/{CONSOLE}").exists() else []
    processes = subprocess.run(["pgrep", "-f", f"machine={PREFIX}"], capture_output=True, text=True).stdout
    return found + processes.split()


def test_what_a_crash_leaves_is_found(tmp_path: Path) -> None:
    if reason := unable():
        unavailable(reason)
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert leftovers()
    with Lab(Topology(("three",)), tmp_path) as lab:
        assert lab["three"].run("hostname") == "three"
        assert not [each for each in leftovers() if "one" in each.replace("console", "") or "two" in each]
    wait_for("nothing is left", lambda: not leftovers(), 10)
