"""A full inventory of this machine: ours and fusioninventory-agent's, in turn; and the resident agent, which must not
grow by it.

    python bench/inventory.py [ROUNDS]     (default: 5)

Processor time is that of each program and all it started; memory the largest process of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
from common import folder, need
from haidang_agent.config import InventoryConfig
from haidang_agent.sources.inventory import Inventory


def measured(*command: str) -> tuple[float, float, float]:
    """(processor seconds, wall seconds, largest resident MB) of a command and its children."""
    script = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, done.returncode)\n"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script, *command], check=True, capture_output=True, text=True)
    seconds, memory, code = done.stdout.split()
    assert code == "0", f"{command[0]} failed"
    return float(seconds), time.perf_counter() - started, float(memory)


def resident(rounds: int) -> tuple[float, float]:
    """Memory of a process that runs the source again and again: after the first run, and after the last (MB)."""
    with folder() as place:
        source = Inventory(InventoryConfig(), "bench", place)
        source.collect()
        first = psutil.Process().memory_info().rss / 2**20
        for _ in range(rounds):
            source.collect()
        return first, psutil.Process().memory_info().rss / 2**20


def main(rounds: int) -> None:
    peer = need("fusioninventory-agent")
    with folder() as place:
        theirs = (
            peer,
            f"--local={place}",
            "--no-task=deploy,wakeonlan,esx,netdiscovery,netinventory,collect",
            "--force",
        )
        ours = (sys.executable, "-m", "haidang_agent.inventory")
        results: dict[str, list[tuple[float, float, float]]] = {"haidang": [], "fusioninventory": []}
        for _ in range(rounds):
            results["haidang"].append(measured(*ours))
            results["fusioninventory"].append(measured(*theirs))
        assert list(Path(place).iterdir()), "fusioninventory-agent wrote no inventory"
    means = {name: [sum(values) / rounds for values in zip(*runs, strict=True)] for name, runs in results.items()}
    for name, (processor, wall, memory) in means.items():
        print(f"{name}: {processor:.2f} s of processor, {wall:.2f} s, largest process {memory:.1f} MB")
    ratios = [one / other for one, other in zip(means["haidang"], means["fusioninventory"], strict=True)]
    print(f"ratio: processor {ratios[0]:.2f}, time {ratios[1]:.2f}, memory {ratios[2]:.2f}")
    first, last = resident(rounds)
    print(
        f"the resident process: {first:.1f} MB after the first inventory, {last:.1f} MB after {rounds} more", flush=True
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
