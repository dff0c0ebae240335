"""Sources measure; the schedule times, isolates and counts them.

A source is one file with one class: a `name`, and `collect()`, which returns what it found
and may raise what its libraries raise; one that keeps its own time has `run()` too. To add
one: write the file, give it a table in `config.SourcesConfig`, and build it in `build()`.
"""

from __future__ import annotations

from pathlib import Path

from haidang_agent.assignment import Assignments
from haidang_agent.config import AgentConfig
from haidang_agent.source import Source, StandingSource
from haidang_agent.sources.host import Host
from haidang_agent.sources.reachability import Reachability


def build(config: AgentConfig, device: str, assignments: Assignments) -> list[Source | StandingSource]:
    """The enabled sources; `device` names this machine in interface metrics."""
    sources: list[Source | StandingSource] = []
    if config.sources.host.enabled:
        sources.append(Host(device))
    if config.sources.reachability.enabled:
        sources.append(Reachability(config.sources.reachability))
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
