"""Site: one agency: is it reached, over what, and how are its machines."""

from dashboards.shared import Board
from dashboards.states import (
    BAD,
    GOOD,
    GRAY,
    PLAIN,
    UP,
    WARN,
    at_least,
    counted,
    in_the_past,
    named_over_time,
    over_time,
    share,
)
from dashboards.words import ANSWERS, REACHED

TITLE = "Site"
DESCRIPTION = "One agency: reachability, circuits, devices, agents, workstations, the plan."


def build(board: Board) -> None:
    board.address()
    board.choose("site", "Site", "label_values(haidang_site_info, site)", several=False)
    of = '{site="$site"}'
    board.number(
        "State",
        "Whether the center reaches it.",
        f"haidang_site_up{of}",
        steps=UP,
        words=REACHED,
        empty="Nothing tells of it.",
    )
    board.number("Availability over the time shown", "Share of the measured part of the time shown in which it was reached.",
                 f"avg_over_time(haidang_site_up{of}[$__range])", unit="percentunit", decimals=3,
                 steps=in_the_past(0.995), empty="Nothing tells of it.")  # fmt: skip
    board.number("Measured", "Share of the time shown in which something told of it.",
                 f"avg_over_time((count(haidang_site_up{of}) or vector(0))[$__range:5m])"
                 f" and on () last_over_time(haidang_site_info{of}[$__range])", unit="percentunit",
                 decimals=1, steps=in_the_past(0.95), empty="Nothing tells of it.")  # fmt: skip
    board.number("Officials", "Who works there.", f"haidang_site_officials{of}", steps=PLAIN)
    board.number("Machines", "In the inventory, seen within 30 days.", f"haidang_inventory_machines{of}", width=4,
                 empty="No machine has sent an inventory yet.", link=board.link("workstations", "Workstations", site="$site"))  # fmt: skip
    board.number("Agents silent", "Agents that do not report and did not say that they stop.",
                 counted(f"haidang_agent_up{of} == 0 and haidang_agent_stopped{of} == 0", f"haidang_agent_up{of}"),
                 steps=share(1, 1), empty="No agent is enrolled.",
                 link=board.link("agents", "Agents", site="$site"))  # fmt: skip
    board.timeline("State", "Whether it was reached, and over all its circuits.",
                   named_over_time(over_time(f"haidang_site_up{of}", "site", f"2 * haidang_site_up{of} - on (site) group_left () haidang_site_degraded{of}")),
                   "{{name}}", {"2": ("up", GOOD), "1": ("degraded", WARN), "0": ("down", BAD), "-1": ("not known", GRAY)}, height=4,
                   empty="Nothing tells of it.")  # fmt: skip
    board.alerts("Alerts", "What fires here now, the gravest first.", width=24, height=5)
    board.row("The way there")
    board.table("Circuits", "Those that end here.",
                f"haidang_circuit_end_info{of} * on (circuit) group_left () haidang_circuit_up",
                {"circuit": "Circuit", "carrier": "Carrier", "device": "Device", "interface": "Port", "Value": "State"},
                width=12, steps=UP, words=REACHED, empty="No circuit with a registered port ends here.",
                links={"circuit": board.link("circuit", "Circuit", circuit="${__data.fields.circuit}")})  # fmt: skip
    board.series("Round trip from the center", "Median over five minutes.",
                 {"{{agent}}": 'target:haidang_path_round_trip:median5m{target="$site"}'}, unit="s", least=0,
                 empty="No probe asks it: give it an address.")  # fmt: skip
    board.series("Loss from the center", "Share of probes without an answer.",
                 {"{{agent}}": 'target:haidang_path_loss:ratio5m{target="$site"}'}, unit="percentunit", least=0,
                 steps=share(0.02, 0.1), empty="No probe asks it: give it an address.")  # fmt: skip
    board.table("Devices", "Whether they answer over SNMP.", f"haidang_device_up{of}",
                {"device": "Device", "agent": "Agent", "Value": "Answers"}, width=12, steps=UP, words=ANSWERS,
                empty="No device here is polled.",
                links={"device": board.link("device", "Device", device="${__data.fields.device}")})  # fmt: skip
    board.row("The plan")
    board.bars("Figures of the plan", "How far the site meets each.", f"haidang_plan_site_ratio{of}", "{{figure}}",
               unit="percentunit", steps=at_least(0.5, 1), most=1, empty="No figures yet.",
               link=board.link("plan", "The plan"))  # fmt: skip
    board.series("Power", "Mains at machines and UPSes.",
                 {"{{device}} on battery": f"haidang_ups_on_battery{of}", "{{agent}} on mains": f"haidang_host_mains_power{of}"},
                 unit="none", least=0, most=1, empty="Nothing here has a battery that tells.")  # fmt: skip
