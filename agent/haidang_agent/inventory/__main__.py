"""The child: reads everything and prints it. Nice, so that nobody at the machine feels it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from haidang_agent.inventory.tools import read_bytes, run

_UNINSTALL = r"Microsoft\Windows\CurrentVersion\Uninstall"


def linux(*, with_user: bool) -> dict[str, Any]:
    """Kind of fact → body, of this Linux machine."""
    from haidang_agent.inventory import linux as reads
    from haidang_agent.inventory.linux_security import security

    return {
        "machine": reads.machine(),
        "disks": reads.disks(),
        "system": reads.system(),
        "software": {"packages": reads.software()},
        "security": security(reads.block_devices()),
        "displays": {"displays": reads.displays()},
        "printers": {"printers": reads.printers()},
        "logon": reads.logon(with_user=with_user),
    }


def windows(*, with_user: bool) -> dict[str, Any]:
    """Kind of fact → body, of this Windows machine."""
    from haidang_agent.inventory import windows as reads
    from haidang_agent.inventory.windows_text import sections

    script = str(Path(__file__).with_name("windows.ps1"))
    text = run(
        "powershell", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", script, seconds=600
    )
    classes = sections(text or "")
    return {
        "machine": reads.machine(classes),
        "disks": reads.disks(classes),
        "system": reads.system(classes),
        "software": {"packages": reads.software(classes, _exports())},
        "security": reads.security(classes),
        "displays": {"displays": reads.displays(classes)},
        "printers": {"printers": reads.printers(classes)},
        "logon": reads.logon(classes, with_user=with_user),
    }


def _exports() -> list[dict[str, dict[str, str]]]:
    """The uninstall keys of the machine and of every user who is logged on."""
    from haidang_agent.inventory.text import decode
    from haidang_agent.inventory.windows_text import registry

    keys = [rf"HKLM\SOFTWARE\{_UNINSTALL}", rf"HKLM\SOFTWARE\WOW6432Node\{_UNINSTALL}"]
    users = (run("reg", "query", "HKU") or "").split()
    keys += [rf"{user}\SOFTWARE\{_UNINSTALL}" for user in users if user.upper().startswith("HKEY_USERS\\S-1-5-21-")]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, key in enumerate(keys):
            file = Path(folder) / f"{number}.reg"
            run("reg", "export", key, str(file), "/y")
            found.append(registry(decode(read_bytes(file) or b"")))
    return found


def main() -> int:
    """Print the inventory, or (as root) put what only root may read into a folder. The exit code."""
    if sys.argv[1:2] == ["--privileged"]:
        from haidang_agent.inventory.privileged import put

        put(Path(sys.argv[2]))
        return 0
    with contextlib.suppress(OSError, AttributeError):
        os.nice(19)  # on Windows the parent starts it with a low priority
    gather = windows if os.name == "nt" else linux
    found = gather(with_user="--with-user" in sys.argv[1:])
    sys.stdout.buffer.write(json.dumps(found, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
