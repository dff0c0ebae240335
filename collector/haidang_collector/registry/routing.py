"""Alertmanager routes from the registry: each site's IT officer hears of that site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from haidang_wire.errors import ConfigError

from haidang_collector.registry.model import Registry, Site


def officers(registry: Registry) -> dict[str, list[str]]:
    """E-mail address → the sites it answers for: its own, and those below that name nobody."""
    sites = {site.id: site for site in registry.sites}
    found: dict[str, list[str]] = {}
    for site in registry.sites:
        at: Site | None = site
        while at is not None and not (at.it_officer and at.it_officer.email):
            at = sites.get(at.parent)
        if at is not None and at.it_officer:
            found.setdefault(at.it_officer.email, []).append(site.id)
    return found


def with_officers(base: Path, registry: Registry) -> str:
    """The Alertmanager configuration at base with a route and a receiver for each officer.

    The officers' routes stand first and pass on to the operators' (`continue`). Raises
    ConfigError for a file that is no Alertmanager configuration.
    """
    try:
        config: Any = yaml.safe_load(base.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"can't be read: {error}", where=str(base)) from error
    try:
        routes, receivers = config["route"].setdefault("routes", []), config["receivers"]
        taken = {receiver["name"] for receiver in receivers}
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "is no Alertmanager configuration: `route` and `receivers` are needed", where=str(base)
        ) from error
    added = []
    for address, sites in sorted(officers(registry).items()):
        name = f"officer {address}"
        if name in taken:
            raise ConfigError(
                f"receiver {name!r} is there already", where=str(base), remedy="Give the file without officers"
            )
        one_of = "|".join(site.replace(".", "[.]") for site in sites)
        matchers = ['severity=~"critical|warning"', f'site=~"{one_of}"']
        added.append({"receiver": name, "matchers": matchers, "group_by": ["site", "alertname"], "continue": True})
        mail = {
            "to": address,
            "send_resolved": True,
            "headers": {"Subject": '{{ template "haidang.subject" . }}'},
            "html": '{{ template "haidang.email" . }}',
        }
        receivers.append({"name": name, "email_configs": [mail]})
    config["route"]["routes"] = added + routes
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False, width=120)
