"""A province for the lab: a data center, a switch in the district, communes behind it; and Ansible that installs it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import BIN, ROOT, wait_for
from tests.lab.lab import COMMUNITY, Lab, Topology

COMMUNES = ("xa-1", "xa-2", "xa-3", "xa-4")
# A machine of an agency that Ansible does not know: its officer installs it by the one line.
BY_HAND = "xa-5"
HUB, CENTER = "huyen", "ttdl"
TOPOLOGY = Topology(
    machines=(CENTER, *COMMUNES, BY_HAND),
    switches=(HUB,),
    fibers=((CENTER, HUB), *((HUB, name) for name in (*COMMUNES, BY_HAND))),
)
# The agents Ansible installs.
HOSTS = (CENTER, HUB, *COMMUNES)
NAMES = {CENTER: "Trung tâm dữ liệu tỉnh", HUB: "Huyện An Bình"}
PASSPHRASE = "mật khẩu của phòng thí nghiệm"  # of the lab's own vault
_HUB_CONFIG = """\
[sources.snmp]
enabled = true
interval_seconds = 10
timeout_seconds = 8
[sources.lldp]
enabled = true
[sources.links]
enabled = true
"""


@dataclass
class Province:
    """The lab, and what is installed in it."""

    lab: Lab
    folder: Path
    bundle: Path
    said: str = ""

    @property
    def center(self) -> str:
        return self.lab[CENTER].address

    def write_inventory(self) -> None:
        """Ansible's inventory: the data center's machine, the registry, and secrets in a vault."""
        folder = self.folder / "inventory"
        (folder / "group_vars/all").mkdir(parents=True, exist_ok=True)
        machine = {CENTER: {"ansible_host": self.center, "agent_site": CENTER, "agent_roles": ["wan"]}}
        groups = ("collector", "prometheus", "alertmanager", "grafana", "reverse_proxy")
        _write(folder / "datacenter.yml", {"all": {"children": {group: {"hosts": machine} for group in groups}}})
        _write(folder / "agencies.haidang.yml", {"plugin": "haidang_registry", "registry": "../registry.yaml"})
        _write(self.folder / "registry.yaml", self.registry())
        options = f"-i {self.lab.key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        variables: dict[str, Any] = {
            "ansible_user": "root",
            "ansible_ssh_common_args": options,
            "collector_names": [self.center],
            "collector_registry": str(self.folder / "registry.yaml"),
            # The lab's disks are of memory, and small.
            "collector_tables": "[disk]\ndocuments_free_bytes = 40_000_000\nreports_free_bytes = 20_000_000\n",
            "collector_ca_passphrase": "{{ vault_passphrase }}",
            "collector_metrics_token": "{{ vault_token }}",
            "alertmanager_secrets": {"telegram-token": "{{ vault_token }}"},
            # The operators of the lab sit at another machine.
            "prometheus_listen_address": "0.0.0.0:9090",
            # Debian has no Grafana: what it would be given is installed all the same.
            "grafana_package": "",
            "grafana_admin_password": "{{ vault_token }}",
            "agent_wait_seconds": 60,
        }
        _write(folder / "group_vars/all/main.yml", variables)
        secret = {"config": _HUB_CONFIG, "snmp": f'[lab]\nversion = "2c"\ncommunity = "{COMMUNITY}"\n'}
        hub = {"agent_config": secret["config"], "agent_secrets": {"snmp.toml": "{{ vault_snmp }}"}}
        _write(folder / f"host_vars/{HUB}.yml", hub)
        _write(folder / f"host_vars/{CENTER}.yml", {"agent_config": "[sources.paths]\nenabled = true\n"})
        vault = {"vault_passphrase": PASSPHRASE, "vault_token": "lab-token-5b1c", "vault_snmp": secret["snmp"]}
        file = folder / "group_vars/all/vault.yml"
        _write(file, vault)
        password = self.folder / "vault-password"
        password.write_text(PASSPHRASE, encoding="utf-8")
        subprocess.run(
            [str(BIN / "ansible-vault"), "encrypt", "--vault-password-file", str(password), str(file)],
            check=True, capture_output=True,
        )  # fmt: skip
        assert PASSPHRASE not in file.read_text()

    def registry(self) -> dict[str, Any]:
        """The province's registry."""
        levels = {CENTER: "province", HUB: "district"}
        sites: list[dict[str, Any]] = []
        for name in (CENTER, HUB, *COMMUNES, BY_HAND):
            site = {"id": name, "name": NAMES.get(name, f"Xã số {name[-1]}"), "level": levels.get(name, "commune")}
            sites.append({**site, "address": self.lab[name].address, "officials": 12})
        sites[0]["probe"] = CENTER
        device = {"id": "sw-huyen", "site": HUB, "role": "switch", "address": self.lab[HUB].address}
        ports = {
            name: {"site": HUB, "device": "sw-huyen", "interface": f"to-{name}"}
            for name in (CENTER, *COMMUNES, BY_HAND)
        }
        circuits = [{"id": f"huyen-{name}", "ends": [ports[name], {"site": name}]} for name in ports]
        hosts = [{"id": name, "site": name, "address": self.lab[name].address} for name in HOSTS]
        hosts[0]["roles"] = ["wan"]
        hosts[1]["roles"] = ["probe", "switch"]
        return {
            "province": {"name": "Tỉnh thí nghiệm", "center": CENTER},
            "sites": sites,
            "devices": [{**device, "agent": HUB, "credential": "lab"}],
            "circuits": circuits,
            "hosts": hosts,
        }

    def ansible(self, playbook: str, *arguments: str, fails: bool = False) -> str:
        """Run a playbook; what it said. Its log stands in the lab's folder."""
        command = [
            str(BIN / "ansible-playbook"), playbook, "-i", str(self.folder / "inventory"),
            "--vault-password-file", str(self.folder / "vault-password"), "-e", f"collector_bundle={self.bundle}", *arguments,
        ]  # fmt: skip
        environment = {
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
        }
        done = subprocess.run(command, cwd=ROOT / "ansible", env=environment, capture_output=True, text=True)
        self.said = done.stdout + done.stderr
        with (self.folder / "ansible.log").open("a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(command)}\n{self.said}")
        assert (done.returncode != 0) == fails, self.said[-6000:]
        return self.said

    def changes(self) -> dict[str, int]:
        """What the last playbook changed, by host."""
        found = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", self.said, re.MULTILINE)
        return {host: int(count) for host, count in found}

    def install(self) -> None:
        """Everything, from bare machines."""
        self.ansible("datacenter.yml")
        self.ansible("agencies.yml", "-e", '{"waves": [1, "100%"]}')

    def query(self, query: str) -> list[dict[str, Any]]:
        """What Prometheus in the data center answers."""
        url = f"http://{self.center}:9090/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    def live(self) -> set[str]:
        """The agents that are up."""
        return {each["metric"]["agent"] for each in self.query("haidang_agent_up == 1")}

    def wait_until_live(self, *names: str, seconds: float = 90) -> None:
        wait_for(f"{', '.join(names)} are up", lambda: set(names) <= self._live_or_none(), seconds)

    def _live_or_none(self) -> set[str]:
        try:
            return self.live()
        except OSError:  # Prometheus is not there (yet)
            return set()

    def collector(self, *words: str) -> str:
        """A command of the collector, on its machine."""
        program = ("/opt/haidang-collector/bin/haidang-collector", "--config", "/etc/haidang-collector/collector.toml")
        return self.lab[CENTER].run("runuser", "-u", "haidang-collector", "--", *program, *words)

    def delivered(self, agent: str) -> dict[int, tuple[int, int]]:
        """Of each life (epoch) of an agent: how many of its reports arrived, and the number of the last."""
        file = self.lab[CENTER].file("/var/lib/haidang-collector/collector.db")
        database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            rows = database.execute("SELECT epoch, chunk, bits FROM delivered WHERE agent = ?", (agent,)).fetchall()
        finally:
            database.close()
        found: dict[int, tuple[int, int]] = {}
        for epoch, chunk, bits in rows:
            numbers = [chunk * 1024 + 8 * n + bit for n, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1]
            count, last = found.get(epoch, (0, 0))
            found[epoch] = (count + len(numbers), max(last, *numbers, 0))
        return found


def make_bundle(folder: Path, source: Path = ROOT) -> Path:
    """A bundle for the lab's machines alone."""
    command = [sys.executable, str(ROOT / "tools/bundle.py"), "--only", "3.11-x86_64", "--to", str(folder)]
    done = subprocess.run([*command, "--source", str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def _write(file: Path, document: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
