"""Ansible's inventory of agents, out of the registry."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader

from ansible.plugins.inventory import BaseInventoryPlugin

DOCUMENTATION = r"""
name: haidang_registry
short_description: Machines of Hải Đăng's registry
description:
  - Each of the registry's C(hosts) as a host of that name, with C(agent_site) and C(agent_roles).
  - Groups are C(agents), one for each level of administration (C(level_commune)), for each role (C(role_probe)), and
    for each site (C(site_xa_dong_thinh)).
  - Runs in a Python that has C(haidang[collector]), which reads the registry and says what is wrong in it.
options:
  plugin:
    description: The name of this plugin.
    required: true
    choices: [haidang_registry]
  registry:
    description: The registry, a file or a folder; a relative path is relative to this file.
    required: true
    type: str
"""


class InventoryModule(BaseInventoryPlugin):
    """Reads files named *haidang.yml or *haidang.yaml."""

    NAME = "haidang_registry"

    def verify_file(self, path: str) -> bool:
        """Whether the file may be this plugin's."""
        return bool(super().verify_file(path)) and path.endswith(("haidang.yml", "haidang.yaml"))

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            from haidang_collector.registry.file import load_registry
            from haidang_wire.errors import HaidangError
        except ImportError as error:
            raise AnsibleParserError(
                "haidang_registry needs haidang[collector] beside Ansible: run Ansible out of the project's .venv"
            ) from error
        try:
            registry = load_registry(Path(path).parent / self.get_option("registry"))
        except HaidangError as error:
            raise AnsibleParserError(str(error)) from error
        inventory.add_group("agents")
        for host in registry.hosts:
            site = registry.site(host.site)
            inventory.add_host(host.id, "agents")
            groups = [f"level_{site.level}" if site else "", f"site_{host.site}"]
            groups += [f"role_{role}" for role in host.roles]
            for group in filter(None, groups):
                inventory.add_child(inventory.add_group(group.replace("-", "_").replace(".", "_")), host.id)
            variables = {"ansible_host": host.address, "ansible_port": host.port, "ansible_user": host.user}
            variables |= {"agent_site": host.site, "agent_roles": host.roles}
            for name, value in variables.items():
                if value != "":
                    inventory.set_variable(host.id, name, value)
