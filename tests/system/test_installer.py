"""What the collector serves to machines that install an agent. That it installs is shown on machines that boot (tests/lab)."""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.installer import Bundle
from haidang_collector.installer.machine import install, linux
from haidang_wire.errors import ConfigError

from tests.conftest import BIN, Center, Processes, require

pytestmark = pytest.mark.system


def bundle(folder: Path) -> Path:
    """A small one, with a file of a collector's, which is not an agent's."""
    folder.mkdir()
    files = {"a-1-py3-none-any.whl": b"agent", "c-1-py3-none-any.whl": b"collector"}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    sets = {"3.11-x86_64": {"agent": ["a-1-py3-none-any.whl"], "collector": ["c-1-py3-none-any.whl"]}}
    checksums = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    (folder / "manifest.json").write_text(
        json.dumps({"build": "1-x", "version": "1", "files": checksums, "sets": sets})
    )
    return folder


@pytest.fixture
def serving(tmp_path: Path, processes: Processes) -> Center:
    return Center(tmp_path, processes, extra=f'bundle_dir = "{bundle(tmp_path / "bundle")}"\n')


def test_the_script_is_the_one_the_line_names_and_pins_the_ca(serving: Center) -> None:
    status, script = serving.get("/install.sh")
    assert status == 200
    assert serving.command("installer").encode() == script.rstrip()
    line = serving.command("token", "create", "--site", "ttdl", "--line")
    assert hashlib.sha256(script).hexdigest() in line
    pem = (serving.state / "ca.pem").read_text()
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    assert f"--fingerprint '{fingerprint}'" in script.decode()
    assert serving.url in script.decode()
    assert subprocess.run(["sh", "-n"], input=script, capture_output=True).returncode == 0


def test_only_what_agents_need_is_served(serving: Center) -> None:
    assert json.loads(serving.get("/install/manifest.json")[1])["build"] == "1-x"
    assert serving.get("/install/a-1-py3-none-any.whl") == (200, b"agent")
    for name in ("c-1-py3-none-any.whl", "..%2Fcollector%2Fca.key", "%2Fetc%2Fpasswd", "nothing.whl"):
        assert serving.get(f"/install/{name}")[0] == 404


def test_a_collector_without_a_bundle_says_so(center: Center) -> None:
    assert center.get("/install/manifest.json")[0] == 404
    assert center.get("/install.sh")[0] == 200


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sets": 3}', '{"sets": {"3.11": {}}}', '{"sets": {"3.11": 1}}'])
def test_what_is_no_bundle_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="bundle"):
        Bundle(str(tmp_path))
    with pytest.raises(ConfigError, match="bundle"):
        Bundle(str(tmp_path / "none"))


def test_the_line_stops_where_it_must(serving: Center, tmp_path: Path) -> None:
    """The shell's part of it, without a machine to install on."""
    line = serving.command("token", "create", "--site", "ttdl", "--line").replace("$(command -v sudo) ", "")
    environment = {**os.environ, "LC_ALL": "vi_VN.UTF-8"}

    def run(text: str, path: str) -> subprocess.CompletedProcess[str]:
        given = {**environment, "PATH": path}
        command = [shutil.which("sh") or "sh", "-c", text]
        return subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60)

    changed = re.sub(r"echo '([0-9a-f])", lambda first: f"echo '{'0' if first[1] != '0' else '1'}", line)
    for program in ("curl", "wget"):  # a machine has one or the other, and here no Python
        tools = tmp_path / program
        tools.mkdir()
        for name in ("sh", program, "sha256sum", "mktemp", "cat", "rm", "echo"):
            (tools / name).symlink_to(require(name))
        assert "Python 3.9.2 trở lên" in run(line, str(tools)).stderr
        said = run(changed, str(tools))
        assert "FAILED" in said.stdout + said.stderr
        gone = run(line.replace(serving.url, "https://127.0.0.1:9"), str(tools))
        assert gone.returncode != 0
        assert "ip route" in gone.stderr
        assert not gone.stdout


def test_the_script_holds_the_whole_program_as_an_old_python_reads_it(serving: Center) -> None:
    text = serving.get("/install.sh")[1].decode()
    parts = dict(
        re.findall(r"""^cat >"\$program/machine/(\S+)" <<'(?:\w+)'\n(.*?)\nHAIDANG_END_OF_FILE$""", text, re.M | re.S)
    )
    folder = Path(install.__file__).parent
    assert parts == {file.name: file.read_text(encoding="utf-8").rstrip() for file in folder.glob("*.py")}
    for name, part in parts.items():
        ast.parse(part, name, feature_version=(3, 9))


def test_a_version_is_made_ready_and_nothing_else_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what may fail has failed before the machine that had the name loses its right."""
    kind = f"{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}"

    class Collector:
        def __init__(self, *arguments: object) -> None:
            pass

        def manifest(self) -> dict[str, Any]:
            return {"build": "1-x", "files": {"a.whl": ""}, "sets": {kind: {"agent": ["a.whl"]}}}

        def warn_of_clock(self) -> None:
            pass

        def fetch(self, name: str, checksum: str, most: int, to: Path) -> None:
            (to / name).touch()

    def make(version: install.Version, wheels: Path) -> None:
        assert [each.name for each in wheels.iterdir()] == ["a.whl"]
        (version.folder / ".complete").touch()

    def never(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(install, "Collector", Collector)
    monkeypatch.setattr(install.Version, "_install", make)
    for module, name in ((linux, "make_user"), (install, "enrol"), (install, "works")):
        monkeypatch.setattr(module, name, never)
    for name, place in (
        ("FOLDER", tmp_path),
        ("LINK", tmp_path / "haidang"),
        ("STATE", tmp_path / "state"),
        ("DROP_INS", tmp_path / "units"),
    ):
        monkeypatch.setattr(linux, name, place)
    options = argparse.Namespace(
        token_file="", roles="", url="", fingerprint="", released=0.0, prepare=True, dry_run=False
    )
    done = {"changed": True, "build": "1-x", "did": ["make 1-x"]}
    assert install.install(linux, argparse.Namespace(**{**vars(options), "dry_run": True})) == done
    assert list(tmp_path.iterdir()) == []
    assert install.install(linux, options) == done
    assert install.install(linux, options) == {"changed": False, "build": "1-x", "did": []}
    assert [each.name for each in tmp_path.iterdir()] == ["haidang-agent-1-x"]


# Backup


def test_a_backup_of_a_running_collector_is_the_collector(center: Center, tmp_path: Path, processes: Processes) -> None:
    identity = center.enrol(tmp_path / "agent") / "identity.pem"
    saved = tmp_path / "saved.tar.gz"
    assert "collector.db" in center.command("backup", str(saved))
    assert saved.stat().st_mode & 0o077 == 0
    refused = subprocess.run(
        [str(BIN / "haidang-collector"), "--config", str(center.config), "restore", str(saved)],
        capture_output=True,
        text=True,
    )
    assert "there is a state already" in refused.stderr
    center.process.kill()
    center.process.wait()
    shutil.rmtree(center.state)
    # From within the folder too, where it is left as it is.
    center.state.mkdir(mode=0o700)
    inside = Path(shutil.copy(saved, center.state / "inside.tar.gz"))
    center.command("restore", str(inside))
    assert inside.exists()
    assert not (center.state / "before-restore").exists()
    inside.unlink()
    center.start()
    assert center.get("/v1/assignment", identity)[0] == 200
    assert (center.state / "ca.key").stat().st_mode & 0o077 == 0


def test_a_broken_backup_changes_nothing(center: Center, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar.gz"
    center.command("backup", str(saved))
    center.process.kill()
    center.process.wait()
    before = {
        file.name: file.read_bytes() for file in center.state.iterdir() if file.is_file() and "db" not in file.name
    }
    whole = saved.read_bytes()
    for broken in (b"", b"nothing", whole[: len(whole) // 2], whole[:-200]):
        saved.write_bytes(broken)
        command = [str(BIN / "haidang-collector"), "--config", str(center.config), "restore", "--force", str(saved)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert "backup can't be used" in done.stderr
        assert {name: (center.state / name).read_bytes() for name in before} == before
    assert not list(center.state.glob(".restore-*"))
