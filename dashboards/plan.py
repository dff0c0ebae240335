"""Plan: are the targets met, where are they not."""

from dashboards.shared import Board
from dashboards.states import BAD, NEUTRAL, WARN, at_least, named

TITLE = "The plan"
DESCRIPTION = "The plan's figures by live evidence: province, levels, agencies, and over time."


def build(board: Board) -> None:
    board.choose("level", "Level", "label_values(haidang_plan_ratio, level)")
    none = "No figures yet: the collector makes them each minute once a registry is loaded."
    board.bars("The province", "Each figure, over all agencies.", 'haidang_plan_ratio{level="all"}', "{{figure}}",
               unit="percentunit", most=1, steps=at_least(0.5, 0.8), empty=none)  # fmt: skip
    board.bars("What is missing", "How far each figure is from its target.", "province:haidang_plan_gap:ratio > 0", "{{figure}}",
               unit="percentunit", steps=((None, WARN), (0.2, BAD)), most=1, empty=none, none=("Every target is met.", "province:haidang_plan_gap:ratio"))  # fmt: skip
    board.series("Over time", "The province's figures.", {"{{figure}}": 'haidang_plan_ratio{level="all"}'}, unit="percentunit",
                 least=0, most=1, width=24, height=9, empty=none)  # fmt: skip
    board.table("By level", "Each figure over the agencies of a level.", 'haidang_plan_ratio{level=~"$level"}',
                {"level": "Level", "figure": "Figure", "Value": "Share"}, unit="percentunit", width=12, height=10,
                steps=at_least(0.5, 0.8), empty=none)  # fmt: skip
    board.table("Agencies that do not meet a figure", "Those furthest away first.",
                f"sort({named('haidang_plan_site_ratio')} < 1)",
                {"name": "Site", "figure": "Figure", "Value": "Share"}, unit="percentunit", width=12, height=10,
                steps=at_least(0.5, 1), empty=none, none=("Every agency meets every figure.", "haidang_plan_site_ratio"),
                links={"name": board.link("site", "Site", site="${__data.fields.site}")})  # fmt: skip
    board.bars("Agencies short of a figure", "How many, by figure.", "figure:haidang_plan_unmet_sites:count", "{{figure}}",
               unit="short", steps=((None, NEUTRAL), (1, WARN)), width=12, empty=none,
               none=("Every agency meets every figure.", "haidang_plan_site_ratio"))  # fmt: skip
    board.bars("Targets", "What the plan wants.", "haidang_plan_target_ratio", "{{figure}}", unit="percentunit", most=1,
               steps=((None, NEUTRAL),), empty=none)  # fmt: skip
