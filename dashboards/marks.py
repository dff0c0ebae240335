"""What a board marks on its graphs: events of what it shows, each once and at its very second.

Grafana asks an annotation at a hundredth of the time shown, so a query looks back over a whole step (`$__interval`), and
its value is the time of the mark (`useValueForTime`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.states import BAD, GOOD, GRAY, WARN

# Which outages a board marks, as matchers of haidang_outage_open.
_OUTAGES = {"wall": "", "wan": "", "circuit": 'circuit="$circuit"', "site": 'site="$site"'}
# Which alerts: those of what it shows. The wall and the WAN mark outages alone.
_ALERTS = {
    "circuit": 'circuit="$circuit"', "site": 'site="$site"', "device": 'device="$device"',
    "appliances": 'site=~"$site",device!=""', "workstations": 'site=~"$site",alertname=~"HaidangDisk.*|HaidangAntivirus.*|HaidangMachines.*"',
    "services": 'service=~"$service",service!=""', "agents": 'site=~"$site",alertname=~"HaidangAgent.*|HaidangSpool.*|HaidangClock.*"',
    "collector": 'alertname=~"HaidangCollector.*|HaidangOutagesNotJudged|HaidangLateSamplesStuck"', "plan": 'alertname="HaidangPlanTargetSlipping"',
}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """One kind of event: its name in English, what is said of one (labels as `{{label}}`), and the board that its text
    leads to."""

    name: str
    text: str
    expr: str
    color: str
    leads: str = ""


class _Annotation(model.AnnotationQuery):
    """With what Prometheus's data source adds to one."""

    own: dict[str, object]

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self.own}


@dataclass(frozen=True)
class Annotation(Builder[model.AnnotationQuery]):
    """A mark in the words of one language."""

    source: model.DataSourceRef
    name: str
    text: str
    mark: Mark

    def build(self) -> model.AnnotationQuery:
        """As Grafana reads it."""
        made = _Annotation(self.name, self.source, icon_color=self.mark.color, expr=self.mark.expr)
        made.own = {"useValueForTime": "on", "step": "60s", "titleFormat": self.name, "textFormat": self.text}
        return made


def marks(board: str, language: str) -> Iterator[Mark]:
    """Of a board."""
    if board in _OUTAGES:
        of = _OUTAGES[board]
        yield Mark(
            "Outages",
            f"{{{{site}}}} {{{{circuit}}}} {{{{carrier}}}}: {{{{cause_{language}}}}}",
            _began(of, language),
            BAD,
            "site",
        )
        yield Mark("Outages that ended", "{{site}} {{circuit}} {{carrier}}", _ended(of), GOOD, "site")
    if board in ("wan", "circuit"):
        yield Mark(
            "Planned work", "{{site}} {{circuit}} {{carrier}}", _began(_OUTAGES[board], language, 1), GRAY, "site"
        )
    if board == "device":
        uptime = 'haidang_device_uptime_seconds{device="$device"}'
        yield Mark(
            "Restarts",
            "{{device}}",
            f"1000 * (timestamp({uptime}) - {uptime} and {uptime} < 100 * $__interval_ms / 1000)",
            GRAY,
        )
    if board in _ALERTS:
        of = _ALERTS[board]
        began = f"last_over_time(ALERTS_FOR_STATE{{{of}}}[$__interval])"
        fired = f'last_over_time(ALERTS{{alertstate="firing",{of}}}[$__interval])'
        yield Mark(
            "Alerts", "{{alertname}} {{site}} {{device}}", f"1000 * {began} and ignoring (alertstate) {fired}", WARN
        )


def _open(of: str, planned: int) -> str:
    matchers = ",".join(filter(None, (of, f'planned="{planned}"')))
    return f"haidang_outage_open{{{matchers}}}"


def _latest(series: str) -> str:
    """Of each outage what was said last: a cause is revised while more is seen."""
    return f"topk by (outage) (1, max_over_time(timestamp({series})[$__interval:15s]))"


def _began(of: str, language: str, planned: int = 0) -> str:
    return (
        "1000 * last_over_time(haidang_outage_start_timestamp_seconds[$__interval])"
        f" * on (outage) group_left (cause_{language}) ({_latest('haidang_outage_info')} > bool 0)"
        f" * on (outage) group_left (site, circuit, carrier) ({_latest(_open(of, planned))} > bool 0)"
    )


def _ended(of: str) -> str:
    """When an outage that is open no more was last; that it is over is only known while the collector judges."""
    return (
        f"1000 * {_latest(_open(of, 0))} unless on (outage) haidang_outage_open and on () haidang_outages_judged == 1"
    )
