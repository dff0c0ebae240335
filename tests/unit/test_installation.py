"""An installation as a transaction, on a system that a test makes up; on Debian machines it is in tests/lab."""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.installer.machine import install, linux
from haidang_collector.installer.machine.system import Seen
from haidang_collector.installer.machine.texts import TEXTS, Failure, Texts

from tests.conftest import ROOT
from tests.unit.test_platform import used

MACHINE = ROOT / "collector/haidang_collector/installer/machine"
OF_LINUX = {"linux.py"}


class Made:
    """A system of files. Versions named in `broken` deliver nothing once they are in use."""

    SCRIPT = "install"
    ROLES: tuple[str, ...] = ("probe",)

    def __init__(self, folder: Path) -> None:
        self.FOLDER, self.STATE, self.CONFIGURATION = folder / "programs", folder / "state", folder / "configuration"
        self.FOLDER.mkdir()
        self.WORDS: Texts = {}
        self.in_use: Path | None = None
        self.by_hand: Path | None = None
        self.broken: set[str] = set()
        self.started: list[str] = []

    def settle(self) -> None: ...

    def require(self) -> None: ...

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def program(self, folder: Path, name: str) -> Path:
        return folder / f"{name}.exe"

    def finish(self, folder: Path) -> None: ...

    def current(self) -> Path | None:
        return self.in_use

    def roles(self) -> tuple[str, ...]:
        return ()

    def is_service_of(self, folder: Path, roles: tuple[str, ...]) -> bool:
        return folder == self.in_use

    def make_user(self) -> None:
        self.STATE.mkdir(exist_ok=True)

    def adopt(self) -> Path | None:
        return self.by_hand

    def switch(self, folder: Path, roles: tuple[str, ...]) -> None:
        self.in_use = folder
        self.started.append(folder.name)

    def look(self) -> Seen:
        works = self.in_use is not None and self.in_use.name not in self.broken
        return Seen(works, not works)

    def last_words(self) -> str:
        return "a defect\n"

    def read_status(self) -> bytes:
        now = time.time()
        return json.dumps({"written": now, "last_error": "", "last_delivery": now}).encode()

    def parts(self) -> list[Path]:
        return []

    def remove(self) -> None:
        self.in_use = None

    def remove_user(self) -> None: ...


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """An agent that is enrolled and runs its version 1; `build` is what the collector has."""
    kind = f"{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}"
    system = Made(tmp_path)

    class Collector:
        def __init__(self, build: str, *_: object) -> None:
            self.build = build

        def manifest(self) -> dict[str, Any]:
            return {"build": self.build, "files": {}, "sets": {kind: {"agent": []}}}

        def warn_of_clock(self) -> None: ...

    def make(version: install.Version, collector: Collector) -> None:
        version.folder.mkdir()
        (version.folder / ".complete").touch()

    monkeypatch.setattr(install, "Collector", Collector)
    monkeypatch.setattr(install.Version, "make", make)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    system.STATE.mkdir()
    (system.STATE / "enrolment.json").touch()
    upgrade(system, "1")
    system.started.clear()
    return system


def upgrade(system: Made, build: str) -> dict[str, object]:
    return install.install(
        system,
        argparse.Namespace(
            token_file="", roles=None, url=build, fingerprint="", released=0.0, prepare=False, dry_run=False, name="",
            wait=5.0,
        ),
    )  # fmt: skip


def versions(system: Made) -> list[str]:
    return sorted(each.name for each in system.FOLDER.iterdir())


def test_the_version_before_is_kept_and_older_ones_go(made: Made) -> None:
    assert upgrade(made, "1") == {"changed": False, "build": "1", "did": []}
    assert upgrade(made, "2")["did"] == ["install 2", "start"]
    assert upgrade(made, "3")["changed"]
    assert versions(made) == ["haidang-agent-2", "haidang-agent-3"]
    assert made.started == ["haidang-agent-2", "haidang-agent-3"]


def test_a_version_that_delivers_nothing_is_taken_back(made: Made) -> None:
    made.broken = {"haidang-agent-2"}
    with pytest.raises(Failure, match=r"a defect.*haidang-agent-1 runs again"):
        upgrade(made, "2")
    assert made.in_use == made.FOLDER / "haidang-agent-1"
    assert versions(made) == ["haidang-agent-1"]
    made.broken |= {"haidang-agent-1"}
    with pytest.raises(Failure, match="does not deliver either"):
        upgrade(made, "2")


def test_what_was_installed_by_hand_is_the_version_before(made: Made) -> None:
    made.in_use, made.by_hand = None, made.FOLDER / "haidang-agent-by-hand-7"
    made.by_hand.mkdir()
    made.broken = {"haidang-agent-2"}
    with pytest.raises(Failure, match="by-hand-7 runs again"):
        upgrade(made, "2")
    made.by_hand, made.broken = None, set()
    upgrade(made, "3")
    assert versions(made) == ["haidang-agent-3", "haidang-agent-by-hand-7"]


def test_it_goes_away_and_leaves_what_it_measured(made: Made) -> None:
    options = argparse.Namespace(purge=False, dry_run=True)
    assert install.uninstall(made, options) == {"changed": True}
    assert versions(made) == ["haidang-agent-1"]
    options.dry_run = False
    install.uninstall(made, options)
    assert (versions(made), made.STATE.exists()) == ([], True)
    options.purge = True
    install.uninstall(made, options)
    assert not made.STATE.exists()
    assert install.uninstall(made, options) == {"changed": False}


@pytest.mark.parametrize("file", sorted(MACHINE.glob("*.py")), ids=lambda file: file.name)
def test_one_part_of_it_knows_the_operating_system(file: Path) -> None:
    assert bool(list(used(file.read_text(encoding="utf-8")))) == (file.name in OF_LINUX)


@pytest.mark.parametrize("file", sorted(MACHINE.glob("*.py")), ids=lambda file: file.name)
def test_it_travels_alone(file: Path) -> None:
    """No module that a machine's own Python lacks, and none of ours but its own folder's."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
        assert {each.partition(".")[0] for each in names} <= sys.stdlib_module_names
        assert not isinstance(node, ast.ImportFrom) or node.level < 2


def test_each_text_that_is_said_is_there_and_each_that_is_there_is_said() -> None:
    constants: set[str] = set()
    called: set[str] = set()
    for file in MACHINE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("Failure", "say", "tell")
            ):
                constants |= {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                called |= {each.value for each in node.args[:1] if isinstance(each, ast.Constant)}
            elif isinstance(node, ast.Assign):
                constants |= {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)}
    there = {**TEXTS, **linux.WORDS}
    assert called <= there.keys()
    assert there.keys() <= constants
    for english, vietnamese in there.values():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", vietnamese))
