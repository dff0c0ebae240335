"""Province wall: for a screen on the wall, readable from five metres: few panels, large."""

from dashboards.shared import Board
from dashboards.states import (
    GRAY,
    JUDGED,
    NONE_WANTED,
    PLAIN,
    STATES,
    UP,
    at_least,
    named,
    named_over_time,
    not_always,
    over_time_of,
    share,
    targets_named,
)

TITLE = "Province wall"
DESCRIPTION = "For a screen on the wall: what is down, since when and why; the worst links; the plan."


def build(board: Board) -> None:
    board.address()
    wan, site = board.link("wan", "Circuits"), board.link("site", "Site", site="${__data.fields.site}")
    board.number("Sites up", "Sites the center reaches now.", "sum(haidang_site_up)", steps=UP,
                 empty="No site is watched: give sites an address and the center a probe", link=wan)  # fmt: skip
    board.number("Sites degraded", "Sites that are reached while a circuit of theirs carries nothing.",
                 "sum(haidang_site_degraded)", steps=share(1, 10), link=wan)  # fmt: skip
    board.number("Sites down", "Sites the center does not reach.", "sum(haidang_site_up == bool 0)",
                 steps=NONE_WANTED, link=wan)  # fmt: skip
    board.number("Sites not known", "Sites of the registry of which nothing tells whether they are reached.",
                 "count(haidang_site_info unless on (site) haidang_site_up) or 0 * count(haidang_site_info)",
                 steps=((None, PLAIN[0][1]), (1, GRAY)), link=wan)  # fmt: skip
    board.number("Officials cut off", "Officials of the sites that are down.", f"sum(haidang_outage_officials) or 0 * max({JUDGED})",
                 steps=NONE_WANTED, link=wan)  # fmt: skip
    board.number("Open outages", "Failures that are not over, planned work left out.",
                 f'count(haidang_outage_open{{planned="0"}}) or 0 * max({JUDGED})', steps=NONE_WANTED, link=wan)  # fmt: skip
    cause = f"cause_{board.language}"
    opened = named('haidang_outage_open{planned="0"}')
    board.table(
        "Active outages", "One row a failure: where, why, since when, who is behind it.",
        "sort_desc((time() - haidang_outage_start_timestamp_seconds)"
        f" * on (outage) group_left ({cause}) haidang_outage_info * on (outage) group_left (kind, site, circuit, carrier)"
        f" {opened})",
        {"name": "Site", "circuit": "Circuit", "carrier": "Carrier", cause: "Cause", "Value": "For"},
        unit="dthms", width=14, height=7, steps=share(300, 3600), none=("No outage is open.", JUDGED),
        empty="Not known: the collector does not tell of outages.", links={"name": site}, widths={"Value": 120},
    )  # fmt: skip
    board.alerts("Alerts somebody must act on", "What fires now, the gravest first.", width=10, height=7,
                 severities=("critical", "warning"))  # fmt: skip
    board.timeline(
        "Sites over the day", "Each site that was not up all the time.",
        named_over_time(over_time_of("haidang_site_up", "site", not_always("haidang_site_up"))), "{{name}}",
        STATES, width=14, height=8, rest=("All other sites", "haidang_site_up", 1),
        link=board.link("site", "Site", site="${__field.labels.site}"),
    )  # fmt: skip
    board.bars(
        "The plan", "How far the province meets each figure of the plan.", 'haidang_plan_ratio{level="all"}', "{{figure}}",
        unit="percentunit", width=10, height=8, steps=at_least(0.5, 0.8), most=1, link=board.link("plan", "The plan"),
        empty="No figures yet: the collector makes them each minute once a registry is loaded.",
    )  # fmt: skip
    board.bars(
        "Worst links", "Circuits and sites whose probes lost most in ten minutes.",
        targets_named("topk(8, target:haidang_path_loss:ratio10m > 0.005)"), "{{name}}", unit="percentunit", width=24, height=5,
        steps=share(0.02, 0.1), most=1, none=("No link loses more than half a percent.", "target:haidang_path_loss:ratio10m"),
        empty="Not known: no probe has measured for ten minutes.",
    )  # fmt: skip
