"""Each folder says what comes in, what goes out, and what it never does."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = [ROOT / "agent/haidang_agent", ROOT / "collector/haidang_collector"]
# Data, and what alembic wants.
NO_ROOMS = {"migrations", "versions", "packaging"}
ROOMS = sorted(
    folder
    for package in PACKAGES
    for folder in package.rglob("*")
    if (folder / "__init__.py").exists() and folder.name not in NO_ROOMS
)


@pytest.mark.parametrize("room", ROOMS, ids=[str(room.relative_to(ROOT)) for room in ROOMS])
def test_each_room_says_what_it_is(room: Path) -> None:
    words = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    told = [line.partition(":")[0] for line in words.splitlines()]
    assert [each for each in told if each in ("Comes in", "Goes out", "Never")] == ["Comes in", "Goes out", "Never"]


@pytest.mark.parametrize("package", PACKAGES, ids=["agent", "collector"])
def test_each_room_has_its_place_in_the_layers(package: Path) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == [package.name]]
    placed = {name.strip() for layer in layers for name in layer.split("|")}
    there = {each.stem for each in package.iterdir() if each.suffix == ".py" or each in ROOMS}
    assert placed == there - {"__init__", "__main__"}
