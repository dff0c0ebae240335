"""Circuit: one line, everything that tells of it."""

from dashboards.shared import Board
from dashboards.states import BAD, PLAIN, READ, STATES, UP, circuit_states, in_the_past, named, share
from dashboards.words import REACHED

TITLE = "Circuit"
DESCRIPTION = "One circuit: what it is, its state, its probes, its ports and their light."


def build(board: Board) -> None:
    board.choose("circuit", "Circuit", "label_values(haidang_circuit_info, circuit)", several=False)
    ends = '* on (device, interface) group_left (circuit) haidang_circuit_end_info{circuit="$circuit"}'
    board.number("State", "Whether it carries traffic.", 'haidang_circuit_up{circuit="$circuit"}', steps=UP, words=REACHED,
                 empty="Nothing tells of it.")  # fmt: skip
    board.number("Availability over the time shown", "Share of the measured part of the time shown in which it carried traffic.",
                 'avg_over_time(haidang_circuit_up{circuit="$circuit"}[$__range])', unit="percentunit", decimals=3,
                 steps=in_the_past(0.995), empty="Nothing tells of it.")  # fmt: skip
    board.number("Measured", "Share of the time shown in which something told of it.",
                 'avg_over_time((count(haidang_circuit_up{circuit="$circuit"}) or vector(0))[$__range:5m])'
                 ' and on () last_over_time(haidang_circuit_info{circuit="$circuit"}[$__range])', unit="percentunit",
                 decimals=1, steps=in_the_past(0.95), empty="Nothing tells of it.")  # fmt: skip
    board.number("SLA budget used", "Of the downtime its SLA allows this month.",
                 'haidang_circuit_sla_budget_used_ratio{circuit="$circuit"}', unit="percentunit", steps=share(0.5, 1),
                 empty="It has no SLA in the registry.")  # fmt: skip
    board.number("Bandwidth", "As registered.", 'haidang_circuit_bandwidth_bytes_per_second{circuit="$circuit"} * 8', unit="bps",
                 steps=PLAIN, empty="No bandwidth is registered.")  # fmt: skip
    board.number("Loss now", "Share of probes without an answer, over five minutes.",
                 'max(target:haidang_path_loss:ratio5m{target="$circuit"})', unit="percentunit", steps=share(0.02, 0.1),
                 empty="No probe runs along it.")  # fmt: skip
    board.table(
        "What it is", "From the registry.", named('haidang_circuit_end_info{circuit="$circuit"}'),
        {"name": "Site", "device": "Device", "interface": "Port", "carrier": "Carrier"}, width=12, height=5,
        empty="Its ports are not registered.",
        links={"name": board.link("site", "Site", site="${__data.fields.site}"),
               "device": board.link("device", "Device", device="${__data.fields.device}")},
    )  # fmt: skip
    board.table(
        "Wrong cables", "Cables at its ports that do not run as the registry says.",
        'haidang_circuit_mismatch_info{circuit="$circuit"}',
        {"device": "Device", "interface": "Port", "problem": "Problem", "expected": "Expected", "found": "Found"},
        width=12, height=5, steps=((None, BAD),),
        none=("No cable of it is known to run otherwise.", READ),
    )  # fmt: skip
    board.timeline("State", "Whether it carried traffic.", circuit_states('circuit="$circuit"'), "{{circuit}}",
                   STATES, height=4, empty="Nothing tells of it.")  # fmt: skip
    board.row("Probes")
    board.series(
        "Round trip", "Median and 99th percentile, over five minutes.",
        {"Median": 'max(target:haidang_path_round_trip:median5m{target="$circuit"})',
         "99th percentile": 'max(target:haidang_path_round_trip:p99_5m{target="$circuit"})',
         "Usual (median of a day)": 'max(target:haidang_path_round_trip:median1d{target="$circuit"})'},
        unit="s", least=0, empty="No probe runs along it: give its ends addresses.",
    )  # fmt: skip
    board.series("Loss", "Share of probes without an answer, over five minutes.",
                 {"{{agent}}": 'target:haidang_path_loss:ratio5m{target="$circuit"}'}, unit="percentunit", least=0,
                 steps=share(0.02, 0.1), empty="No probe runs along it: give its ends addresses.")  # fmt: skip
    board.series("Delay variation", "Between packets that follow each other (RFC 3550).",
                 {"{{agent}} {{protocol}}": 'haidang_path_delay_variation_seconds{target="$circuit"}'}, unit="s", least=0,
                 empty="No probe runs along it: give its ends addresses.")  # fmt: skip
    board.series("Hops", "Routers on the way; a change is another route.",
                 {"{{agent}}": 'haidang_path_hops{target="$circuit"}'}, unit="none", least=0,
                 empty="No probe runs along it: give its ends addresses.")  # fmt: skip
    board.row("Ports at its ends")
    board.series(
        "Traffic", "Received above, sent below (at each end).",
        {"{{device}} {{interface}} in": f"rate(haidang_interface_receive_bytes_total[$__rate_interval]) {ends}",
         "{{device}} {{interface}} out": f"-rate(haidang_interface_transmit_bytes_total[$__rate_interval]) {ends}"},
        unit="Bps", empty="Its ports are not polled.",
    )  # fmt: skip
    board.series("Errors", "Packets a minute that came broken.",
                 {"{{device}} {{interface}}": f"60 * rate(haidang_interface_receive_errors_total[$__rate_interval]) {ends}"},
                 unit="none", least=0, empty="Its ports are not polled.")  # fmt: skip
    board.series("Received light", "Power at each end.",
                 {"{{device}} {{interface}}": f"haidang_optical_receive_power_dbm {ends}"}, unit="dBm",
                 empty="Its ports have no optics that tell.")  # fmt: skip
