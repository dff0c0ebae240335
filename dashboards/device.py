"""Device and optics: a switch or router, its ports and their light."""

from dashboards.shared import Board
from dashboards.states import BAD, GOOD, GRAY, NEUTRAL, PLAIN, UP, counted, over_time, share
from dashboards.words import ANSWERS

TITLE = "Device and optics"
DESCRIPTION = "One device: does it answer, its ports, light with the vendor's limits, errors, flaps, temperature."


def build(board: Board) -> None:
    board.choose("device", "Device", "label_values(haidang_device_up, device)", several=False)
    board.choose("interface", "Port", 'label_values(haidang_interface_up{device="$device"}, interface)')
    of, port = 'device="$device"', 'device="$device",interface=~"$interface"'
    none = "It is not polled, or has no such sensor."
    board.number("Answers", "Over SNMP.", f"haidang_device_up{{{of}}}", steps=UP, words=ANSWERS, empty="It is not polled.",
                 link=board.link("site", "Site", site="${__field.labels.site}"))  # fmt: skip
    board.number("Runs for", "Since its last start.", f"haidang_device_uptime_seconds{{{of}}} / 86400", unit=board.unit("days"), decimals=1, steps=PLAIN, width=5,
                 empty=none)  # fmt: skip
    board.number(
        "Ports up", "Operational now.", f"sum(haidang_interface_up{{{port}}})", steps=PLAIN, width=5, empty=none
    )
    board.number("Ports with errors", "In the last hour.",
                 counted(f"increase(haidang_interface_receive_errors_total{{{port}}}[1h]) > 0", f"haidang_interface_up{{{port}}}"),
                 steps=share(1, 5), width=5, empty=none)  # fmt: skip
    board.number("Hottest", "Of its sensors.", f"max(haidang_device_temperature_celsius{{{of}}})", unit="celsius",
                 steps=share(60, 75), width=5, empty=none)  # fmt: skip
    board.timeline("Ports", "Those that changed.",
                   over_time(f"haidang_interface_up{{{port}}}", "device, interface")
                   + f" and on (device, interface) (changes(haidang_interface_up{{{port}}}[$__range] @ end()) > 0)",
                   "{{interface}}", {"2": ("as before", NEUTRAL), "1": ("up", GOOD), "0": ("down", BAD), "-1": ("not known", GRAY)},
                   height=7, empty=none, rest=("All other ports", f"haidang_interface_up{{{port}}}", 2))  # fmt: skip
    board.row("Optics")
    for side, words in (("receive", "Received light"), ("transmit", "Sent light")):
        board.series(words, "With the limits the module itself holds.",
                     {"{{interface}} {{lane}}": f"haidang_optical_{side}_power_dbm{{{port}}}",
                      "{{interface}} {{level}}": f"haidang_optical_{side}_power_threshold_dbm{{{port}}}"},
                     unit="dBm", empty="No port has optics that tell.")  # fmt: skip
    board.series("Bias current", "Rises as a laser ages.", {"{{interface}} {{lane}}": f"haidang_optical_bias_amperes{{{port}}}"},
                 unit="amp", empty="No port has optics that tell.")  # fmt: skip
    board.series("Temperature of modules", "As the module says.",
                 {"{{interface}}": f"haidang_optical_temperature_celsius{{{port}}}"}, unit="celsius",
                 empty="No port has optics that tell.")  # fmt: skip
    board.row("Ports")
    board.series("Traffic", "Received above, sent below.",
                 {"{{interface}} in": f"rate(haidang_interface_receive_bytes_total{{{port}}}[$__rate_interval])",
                  "{{interface}} out": f"-rate(haidang_interface_transmit_bytes_total{{{port}}}[$__rate_interval])"},
                 unit="Bps", empty=none)  # fmt: skip
    board.series("Errors and drops", "Packets a minute.",
                 {"{{interface}} errors": f"60 * rate(haidang_interface_receive_errors_total{{{port}}}[$__rate_interval])",
                  "{{interface}} drops": f"60 * rate(haidang_interface_receive_drops_total{{{port}}}[$__rate_interval])"},
                 unit="none", least=0, empty=none)  # fmt: skip
    board.row("The device itself")
    board.series("Processor and memory", "Share in use.",
                 {"{{sensor}} processor": f"haidang_device_cpu_utilization_ratio{{{of}}}",
                  "{{sensor}} memory": f"haidang_device_memory_utilization_ratio{{{of}}}"},
                 unit="percentunit", least=0, most=1, empty=none)  # fmt: skip
    board.series("Temperature", "Of its sensors.", {"{{sensor}}": f"haidang_device_temperature_celsius{{{of}}}"}, unit="celsius",
                 empty=none)  # fmt: skip
