"""What breaks on a bad night: kill -9, a full disk, wrong clocks, revoked and foreign agents."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from haidang_agent.status import read as read_status

from tests.conftest import BIN, Center, Processes, agent_command, delivery, report, require, wait_for

pytestmark = pytest.mark.system
FAST = (
    "[sources.agent]\ninterval_seconds = 1\njitter_seconds = 0\n"
    "[sources.host]\ninterval_seconds = 1\njitter_seconds = 0\n"
    "[sources.reachability]\nenabled = false\n"
    "[uplink]\nbackoff_max_seconds = 1\ntimeout_seconds = 5\n"
)


def run_agent(processes: Processes, folder: Path, *, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    config = folder.parent / "agent.toml"
    config.write_text(FAST)
    command = (str(BIN / "haidang-agent"), "run", "--state-dir", str(folder), "--config", str(config))
    return processes.start("agent", *command, env=env)


def sequences(center: Center, agent: str) -> dict[int, set[int]]:
    """What the ledger says was delivered: sequences by epoch."""
    database = sqlite3.connect(f"file:{center.state / 'collector.db'}?mode=ro", uri=True)
    rows = database.execute("SELECT epoch, chunk, bits FROM delivered WHERE agent = ?", (agent,)).fetchall()
    database.close()
    found: dict[int, set[int]] = {}
    for epoch, chunk, bits in rows:
        numbers = {chunk * 1024 + n for n in range(len(bits) * 8) if bits[n // 8] >> (n % 8) & 1}
        found.setdefault(epoch, set()).update(numbers)
    return found


def test_collector_killed_under_load_loses_and_doubles_nothing(center: Center, tmp_path: Path) -> None:
    identities = {f"m-{n}": center.enrol(tmp_path / f"a{n}", name=f"m-{n}") / "identity.pem" for n in range(4)}
    acknowledged: dict[str, set[int]] = {name: set() for name in identities}
    uncertain: dict[str, set[int]] = {name: set() for name in identities}
    end = time.monotonic() + 8

    def load(name: str, identity: Path) -> None:
        sequence = 0
        while time.monotonic() < end:
            sequence += 1
            try:
                status, receipt = center.post("/v1/reports", delivery(report(name, sequence)), identity)
            except (OSError, ValueError, http.client.HTTPException):  # killed in the middle of an answer
                uncertain[name].add(sequence)
                continue
            assert status == 200
            assert receipt["accepted"] == 1
            acknowledged[name].add(sequence)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(load, *item) for item in identities.items()]
        wait_for("some load", lambda: all(len(a) > 20 for a in acknowledged.values()), 8)
        center.process.send_signal(signal.SIGKILL)
        center.process.wait()
        center.start()
        for done in running:
            done.result()
    for name, identity in identities.items():
        (stored,) = sequences(center, name).values()
        assert acknowledged[name] <= stored
        again = delivery(*(report(name, n) for n in sorted(acknowledged[name] | uncertain[name])[:900]))
        _, receipt = center.post("/v1/reports", again, identity)
        assert receipt["duplicates"] == len(set(sorted(acknowledged[name] | uncertain[name])[:900]) & stored)


def test_exposition_is_complete_after_a_restart(center: Center, tmp_path: Path) -> None:
    identity = center.enrol(tmp_path / "agent") / "identity.pem"
    center.post("/v1/reports", delivery(report(interval=600)), identity)
    before = center.metrics()
    center.process.send_signal(signal.SIGKILL)
    center.process.wait()
    center.start()
    after = center.metrics()
    series = {name for name in before if "may-1" in name and "offset" not in name}
    assert series <= set(after)
    assert after['haidang_host_processes{site="ttdl",agent="may-1"}'] == 7


def test_agent_killed_keeps_what_it_saw(center: Center, tmp_path: Path, processes: Processes) -> None:
    folder = center.enrol(tmp_path / "agent")
    center.process.send_signal(signal.SIGKILL)
    center.process.wait()
    agent = run_agent(processes, folder)
    spool = folder / "spool.db"

    def waiting() -> int:
        if not spool.exists():
            return 0
        database = sqlite3.connect(f"file:{spool}?mode=ro", uri=True)
        try:
            return int(database.execute("SELECT count(*) FROM reports").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
        finally:
            database.close()

    wait_for("some reports wait", lambda: waiting() > 8, 20)
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    kept = waiting()
    center.start()
    run_agent(processes, folder)
    wait_for("two epochs delivered", lambda: len(sequences(center, "may-1")) == 2, 30)
    wait_for(
        "all that was kept is delivered",
        lambda: len(sequences(center, "may-1")[min(sequences(center, "may-1"))]) >= kept,
        20,
    )
    first = sequences(center, "may-1")[min(sequences(center, "may-1"))]
    assert first == set(range(1, max(first) + 1))


def test_what_goes_wrong_is_shown_at_once(center: Center, tmp_path: Path, processes: Processes) -> None:
    folder = center.enrol(tmp_path / "agent")
    run_agent(processes, folder, env={"WATCHDOG_USEC": "1000000"})  # it looks twice a second, for `status` and itself
    wait_for("the first delivery is shown", lambda: (now := read_status(folder)) and now.last_delivery, 20)
    center.process.send_signal(signal.SIGKILL)
    center.process.wait()
    wait_for("what is wrong is shown", lambda: (now := read_status(folder)) and now.last_error, 20)
    center.start()
    wait_for("it is well again", lambda: (now := read_status(folder)) and not now.last_error, 20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_neither_agent_nor_delivery(
    center: Center, tmp_path: Path, processes: Processes, small_disk: Path
) -> None:
    folder = small_disk
    center.enrol(folder)
    agent = run_agent(processes, folder)
    up = 'haidang_agent_up{site="ttdl",agent="may-1"}'
    writable = 'haidang_agent_spool_writable{site="ttdl",agent="may-1"}'
    wait_for("the agent is up", lambda: center.metrics().get(up) == 1, 20)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    wait_for("the agent says that its disk is full", lambda: center.metrics().get(writable) == 0, 30)
    assert agent.poll() is None
    wait_for("it reports all the same", lambda: center.metrics()[up] == 1, 20)
    filler.unlink()
    wait_for("the spool is written again", lambda: center.metrics().get(writable) == 1, 30)


@pytest.mark.parametrize("shift", ["-3h", "+3h", "-3y", "+3y"])
def test_a_wrong_clock_is_measured_and_corrected(
    center: Center, tmp_path: Path, processes: Processes, shift: str
) -> None:
    folder = center.enrol(tmp_path / "agent")
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        require("faketime")
    env = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": shift,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    run_agent(processes, folder, env=env)
    name = 'haidang_agent_clock_offset_seconds{site="ttdl",agent="may-1"}'
    offset = wait_for("the offset is known", lambda: center.metrics().get(name), 30)
    hours = {"h": 1, "y": 365 * 24}[shift[-1]] * int(shift[:-1])
    assert abs(offset + hours * 3600) < 5 * 86400 if shift.endswith("y") else abs(offset + hours * 3600) < 5
    # It reports each second: on a busy machine it is late, and missed, for a moment.
    up = 'haidang_agent_up{site="ttdl",agent="may-1"}'
    metrics = wait_for("it is up", lambda: now if (now := center.metrics())[up] == 1 else None, 20)
    taken = metrics['haidang_agent_last_report_timestamp_seconds{site="ttdl",agent="may-1"}']
    assert abs(taken - time.time()) < 10


def test_a_revoked_agent_is_refused_at_its_next_request(center: Center, tmp_path: Path) -> None:
    identity = center.enrol(tmp_path / "agent") / "identity.pem"
    assert center.post("/v1/reports", delivery(report()), identity)[0] == 200
    center.command("agents", "revoke", "may-1")
    status, problem = center.post("/v1/reports", delivery(report(sequence=2)), identity)
    assert status == 403
    assert "revoked" in problem["detail"]
    assert center.post("/v1/renew", b'{"request":"x"}', identity)[0] == 403
    wait_for("it is gone from /metrics", lambda: not any("may-1" in name for name in center.metrics()), 10)
    doctor = agent_command("doctor", "--state-dir", str(tmp_path / "agent"), "--language", "vi")
    assert doctor.returncode == 1
    assert "từ chối tác tử này" in doctor.stdout


def test_tokens_expire_and_are_used_once(center: Center, tmp_path: Path) -> None:
    def enrol(token: str, *more: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / f"a{time.monotonic_ns()}"
        return agent_command("enrol", "--state-dir", str(folder), "--collector", center.url, "--token", token, *more)

    once = center.command("token", "create", "--site", "ttdl")
    assert enrol(once).returncode == 0
    assert "used already" in enrol(once).stderr
    revoked = center.command("token", "create", "--site", "ttdl", "--uses", "unlimited")
    assert enrol(revoked).returncode == 0
    assert enrol(revoked).returncode == 0
    identifier = center.command("token", "list").split()[0]
    center.command("token", "revoke", identifier)
    assert "was revoked" in enrol(revoked).stderr
    expired = center.command("token", "create", "--site", "ttdl")
    database = sqlite3.connect(center.state / "collector.db")
    with database:
        database.execute("UPDATE tokens SET expires = 1 WHERE revoked IS NULL")
    database.close()
    assert "has expired" in enrol(expired).stderr
    wrong = enrol(expired.partition(".")[0], "--ca-fingerprint", "0" * 64)
    assert wrong.returncode == 1
    assert "not the pinned" in wrong.stderr


def test_enrolling_again_keeps_the_name_and_what_waits(center: Center, tmp_path: Path) -> None:
    folder = center.enrol(tmp_path / "agent")

    def again(site: str, *more: str) -> str:
        token = center.command("token", "create", "--site", site)
        done = agent_command(
            "enrol", "--force", "--state-dir", str(folder), "--collector", center.url, "--token", token, *more
        )
        assert done.returncode == 0, done.stderr
        return str(json.loads((folder / "enrolment.json").read_text())["agent"])

    assert again("ttdl") == "may-1"  # its certificate shows that it is the same machine
    assert center.post("/v1/reports", delivery(report()), folder / "identity.pem")[1]["accepted"] == 1
    # Another machine of that name, and the same one at another site, are others.
    assert json.loads((center.enrol(tmp_path / "other") / "enrolment.json").read_text())["agent"] == "may-1-2"
    assert again("xa-dong-thinh") == "may-1-3"
    # A certificate that has ended shows nothing, but nobody else can be using the name.
    (folder / "identity.pem").unlink()
    database = sqlite3.connect(center.state / "collector.db")
    with database:
        database.execute("UPDATE agents SET certificate_ends = 1 WHERE id = 'may-1-3'")
    assert again("xa-dong-thinh") == "may-1-3"
    (folder / "identity.pem").unlink()
    assert again("xa-dong-thinh") == "may-1-3-2"
    # A revoked one never comes back under its name.
    center.command("agents", "revoke", "may-1-3-2")
    with database:
        database.execute("UPDATE agents SET certificate_ends = 1 WHERE id = 'may-1-3-2'")
    database.close()
    assert again("xa-dong-thinh") == "may-1-3-2-2"


def test_a_failed_enrolment_leaves_the_old_one_in_force(center: Center, tmp_path: Path) -> None:
    folder = center.enrol(tmp_path / "agent")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    token = center.command("token", "create", "--site", "ttdl").replace("hd_", "hd_x")
    done = agent_command("enrol", "--force", "--state-dir", str(folder), "--collector", center.url, "--token", token)
    assert done.returncode == 1
    assert "unknown" in done.stderr
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_header_is_no_identity(center: Center, tmp_path: Path) -> None:
    from urllib.parse import quote

    identity = center.enrol(tmp_path / "agent") / "identity.pem"
    pem = identity.read_text()
    certificate = quote(pem[pem.index("-----BEGIN CERTIFICATE") :])
    assert center.post("/v1/reports", delivery(report()), None, {"Client-Cert": certificate})[0] == 401


def test_a_trusted_proxy_may_pass_the_certificate_on(tmp_path: Path, processes: Processes) -> None:
    from urllib.parse import quote

    center = Center(tmp_path, processes, extra='trusted_proxies = ["127.0.0.1"]\n')
    identity = center.enrol(tmp_path / "agent") / "identity.pem"
    pem = identity.read_text()
    certificate = quote(pem[pem.index("-----BEGIN CERTIFICATE") :])
    assert center.post("/v1/reports", delivery(report()), None, {"Client-Cert": certificate})[0] == 200
    # And what comes through it is not this machine itself: /metrics is closed.
    assert center.get("/metrics")[0] == 401
    scraper = tmp_path / "scraper.pem"
    center.command("scraper", "prometheus", str(scraper))
    passed_on = quote(scraper.read_text()[scraper.read_text().index("-----BEGIN CERTIFICATE") :])
    assert center.get("/metrics", headers={"Client-Cert": passed_on})[0] == 200


def test_the_scrape_token_opens_metrics(tmp_path: Path, processes: Processes) -> None:
    token = tmp_path / "token"
    token.write_text("open-sesame\n")
    center = Center(tmp_path, processes, extra=f'metrics_token_file = "{token}"\n')
    assert center.get("/metrics")[0] == 401
    assert center.get("/metrics", headers={"Authorization": "Bearer wrong"})[0] == 401
    assert center.get("/metrics", headers={"Authorization": "Bearer open-sesame"})[0] == 200


def test_certificates_are_renewed_by_themselves(tmp_path: Path, processes: Processes) -> None:
    center = Center(tmp_path, processes, extra=f"client_certificate_days = {20 / 86400}\n")
    folder = center.enrol(tmp_path / "agent")
    # Certificates begin an hour in the past, so half of a life of twenty seconds is over at once.
    before = json.loads((folder / "enrolment.json").read_text())["ends"]
    run_agent(processes, folder)
    wait_for("another certificate", lambda: json.loads((folder / "enrolment.json").read_text())["ends"] > before, 15)
    shutil.copy(folder / "identity.pem", tmp_path / "copy.pem")
    assert center.get("/v1/assignment", tmp_path / "copy.pem")[0] == 200
