"""Names follow the conventions, references are what the code says, and every emission is declared."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml
from haidang_wire.metric import COUNTER, HISTOGRAM, INFO
from haidang_wire.metrics import CATALOGUE, family_header

from tests.conftest import ROOT, require

sys.path.insert(0, str(ROOT / "tools"))
import references

UNITS = {"seconds", "bytes", "ratio", "celsius", "bytes_per_second", "dbm", "amperes", "volts", "watts", "rpm", "hertz"}


def test_names_follow_the_conventions() -> None:
    for name, metric in CATALOGUE.items():
        assert re.fullmatch(r"haidang(_[a-z0-9]+)+", name)
        assert name.endswith("_total") == (metric.type == COUNTER), name
        assert name.endswith("_info") == (metric.type == INFO), name
        bare = name.removesuffix("_total")
        assert metric.unit == "" or (metric.unit in UNITS and bare.endswith(f"_{metric.unit}")), name
        assert metric.help.endswith("."), name
        assert metric.type != HISTOGRAM or "le" not in metric.labels
        # Two sources of one agent may only meet in what is about a device: there each has its own.
        assert len(metric.sources) == 1 or "device" in metric.labels, name
        assert not {"site", "agent"} & set(metric.labels) or "collector" in metric.sources


def test_references_are_what_the_code_says() -> None:
    for name, text in references.references().items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name}: run make docs"


def test_every_name_in_the_agents_code_is_declared() -> None:
    """The exposition tests hold what runs here against the catalogue; this holds the rest of the
    sources, for hardware this machine does not have."""
    for file in (ROOT / "agent/haidang_agent/sources").glob("*.py"):
        for name in re.findall(r'findings\.add\(\s*"(\w+)"', file.read_text()):
            assert f"haidang_{name}" in CATALOGUE, f"{file.name}: {name}"


def test_the_collectors_own_metrics_are_declared_with_type_and_labels() -> None:
    from haidang_collector.telemetry import Telemetry

    names = set()
    for family in Telemetry().registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        names.add(name)
        metric = CATALOGUE[name]
        assert metric.type in (family.type, INFO), name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), name
    declared = {name for name, metric in CATALOGUE.items() if name.startswith("haidang_collector_")}
    assert declared == names


def test_the_example_registry_is_valid() -> None:
    from haidang_collector.registry.file import load_registry

    assert len(load_registry(ROOT / "docs/examples/registry.yaml").sites) == len(
        yaml.safe_load((ROOT / "docs/examples/registry.yaml").read_text())["sites"]
    )


def test_promtool_finds_no_fault_in_any_name_or_unit() -> None:
    text = "".join(
        family_header(metric, openmetrics=False).decode() + f"{metric.name} 1\n"
        for metric in CATALOGUE.values()
        if metric.type != HISTOGRAM
    )
    done = subprocess.run([require("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
