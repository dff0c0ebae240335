"""What only root may read, put where the agent finds it: so the agent itself needs no right for it.

Run by the service manager as root, before the agent starts and once a day: `python -I -m haidang_agent.inventory
--privileged FOLDER`. The folder is the agent's own, who may put anything into it meanwhile: see `files.py`.
Linux alone: elsewhere the agent reads these itself, or nobody does.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from haidang_agent.inventory.text import decode
from haidang_agent.inventory.tools import read, run
from haidang_agent.platform import files
from haidang_agent.platform.system import PRIVILEGED_FOLDER

FOLDER = PRIVILEGED_FOLDER
DMI = Path("/sys/class/dmi/id")
_FILES = ("product_serial", "product_uuid", "board_serial", "chassis_serial")


def put(folder: Path) -> None:
    """Raises OSError when the folder can't be written. A file that can't be is no other's loss: the first such error
    is raised last."""
    texts = {f"dmi-{name}": read(DMI / name) for name in _FILES}
    texts["dmidecode"] = run("dmidecode")
    for block in sorted(Path("/sys/block").glob("*")) if Path("/sys/block").is_dir() else ():
        if (block / "device").exists():
            texts[f"smart-{block.name}"] = run("smartctl", "-i", "-H", "-A", f"/dev/{block.name}", seconds=30)
    failure: OSError | None = None
    with files.opened(folder) as at:
        for name, text in texts.items():
            if text:
                try:
                    # Root's own, readable for the owner of the folder, in which nobody else can look.
                    files.put(at, folder / name, text.encode("utf-8", "replace"), mode=0o644, owned_by_folder=False)
                except OSError as error:
                    failure = failure or error
    if failure:
        raise failure


def kept(name: str) -> str | None:
    """What was put there under a name."""
    with contextlib.suppress(OSError), files.opened(FOLDER) as at:
        return decode(files.get(at, FOLDER / name))
    return None
