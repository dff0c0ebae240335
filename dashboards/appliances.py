"""Security appliances: are they there, are they well, do they still protect."""

from dashboards.shared import Board
from dashboards.states import BAD, GOOD, NONE_WANTED, PLAIN, READ, STATES, UP, WARN, counted, named, over_time, share
from dashboards.words import ANSWERS

TITLE = "Security appliances"
DESCRIPTION = "Firewalls and the like: do they answer, licences, signatures, HA, tunnels."
_APPLIANCE = 'on (device) group_left (role) haidang_device_registry_info{role="appliance"}'


def build(board: Board) -> None:
    board.choose("site", "Site", 'label_values(haidang_device_registry_info{role="appliance"}, site)')
    of = 'site=~"$site"'
    none = "No appliance of these sites tells."
    device = board.link("device", "Device", device="${__data.fields.device}")
    board.number("Appliances", "In the registry.", f'count(haidang_device_registry_info{{role="appliance",{of}}}) or 0 * {READ}',
                 steps=PLAIN, width=6)  # fmt: skip
    board.number("Not answering", "Registered and silent.",
                 counted(f"(haidang_device_up{{{of}}} == 0) * {_APPLIANCE}", f"haidang_device_up{{{of}}} * {_APPLIANCE}"),
                 steps=NONE_WANTED, width=6, empty=none)  # fmt: skip
    board.number("Licences ended", "What they paid for protects no more.",
                 f"sum(haidang_appliance_license_ok{{{of}}} == bool 0)", steps=NONE_WANTED, width=6, empty=none)  # fmt: skip
    board.number("Agencies with one that works", "A figure of the plan.", 'haidang_plan_ratio{level="all",figure="appliance"}',
                 unit="percentunit", steps=((None, BAD), (0.7, GOOD)), width=6, empty="No figures yet.")  # fmt: skip
    board.table("Appliances", "Whether they answer.", named(f"haidang_device_up{{{of}}} * {_APPLIANCE}"),
                {"name": "Site", "device": "Device", "agent": "Agent", "Value": "Answers"}, width=12, steps=UP, words=ANSWERS, empty=none,
                links={"device": device, "name": board.link("site", "Site", site="${__data.fields.site}")})  # fmt: skip
    board.table("Licences", "How long they last.",
                named(f"sort((haidang_appliance_license_expiry_timestamp_seconds{{{of}}} - time()) / 86400)"),
                {"name": "Site", "device": "Device", "sensor": "Licence", "Value": "Ends in"}, unit=board.unit("days"), width=12,
                steps=((None, BAD), (30, WARN), (90, GOOD)), empty=none, links={"device": device})  # fmt: skip
    board.bars("Age of signatures", "Of each kind.",
               f"topk(20, (time() - haidang_appliance_signature_timestamp_seconds{{{of}}}) / 86400)", "{{device}} {{sensor}}",
               unit=board.unit("days"), steps=share(7, 14), empty=none)  # fmt: skip
    board.timeline("High availability", "Whether the pair is whole.", over_time(f"haidang_appliance_ha_ok{{{of}}}", "device, sensor"), "{{device}}",
                   {**STATES, "1": ("whole", GOOD), "0": ("broken", BAD)}, width=12, empty="No pair tells.")  # fmt: skip
    board.series("Tunnels", "VPN tunnels that are up.", {"{{device}} {{sensor}}": f"haidang_vpn_tunnels{{{of}}}"}, unit="none",
                 least=0, empty="No tunnel tells.")  # fmt: skip
    board.series("Processor and memory", "Share in use.",
                 {"{{device}} processor": f"haidang_device_cpu_utilization_ratio{{{of}}} * {_APPLIANCE}",
                  "{{device}} memory": f"haidang_device_memory_utilization_ratio{{{of}}} * {_APPLIANCE}"},
                 unit="percentunit", least=0, most=1, empty=none)  # fmt: skip
