"""Comes in: the CA's fingerprint, and the wheels of a bundle.
Goes out: one script that installs, upgrades and removes the agent, and the files it fetches.
Never: a line run on a machine that the data center did not name by its checksum."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from haidang_wire import RELEASED
from haidang_wire.errors import ConfigError

_HERE = Path(__file__).parent
MANIFEST = "manifest.json"
_END = "HAIDANG_END_OF_FILE"


def script(url: str, fingerprint: str) -> str:
    """install.sh for this collector: a shell script that finds a Python and holds the program (`machine/`) for it. The
    CA's fingerprint is all that differs while the CA is being replaced, and each goes on being served."""
    text = (_HERE / "install.sh").read_text(encoding="utf-8")
    for place, value in (("@URL@", url), ("@FINGERPRINT@", fingerprint), ("@RELEASED@", f"{RELEASED:.0f}")):
        text = text.replace(place, value)
    files = [(file.name, file.read_text(encoding="utf-8")) for file in sorted((_HERE / "machine").glob("*.py"))]
    program = [f"cat >\"$program/machine/{name}\" <<'{_END}'\n{body.rstrip()}\n{_END}" for name, body in files]
    return text.replace("@PROGRAM@", "\n".join(program))


def line(url: str, fingerprint: str, token: str) -> str:
    """The one line for an agency's machine, with curl or wget: desktops often have only one of them.

    The script is believed by its checksum, which travels with the line; the token goes through a pipe of the shell's
    own, so that no process list shows it.
    """
    checksum = hashlib.sha256(script(url, fingerprint).encode()).hexdigest()
    where = f"'{url}/install.sh?ca={fingerprint[:16]}'"
    unreached = f"Hải Đăng: {url} ? (cáp, địa chỉ, ip route, WAN / cable, address, ip route, WAN)"
    curl = f"curl -fsSk -m 60 -o haidang.sh {where}"
    wget = f"wget -nv -T 60 -t 1 --no-check-certificate -O haidang.sh {where}"
    return (
        f"if command -v curl >/dev/null; then {curl}; else {wget}; fi"
        f" || {{ echo {shlex.quote(unreached)} >&2; false; }}"
        f" && echo '{checksum}  haidang.sh' | sha256sum -c --quiet"
        f" && echo {token} | $(command -v sudo) sh haidang.sh"
    )


class Bundle:
    """An unpacked bundle (`make bundle`): what of it may be served, by name."""

    def __init__(self, folder: str) -> None:
        """Raises ConfigError for a folder that holds no bundle."""
        self._folder = Path(folder)
        self._names: frozenset[str] = frozenset()
        if not folder:
            return
        try:
            manifest: dict[str, Any] = json.loads((self._folder / MANIFEST).read_text(encoding="utf-8"))
            agents = [names for kind in manifest["sets"].values() for names in (kind["agent"], kind.get("probe", ()))]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"holds no bundle: {error}", where=folder, remedy="Unpack what `make bundle` made, or set bundle_dir"
            ) from error
        self._names = frozenset({MANIFEST, *(name for names in agents for name in names)})

    def file(self, name: str) -> Path | None:
        """Where a file of an agent's is; None for what is not served."""
        return self._folder / name if name in self._names else None
