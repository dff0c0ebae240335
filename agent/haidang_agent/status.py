"""What a running agent leaves for `haidang-agent status` and `doctor`: one small file."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from haidang_wire.errors import HaidangError

from haidang_agent.platform.files import read_private, write_private

_FILE = "status.json"


@dataclass(frozen=True)
class Status:
    """Times are Unix seconds. `sources` maps each to whether its last run was good; None before the first."""

    written: float
    last_delivery: float | None
    last_error: str
    spool_reports: int
    spool_bytes: int
    spool_limit_bytes: int
    sources: dict[str, bool | None]


def write(state_dir: Path, status: Status) -> None:
    """Not worth an error when the disk is full or fails."""
    with contextlib.suppress(HaidangError):
        write_private(state_dir / _FILE, json.dumps(asdict(status), ensure_ascii=False), durable=False)


def read(state_dir: Path) -> Status | None:
    """None when there is none, or none that can be read: an agent that never ran here."""
    try:
        document = json.loads(read_private(state_dir / _FILE))
        delivered = document["last_delivery"]
        return Status(
            float(document["written"]),
            None if delivered is None else float(delivered),
            str(document["last_error"]),
            int(document["spool_reports"]),
            int(document["spool_bytes"]),
            int(document["spool_limit_bytes"]),
            {str(name): None if up is None else bool(up) for name, up in document["sources"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
