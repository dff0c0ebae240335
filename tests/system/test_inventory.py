"""The inventory of this machine, against what dpkg, /proc, sysfs and lsblk say when they are read by others."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from haidang_agent.config import AgentConfig, InventoryConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.delivery.spool import Spool
from haidang_agent.sources import build
from haidang_agent.sources.inventory import Inventory
from haidang_wire.sources import INVENTORY, SOURCES

pytestmark = [pytest.mark.system, pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' own tools")]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "haidang_agent.inventory"], check=True, capture_output=True)
    document = json.loads(done.stdout)
    assert set(document) == set(SOURCES[INVENTORY].facts)
    return dict(document)


def said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_software_is_what_dpkg_lists(found: dict[str, Any]) -> None:
    rows = [line.split() for line in said("dpkg", "-l").splitlines() if line.startswith("ii ")]
    installed = {(name.partition(":")[0], version) for _, name, version, *_ in rows}
    ours = {(p["name"], p["version"]) for p in found["software"]["packages"] if p["source"] == "dpkg"}
    assert ours == installed


def test_disks_are_those_of_sysfs(found: dict[str, Any]) -> None:
    disks = {
        block.name: int((block / "size").read_text()) * 512
        for block in Path("/sys/block").iterdir()
        if not block.name.startswith(("loop", "ram", "zram", "dm-", "md", "sr", "fd"))
        and (block / "removable").read_text().strip() == "0"
        and int((block / "size").read_text())
    }
    assert {disk["name"]: disk["size_bytes"] for disk in found["disks"]["disks"]} == disks


def test_volumes_are_those_df_knows(found: dict[str, Any]) -> None:
    root = next(volume for volume in found["disks"]["volumes"] if volume["mount"] == "/")
    size, available = (int(field) for field in said("df", "-B1", "--output=size,avail", "/").split()[-2:])
    assert root["size_bytes"] == size
    assert root["free_ratio"] <= available / size + 0.01


def test_the_machine_and_its_system(found: dict[str, Any]) -> None:
    machine, system = found["machine"], found["system"]
    assert machine["name"] == socket.gethostname()
    assert machine["machine_id"] == Path("/etc/machine-id").read_text().strip()
    memory = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert machine["memory"]["total_bytes"] >= memory * 1024
    count = sum(line.startswith("processor") for line in Path("/proc/cpuinfo").read_text().splitlines())
    assert sum(processor["threads"] for processor in machine["processors"]) == count
    cards = {card.name for card in Path("/sys/class/net").iterdir() if (card / "device").exists()}
    addresses = {(Path("/sys/class/net") / card / "address").read_text().strip() for card in cards}
    assert set(machine.get("macs", [])) >= addresses - {"00:00:00:00:00:00"}
    assert (system["kernel"], system["architecture"]) == (platform.release(), platform.machine())
    assert system["full_name"] in Path("/etc/os-release").read_text()
    assert system["updates"]["pending"] == said("apt-get", "-s", "-qq", "upgrade").count("\nInst ") + said(
        "apt-get", "-s", "-qq", "upgrade"
    ).startswith("Inst ")


def test_security(found: dict[str, Any]) -> None:
    assert (
        found["security"]["secure_boot"] is Path("/sys/firmware/efi/efivars").exists()
        or "secure_boot" in found["security"]
    )
    assert found["security"]["administrators"] >= 1
    assert "/" in {volume["volume"] for volume in found["security"]["encryption"]}


def test_only_what_the_collector_does_not_have_is_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 10**7, 10**6)
    source = Inventory(InventoryConfig(), "may-1", tmp_path, spool)

    def run() -> set[str]:
        findings = source.collect()
        spool.put("may-1", "inventory", time.time(), 3600, findings)
        return {fact.kind for fact in findings.facts}

    everything = set(SOURCES[INVENTORY].facts)
    assert run() == everything
    assert run() == everything  # the first waits in the spool: nobody has it yet
    spool.forget([(pending.epoch, pending.sequence) for pending in spool.newest(10)])
    assert run() == set()
    # A new run of the agent knows it too; another agent's name, or a damaged file, is a beginning.
    assert {f.kind for f in Inventory(InventoryConfig(), "may-1", tmp_path).collect().facts} == set()
    assert {f.kind for f in Inventory(InventoryConfig(), "may-2", tmp_path).collect().facts} == everything
    (tmp_path / "inventory.json").write_text("{", encoding="utf-8")
    assert {f.kind for f in Inventory(InventoryConfig(), "may-1", tmp_path).collect().facts} == everything
    spool.close()


def test_a_report_that_was_lost_is_sent_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 10**7, 10**6)
    source = Inventory(InventoryConfig(), "may-1", tmp_path, spool)
    spool.put("may-1", "inventory", time.time(), 3600, source.collect())
    spool.forget([(pending.epoch, pending.sequence) for pending in spool.newest(10)], refused=True)
    again = source.collect()
    assert {fact.kind for fact in again.facts} == set(SOURCES[INVENTORY].facts)
    # What was lost before it was said again is no loss of that: it is asked for twice, and answered the same.
    spool.put("may-1", "inventory", time.time(), 3600, again)
    assert (spool.holds("inventory"), spool.lost(), spool.lost()) == (True, 1, 1)
    spool.forget([(pending.epoch, pending.sequence) for pending in spool.newest(10)])
    assert not spool.holds("inventory")
    assert source.collect().facts == []
    spool.close()


def test_a_full_machines_inventory_is_small(found: dict[str, Any]) -> None:
    import gzip

    assert len(gzip.compress(json.dumps(found).encode(), 6)) < 100_000


def test_a_child_that_fails_or_hangs_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "python"
    source = Inventory(InventoryConfig(timeout_seconds=0.5), "may-1", tmp_path)
    monkeypatch.setattr(sys, "executable", str(child))
    for script, text in (("echo broken >&2; exit 3", "broken"), ("exec sleep 30", "longer than")):
        child.write_text(f"#!/bin/sh\n{script}\n")
        child.chmod(0o755)
        with pytest.raises(OSError, match=text):
            source.collect()


def test_the_agent_has_it_by_default(tmp_path: Path) -> None:
    config = AgentConfig(state_dir=str(tmp_path))
    assert "inventory" in {source.name for source in build(config, "may-1", Assignments(tmp_path))}
    assert os.nice(0) < 19  # the child is the nice one


def test_root_puts_what_only_root_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from haidang_agent.inventory import linux, privileged

    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"dmidecode": DMIDECODE, "smartctl": "Device Model: X\nSerial Number: D15C\n"}.items():
        (tools / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (tools / name).chmod(0o755)
    folder = tmp_path / "run"
    folder.mkdir()
    path = f"{tools}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "haidang_agent.inventory", "--privileged", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})
    assert (folder / "dmidecode").read_text().count("PF2ABCDE") == 1
    monkeypatch.setattr(privileged, "FOLDER", folder)
    machine = linux.machine()
    assert (machine["serial"], machine["uuid"]) == ("PF2ABCDE", "4c4c4544-0033-4d10-8034-b3c04f4e3332")


DMIDECODE = """Handle 0x0001, DMI type 1, 27 bytes
System Information
	Manufacturer: LENOVO
	Product Name: 20TBS57S00
	Serial Number: PF2ABCDE
	UUID: 4c4c4544-0033-4d10-8034-b3c04f4e3332
"""
