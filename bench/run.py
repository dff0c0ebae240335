"""Every benchmark in turn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHES = (
    "exposition", "ingest", "fleet", "agent", "snmp", "snmp_fleet", "traps", "paths", "cut", "outage", "machines",
    "inventory", "kill", "flood", "watch", "reads",
)  # fmt: skip


def main() -> int:
    """The exit code: 1 when one could not run; a missed goal is a figure, not a failure."""
    codes = [subprocess.call([sys.executable, str(HERE / f"{name}.py")]) for name in BENCHES]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
