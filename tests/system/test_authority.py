"""The CA is replaced under real agents: some report on, some were away, one for too long; people, tokens, the installer."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from haidang_wire import authorities

from tests.conftest import BIN, Center, Processes, agent_command, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]
FAST = (
    "[sources.agent]\ninterval_seconds = 2\njitter_seconds = 0\n"
    "[sources.host]\nenabled = false\n[sources.reachability]\nenabled = false\n[sources.inventory]\nenabled = false\n"
    "[uplink]\nbackoff_max_seconds = 1\ntimeout_seconds = 10\n"
)


class Agent:
    """A real one, that may be away."""

    def __init__(self, center: Center, processes: Processes, name: str) -> None:
        self.center, self.processes, self.name = center, processes, name
        self.folder = center.enrol(center.folder / name, name=name)
        self.config = center.folder / "agent.toml"
        self.config.write_text(FAST)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = (str(BIN / "haidang-agent"), "run", "--state-dir", str(self.folder), "--config", str(self.config))
        self.process = self.processes.start(self.name, *command)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    @property
    def trusts(self) -> list[str]:
        """Fingerprints."""
        return [authorities.fingerprint(pem) for pem in authorities.split((self.folder / "ca.pem").read_text())]

    def issuer(self) -> str:
        """The key identifier of the CA its certificate is of."""
        pem = (self.folder / "identity.pem").read_bytes()
        certificate = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :])
        return key_identifier(certificate)

    def delivers(self) -> Callable[[], bool]:
        """Whether it has delivered since now."""
        since = time.time()
        name = f'haidang_agent_last_report_timestamp_seconds{{site="ttdl",agent="{self.name}"}}'
        return lambda: self.center.metrics().get(name, 0) > since


def key_identifier(certificate: x509.Certificate) -> str:
    named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return (named or b"").hex()


def identity_of(p12: Path, said: str) -> Path:
    """What a browser makes of a .p12: key and certificate."""
    password = said.rpartition(" ")[2]
    key, certificate, _ = pkcs12.load_key_and_certificates(p12.read_bytes(), password.encode())
    assert key is not None
    assert certificate is not None
    file = p12.with_suffix(".pem")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return file


def refused(center: Center, identity: Path) -> bool:
    try:
        return center.get("/v1/assignment", identity)[0] in (401, 403)
    except OSError:  # in the handshake
        return True


def enrol(center: Center, folder: Path, token: str, *more: str) -> subprocess.CompletedProcess[str]:
    return agent_command("enrol", "--state-dir", str(folder), "--collector", center.url, "--token", token, *more)


def test_the_ca_is_replaced(center: Center, tmp_path: Path, processes: Processes) -> None:
    here, away, gone = (Agent(center, processes, name) for name in ("here", "away", "gone"))
    for agent in (here, away, gone):
        agent.start()
    for agent in (here, away, gone):
        wait_for(f"{agent.name} delivers", agent.delivers(), 120)
    away.stop()
    gone.stop()
    old_line = center.command("token", "create", "--site", "ttdl", "--line")
    old_token = center.command("token", "create", "--site", "ttdl", "--uses", "3")
    operator = identity_of(tmp_path / "lan.p12", center.command("operator", "lan", str(tmp_path / "lan.p12")))
    center.command("scraper", "prometheus", str(tmp_path / "scraper.pem"))
    (old,) = here.trusts
    before = {agent.name: agent.issuer() for agent in (here, away, gone)}
    ca_of_old = shutil.copy(center.state / "ca.pem", tmp_path / "copy-of-ca.pem")  # as Prometheus has one

    # A new CA, beside the running collector: who is here takes it over by himself.
    said = center.command("ca", "rotate", "--overlap", "90d")
    assert "operator/lan, scraper/prometheus" in said
    wait_for("who is here trusts both", lambda: len(here.trusts) == 2, 120)
    new = next(each for each in here.trusts if each != old)
    assert new in center.command("ca", "show").splitlines()[0]
    wait_for("and is of the new one", lambda: here.issuer() != before["here"], 30)
    wait_for("and delivers with it", here.delivers(), 120)
    assert center.get("/v1/maintenance", operator)[0] == 200
    assert center.get("/metrics/outages", tmp_path / "scraper.pem")[0] == 200
    with urllib.request.urlopen(
        f"{center.url}/healthz", context=ssl.create_default_context(cafile=ca_of_old)
    ) as answer:
        assert answer.status == 200
    with pytest.raises(AssertionError, match="counts until"):
        center.command("ca", "rotate")

    # Tokens and lines of before, and of now, and one of each.
    line = center.command("token", "create", "--site", "ttdl", "--line")
    for each, pinned in ((old_line, old), (line, new)):
        where = each.split(f"{center.url}/")[1].split("'")[0]
        script = center.get(f"/{where}")[1].decode()
        assert f"--fingerprint '{pinned}'" in script
    done = enrol(center, tmp_path / "later", old_token, "--name", "later")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "later/ca.pem").read_text().count("BEGIN") == 2
    done = enrol(center, tmp_path / "mixed", old_token, "--name", "mixed", "--ca-fingerprint", new)
    assert done.returncode == 0, done.stderr
    new_token = center.command("token", "create", "--site", "ttdl", "--uses", "3")
    done = enrol(center, tmp_path / "newer", new_token, "--name", "newer")
    assert done.returncode == 0, done.stderr
    wrong = enrol(center, tmp_path / "wrong", new_token, "--ca-fingerprint", "0" * 64)
    assert "not the pinned" in wrong.stderr
    wrong = enrol(center, tmp_path / "wrong", f"{new_token.partition('.')[0]}.{'0' * 64}", "--ca-fingerprint", new)
    assert "different collectors" in wrong.stderr

    # Killed in the middle of everything, the collector comes back as it was.
    center.process.kill()
    center.process.wait()
    (center.state / "server.pem").unlink()
    (center.state / "ca.pem").write_text("")
    center.start()
    assert (center.state / "ca.pem").read_text().count("BEGIN") == 2

    # Who was away meanwhile comes back during the overlap.
    assert away.trusts == [old]
    away.start()
    wait_for("who was away trusts both", lambda: sorted(away.trusts) == sorted([old, new]), 120)
    wait_for("and delivers", away.delivers(), 120)

    # The old one ends, and those who still need it are named before.
    with pytest.raises(AssertionError, match="agent/gone"):
        center.command("ca", "retire")
    kept = tmp_path / "kept.pem"
    shutil.copy(gone.folder / "identity.pem", kept)
    center.command("ca", "retire", "--force")
    for agent in (here, away):
        wait_for(f"{agent.name} trusts the new one alone", lambda agent=agent: agent.trusts == [new], 120)
        wait_for(f"{agent.name} delivers", agent.delivers(), 120)
    assert new in center.command("ca", "show")
    assert old not in center.command("ca", "show")

    # Who was away for too long is told what to do, and does it.
    gone.start()
    wait_for("it says what is wrong", lambda: "enrol --force" in processes.log("gone"), 120)
    assert "replaced its CA" in processes.log("gone")
    gone.stop()
    for language, words in (("en", "replaced its CA"), ("vi", "đã thay CA")):
        doctor = agent_command("doctor", "--state-dir", str(gone.folder), "--language", language)
        assert doctor.returncode == 1
        assert words in doctor.stdout
        assert "enrol --force" in doctor.stdout
    late = enrol(center, gone.folder, old_token, "--force")
    assert "replaced its CA since the token was made" in late.stderr
    center.command("agents", "release", "gone")
    token = center.command("token", "create", "--site", "ttdl")
    done = enrol(center, gone.folder, token, "--force")
    assert done.returncode == 0, done.stderr
    assert json.loads((gone.folder / "enrolment.json").read_text())["agent"] == "gone"
    gone.start()
    wait_for("it delivers", gone.delivers(), 120)
    # What is of the old CA counts nowhere, whomever its holder believes.
    for identity in (kept, operator, tmp_path / "scraper.pem"):
        assert refused(center, identity)
    log = processes.log("collector")
    assert "PRIVATE" not in log
    assert "Traceback" not in log
