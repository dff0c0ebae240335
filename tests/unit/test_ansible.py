"""Ansible's inventory out of the registry. What the playbooks do is shown on machines that boot (tests/lab)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import BIN, ROOT

ANSIBLE = ROOT / "ansible"
SITES = "province: {name: Tỉnh Ví Dụ}\nsites: [{id: xa-dong, name: Xã Đông, level: commune}]\n"


def inventory(folder: Path, registry: str) -> subprocess.CompletedProcess[str]:
    (folder / "registry.yaml").write_text(registry, encoding="utf-8")
    source = folder / "x.haidang.yml"
    source.write_text("plugin: haidang_registry\nregistry: registry.yaml\n")
    environment = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    }
    command = [str(BIN / "ansible-inventory"), "-i", str(source), "--list"]
    return subprocess.run(command, cwd=ROOT / "ansible", env=environment, capture_output=True, text=True)


def test_hosts_of_the_registry_are_hosts_with_groups(tmp_path: Path) -> None:
    hosts = "hosts:\n  - {id: xa-dong-1, site: xa-dong, address: 10.1.2.3, port: 2222, user: quantri, roles: [probe]}\n"
    done = inventory(tmp_path, SITES + hosts + "  - {id: xa-dong-2, site: xa-dong, address: 10.1.2.4}\n")
    assert done.returncode == 0, done.stderr
    # Ansible says of each text that came from outside that it did.
    found = json.loads(done.stdout, object_hook=lambda each: each.get("__ansible_unsafe", each))
    assert found["agents"]["hosts"] == ["xa-dong-1", "xa-dong-2"]
    assert found["level_commune"]["hosts"] == found["site_xa_dong"]["hosts"] == found["agents"]["hosts"]
    assert found["role_probe"]["hosts"] == ["xa-dong-1"]
    first = found["_meta"]["hostvars"]["xa-dong-1"]
    assert first == {
        "ansible_host": "10.1.2.3", "ansible_port": 2222, "ansible_user": "quantri", "agent_site": "xa-dong",
        "agent_roles": ["probe"],
    }  # fmt: skip
    assert "ansible_user" not in found["_meta"]["hostvars"]["xa-dong-2"]


def test_a_registry_without_hosts_is_an_empty_inventory(tmp_path: Path) -> None:
    done = inventory(tmp_path, SITES)
    assert done.returncode == 0, done.stderr
    assert not json.loads(done.stdout)["_meta"]["hostvars"]


def test_a_fault_of_the_registry_is_named_with_its_line(tmp_path: Path) -> None:
    done = inventory(tmp_path, SITES + "hosts:\n  - {id: a, site: nowhere, address: 10.1.2.3}\n")
    assert done.returncode != 0
    assert "registry.yaml:4: hosts[0].site: there is no site 'nowhere'" in done.stderr


def tasks(document: Any) -> Iterator[dict[str, Any]]:
    """Every task of a file, of its blocks too."""
    for each in document if isinstance(document, list) else []:
        yield each
        for part in ("tasks", "block", "rescue", "always"):
            yield from tasks(each.get(part))


def test_a_machine_keeps_its_right_until_the_next_one_is_ready() -> None:
    """`agents release` ends the right of the machine that had the name, at once."""
    names = [str(each) for each in tasks(yaml.safe_load((ANSIBLE / "roles/agent/tasks/main.yml").read_text()))]
    ready, release = (
        next(n for n, text in enumerate(names) if what in text) for what in ("'--prepare'", "'agents', 'release'")
    )
    assert ready < release


def test_root_reads_and_writes_no_file_in_the_folder_of_the_collectors_user() -> None:
    """A link there would bring a file of root's to whoever the copy is for. Commands go there as that user."""
    own = "/var/lib/haidang-collector/"
    seen = 0
    for file in ANSIBLE.rglob("*.yml"):
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for task in tasks(document):
            used = {name: str(value) for name, value in task.items() if name.startswith("ansible.builtin.")}
            for module in ("fetch", "slurp", "copy", "template", "unarchive", "file"):
                assert own not in used.get(f"ansible.builtin.{module}", ""), (file.name, task)
                assert "backup_on_collector" not in used.get(f"ansible.builtin.{module}", ""), (file.name, task)
            for module in ("command", "shell"):
                text = used.get(f"ansible.builtin.{module}", "")
                if own in text or "backup_on_collector" in text:
                    seen += 1
                    assert "runuser" in text, (file.name, task)
    assert seen >= 5
