"""Security appliances: are they there, are they well, do they still protect."""

from dashboards.shared import NONE_WANTED, PLAIN, UP, Board, share

TITLE = "Security appliances"
DESCRIPTION = "Firewalls and the like: do they answer, licences, signatures, HA, tunnels."
_APPLIANCE = 'on (device) group_left (role) haidang_device_registry_info{role="appliance"}'


def build(board: Board) -> None:
    board.choose("site", "Site", 'label_values(haidang_device_registry_info{role="appliance"}, site)')
    of = 'site=~"$site"'
    none = "No appliance of these sites tells."
    device = board.link("device", "Device", device="${__data.fields.device}")
    board.number("Appliances", "In the registry.", f'count(haidang_device_registry_info{{role="appliance",{of}}}) or vector(0)',
                 steps=PLAIN, width=6)  # fmt: skip
    board.number("Not answering", "Registered and silent.",
                 f"count((haidang_device_up{{{of}}} == 0) * {_APPLIANCE}) or vector(0)", steps=NONE_WANTED, width=6)  # fmt: skip
    board.number("Licences ended", "What they paid for protects no more.",
                 f"count(haidang_appliance_license_ok{{{of}}} == 0) or vector(0)", steps=NONE_WANTED, width=6)  # fmt: skip
    board.number("Agencies with one that works", "A figure of the plan.", 'haidang_plan_ratio{level="all",figure="appliance"}',
                 unit="percentunit", steps=((None, "#D55E00"), (0.7, "#009E73")), width=6, empty="No figures yet.")  # fmt: skip
    board.table("Appliances", "Whether they answer.", f"haidang_device_up{{{of}}} * {_APPLIANCE}",
                {"site": "Site", "device": "Device", "agent": "Agent", "Value": "Answers"}, width=12, steps=UP, empty=none,
                links={"device": device, "site": board.link("site", "Site", site="${__data.fields.site}")})  # fmt: skip
    board.table("Licences", "How long they last.",
                f"sort(haidang_appliance_license_expiry_timestamp_seconds{{{of}}} - time())",
                {"site": "Site", "device": "Device", "sensor": "Licence", "Value": "Ends in"}, unit="s", width=12,
                steps=((None, "#D55E00"), (2592000, "#E69F00"), (7776000, "#009E73")), empty=none, links={"device": device})  # fmt: skip
    board.bars("Age of signatures", "Of each kind.",
               f"topk(20, time() - haidang_appliance_signature_timestamp_seconds{{{of}}})", "{{device}} {{sensor}}", unit="s",
               steps=share(604800, 1209600), empty=none)  # fmt: skip
    board.timeline("High availability", "Whether the pair is whole.", f"haidang_appliance_ha_ok{{{of}}}", "{{device}}",
                   {"1": ("whole", "#009E73"), "0": ("broken", "#D55E00")}, width=12, empty="No pair tells.")  # fmt: skip
    board.series("Tunnels", "VPN tunnels that are up.", {"{{device}} {{sensor}}": f"haidang_vpn_tunnels{{{of}}}"}, unit="none",
                 least=0, empty="No tunnel tells.")  # fmt: skip
    board.series("Processor and memory", "Share in use.",
                 {"{{device}} processor": f"haidang_device_cpu_utilization_ratio{{{of}}} * {_APPLIANCE}",
                  "{{device}} memory": f"haidang_device_memory_utilization_ratio{{{of}}} * {_APPLIANCE}"},
                 unit="percentunit", least=0, most=1, empty=none)  # fmt: skip
