"""Writes the references that are generated from the code: metrics, configuration keys, the registry."""

from __future__ import annotations

import sys
from pathlib import Path

from haidang_agent import config as agent
from haidang_collector import settings as collector
from haidang_collector.registry import model as registry
from haidang_wire.metrics import CATALOGUE

DOCS = Path(__file__).resolve().parent.parent / "docs"


def metrics() -> str:
    """docs/metrics.md"""
    lines = [
        "# Metrics",
        "",
        "Generated from the catalogue (`wire/haidang_wire/metrics.py`) by `make docs`. Every metric the project",
        "emits, and every one its rules use, is here.",
        "",
        "| metric | type | labels | meaning | series |",
        "|---|---|---|---|---|",
    ]
    for name, metric in sorted(CATALOGUE.items()):
        labels = ", ".join(f"`{label}`" for label in metric.exposed_labels)
        lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.help} | {metric.cardinality} |")
    return "\n".join(lines) + "\n"


def configuration(program: str, keys: list[tuple[str, str, str, str]]) -> str:
    """docs/agent-configuration.md and docs/collector-configuration.md"""
    lines = [
        f"# Configuration of {program}",
        "",
        "A TOML file; every key may be left out. Generated from the code by `make docs`. A dot is a table:",
        "`a.b` is `b` under `[a]`. Unknown keys are refused by name.",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{key}` | {kind} | `{default}` | {text} |" for key, kind, default, text in keys]
    return "\n".join(lines) + "\n"


NAMES = """\
## Whose a name is

A name the registry gives a role belongs to a site, and only that site's tokens enrol a machine under it:

| name | belongs to |
|---|---|
| `probe` of a site | that site |
| `id` of a host | its `site` |
| `id` of a device | its `site`: an agent of that name runs on the device |
| `agent` of devices and services alone | every site over all of them: own, above (`parent`), the data center's |
| any other | nobody: any site's token gets it, with a number behind when it is taken |

So a device of a commune may be polled by the commune's, the district's or the data center's probe. To say which one it
is, name it among the `hosts`. A name that would stand at two sites, or that no site is over all of, is a fault.

An agent of another site that bears such a name (enrolled before the registry said so) keeps the name and gets none of
its work; `registry load` says so, as do the collector's log and `HaidangAgentNameForeign`. After `agents release NAME`
the right machine enrols under it. Who may say what of devices, paths and services follows from the same entries:
[security.md](security.md#names-and-devices)."""


def registry_reference() -> str:
    """docs/registry.md"""
    lines = [
        "# The registry",
        "",
        "What the province consists of, as one YAML file or a folder of them (lists of several files are joined, so",
        "that each agency may have a file of its own). Generated from the code by `make docs`; an example with",
        "comments is [examples/registry.yaml](examples/registry.yaml).",
        "",
        "`haidang-collector registry check FILE` finds faults with file, line and field; `registry load FILE` puts it",
        "in force, at once and whole; `registry routes FILE` makes Alertmanager routes of it.",
        "",
        NAMES,
    ]
    kinds = (registry.Province, registry.Site, registry.Officer, registry.Carrier, registry.Circuit, registry.End)
    others = (registry.Device, registry.Service, registry.Documents, registry.Host, registry.Targets)
    for model in (registry.Registry, *kinds, *others):
        text = " ".join((model.__doc__ or "").split())
        lines += ["", f"## {model.__name__}", "", text, "", "| key | default |", "|---|---|"]
        for name, field in model.model_fields.items():
            empty = field.default in ("", None) or isinstance(field.default, registry.Targets)
            known = "" if empty else f"`{field.default}`"
            lines.append(f"| `{name}` | {'required' if field.is_required() else known} |")
    return "\n".join(lines) + "\n"


def references() -> dict[str, str]:
    """File name under docs/ to its text."""
    return {
        "metrics.md": metrics(),
        "registry.md": registry_reference(),
        "agent-configuration.md": configuration("haidang-agent", agent.documented_keys()),
        "collector-configuration.md": configuration("haidang-collector", collector.documented_keys()),
    }


def main() -> int:
    """Write them."""
    for name, text in references().items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
