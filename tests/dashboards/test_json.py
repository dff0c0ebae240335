"""The committed dashboards: what the code builds, whole, and of the forms Grafana's own types ask for."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from haidang_wire.metrics import CATALOGUE, samples_of

from dashboards import layout, states, texts
from dashboards.boards import BOARDS, build, build_all
from dashboards.layout import LANGUAGES
from tests.conftest import ROOT, node_modules

JSON = ROOT / "dashboards/json"
FILES = sorted(JSON.glob("*/*.json"))
DECLARED = {sample for metric in CATALOGUE.values() for sample in samples_of(metric)}
RECORDED = {
    rule["record"]
    for group in yaml.safe_load((ROOT / "rules/haidang.yml").read_text())["groups"]
    for rule in group["rules"]
    if "record" in rule
}


def panels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in document["panels"]:
        yield panel
        yield from panel.get("panels", ())


def queries(document: dict[str, Any]) -> Iterator[str]:
    for panel in panels(document):
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable["query"] for variable in document["templating"]["list"] if variable["type"] == "query")
    yield from (each["expr"] for each in document["annotations"].get("list", ()))


def test_the_committed_ones_are_what_the_code_builds() -> None:
    built = build_all()
    assert {str(file.relative_to(JSON)) for file in FILES} == set(built)
    for name, text in built.items():
        assert (JSON / name).read_text(encoding="utf-8") == text, f"{name}: run make dashboards"


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_each_is_whole(file: Path) -> None:
    document = json.loads(file.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in panels(document)]
    assert len(ids) == len(set(ids))
    text = file.read_text(encoding="utf-8")
    names = {variable["name"] for variable in document["templating"]["list"]}
    for name in names:
        assert re.search(rf"\$\{{?{name}\b", text.replace(f'"name": "{name}"', "")), f"${name} is not used"
    used = set(re.findall(r"\$\{?([a-z]\w*)", " ".join(queries(document))))
    assert used <= names
    for panel in panels(document):
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= layout.WIDTH
        assert panel["targets"]
    _no_overlap(document)


def _no_overlap(document: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(document):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_queries_name_only_what_there_is(file: Path) -> None:
    for query in queries(json.loads(file.read_text(encoding="utf-8"))):
        for name in re.findall(r"(?<![\w:])(?:haidang_\w+|\w+:haidang_\w+:\w+)", query):
            assert name in DECLARED | RECORDED, f"{name} in {query}"


def test_links_lead_to_boards_with_those_variables() -> None:
    variables = {
        layout.uid(name, language): {v["name"] for v in json.loads(build(name, language).json())["templating"]["list"]}
        for name in BOARDS for language in LANGUAGES
    }  # fmt: skip
    for file in FILES:
        links = re.findall(r'"/d/(haidang-[\w-]+)\?([^"]*)"', file.read_text(encoding="utf-8"))
        assert links
        for to, rest in links:
            assert set(re.findall(r"&var-(\w+)=", rest)) <= variables[to], f"{file}: {to}"
            assert to.endswith(file.parent.name)


def test_every_panel_and_row_leads_on() -> None:
    for file in FILES:
        for panel in panels(json.loads(file.read_text(encoding="utf-8"))):
            if panel["type"] == "row":
                continue
            overrides = panel["fieldConfig"].get("overrides") or []
            of_cells = [
                each["value"] for override in overrides for each in override["properties"] if each["id"] == "links"
            ]
            links = of_cells if panel["type"] == "table" else panel["fieldConfig"]["defaults"].get("links")
            assert links, f"{file.stem}: {panel['title']}"


def test_every_text_has_its_vietnamese_and_none_is_left_over() -> None:
    said: set[str] = set()

    class Listening(dict[str, str]):
        def __getitem__(self, key: str) -> str:
            said.add(key)
            return super().__getitem__(key)

    whole = layout.VIETNAMESE
    layout.VIETNAMESE = Listening(whole)
    try:
        for name in BOARDS:
            build(name, "vi")
    finally:
        layout.VIETNAMESE = whole
    assert said == set(texts.VIETNAMESE)


def test_provisioning_reads_both_folders() -> None:
    providers = yaml.safe_load((ROOT / "dashboards/provisioning/dashboards/haidang.yaml").read_text())["providers"]
    assert {Path(each["options"]["path"]).name for each in providers} == {file.parent.name for file in FILES}
    sources = yaml.safe_load((ROOT / "dashboards/provisioning/datasources/haidang.yaml").read_text())["datasources"]
    assert [each["type"] for each in sources] == ["prometheus", "alertmanager"]
    # Grafana's own page of alerts asks the data sources that manage them.
    assert sources[0]["jsonData"]["manageAlerts"] is True


def test_what_has_no_value_is_gray_and_says_so() -> None:
    """Grafana gives what has no value the lowest colour, so that must be nobody's; and numbers it can not show."""
    for file in FILES:
        for panel in panels(json.loads(file.read_text(encoding="utf-8"))):
            if panel["type"] == "row":
                continue
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["noValue"], panel["title"]
            if panel["type"] in ("stat", "bargauge", "table", "state-timeline"):
                steps = defaults["thresholds"]["steps"]
                assert steps[0] == {"value": None, "color": states.GRAY}, panel["title"]
            if panel["type"] in ("stat", "bargauge"):
                results = {
                    each["options"]["match"]: each["options"]["result"]
                    for each in defaults["mappings"]
                    if each["type"] == "special"
                }
                assert results["null+nan"]["color"] == states.GRAY
                assert results["null+nan"]["text"] in ("Not known", "Chưa rõ", defaults["noValue"])


def test_no_zero_is_made_of_nothing() -> None:
    """`vector(0)` is only what was not measured of something known."""
    for file in FILES:
        for query in queries(json.loads(file.read_text(encoding="utf-8"))):
            assert "vector(0)" not in query or "[$__range:5m]) and on () last_over_time(" in query, query


def test_grafanas_own_types_take_them(tmp_path: Path) -> None:
    """Each dashboard as a constant of the type Dashboard of @grafana/schema, for its compiler to judge."""
    modules = node_modules()
    work = modules / ".check"
    work.mkdir(exist_ok=True)
    # The types' enumerations take no text, of which JSON is made: their values are meant. A data source adds keys of
    # its own, which a constant that is no literal any more may have.
    lines = [
        'import type { Dashboard } from "@grafana/schema";',
        "type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? readonly Plain<U>[]"
        " : T extends object ? { readonly [K in keyof T]: Plain<T[K]> } : T;",
    ]
    for number, file in enumerate(FILES):
        lines.append(f"const d{number} = {file.read_text(encoding='utf-8').strip()} as const;")
        lines.append(f"export const c{number}: Plain<Dashboard> = d{number};")
    (work / "dashboards.ts").write_text("\n".join(lines), encoding="utf-8")
    command = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext",
               "--target", "es2022", str(work / "dashboards.ts")]  # fmt: skip
    done = subprocess.run(command, cwd=modules.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[:4000]
