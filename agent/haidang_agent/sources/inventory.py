"""What this machine is and has. A child process reads it; what changed since the collector last had it is sent."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haidang_wire.report import Fact
from haidang_wire.sources import INVENTORY, SOURCES

from haidang_agent.config import InventoryConfig
from haidang_agent.delivery.spool import Spool
from haidang_agent.platform.files import read_private, write_private
from haidang_agent.platform.system import IDLE
from haidang_agent.schedule.source import Findings

log = logging.getLogger(__name__)

FILE = "inventory.json"
# So often everything is sent, for a collector that was restored from a backup.
_EVERYTHING_SECONDS = 7 * 86400.0
_MOST_BYTES = 16 * 2**20

Hashes = dict[str, str]


class Inventory:
    """`spool` tells what has reached the collector: without one nothing has, and everything is said each time.
    `with_user()` says whether the registry allows to say who was logged on last."""

    name = INVENTORY

    def __init__(
        self,
        config: InventoryConfig,
        agent: str,
        state_dir: Path,
        spool: Spool | None = None,
        with_user: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = config
        self._agent = agent
        self._file = state_dir / FILE
        self._spool = spool
        self._with_user = with_user
        # What the collector has of each kind, and since when it has everything; what was sent since, and how many
        # reports the spool had lost by then.
        self._known, self._everything_at = self._read()
        self._sent: Hashes | None = None
        self._sent_everything = False
        self._lost_before = 0
        self._said = ""

    def _read(self) -> tuple[Hashes, float]:
        try:
            kept = json.loads(read_private(self._file))
            if kept["agent"] == self._agent:
                return {str(kind): str(text) for kind, text in kept["known"].items()}, float(kept["everything_at"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # a file that is missing or damaged costs sending it all once more
        return {}, 0.0

    def collect(self) -> Findings:
        """Facts that changed, and samples. Raises OSError when the child fails."""
        found = self._ask()
        self._acknowledge()
        now = time.time()
        everything = not 0 <= now - self._everything_at < _EVERYTHING_SECONDS
        hashes = {kind: _hash(found[kind]) for kind in SOURCES[INVENTORY].facts if kind in found}
        facts = [
            Fact(kind, self._agent, found[kind])
            for kind, text in hashes.items()
            if everything or self._known.get(kind) != text
        ]
        self._sent, self._sent_everything = hashes, everything
        self._lost_before = self._spool.lost() if self._spool else 0
        findings = Findings(facts=facts)
        _samples(found, now, findings)
        return findings

    def _acknowledge(self) -> None:
        """What was sent before counts once no report of it waits any more and none was lost; until then it is sent
        again, which costs little."""
        if self._sent is None or self._spool is None or self._spool.holds(self.name):
            return
        if self._spool.lost() > self._lost_before:
            return
        changed = self._sent != self._known or self._sent_everything
        self._known = self._sent
        if self._sent_everything:
            self._everything_at = time.time()
        self._sent = None
        if changed:
            kept = {"agent": self._agent, "known": self._known, "everything_at": self._everything_at}
            write_private(self._file, json.dumps(kept))

    def _ask(self) -> dict[str, Any]:
        # -I: nothing of the folder or the environment it is run in.
        command = [
            sys.executable,
            "-I",
            "-X",
            "utf8",
            "-m",
            "haidang_agent.inventory",
            *(["--with-user"] if self._with_user() else []),
        ]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False, **IDLE,
                timeout=self._config.timeout_seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise OSError(f"reading the inventory took longer than {self._config.timeout_seconds:.0f} s") from error
        if done.returncode or len(done.stdout) > _MOST_BYTES:
            raise OSError(f"reading the inventory failed: {done.stderr[-500:].decode('utf-8', 'replace').strip()}")
        said = " ".join(done.stderr[-500:].decode("utf-8", "replace").split())
        if said != self._said:  # which part could not be read: once, not every hour
            log.warning("inventory: %s", said or "complete again")
            self._said = said
        found = json.loads(done.stdout)
        if not isinstance(found, dict):
            raise OSError("reading the inventory gave no object")
        return found


def _hash(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]


def _samples(found: dict[str, Any], now: float, findings: Findings) -> None:
    """What rules look at."""
    machine, system, security = found.get("machine", {}), found.get("system", {}), found.get("security", {})
    findings.add(
        "workstation_info", 1,
        chassis=machine.get("chassis", "other"), manufacturer=machine.get("manufacturer", ""),
        model=machine.get("model", ""), system=system.get("name", ""), version=system.get("version", ""),
    )  # fmt: skip
    if machine.get("memory"):
        findings.add("workstation_memory_bytes", machine["memory"]["total_bytes"])
    disks = found.get("disks", {}).get("disks", [])
    findings.add("workstation_disks", len(disks))
    for disk in disks:
        name = disk.get("name", "")
        if "healthy" in disk:
            findings.add("workstation_disk_healthy", int(disk["healthy"]), disk=name)
        if "wear_ratio" in disk:
            findings.add("workstation_disk_wear_ratio", disk["wear_ratio"], disk=name)
    _security_samples(security, system.get("family") == "windows", now, findings)
    updates = system.get("updates", {})
    for kind in ("pending", "security_pending"):
        if kind in updates:
            findings.add(f"workstation_updates_{kind}", updates[kind])


def _security_samples(security: dict[str, Any], windows: bool, now: float, findings: Findings) -> None:
    antivirus = security.get("antivirus")
    # Few Linux machines have a product, and none of them misses it.
    if antivirus or (windows and antivirus is not None):
        findings.add("workstation_antivirus_on", int(any(product.get("on") for product in antivirus)))
        ages = [now - product["signatures"] for product in antivirus if product.get("on") and "signatures" in product]
        if ages:
            findings.add("workstation_antivirus_signature_age_seconds", max(0.0, min(ages)))
    if "firewall" in security:
        findings.add("workstation_firewall_on", int(security["firewall"]))
    if security.get("encryption"):
        findings.add("workstation_encrypted", int(all(volume["encrypted"] for volume in security["encryption"])))
