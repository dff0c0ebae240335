"""The agent onto this machine, from the collector, with the machine's own Python (3.9 or later) and nothing else.

Safe to run again: what is right already is left alone. A version lives in a folder of its own, made whole beside the
one in use, and is taken into use in one step. The new version must deliver a report, or the one before runs again.
Identity and spool are never touched. What an operating system has to do with it is `system.System`'s.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .collector import Collector
from .system import BY_HAND, VERSION, System, run
from .texts import TEXTS, Failure, printable, say, tell

NEEDED_BYTES = 200 * 2**20
MOST_OF_FILE = 32 * 2**20  # where the manifest does not say how large it is


class Version:
    """One build of the agent in a folder of its own."""

    def __init__(self, system: System, manifest: dict[str, Any], roles: tuple[str, ...]) -> None:
        self._system = system
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        kinds = manifest["sets"]
        kind = f"{python}-{platform.machine()}"
        if kind not in kinds:
            raise Failure("no wheels", python=python, architecture=platform.machine(), kinds=", ".join(sorted(kinds)))
        component = "probe" if "probe" in roles else "agent"
        if component not in kinds[kind]:
            raise Failure("no probe", python=python)
        self.build = str(manifest["build"])
        self.folder = system.FOLDER / (VERSION + self.build + ("-probe" if component == "probe" else ""))
        sizes = manifest.get("sizes", {})  # bundles of before have none
        self.files = {
            name: (str(manifest["files"][name]), min(int(sizes.get(name, MOST_OF_FILE)), MOST_OF_FILE))
            for name in kinds[kind][component]
        }

    @property
    def complete(self) -> bool:
        """Whether it was made to the end."""
        return (self.folder / ".complete").exists()

    def make(self, collector: Collector) -> None:
        """Raises Failure; then nothing of it is left."""
        free = shutil.disk_usage(self._system.FOLDER).free
        if free < NEEDED_BYTES:
            raise Failure("no space", where=self._system.FOLDER, free=free // 2**20, needed=NEEDED_BYTES // 2**20)
        shutil.rmtree(self.folder, ignore_errors=True)
        wheels = self.folder / "wheels"
        try:
            wheels.mkdir(parents=True)
            tell("fetch", build=self.build, count=len(self.files))
            for name, (checksum, most) in self.files.items():
                collector.fetch(name, checksum, most, wheels)
            tell("make", folder=self.folder)
            self._install(wheels)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Failure("disk", where=error.filename or self.folder, detail=error.strerror) from error
        except Failure:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _install(self, wheels: Path) -> None:
        # Debian's Python has neither pip nor what makes it (python3-venv): pip's own wheel can be run as it is.
        # -I: root takes no module of the folder or the environment this is called in.
        run(sys.executable, "-I", "-m", "venv", "--without-pip", str(self.folder))
        pip = next(wheels.glob("pip-*.whl"))
        others = [str(file) for file in sorted(wheels.glob("*.whl")) if file != pip]
        python = str(self._system.program(self.folder, "python"))
        run(python, "-I", f"{pip}/pip", "--isolated", "--quiet", "--disable-pip-version-check", "install", "--no-index",
            "--no-deps", "--no-cache-dir", *others)  # fmt: skip
        shutil.rmtree(wheels)
        self._system.finish(self.folder)
        # It must at least start and measure here.
        agent = str(self._system.program(self.folder, "haidang-agent"))
        run(agent, "once", "--source", "host", "--state-dir", str(self.folder / "none"))
        (self.folder / ".complete").write_text(self.build + "\n")


def delivers(system: System, since: float, seconds: float) -> str:
    """Wait for a delivery; what is wrong, or nothing."""
    deadline = time.monotonic() + seconds
    detail = ""
    while time.monotonic() < deadline:
        seen = system.look()
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            status = json.loads(system.read_status())
            if status["written"] >= since:
                detail = printable(status["last_error"])
                if seen.runs and (status["last_delivery"] or 0) >= since:
                    return ""
        if seen.failed:
            detail = system.last_words()
            break
        time.sleep(0.5)
    return printable("; ".join(detail.strip().splitlines())) or "no delivery"


def works(system: System, folder: Path, roles: tuple[str, ...], seconds: float) -> str:
    """Switch to a version and wait for what it delivers; what is wrong, or nothing."""
    began = time.time()
    try:
        system.switch(folder, roles)
    except (Failure, OSError) as failure:
        return str(failure)
    return delivers(system, began, seconds)


def enrol(system: System, url: str, fingerprint: str, folder: Path, name: str, token: str) -> None:
    """With this token or one from the keyboard or the standard input, never from a process list."""
    if not token:
        token = getpass.getpass(say("ask token")) if sys.stdin.isatty() else sys.stdin.readline()
    if not token.strip():
        raise Failure("no token")
    tell("enrol")
    given = ["--collector", url, "--ca-fingerprint", fingerprint, "--state-dir", str(system.STATE), "--token", "-"]
    command = [str(system.program(folder, "haidang-agent")), "enrol", *given, *(["--name", name] if name else [])]
    done = subprocess.run(command, input=token, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise Failure("enrolment", detail=printable(done.stderr.strip().replace("haidang-agent: ", "")))


def install(system: System, options: argparse.Namespace) -> dict[str, object]:
    """What was done."""
    token = ""
    if options.token_file:  # gone whatever comes
        token = Path(options.token_file).read_text(encoding="utf-8")
        Path(options.token_file).unlink()
    present = system.roles()
    roles = present if options.roles is None else tuple(sorted(filter(None, options.roles.split(","))))
    if unknown := set(roles) - set(system.ROLES):
        sys.exit(f"--roles: {', '.join(sorted(unknown))}: there are {', '.join(system.ROLES)}")
    collector = Collector(options.url, options.fingerprint, options.released)
    version = Version(system, collector.manifest(), roles)
    collector.warn_of_clock()
    before = system.current()
    enrolled = (system.STATE / "enrolment.json").exists()
    right = before == version.folder and version.complete and system.is_service_of(version.folder, roles)
    runs = right and system.look().runs
    did = ([] if right else [f"install {version.build}"]) + ([] if enrolled else ["enrol"])
    did += [] if runs and enrolled else ["start"]
    if options.prepare:
        did = [] if version.complete else [f"make {version.build}"]
        if did and not options.dry_run:
            version.make(collector)
        return {"changed": bool(did), "build": version.build, "did": did}
    result: dict[str, object] = {"changed": bool(did), "build": version.build, "did": did}
    if options.dry_run or not did:
        tell("would" if did else "same", what=", ".join(did), build=version.build)
        return result
    if not version.complete:
        version.make(collector)
    system.make_user()
    if not enrolled:
        enrol(system, options.url, options.fingerprint, version.folder, options.name, token)
    tell("start")
    before = system.adopt() or before
    wrong = works(system, version.folder, roles, options.wait)
    if wrong and before and before != version.folder:
        again = works(system, before, present, options.wait)
        if system.current() != version.folder:  # a disk that takes nothing may have kept the new one in place
            shutil.rmtree(version.folder, ignore_errors=True)
        key = "not back" if again else "rolled back"
        raise Failure(key, build=version.build, detail=wrong, before=before.name, again=again)
    for folder in system.FOLDER.glob(f"{VERSION}*"):  # older ones, and what a power cut left unfinished
        if folder not in (version.folder, before) and not folder.name.startswith(BY_HAND):
            shutil.rmtree(folder, ignore_errors=True)
    if wrong:
        raise Failure("not delivered", build=version.build, seconds=int(options.wait), detail=wrong)
    tell("done", build=version.build)
    return result


def uninstall(system: System, options: argparse.Namespace) -> dict[str, object]:
    """Away with it; identity and spool only with --purge."""
    versions = [*system.FOLDER.glob(f"{VERSION}*")]
    state = [system.STATE, system.CONFIGURATION] if options.purge else []
    there = [each for each in (*system.parts(), *versions, *state) if each.exists() or each.is_symlink()]
    if not there or options.dry_run:
        tell(*(("would",) if there else ("nothing",)), what=", ".join(map(str, there)))
        return {"changed": bool(there)}
    system.remove()
    for folder in (*versions, *state):
        shutil.rmtree(folder, ignore_errors=True)
    if not options.purge:
        tell("removed", kept=f"{system.STATE}, {system.CONFIGURATION}")
        return {"changed": True}
    system.remove_user()
    tell("removed all")
    return {"changed": True}


def main(system: System) -> int:
    """Of install.sh. The exit code."""
    TEXTS.update(system.WORDS)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # as the interpreter made it
    parser = argparse.ArgumentParser(prog=system.SCRIPT, description="Hải Đăng's agent on this machine")
    parser.add_argument("action", nargs="?", choices=("install", "uninstall"), default="install",
                        help="install (also upgrades; the default) or uninstall")  # fmt: skip
    parser.add_argument(
        "--token-file", default="", help="file with the token, removed when it is read (default: the standard input)"
    )
    parser.add_argument("--name", default="", help="name of this agent (default: the host name)")
    parser.add_argument("--roles", help=f"of {', '.join(system.ROLES)}, separated by commas (default: as they are)")
    parser.add_argument("--wait", type=float, default=90.0, metavar="SECONDS", help="for the first delivery")
    parser.add_argument("--purge", action="store_true", help="uninstall: identity, spool and configuration too")
    parser.add_argument("--prepare", action="store_true", help="only make the version ready: enrol and start nothing")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.add_argument("--url", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fingerprint", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--released", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.token_file:
        options.token_file = str(Path(options.token_file).absolute())
    system.settle()
    try:
        system.require()
        with system.alone():
            result = {"install": install, "uninstall": uninstall}[options.action](system, options)
    except (Failure, OSError) as failure:
        print(f"Hải Đăng: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(result))
    return 0
