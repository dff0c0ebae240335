"""What is installed is named with its hashes, and by no registry's address."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(
    ("lock", "extras"), [("developer.txt", ("probe", "collector", "dev")), ("machines.txt", ("probe", "collector"))]
)
def test_a_lock_has_all_that_the_project_wants(lock: str, extras: tuple[str, ...]) -> None:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in PROJECT["optional-dependencies"][extra])]
    if lock == "developer.txt":  # for Python 3.11 and later alone
        wanted = [each for each in wanted if "< '3.11'" not in each]
    names = {re.split(r"[^\w.-]", each)[0].lower().replace("_", "-") for each in wanted}
    entries = re.split(r"\n(?=\S)", text.strip())
    locked = {entry.partition("==")[0].partition("[")[0].lower() for entry in entries}
    assert names <= locked, "make lock"
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert "://" not in text
