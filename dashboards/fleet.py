"""Fleet: every circuit and device, one row each, what hurts first."""

from dashboards.shared import Board, Look
from dashboards.states import UP, named, share
from dashboards.words import ANSWERS, REACHED

TITLE = "All circuits and devices"
DESCRIPTION = "One row each, those that are down first: filter a column, click a row to go on."


def build(board: Board) -> None:
    board.choose("site", "Site", "label_values(haidang_site_info, site)")
    of = 'site=~"$site"'
    circuits = 'haidang_circuit_end_info{site=~"$site"}'
    board.table(
        "Circuits", "Those that end at these sites.",
        (
            f"sort(max by (circuit, carrier) (haidang_circuit_up) and on (circuit) {circuits})",
            _of_circuits("target:haidang_path_loss:ratio5m", circuits),
            _of_circuits("target:haidang_path_round_trip:median5m", circuits),
            f"max by (circuit, carrier) (circuit:haidang_circuit_utilization:ratio5m) and on (circuit) {circuits}",
            f"max by (circuit, carrier) (haidang_circuit_sla_budget_used_ratio) and on (circuit) {circuits}",
        ),
        {"circuit": "Circuit", "carrier": "Carrier", "Value #A": "State", "Value #B": "Loss", "Value #C": "Round trip",
         "Value #D": "Use against bandwidth", "Value #E": "Budget used"},
        height=14, empty="No circuit of these is watched.",
        looks={
            "Value #A": Look(steps=UP, words=REACHED), "Value #B": Look("percentunit", share(0.02, 0.1)), "Value #C": Look("s"),
            "Value #D": Look("percentunit", share(0.7, 0.9)), "Value #E": Look("percentunit", share(0.5, 1)),
        },
    )  # fmt: skip
    board.table(
        "Devices", "Those of these sites that are polled.",
        (
            f"sort({_of_devices(f'haidang_device_up{{{of}}}')})",
            _of_devices(f"haidang_device_uptime_seconds{{{of}}} / 86400"),
            _of_devices(f"haidang_device_cpu_utilization_ratio{{{of}}}"),
            _of_devices(f"haidang_device_memory_utilization_ratio{{{of}}}"),
            _of_devices(f"haidang_device_temperature_celsius{{{of}}}"),
            _of_devices(f"sum by (site, device) (interface:haidang_interface_octets:rate5m{{{of}}})"),
            _of_devices(f"sum by (site, device) (60 * rate(haidang_interface_receive_errors_total{{{of}}}[5m]))"),
        ),
        {"name": "Site", "device": "Device", "Value #A": "Answers", "Value #B": "Runs for", "Value #C": "Processor", "Value #D": "Memory",
         "Value #E": "Temperature", "Value #F": "Traffic", "Value #G": "Errors a minute"},
        height=14, empty="No device here is polled.",
        looks={
            "Value #A": Look(steps=UP, words=ANSWERS), "Value #B": Look(board.unit("days")),
            "Value #C": Look("percentunit", share(0.7, 0.9)), "Value #D": Look("percentunit", share(0.8, 0.95)),
            "Value #E": Look("celsius", share(60, 75)), "Value #F": Look("Bps"), "Value #G": Look("short", share(1, 60)),
        },
    )  # fmt: skip


def _of_circuits(measured: str, circuits: str) -> str:
    """What probes along circuits measure, by circuit and carrier."""
    worst = f'max by (circuit) (label_replace({measured}, "circuit", "$1", "target", "(.*)"))'
    return f"{worst} * on (circuit) group_left (carrier) max by (circuit, carrier) (haidang_circuit_info) and on (circuit) {circuits}"


def _of_devices(measured: str) -> str:
    """The highest of each device, with the name of its site."""
    return named(f"max by (site, device) ({measured})")
