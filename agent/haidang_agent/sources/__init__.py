"""Comes in: settings and the assignment.
Goes out: sources, each one file with one class: a `name`, and `collect()`, which returns what it found and may raise
what its libraries raise; one that keeps its own time has `run()` too.
Never: a source that knows another.

To add one: write the file, give it a table in `config.SourcesConfig`, and build it in `build()`.
"""

from __future__ import annotations

from pathlib import Path

from haidang_agent.config import AgentConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.delivery.spool import Spool
from haidang_agent.schedule.source import Source, StandingSource
from haidang_agent.sources.host import Host
from haidang_agent.sources.inventory import Inventory
from haidang_agent.sources.reachability import Reachability


def build(
    config: AgentConfig, device: str, assignments: Assignments, spool: Spool | None = None
) -> list[Source | StandingSource]:
    """The enabled sources; `device` names this machine in interface metrics. Without a spool nothing is delivered,
    and every source says everything."""
    sources: list[Source | StandingSource] = []
    if config.sources.host.enabled:
        sources.append(Host(device))
    if config.sources.inventory.enabled:
        with_user = lambda: assignments.current.last_user  # noqa: E731 (it changes while the agent runs)
        sources.append(Inventory(config.sources.inventory, device, Path(config.state_dir), spool, with_user))
    if config.sources.reachability.enabled:
        sources.append(Reachability(config.sources.reachability))
    if config.sources.services.enabled:
        from haidang_agent.sources.services import Services

        sources.append(Services(config.sources.services, lambda: assignments.current.services))
    if config.sources.lan.enabled:
        from haidang_agent.sources.lan import Lan

        sources.append(Lan(config.sources.lan, device))
    if config.sources.transceivers.enabled:
        from haidang_agent.sources.transceivers import Transceivers

        sources.append(Transceivers(device))
    if config.sources.lldp.enabled:
        from haidang_agent.sources.lldp import Lldp

        sources.append(Lldp(device))
    if config.sources.links.enabled:
        from haidang_agent.sources.links import Links

        sources.append(Links(device, config.sources.links))
    if config.sources.paths.enabled:
        from haidang_agent.sources.paths import Paths

        sources.append(Paths(config.sources.paths, assignments))
    if config.sources.reflector.enabled:
        from haidang_agent.sources.reflector import Reflector

        sources.append(Reflector(config.sources.reflector))
    if config.sources.snmp.enabled:
        # Only a probe has the libraries for it, and pays for them.
        from haidang_agent.snmp import not_installed

        try:
            from haidang_agent.sources.snmp import Snmp
        except ImportError as error:
            raise not_installed(error) from error
        sources.append(Snmp(config.sources.snmp, assignments, Path(config.state_dir)))
    return sources
