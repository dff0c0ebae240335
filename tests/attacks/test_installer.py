"""Whoever left something in the folder where root calls the installer, or answers it in the collector's place, gets
nothing run and nothing held."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from haidang_collector import installer
from haidang_collector.installer import install

from tests.conftest import ROOT, require

# pip's own wheel, as far as the installer sees it: it makes the agent's program.
PIP = """
import pathlib, sys
program = pathlib.Path(sys.prefix, "bin/haidang-agent")
program.write_text("#!/bin/sh\\n")
program.chmod(0o755)
"""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of somebody's, with every module that the installer's Pythons take; it is where root is now. What comes
    into being when one of them is run."""
    folder, mark = tmp_path / "downloads", tmp_path / "was-run"
    folder.mkdir()
    for name in ("venv", "ssl", "zipfile", "tempfile", "shutil", "sitecustomize", "pip"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\nraise SystemExit(0)\n")
    monkeypatch.chdir(folder)
    return mark


def test_the_script_runs_nothing_of_the_folder_it_is_called_in(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "haidang.sh"
    script.write_text(installer.script("https://127.0.0.1:9", "0" * 64), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    done = subprocess.run([require("sh"), str(script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: haidang.sh" in done.stdout
    assert not trap.exists(), trap.read_text()


def test_what_it_installs_with_runs_nothing_of_that_folder(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "LINK", tmp_path / "opt/haidang")
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    kind = f"{install.sys.version_info[0]}.{install.sys.version_info[1]}-{install.platform.machine()}"
    version = install.Version({"build": "1-x", "sets": {kind: {"agent": []}}, "files": {}}, ())
    wheels = version.folder / "wheels"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "pip-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pip/__main__.py", PIP)
    version._install(wheels)
    assert version.complete
    assert not trap.exists(), trap.read_text()


def test_pythons_that_root_is_to_run_take_nothing_from_where_it_is() -> None:
    """In roles, units and pages."""
    files = [*ROOT.glob("ansible/**/*.yml"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*/packaging/*")]
    called = [
        (file.name, line)
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r'(python3?"?\s+(-[a-zA-Z]\S*\s+)*-[mc]\s)|(python\s.*/pip")', line)
    ]
    assert {"program.yml", "install-agency.md", "haidang-agent.service"} <= {name for name, _ in called}
    assert [each for each in called if not re.search(r"python3?\s+-I\s", each[1])] == []
