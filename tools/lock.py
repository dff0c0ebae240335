"""Writes anew what `make setup` and `make bundle` install: every version, with its hashes, whatever index serves it.

    make lock

requirements/developer.txt is for a developer's machine and CI (Python 3.11 and later); requirements/machines.txt for
all that the bundle brings to machines (Python 3.9 and later; versions differ by Python).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "developer.txt": ("3.11", ("probe", "collector", "dev"), "hatchling\neditables\npip\n"),
    "machines.txt": ("3.9", ("probe", "collector"), "pip\n"),
}


def main() -> int:
    folder = ROOT / "requirements"
    folder.mkdir(exist_ok=True)
    for name, (python, extras, beside) in LOCKS.items():
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--system-certs", "--universal", "--upgrade",
            "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--allow-unsafe",
            "--python-version", python, "-o", str(folder / name), str(ROOT / "pyproject.toml"), "-",
        ]  # fmt: skip
        for extra in extras:
            command += ["--extra", extra]
        subprocess.run(command, input=beside, text=True, check=True, cwd=ROOT)
        print(f"requirements/{name}: {(folder / name).read_text().count('==')} versions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
