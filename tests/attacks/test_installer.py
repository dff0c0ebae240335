"""Whoever left something in the folder where root calls the installer, or answers it in the collector's place, gets
nothing run and nothing held."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import socket
import ssl
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from haidang_collector import installer
from haidang_collector.identity.authority import Authority
from haidang_collector.installer.machine import collector, install, linux
from haidang_collector.installer.machine.texts import Failure

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
    monkeypatch.setattr(linux, "FOLDER", tmp_path / "opt")
    monkeypatch.setattr(linux.shutil, "which", lambda name: None)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    kind = f"{install.sys.version_info[0]}.{install.sys.version_info[1]}-{install.platform.machine()}"
    version = install.Version(linux, {"build": "1-x", "sets": {kind: {"agent": []}}, "files": {}}, ())
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


# Who answers


class Answering:
    """An HTTPS server. What it says to a path stands in `says`; once that was said the connection ends."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        authority.ensure_server(("127.0.0.1",))
        self.fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.pem)).hexdigest()
        self.says: dict[str, Iterable[bytes]] = {"/v1/ca.pem": [ok(authority.pem.encode())]}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.server_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def collector(self) -> collector.Collector:
        return collector.Collector(self.url, self.fingerprint, 0.0)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(client, server_side=True) as wrapped:
            path = wrapped.recv(4096).split()[1].decode()
            for piece in self.says[path]:
                wrapped.sendall(piece)


def ok(body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    monkeypatch.setattr(collector, "WHOLE", 2.0)
    monkeypatch.setattr(collector, "SLOWEST", 2**40)
    folder = tmp_path / "ca"
    folder.mkdir()
    running = Answering(folder)
    yield running
    running.close()


def slowly(*pieces: bytes) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        time.sleep(0.2)


LENGTH, CHUNKS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
)
ENDLESS = {
    "of a length": lambda: [LENGTH, *itertools.repeat(b"x" * 2**20, 30)],
    "of chunks": lambda: [CHUNKS, *itertools.repeat(b"100000\r\n" + b"x" * 2**20 + b"\r\n", 30), b"0\r\n\r\n"],
    "of no length": lambda: [b"HTTP/1.1 200 OK\r\n\r\n", *itertools.repeat(b"x" * 2**20, 30)],
}
HELD = {
    "body": lambda: slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", *itertools.repeat(b"x", 20)),
    "headers": lambda: slowly(b"HTTP/1.1 200 OK\r\n", *itertools.repeat(b"X: y\r\n", 20), b"Content-Length: 0\r\n\r\n"),
    "continue": lambda: slowly(*itertools.repeat(b"HTTP/1.1 100 Go on\r\n\r\n", 20), ok(b"")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "said"), [("C.UTF-8", "more than 65536 bytes"), ("vi_VN.UTF-8", "hơn 65536 byte")]
)
@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_is_read_only_as_far_as_it_may_be_long(
    answering: Answering, name: str, language: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any CA is believed anybody may give it."""
    monkeypatch.setenv("LC_ALL", language)
    answering.says["/v1/ca.pem"] = ENDLESS[name]()
    with pytest.raises(Failure, match=said):
        answering.collector()


@pytest.mark.parametrize(("language", "said"), [("C.UTF-8", "whole answer"), ("vi_VN.UTF-8", "không trả lời xong")])
@pytest.mark.parametrize("name", HELD)
def test_an_answer_has_an_end_as_a_whole(
    answering: Answering, name: str, language: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", language)
    answering.says["/v1/ca.pem"] = HELD[name]()
    with pytest.raises(Failure, match=said):
        answering.collector()


def test_a_file_is_no_larger_than_announced(answering: Answering, tmp_path: Path) -> None:
    """With a manifest of before, which has no sizes, no larger than any is."""
    wheel, kind = (
        b"w" * 100,
        f"{install.sys.version_info[0]}.{install.sys.version_info[1]}-{install.platform.machine()}",
    )
    manifest = {
        "build": "1-x", "files": {"a.whl": hashlib.sha256(wheel).hexdigest()}, "sets": {kind: {"agent": ["a.whl"]}},
    }  # fmt: skip
    answering.says["/install/a.whl"] = [ok(wheel)]
    for sizes, fits in (({"a.whl": 100}, True), ({"a.whl": 99}, False), (None, True)):
        document = {**manifest, "sizes": sizes} if sizes else manifest
        answering.says["/install/manifest.json"] = [ok(json.dumps(document).encode())]
        version = install.Version(linux, answering.collector().manifest(), ())
        ((name, (checksum, most)),) = version.files.items()
        if fits:
            answering.collector().fetch(name, checksum, most, tmp_path)
            assert (tmp_path / name).read_bytes() == wheel
        else:
            with pytest.raises(Failure, match="more than 99 bytes"):
                answering.collector().fetch(name, checksum, most, tmp_path)


@pytest.mark.parametrize("manifest", [b"", b"[" * 100_000, b"3", b"\xff"])
def test_a_manifest_that_is_none_is_said_to_be_none(answering: Answering, manifest: bytes) -> None:
    answering.says["/install/manifest.json"] = [ok(manifest)]
    with pytest.raises(Failure, match="no manifest"):
        answering.collector().manifest()


def test_an_answer_that_ends_before_its_length_was_broken_off(answering: Answering) -> None:
    answering.says["/install/manifest.json"] = [ok(b"{}" + b" " * 100)[:-50]]
    with pytest.raises(Failure, match="broke off"):
        answering.collector().manifest()
