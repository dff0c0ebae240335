"""What only root may read, put where the agent finds it: so the agent itself needs no right for it.

Run by the service manager as root, before the agent starts and once a day: `python -m haidang_agent.inventory
--privileged FOLDER`. The folder is the agent's own; nobody else can look into it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from haidang_agent.inventory.tools import read, run

FOLDER = Path("/run/haidang-agent")
DMI = Path("/sys/class/dmi/id")
_FILES = ("product_serial", "product_uuid", "board_serial", "chassis_serial")


def put(folder: Path) -> None:
    """Raises OSError when the folder can't be written."""
    texts = {f"dmi-{name}": read(DMI / name) for name in _FILES}
    texts["dmidecode"] = run("dmidecode")
    for block in sorted(Path("/sys/block").glob("*")) if Path("/sys/block").is_dir() else ():
        if (block / "device").exists():
            texts[f"smart-{block.name}"] = run("smartctl", "-i", "-H", "-A", f"/dev/{block.name}", seconds=30)
    for name, text in texts.items():
        if text:
            # Readable for the owner of the folder, in which nobody else can look.
            (folder / name).write_text(text, encoding="utf-8", errors="replace")
            (folder / name).chmod(0o644)


def kept(name: str) -> str | None:
    """What was put there under a name."""
    with contextlib.suppress(OSError):
        return read(FOLDER / name)
    return None
