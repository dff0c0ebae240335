"""WAN: the circuits of every carrier against what it promised."""

from dashboards.shared import Board
from dashboards.states import (
    BAD,
    GRAY,
    JUDGED,
    NEUTRAL,
    NONE_WANTED,
    READ,
    STATES,
    UP,
    WARN,
    at_least,
    in_the_past,
    named,
    not_always,
    over_time_of,
    share,
    targets_named,
)

TITLE = "WAN"
DESCRIPTION = "Circuits by carrier: state, availability against the SLA, delay, loss by direction, load."


def build(board: Board) -> None:
    board.choose("carrier", "Carrier", "label_values(haidang_circuit_info, carrier)")
    board.choose("circuit", "Circuit", 'label_values(haidang_circuit_info{carrier=~"$carrier"}, circuit)')
    circuit = board.link("circuit", "Circuit", circuit="${__data.fields.circuit}")
    chosen = 'carrier=~"$carrier",circuit=~"$circuit"'
    target = 'target=~"$circuit"'
    board.row("Now")
    board.number("Circuits up", "Circuits that carry traffic.", f"sum(haidang_circuit_up{{{chosen}}})", steps=UP,
                 empty="No circuit of these is watched.")  # fmt: skip
    board.number("Circuits down", "Circuits that carry nothing.", f"sum(haidang_circuit_up{{{chosen}}} == bool 0)",
                 steps=NONE_WANTED)  # fmt: skip
    board.number("Open outages", "Failures that are not over, planned work left out.",
                 f'count(haidang_outage_open{{planned="0"}}) or 0 * max({JUDGED})', steps=NONE_WANTED)  # fmt: skip
    board.number("Wrong cables", "Cables that do not run as the registry says.",
                 f"count(haidang_circuit_mismatch_info) or 0 * {READ}", steps=NONE_WANTED)  # fmt: skip
    board.number("Circuits not measured", "Circuits of which nothing tells whether they carry traffic.",
                 f"sum(haidang_circuit_measured{{{chosen}}} == bool 0)", steps=((None, NEUTRAL), (1, GRAY)))  # fmt: skip
    board.number("SLA budgets used up", "Circuits that were down longer this month than their SLA allows.",
                 f"sum(haidang_circuit_sla_budget_used_ratio{{{chosen}}} >= bool 1)", steps=NONE_WANTED,
                 empty="No circuit of these has an SLA in the registry.")  # fmt: skip
    board.timeline(
        "State of circuits", "Circuits that were not up, or not measured, all the time.",
        over_time_of(
            f"haidang_circuit_up{{{chosen}}}", "circuit",
            f"{not_always(f'haidang_circuit_up{{{chosen}}}')} or on (circuit)"
            f" {not_always(f'haidang_circuit_measured{{{chosen}}}')}",
        ),
        "{{circuit}}", STATES, rest=("All other circuits", f"haidang_circuit_up{{{chosen}}}", 1),
        link=board.link("circuit", "Circuit", circuit="${__field.labels.circuit}"),
    )  # fmt: skip
    board.row("Service level")
    board.table(
        "Availability against the SLA", "Share of this month's allowed downtime that is used; 100% is all of it.",
        f"sort_desc(haidang_circuit_sla_budget_used_ratio{{{chosen}}}"
        " * on (circuit) group_left (carrier_circuit) haidang_circuit_info)",
        {"circuit": "Circuit", "carrier": "Carrier", "carrier_circuit": "Carrier's number", "Value": "Budget used"},
        unit="percentunit", width=12, steps=share(0.5, 1), empty="No circuit of these has an SLA in the registry.",
        links={"circuit": circuit},
    )  # fmt: skip
    board.bars(
        "Availability over the time shown",
        "Share of the measured part of the time shown in which the circuit carried traffic, the worst first.",
        f"bottomk(15, avg_over_time(haidang_circuit_up{{{chosen}}}[$__range]))", "{{circuit}}", unit="percentunit",
        steps=in_the_past(0.995), least=0.9, most=1, width=6, empty="No circuit of these is watched.",
    )  # fmt: skip
    board.bars(
        "Measured this month", "Share of the month so far in which something told of the circuit, the least first.",
        f"bottomk(15, haidang_circuit_measured_ratio{{{chosen}}})", "{{circuit}}", unit="percentunit",
        steps=at_least(0.5, 0.95), most=1, width=6, empty="No circuit of these is watched.",
    )  # fmt: skip
    board.row("Quality")
    board.heat(
        "Round trip times", "How many probes took how long, all circuits chosen together.",
        f"sum by (le) (target:haidang_path_round_trip_distribution:rate5m{{{target}}})", unit="s",
        empty="No probe runs along these circuits: give their ends addresses.",
    )  # fmt: skip
    board.series(
        "Loss", "Share of probes without an answer, over five minutes.",
        {"{{name}}": targets_named(f"topk(10, target:haidang_path_loss:ratio5m{{{target}}})")}, unit="percentunit",
        steps=share(0.02, 0.1), least=0, empty="No probe runs along these circuits: give their ends addresses.",
    )  # fmt: skip
    board.series(
        "Loss by direction", "Packets a minute that were lost there and back (STAMP knows which).",
        {f"{{{{target}}}} {direction}": f'topk(5, 60 * target_direction:haidang_path_lost:rate5m{{direction="{direction}"}})'
         for direction in ("there", "back")}, unit="none",
        least=0, empty="No path is measured with STAMP: give sites a stamp_port.",
    )  # fmt: skip
    board.series(
        "Delay against its own usual", "The median round trip, over its median of the last day.",
        {"{{name}}": targets_named(f"topk(10, target:haidang_path_round_trip:median5m{{{target}}}"
                                   f" / target:haidang_path_round_trip:median1d{{{target}}})")},
        unit="none", steps=share(2, 4), empty="There is no day of measurements yet.",
    )  # fmt: skip
    board.row("Load")
    board.series(
        "Use against bandwidth", "Of the busier direction at the nearer end.",
        {"{{circuit}}": f"topk(10, circuit:haidang_circuit_utilization:ratio5m{{{chosen}}})"}, unit="percentunit",
        steps=share(0.7, 0.9), least=0, empty="No port of these circuits is polled, or no bandwidth is registered.",
    )  # fmt: skip
    board.bars(
        "95th percentile of the time shown", "What carriers bill by: 95% of the time less was used.",
        f"topk(15, quantile_over_time(0.95, circuit:haidang_circuit_utilization:ratio5m{{{chosen}}}[$__range]))",
        "{{circuit}}", unit="percentunit", steps=((None, NEUTRAL), (0.7, WARN), (0.9, BAD)), most=1,
        empty="No port of these circuits is polled, or no bandwidth is registered.",
    )  # fmt: skip
    board.table(
        "Top talkers", "Ports with most traffic now, both directions together.",
        named("topk(15, sum by (site, device, interface) (interface:haidang_interface_octets:rate5m))"),
        {"name": "Site", "device": "Device", "interface": "Port", "Value": "Traffic"}, unit="Bps", width=12,
        empty="No port is polled.", links={"device": board.link("device", "Device", device="${__data.fields.device}")},
    )  # fmt: skip
    board.series(
        "Forecast of use", "A week ahead, by the slope of the last two days.",
        {"{{circuit}}": f"topk(10, circuit:haidang_circuit_utilization:predict7d{{{chosen}}})"}, unit="percentunit",
        steps=share(0.7, 0.9), least=0, empty="There is no day of measurements yet.",
    )  # fmt: skip
