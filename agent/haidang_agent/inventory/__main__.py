"""The child: reads everything and prints it. Nice, so that nobody at the machine feels it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haidang_agent.inventory.tools import read_bytes, run
from haidang_agent.platform.system import FAMILY, lower_priority

_UNINSTALL = r"Microsoft\Windows\CurrentVersion\Uninstall"


def linux(*, with_user: bool) -> dict[str, Any]:
    """Kind of fact → body, of this Linux machine."""
    from haidang_agent.inventory import linux as reads
    from haidang_agent.inventory.linux_security import security

    return _each({
        "machine": reads.machine,
        "disks": reads.disks,
        "system": reads.system,
        "software": lambda: {"packages": reads.software()},
        "security": lambda: security(reads.block_devices()),
        "displays": lambda: {"displays": reads.displays()},
        "printers": lambda: {"printers": reads.printers()},
        "logon": lambda: reads.logon(with_user=with_user),
    })  # fmt: skip


def windows(*, with_user: bool) -> dict[str, Any]:
    """Kind of fact → body, of this Windows machine."""
    from haidang_agent.inventory import windows as reads
    from haidang_agent.inventory.windows_text import sections

    script = str(Path(__file__).with_name("windows.ps1"))
    text = run(
        "powershell", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", script, seconds=600
    )
    classes = sections(text or "")
    return _each({
        "machine": lambda: reads.machine(classes),
        "disks": lambda: reads.disks(classes),
        "system": lambda: reads.system(classes),
        "software": lambda: {"packages": reads.software(classes, _exports())},
        "security": lambda: reads.security(classes),
        "displays": lambda: {"displays": reads.displays(classes)},
        "printers": lambda: {"printers": reads.printers(classes)},
        "logon": lambda: reads.logon(classes, with_user=with_user),
    })  # fmt: skip


def _each(parts: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each part reads. One that fails is missing, and said on the standard error; the others are what they are."""
    found = {}
    for kind, read in parts.items():
        try:
            found[kind] = read()
        except Exception as error:  # noqa: BLE001 (whatever one part brings out is no other's; it is said)
            print(f"{kind}: {type(error).__name__}: {error}", file=sys.stderr)
    return found


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
    lower_priority()
    gather = {"linux": linux, "windows": windows}[FAMILY]
    found = gather(with_user="--with-user" in sys.argv[1:])
    sys.stdout.buffer.write(json.dumps(found, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
