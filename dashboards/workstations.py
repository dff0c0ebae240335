"""Workstations: what machines there are, and in what state."""

from dashboards.shared import Board
from dashboards.states import BAD, GOOD, NONE_WANTED, PLAIN, WARN, named, share

TITLE = "Workstations"
DESCRIPTION = "Machines of the inventory: systems, protection, disks, memory, what is missing."


def build(board: Board) -> None:
    board.choose("site", "Site", "label_values(haidang_site_info, site)")
    of = 'site=~"$site"'
    none = "No machine has sent an inventory yet."
    supported = f"haidang_workstation_support_ends_timestamp_seconds{{{of}}}"
    protected = f"haidang_workstation_antivirus_on{{{of}}}"
    disks, machines = f"haidang_workstation_disk_healthy{{{of}}}", f"haidang_inventory_machines{{{of}}}"
    site = board.link("site", "Site", site="${__data.fields.site}")
    board.number(
        "Machines", "Seen within 30 days.", f"sum(haidang_inventory_machines{{{of}}})", steps=PLAIN, empty=none
    )
    board.number("Missing", "Not seen for 30 days.", f"sum(haidang_inventory_machines_missing{{{of}}})",
                 steps=share(1, 20), empty=none)  # fmt: skip
    board.number("System past its support", "Holes in it are closed no more.",
                 f"sum(site:haidang_workstations_unsupported:count{{{of}}}) or 0 * count({supported})",
                 steps=NONE_WANTED, empty=none)  # fmt: skip
    board.number("Without protection", "Antivirus off, or signatures older than a week.",
                 f"sum(site:haidang_workstations_unprotected:count{{{of}}}) or 0 * count({protected})",
                 steps=NONE_WANTED, empty=none)  # fmt: skip
    board.number("Failing disks", "Disks that foretell their own failure.",
                 f"sum({disks} == bool 0)", steps=NONE_WANTED, empty=none)  # fmt: skip
    board.number("Copies of one disk", "Machines that share a machine id or an agent.",
                 f"sum(haidang_inventory_clones{{{of}}}) or 0 * count({machines})",
                 steps=NONE_WANTED, empty=none)  # fmt: skip
    board.bars("Systems", "Machines by system.", f"sort_desc(count by (system) (haidang_workstation_info{{{of}}}))", "{{system}}",
               unit="short", width=8, empty=none)  # fmt: skip
    board.bars("Models", "The commonest.", f"topk(12, count by (manufacturer, model) (haidang_workstation_info{{{of}}}))",
               "{{manufacturer}} {{model}}", unit="short", width=8, empty=none)  # fmt: skip
    board.bars("Kinds", "Desktops, laptops, servers, virtual machines.",
               f"sort_desc(count by (chassis) (haidang_workstation_info{{{of}}}))", "{{chassis}}", unit="short", width=8, empty=none)  # fmt: skip
    board.table("Failing disks", "To be replaced.", named(f"({disks} == 0)"),
                {"name": "Site", "agent": "Machine", "disk": "Disk"}, width=12, empty=none, none=("No disk foretells its failure.", disks),
                links={"name": site})  # fmt: skip
    board.table("Without protection", "By site.", named(f"sort_desc(site:haidang_workstations_unprotected:count{{{of}}})"),
                {"name": "Site", "Value": "Machines"}, width=12, steps=NONE_WANTED, empty=none, none=("Every machine is protected.", protected),
                links={"name": site})  # fmt: skip
    board.table("System past its support", "By site.", named(f"sort_desc(site:haidang_workstations_unsupported:count{{{of}}})"),
                {"name": "Site", "Value": "Machines"}, width=12, steps=NONE_WANTED, empty=none, none=("Every system is supported.", supported),
                links={"name": site})  # fmt: skip
    board.bars("Updates that wait", "The sites with most, security updates alone.",
               named(f"topk(15, sum by (site) (haidang_workstation_updates_security_pending{{{of}}}))"), "{{name}}", unit="short",
               steps=share(10, 100), empty=none)  # fmt: skip
    board.bars("Coverage", "Share of the devices on a site's networks that are in inventory or registry, the worst first.",
               named(f"bottomk(15, haidang_inventory_coverage_ratio{{{of}}})"), "{{name}}", unit="percentunit", most=1,
               steps=((None, BAD), (0.8, WARN), (0.95, GOOD)),
               empty="No agent looks at its networks (sources.lan).")  # fmt: skip
    board.table("New on sensitive networks", "Devices first seen within 24 hours.", named(f"(haidang_network_devices_new{{{of}}} > 0)"),
                {"name": "Site", "Value": "Devices"}, width=12, steps=NONE_WANTED, empty="No agent looks at its networks (sources.lan).",
                none=("Nothing is new.", f"haidang_network_devices_new{{{of}}}"),
                links={"name": site})  # fmt: skip
    board.table("Claimed by two sites", "Machines that two sites say are theirs.", named(f"(haidang_inventory_machines_disputed{{{of}}} > 0)"),
                {"name": "Site", "Value": "Machines"}, width=12, steps=NONE_WANTED, empty=none, none=("No machine is in dispute.", machines),
                links={"name": site})  # fmt: skip
