"""Collector: is the center itself well."""

from dashboards.shared import Board
from dashboards.states import BAD, GOOD, NONE_WANTED, PLAIN, READ, UP, share
from dashboards.words import ANSWERS

TITLE = "Collector"
DESCRIPTION = "The collector itself: requests, reports, commits, what is refused, its load."


def build(board: Board) -> None:
    rate = "[$__rate_interval]"
    board.number(
        "Answers Prometheus",
        "The last scrape.",
        'min(up{job="haidang"})',
        steps=UP,
        words=ANSWERS,
        empty="Prometheus does not scrape it.",
    )
    board.number("Series", "Exposed now.", "haidang_collector_series", steps=PLAIN)
    board.number("Failed commits", "In the last hour.", f"increase(haidang_collector_commit_failures_total[1h]) and on () {READ}", steps=NONE_WANTED,
                 decimals=0)  # fmt: skip
    board.number(
        "Late reports that wait",
        "For remote write.",
        "haidang_collector_late_reports_waiting",
        steps=share(1000, 100000),
    )
    board.number("Certificates", "The first that ends.", "(min(haidang_collector_certificate_expiry_timestamp_seconds) - time()) / 86400",
                 unit=board.unit("days"), decimals=0, steps=((None, BAD), (30, GOOD)))  # fmt: skip
    board.number(
        "Memory", "Of the process.", "haidang_collector_process_resident_memory_bytes", unit="bytes", steps=PLAIN
    )
    board.series("Reports", "A second, by what became of them.",
                 {"{{outcome}}": f"sum by (outcome) (rate(haidang_collector_reports_total{rate}))"}, unit="short", least=0,
                 stacked=True)  # fmt: skip
    board.series("Requests", "A second, by status.", {"{{code}}": f"sum by (code) (rate(haidang_collector_requests_total{rate}))"},
                 unit="reqps", least=0, stacked=True)  # fmt: skip
    board.series("Refused", "Reports and samples a second, by reason.",
                 {"{{reason}} reports": f"sum by (reason) (rate(haidang_collector_refused_reports_total{rate}))",
                  "{{reason}} samples": f"sum by (reason) (rate(haidang_collector_refused_samples_total{rate}))"},
                 unit="short", least=0, empty="Nothing was refused, or nothing is known.")  # fmt: skip
    board.series("Commit", "Time to make a delivery durable.",
                 {"99th percentile": f"histogram_quantile(0.99, sum by (le) (rate(haidang_collector_commit_duration_seconds_bucket{rate})))",
                  "Median": f"histogram_quantile(0.5, sum by (le) (rate(haidang_collector_commit_duration_seconds_bucket{rate})))"},
                 unit="s", least=0)  # fmt: skip
    board.series("Processor", "Cores in use.", {"Cores": f"rate(haidang_collector_process_cpu_seconds_total{rate})"}, unit="none",
                 least=0)  # fmt: skip
    board.series("Remote write", "Late samples a second, and failures.",
                 {"Samples": f"rate(haidang_collector_remote_write_samples_total{rate})",
                  "Failures {{reason}}": f"rate(haidang_collector_remote_write_failures_total{rate})"}, unit="short", least=0)  # fmt: skip
    board.series(
        "Evaluation of outages",
        "Time of one.",
        {"Seconds": "haidang_collector_outage_evaluation_seconds"},
        unit="s",
        least=0,
    )
    board.series(
        "Exposition",
        "Time to write it all.",
        {"Seconds": "haidang_collector_exposition_duration_seconds"},
        unit="s",
        least=0,
    )
