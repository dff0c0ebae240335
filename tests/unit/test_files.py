"""Folders of others: whatever their owner puts there and swaps meanwhile, root writes over no file of another, changes
no owner of one, waits for no pipe and shows nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from haidang_agent import cli, status
from haidang_agent.delivery import spool_look
from haidang_agent.delivery.spool import Spool
from haidang_agent.identity import enrolment as identities
from haidang_agent.inventory import privileged, tools
from haidang_agent.platform import files
from haidang_agent.platform.files import as_owner, opened, read_private, write_private
from haidang_agent.schedule.source import Findings
from haidang_collector.cli.main import main as collector_command
from haidang_collector.identity import files as private_files
from haidang_collector.identity.authority import Authority
from haidang_wire.errors import HaidangError

from tests.conftest import BIN, Center, agent_command

OTHER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
TEXT = "mine alone\n"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of root's to which everybody has a way (pytest's own are closed)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def foreign(place: Path) -> Path:
    """The agent's folder: another user's, beneath one that is root's."""
    folder = place / "agent"
    folder.mkdir(mode=0o700)
    os.chown(folder, OTHER, OTHER)
    return folder


@pytest.fixture
def victim(place: Path) -> Iterator[Path]:
    """A file of root's; at the end it is what it was."""
    file = place / "shadow"
    file.write_text(TEXT)
    file.chmod(0o600)
    yield file
    found = file.lstat()
    assert (file.read_text(), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (TEXT, 0, 0, 0o600)


class Swaps:
    """Puts one thing after the other at a path, as fast as it can."""

    def __init__(self, *ways: Callable[[], None]) -> None:
        self._ways = ways
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def _run(self) -> None:
        while not self._over.is_set():
            for way in self._ways:
                with contextlib.suppress(OSError):
                    way()
            self.rounds += 1

    def __enter__(self) -> Swaps:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        assert self.rounds > 10


@as_root
@pytest.mark.parametrize("kind", ["symlink", "hardlink", "folder", "pipe"])
@pytest.mark.parametrize("name", ["identity.pem", "identity.pem.new"])
def test_what_is_planted_is_not_written_to(foreign: Path, victim: Path, kind: str, name: str) -> None:
    make: dict[str, Callable[[Path], None]] = {
        "symlink": lambda at: at.symlink_to(victim),
        "hardlink": lambda at: os.link(victim, at),
        "folder": lambda at: at.mkdir(),
        "pipe": os.mkfifo,
    }
    make[kind](foreign / name)
    if (kind, name) == ("folder", "identity.pem"):
        with pytest.raises(HaidangError, match="can't be written"):
            write_private(foreign / "identity.pem", "secret")
        assert [each.name for each in foreign.iterdir()] == [name]
        return
    write_private(foreign / "identity.pem", "secret")
    written = (foreign / "identity.pem").lstat()
    assert stat.S_ISREG(written.st_mode)
    assert (written.st_uid, written.st_gid, stat.S_IMODE(written.st_mode)) == (OTHER, OTHER, 0o600)
    assert (foreign / "identity.pem").read_text() == "secret"


@as_root
def test_names_swapped_while_root_writes(foreign: Path, victim: Path) -> None:
    """New files can't be guessed, but seen: the other user moves links over whatever appears."""

    def over_new_ones(make: Callable[[Path], None]) -> Callable[[], None]:
        def swap() -> None:
            for file in foreign.iterdir():
                if file.name.endswith(".new"):
                    make(foreign / "planted")
                    (foreign / "planted").rename(file)

        return swap

    with Swaps(over_new_ones(lambda at: at.symlink_to(victim)), over_new_ones(lambda at: os.link(victim, at))):
        for number in range(400):
            with contextlib.suppress(HaidangError):
                write_private(foreign / "identity.pem", f"secret {number}", durable=False)
            assert victim.read_text() == TEXT


@as_root
def test_a_folder_swapped_for_a_link_while_root_writes(place: Path) -> None:
    """Its parent is the other user's too: the folder itself changes place with a link to one of root's."""
    home = place / "home"
    home.mkdir()
    os.chown(home, OTHER, OTHER)
    state, away, roots = home / "state", home / "away", place / "etc"
    state.mkdir()
    os.chown(state, OTHER, OTHER)
    roots.mkdir()

    def to_link() -> None:
        state.rename(away)
        state.symlink_to(roots)
        os.chown(state, OTHER, OTHER, follow_symlinks=False)

    def back() -> None:
        state.unlink()
        away.rename(state)

    with Swaps(to_link, back):
        for number in range(400):
            with contextlib.suppress(HaidangError):
                write_private(state / "identity.pem", str(number), durable=False)
            with contextlib.suppress(OSError):
                privileged_put(state)
    assert list(roots.iterdir()) == []


def privileged_put(folder: Path) -> None:
    with opened(folder) as at:
        files.put(at, folder / "dmidecode", b"serials", mode=0o644, owned_by_folder=False, durable=False)


@as_root
@pytest.mark.parametrize("owner", [0, OTHER])
def test_a_link_is_no_folder_of_roots(tmp_path: Path, foreign: Path, owner: int) -> None:
    link = tmp_path / "link"
    link.symlink_to(foreign)
    os.chown(link, owner, owner, follow_symlinks=False)
    with pytest.raises(HaidangError, match="link"):
        write_private(link / "identity.pem", "secret")
    assert list(foreign.iterdir()) == []


@as_root
def test_a_way_that_root_made_may_have_links(tmp_path: Path) -> None:
    (tmp_path / "disk/agent").mkdir(parents=True)
    os.chown(tmp_path / "disk/agent", OTHER, OTHER)
    (tmp_path / "lib").symlink_to("disk")
    write_private(tmp_path / "lib/agent/file", "text")
    assert read_private(tmp_path / "disk/agent/file") == "text"
    # The other user's way to root's folders is none.
    os.chown(tmp_path / "lib", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(HaidangError, match="another user"):
        write_private(tmp_path / "lib/agent/file", "text")
    (tmp_path / "disk/agent/up").symlink_to(tmp_path)
    (tmp_path / "mine").mkdir()
    os.chown(tmp_path / "disk/agent/up", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(HaidangError, match="another user"):
        write_private(tmp_path / "disk/agent/up/mine/file", "text")


@as_root
def test_serials_are_put_into_no_file_of_another(
    foreign: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tmp_path / "dmi"
    found.mkdir()
    for name in ("product_serial", "product_uuid", "board_serial"):
        (found / name).write_text(f"{name} 1\n")
    monkeypatch.setattr(privileged, "DMI", found)
    (foreign / "dmi-product_serial").symlink_to(victim)
    os.link(victim, foreign / "dmi-product_uuid")
    (foreign / "dmi-board_serial").mkdir()
    with pytest.raises(OSError, match="directory"):
        privileged.put(foreign)
    for name in ("product_serial", "product_uuid"):
        put = (foreign / f"dmi-{name}").lstat()
        assert (stat.S_ISREG(put.st_mode), put.st_uid, stat.S_IMODE(put.st_mode)) == (True, 0, 0o644)
        assert (foreign / f"dmi-{name}").read_text() == f"{name} 1\n"
    assert not [each for each in foreign.iterdir() if each.name.endswith(".new")]


@as_root
def test_root_runs_no_tool_that_others_could_have_put_there(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = foreign / "dmidecode"
    tool.write_text("#!/bin/sh\necho taken\n")
    tool.chmod(0o755)
    monkeypatch.setattr(tools, "_PATH", str(foreign))
    for owner in (OTHER, 0):  # root's own file in another's folder is another's all the same
        os.chown(tool, owner, owner)
        assert tools.run("dmidecode") is None
    os.chown(foreign, 0, 0)
    assert tools.run("dmidecode") == "taken\n"
    tool.chmod(0o777)
    assert tools.run("dmidecode") is None


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    def over(*_: object) -> None:
        raise AssertionError(f"not within {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["symlink", "pipe", "large", "folder"])
def test_what_is_no_file_of_ours_is_not_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(json.dumps({"collector": "https://x", "agent": "a", "site": "s", "begins": 1, "ends": 2}))
    state = tmp_path / "state"
    state.mkdir()
    for name in ("enrolment.json", "status.json", "dmidecode"):
        at = state / name
        if kind == "symlink":
            at.symlink_to(elsewhere)
        elif kind == "pipe":
            os.mkfifo(at)
        elif kind == "folder":
            at.mkdir()
        else:
            with at.open("wb") as file:
                file.truncate(10**12)
    monkeypatch.setattr(privileged, "FOLDER", state)
    with within(20):
        with pytest.raises(HaidangError, match=r"damaged|can't be read"):
            identities.load(state)
        assert status.read(state) is None
        assert privileged.kept("dmidecode") is None


@as_root
def test_what_sqlite_leaves_is_the_owners(foreign: Path) -> None:
    with as_owner(foreign):
        spool = Spool(foreign / "spool.db", 10**6, 86400.0)
    assert os.geteuid() == 0
    assert cli.main(["doctor", "--state-dir", str(foreign)]) == 1  # not enrolled
    assert {each.lstat().st_uid for each in foreign.iterdir()} == {OTHER}
    spool.close()
    assert cli.main(["doctor", "--state-dir", str(foreign)]) == 1
    assert {each.lstat().st_uid for each in foreign.iterdir()} == {OTHER}


@as_root
def test_the_doctor_follows_no_link_as_root(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A database of root's under the spool's name is not opened, and nothing left beside it."""
    roots = tmp_path / "roots"
    roots.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(roots / "x.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE reports (taken, epoch)")
    before = sorted(roots.iterdir())
    (foreign / "spool.db").symlink_to(roots / "x.db")
    assert cli.main(["doctor", "--state-dir", str(foreign)]) == 1
    assert "is not a file" in capsys.readouterr().out
    assert sorted(roots.iterdir()) == before


def database_in(state: Path) -> Path:
    file = state / "spool.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE reports (taken, epoch)")
    os.chown(file, state.stat().st_uid, state.stat().st_gid)
    return file


@pytest.mark.parametrize("name", ["spool.db", "spool.db-journal", "spool.db-wal", "spool.db-shm"])
@pytest.mark.parametrize("whose", [OTHER, 0])
@as_root
def test_the_doctor_waits_for_no_pipe(
    foreign: Path, name: str, whose: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens files by their path, and some of them so that it waits: those a child opens."""
    monkeypatch.setattr(spool_look, "_SECONDS", 2.0)
    os.chown(foreign, whose, whose)
    if name != "spool.db":
        database_in(foreign)
    os.mkfifo(foreign / name)
    with within(60):
        assert cli.main(["doctor", "--state-dir", str(foreign), "--language", "en"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"(?m)^(FAIL|OK) +spool ", said), said
    assert "not enrolled" in said  # it went on


@as_root
def test_the_doctor_looks_at_a_spool_in_a_child(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with as_owner(foreign):
        spool = Spool(foreign / "spool.db", 10**6, 86400.0)
        spool.put("a", "host", time.time(), 15, Findings())
        spool.close()
    assert cli.main(["doctor", "--state-dir", str(foreign), "--language", "en"]) == 1
    assert re.search(r"(?m)^OK +spool +1 reports", capsys.readouterr().out)


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"[]", b"5", b"[" * 9000, b'{"reports": "x"}', b'{"reports": 1, "bytes": -1, "oldest_age": 0}',
     b'{"reports": 1e999, "bytes": 1, "oldest_age": 0}', b'{"reports": true, "bytes": 1, "oldest_age": 0}',
     b'{"reports": 1, "bytes": 1, "oldest_age": NaN}', b'{"problem": "\\u001b[2J"}'],
)  # fmt: skip
def test_what_the_child_says_is_its_users(answer: bytes) -> None:
    with pytest.raises((OSError, sqlite3.DatabaseError)):
        spool_look._understand(answer, b"")


ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\nOK all is well\x9b2J\u202e"


def test_nothing_of_the_agents_user_reaches_roots_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolment = {"collector": f"https://c{ESCAPES}", "agent": ESCAPES, "site": ESCAPES, "begins": 1, "ends": 2}
    state = {
        "written": time.time(), "last_delivery": 1, "last_error": ESCAPES, "spool_reports": 0, "spool_bytes": 0,
        "spool_limit_bytes": 0, "sources": {ESCAPES: False},
    }  # fmt: skip
    assigned = {"version": "1", "assignment": {"devices": [{"id": ESCAPES}]}}
    for name, document in (("enrolment", enrolment), ("status", state), ("assignment", assigned)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    for command in ("status", "doctor", "enrol"):
        more = ["--collector", "https://c", "--token", "x"] if command == "enrol" else []
        assert cli.main([command, "--state-dir", str(tmp_path), *more]) == 1
        captured = capsys.readouterr()
        said = captured.out + captured.err
        assert "all is well" in said
        assert all(line.isprintable() for line in said.split("\n"))
        assert not re.search("(?m)^OK all", said)


@pytest.mark.parametrize("collector", ["https://" + "a" * 70, "https://a..b", "https://[::1", "https://h:x", "ftp://h"])
def test_an_address_of_the_agents_user_ends_no_command(
    tmp_path: Path, collector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolment = {"collector": collector, "agent": "a", "site": "s", "begins": 1, "ends": 2}
    (tmp_path / "enrolment.json").write_text(json.dumps(enrolment))
    authority = Authority(tmp_path)
    authority.ensure_server(("localhost",))
    (tmp_path / "identity.pem").write_bytes(authority.server_file.read_bytes())
    assert cli.main(["doctor", "--state-dir", str(tmp_path), "--language", "en"]) == 1
    assert "not running" in capsys.readouterr().out  # the last of its checks


NUMBERS = {"large": 10**400, "far": -1e300, "nan": float("nan"), "inf": float("inf"), "text": "1e400", "list": [1]}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", ["written", "last_delivery", "spool_reports", "spool_bytes", "spool_limit_bytes"])
def test_figures_of_the_agents_user_end_no_command(tmp_path: Path, number: str, field: str) -> None:
    enrolment = {"collector": "https://c", "agent": "a", "site": "s", "begins": 1, "ends": 2}
    (tmp_path / "enrolment.json").write_text(json.dumps(enrolment))
    state = {
        "written": time.time(), "last_delivery": 1, "last_error": "x", "spool_reports": 0, "spool_bytes": 0,
        "spool_limit_bytes": 0, "sources": {}, field: NUMBERS[number],
    }  # fmt: skip
    (tmp_path / "status.json").write_text(json.dumps(state))
    assert cli.main(["status", "--state-dir", str(tmp_path)]) == 1


@as_root
def test_root_does_not_run_the_agent_in_anothers_folder(foreign: Path) -> None:
    done = agent_command("run", "--state-dir", str(foreign))
    assert done.returncode == 1
    assert "belongs to" in done.stderr
    assert list(foreign.iterdir()) == []


@as_root
def test_root_enrols_for_the_owner(center: Center, foreign: Path, victim: Path) -> None:
    for name in ("ca.pem", "identity.pem", "enrolment.json", "ca.pem.candidate"):
        (foreign / name).symlink_to(victim)
        (foreign / f"{name}.new").symlink_to(victim)
    token = center.command("token", "create", "--site", "ttdl")
    given = ("enrol", "--state-dir", str(foreign), "--collector", center.url, "--name", "may-1", "--token", token)
    assert agent_command(*given, "--force").returncode == 0
    for name in ("ca.pem", "identity.pem", "enrolment.json"):
        found = (foreign / name).lstat()
        assert (stat.S_ISREG(found.st_mode), found.st_uid, stat.S_IMODE(found.st_mode)) == (True, OTHER, 0o600)
    done = agent_command("doctor", "--state-dir", str(foreign))
    assert "TLS" in done.stdout.upper()
    assert "FAIL" not in done.stdout, done.stdout


@as_root
def test_modules_of_the_folder_root_stands_in_are_not_run(center: Center, tmp_path: Path) -> None:
    stands_in = tmp_path / "here"
    (stands_in / "haidang_agent/identity").mkdir(parents=True)
    for name in ("haidang_agent/__init__.py", "haidang_agent/identity/csr.py", "json.py", "cryptography.py"):
        (stands_in / name).write_text(f"open({str(stands_in / 'taken')!r}, 'w').close()\n")
    token = center.command("token", "create", "--site", "ttdl")
    command = [
        str(BIN / "haidang-agent"), "enrol", "--state-dir", str(tmp_path / "state"), "--collector", center.url,
        "--name", "may-1", "--token", token,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=stands_in, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (stands_in / "taken").exists()


def test_a_write_that_fails_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "a", "first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(HaidangError, match="No space"):
        write_private(tmp_path / "a", "second")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert read_private(tmp_path / "a") == "first"


def test_what_a_power_cut_left_is_removed(tmp_path: Path) -> None:
    left, fresh, others = (tmp_path / name for name in (f"a.{'0' * 16}.new", f"b.{'1' * 16}.new", "c.new"))
    for file in (left, fresh, others):
        file.write_text("")
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    files.tidy(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([fresh.name, "c.new"])


def test_any_text_can_be_kept(tmp_path: Path) -> None:
    write_private(tmp_path / "a", "\udcff Hải Đăng")
    assert read_private(tmp_path / "a").endswith("Hải Đăng")


@as_root
def test_root_leaves_nothing_in_the_folder_of_the_collectors_user(tmp_path: Path) -> None:
    """What root leaves there (a database's log) its owner can't write."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)
    config = tmp_path / "collector.toml"
    config.write_text(f'state_dir = "{state}"\nnames = ["localhost"]\n')
    for words in (("token", "list"), ("scraper", "prometheus", str(tmp_path / "x.pem")), ("serve",)):
        assert collector_command(["--config", str(config), *words]) == 1
    assert list(state.iterdir()) == []
    assert not (tmp_path / "x.pem").exists()


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_private_files_are_new_ones(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    for name in ("key.pem", "key.pem.new"):
        (tmp_path / name).symlink_to(other) if kind == "symlink" else os.link(other, tmp_path / name)
    private_files.write_private(tmp_path / "key.pem", b"secret")
    assert other.read_text() == "mine"
    written = (tmp_path / "key.pem").lstat()
    assert (written.st_mode, written.st_nlink) == (0o100600, 1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        private_files.write_private(tmp_path / "folder", b"secret")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "key.pem", "key.pem.new", "other"]
