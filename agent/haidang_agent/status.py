"""What a running agent leaves for `haidang-agent status` and `doctor`: one small file."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from haidang_wire.errors import HaidangError

from haidang_agent.platform.files import read_private, write_private
from haidang_agent.texts import shown

_FILE = "status.json"
# Root reads it, and the agent's user may write anything there.
_MOST_BYTES = 64 * 1024
_MOST = 2**53


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
    """Write the status file. That a disk is full or fails is no error here: the file is only looked at."""
    with contextlib.suppress(HaidangError):
        write_private(state_dir / _FILE, json.dumps(asdict(status), ensure_ascii=False), durable=False)


def read(state_dir: Path) -> Status | None:
    """None when there is none, or none that can be read: an agent that never ran here."""
    try:
        document = json.loads(read_private(state_dir / _FILE, most_bytes=_MOST_BYTES))
        delivered = document["last_delivery"]
        return Status(
            _number(document["written"]),
            None if delivered is None else _number(delivered),
            shown(document["last_error"]),
            int(_number(document["spool_reports"])),
            int(_number(document["spool_bytes"])),
            int(_number(document["spool_limit_bytes"])),
            {shown(name): None if up is None else bool(up) for name, up in document["sources"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _number(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # raises for what is none
    if not -_MOST < number < _MOST:
        raise ValueError("no number")
    return number
