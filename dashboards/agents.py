"""Agents: who reports, with which version, what waits, whose clock is wrong."""

from dashboards.shared import Board
from dashboards.states import BAD, NONE_WANTED, PLAIN, UP, counted, named, share

TITLE = "Agents"
DESCRIPTION = "Agents: versions, clocks, spools, late data, sources that fail."


def build(board: Board) -> None:
    board.choose("site", "Site", "label_values(haidang_agent_up, site)")
    of = 'site=~"$site"'
    site = board.link("site", "Site", site="${__data.fields.site}")
    none = "No agent is enrolled."
    silent = f"haidang_agent_up{{{of}}} == 0 and haidang_agent_stopped{{{of}}} == 0"
    board.number("Agents up", "Reporting now.", f"sum(haidang_agent_up{{{of}}})", steps=UP, empty=none)
    board.number("Silent", "Not reporting, and did not say that they stop.",
                 counted(silent, f"haidang_agent_up{{{of}}}"), steps=NONE_WANTED, empty=none)  # fmt: skip
    board.number(
        "Switched off", "Stopped in an orderly way.", f"sum(haidang_agent_stopped{{{of}}})", steps=PLAIN, empty=none
    )
    board.number("Wrong clocks", "More than a minute off.", f"sum(abs(haidang_agent_clock_offset_seconds{{{of}}}) > bool 60)",
                 steps=share(1, 20), empty=none)  # fmt: skip
    board.number("Failing sources", "Sources whose last run failed.",
                 f"sum(haidang_agent_source_up{{{of}}} == bool 0)", steps=share(1, 20), empty=none)  # fmt: skip
    board.number(
        "Reports that wait", "In all spools.", f"sum(haidang_agent_spool_reports{{{of}}})", steps=PLAIN, empty=none
    )
    board.bars("Versions", "Agents by version.", f"count by (version) (haidang_agent_info{{{of}}})", "{{version}}", unit="short",
               width=8, empty=none)  # fmt: skip
    board.bars("Pythons", "Agents by Python.", f"count by (python) (haidang_agent_info{{{of}}})", "{{python}}", unit="short", width=8,
               empty=none)  # fmt: skip
    board.bars("Fullest spools", "Share of the bound.",
               f"topk(12, haidang_agent_spool_bytes{{{of}}} / haidang_agent_spool_limit_bytes{{{of}}})", "{{agent}}",
               unit="percentunit", width=8, most=1, steps=share(0.5, 0.8), empty=none)  # fmt: skip
    board.table("Silent agents", "Since when nothing came.",
                f"sort_desc({named(f'(time() - haidang_agent_last_report_timestamp_seconds{{{of}}})')}"
                f" and on (site, agent) ({silent}))",
                {"name": "Site", "agent": "Agent", "Value": "Silent for"}, unit="dthms", width=12, steps=((None, BAD),),
                empty=none, none=("Every agent reports.", f"haidang_agent_up{{{of}}}"), links={"name": site})  # fmt: skip
    board.table("Clocks", "The furthest off.", named(f"topk(20, abs(haidang_agent_clock_offset_seconds{{{of}}}))"),
                {"name": "Site", "agent": "Agent", "Value": "Off by"}, unit="s", width=12, steps=share(60, 3600), empty=none,
                links={"name": site})  # fmt: skip
    board.series("Agents up", "Over time.", {"Up": f"sum(haidang_agent_up{{{of}}})"}, unit="short", least=0, empty=none)
    board.series("Late data", "Reports a second that came late, and what waits for remote write.",
                 {"Late": 'sum(rate(haidang_collector_reports_total{outcome="late"}[$__rate_interval]))',
                  "Waiting": "haidang_collector_late_reports_waiting"}, unit="short", least=0)  # fmt: skip
    board.series("Agents' memory", "The largest.", {"{{agent}}": f"topk(10, haidang_agent_resident_memory_bytes{{{of}}})"},
                 unit="bytes", least=0, empty=none)  # fmt: skip
    board.series("Failed deliveries", "A minute, by reason.",
                 {"{{reason}}": f"sum by (reason) (rate(haidang_agent_uplink_failures_total{{{of}}}[$__rate_interval])) * 60"},
                 unit="short", least=0, empty=none)  # fmt: skip
