"""Which dashboards there are."""

from __future__ import annotations

from types import ModuleType

from dashboards import (
    agents,
    appliances,
    circuit,
    collector,
    device,
    fleet,
    plan,
    services,
    site,
    wall,
    wan,
    workstations,
)
from dashboards.layout import LANGUAGES
from dashboards.shared import Board

BOARDS: dict[str, ModuleType] = {
    "wall": wall, "wan": wan, "circuit": circuit, "site": site, "device": device, "fleet": fleet, "appliances": appliances,
    "workstations": workstations, "services": services, "plan": plan, "agents": agents, "collector": collector,
}  # fmt: skip
# A wall is looked at, not asked: it refreshes sooner and shows the day.
_REFRESH = {"wall": "10s"}
_SINCE = {"wall": "now-24h", "plan": "now-30d", "workstations": "now-24h"}


def build(name: str, language: str) -> Board:
    """One dashboard in one language."""
    module = BOARDS[name]
    board = Board(
        name, module.TITLE, module.DESCRIPTION, language, _REFRESH.get(name, "30s"), _SINCE.get(name, "now-6h")
    )
    board.head()
    module.build(board)
    return board


def build_all() -> dict[str, str]:
    """File name (`vi/wan.json`) to its text."""
    return {f"{language}/{name}.json": build(name, language).json() for language in LANGUAGES for name in BOARDS}
