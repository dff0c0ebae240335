"""`make bundle`: dist/haidang-VERSION-BUILD.tar, everything machines without internet install from.

In it are wheels for each supported Python and architecture, pip itself (Debian's Python comes without), and
manifest.json: which files there are, with their checksums and sizes, and which of them each kind of machine needs. The
collector serves it to agents (GET /install/...), and Ansible installs the collector from it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements/machines.txt"
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
ARCHITECTURES = ("x86_64", "aarch64")
# The oldest C library of each: RHEL 8 and Debian 11 have later ones.
GLIBC = ("2_5", "2_12", "2_17", "2_24", "2_26", "2_27", "2_28")
# What a machine is given → the extra of the distribution, and the first Python that has it.
COMPONENTS = {"agent": ("", "3.9"), "probe": ("[probe]", "3.10"), "collector": ("[collector]", "3.11")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT, help="the project's folder")
    parser.add_argument("--to", type=Path, default=ROOT / "dist", help="folder for the bundle")
    parser.add_argument("--only", metavar="PYTHON-ARCH", help="for this kind of machine alone, as 3.11-x86_64")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.to) as folder:
        print(make(options.source, Path(folder), options.to, kinds(options.only)))
    return 0


def kinds(only: str | None) -> list[tuple[str, str]]:
    """(Python, architecture) of the machines it is for."""
    every = [(python, architecture) for python in PYTHONS for architecture in ARCHITECTURES]
    found = [each for each in every if only in (None, "-".join(each))]
    if not found:
        sys.exit(f"{only} is none of {', '.join('-'.join(each) for each in every)}")
    return found


def make(source: Path, work: Path, to: Path, wanted: list[tuple[str, str]]) -> Path:
    """The tar file's path."""
    own = work / "own"
    run("pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(own), str(source))
    wheel = next(own.glob("haidang-*.whl"))
    version = wheel.name.split("-")[1]
    tasks = [
        (kind, component)
        for kind in wanted
        for component, (_, first) in COMPONENTS.items()
        if number(kind[0]) >= number(first)
    ]

    def fetch(task: tuple[tuple[str, str], str]) -> list[str]:
        kind, component = task
        folder = work / f"{kind[0]}-{kind[1]}-{component}"
        download(wheel, COMPONENTS[component][0], *kind, folder)
        return sorted(file.name for file in folder.iterdir())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetch, tasks))
    sets: dict[str, dict[str, list[str]]] = {}
    for (kind, component), names in zip(tasks, found, strict=True):
        sets.setdefault("-".join(kind), {})[component] = names
    files = work / "files"
    files.mkdir()
    for kind, component in tasks:
        for file in (work / f"{kind[0]}-{kind[1]}-{component}").iterdir():
            shutil.copyfile(file, files / file.name)
    sizes = {file.name: file.stat().st_size for file in sorted(files.iterdir())}
    manifest = {"version": version, "files": dict(checksums(files)), "sizes": sizes, "sets": sets}
    build = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:8]
    (files / "manifest.json").write_text(json.dumps({"build": f"{version}-{build}", **manifest}, indent=1) + "\n")
    name = f"haidang-{version}-{build}"
    with tarfile.open(work / f"{name}.tar", "w") as tar:
        tar.add(files, name)
    return (work / f"{name}.tar").rename(to / f"{name}.tar")


def download(wheel: Path, extra: str, python: str, architecture: str, folder: Path) -> None:
    """What one kind of machine needs for one component, and pip.

    uv resolves for another Python than its own (pip asks markers of the one it runs in), pip fetches.
    """
    folder.mkdir()
    wishes, pinned = folder / "wishes.in", folder / "pinned.txt"
    wishes.write_text(f"haidang{extra} @ {wheel.as_uri()}\npip\n")
    run(
        "uv", "pip", "compile", "--quiet", "--system-certs", "--no-header", "--no-annotate", "--only-binary=:all:",
        "--constraint", str(LOCK),
        "--python-version", python, "--python-platform", f"{architecture}-manylinux_2_28",
        "-o", str(pinned), str(wishes),
    )  # fmt: skip
    platforms = [f"manylinux_{glibc}_{architecture}" for glibc in GLIBC]
    platforms += [f"manylinux{year}_{architecture}" for year in (1, 2010, 2014)]
    # cryptography refuses 3.9.0 and 3.9.1, which is what 3.9 alone would mean.
    given = ["--no-deps", "--only-binary=:all:", "--python-version", f"{python}.2", "--implementation", "cp"]
    for platform in platforms:
        given += ["--platform", platform]
    run("pip", "--disable-pip-version-check", "--quiet", "download", *given, "--dest", str(folder), "-r", str(pinned))
    wishes.unlink()
    pinned.unlink()
    known = LOCK.read_text()
    for name, checksum in checksums(folder):
        if name != wheel.name and f"sha256:{checksum}" not in known:
            sys.exit(f"{name} is not one of {LOCK}: make lock takes over what is newer")


def checksums(folder: Path) -> Iterator[tuple[str, str]]:
    """(name, SHA-256) of each file."""
    for file in sorted(folder.iterdir()):
        yield file.name, hashlib.sha256(file.read_bytes()).hexdigest()


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def run(module: str, *arguments: str) -> None:
    """A module of this Python's. Ends the program with what it says when it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{module} failed: {done.stderr.strip()[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
