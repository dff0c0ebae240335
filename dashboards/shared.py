"""The panels of a board: numbers, lines, states, bars, tables, alerts; each with its state of nothing known.

A dashboard is a function of a Board: it says in English what stands where, in reading order, and Board lays it out,
numbers it, and puts it into the language that is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.alerts import ALERTS
from dashboards.layout import UNKNOWN, Layout
from dashboards.parts import instant, lines, mapped, not_known, over, own, thresholds
from dashboards.states import AGE, BAD, BLIND, GRAY, LOWEST, PLAIN, SEEN_AND_EVALUATED, Step, named
from dashboards.words import SEVERITY_COLORS, WORDS, Words

SEVERITIES = {"critical": 3, "warning": 2, "info": 1}
_SHORT = "Not known"
_NEVER = "Not known: Prometheus has no figures"
# Which alerts a board lists: those of what it shows.
_SCOPES = {
    "circuit": ',circuit=~"$circuit"', "site": ',site=~"$site"', "device": ',device=~"$device"',
    "appliances": ',site=~"$site"', "workstations": ',site=~"$site"', "agents": ',site=~"$site"',
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How the values of one column are shown."""

    unit: str = "short"
    steps: tuple[Step, ...] = PLAIN
    words: Words | None = None

    def thresholds(self) -> dict[str, Any]:
        """As an override has them."""
        steps = ((None, GRAY), *((LOWEST if value is None else value, color) for value, color in self.steps))
        return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


class Board(Layout):
    """One dashboard of one language. `uid` is the same word in both, with the language behind it."""

    def head(self) -> None:
        """How old what is shown is, or across the board since when the center is blind, and why."""
        panel = (
            stat.Panel().unit("s").thresholds(thresholds(PLAIN)).mappings([not_known(self.say(_NEVER))])
            .color_mode(shown.BigValueColorMode.BACKGROUND).graph_mode(shown.BigValueGraphMode.NONE)
            .text_mode(shown.BigValueTextMode.VALUE_AND_NAME).orientation(shown.VizOrientation.HORIZONTAL)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
            .with_target(instant(AGE).legend_format(self.say("Figures are as old as")))
        )  # fmt: skip
        never = mapped({"0": (self.say("never"), BAD)})
        for number, (words, query) in enumerate(BLIND.items(), 1):
            name = chr(65 + number)
            panel = panel.with_target(instant(query, name).legend_format(self.say(words))).override_by_query(
                name,
                [
                    model.DynamicConfigValue(id_val="unit", value="dateTimeAsIso"),
                    model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": BAD}),
                    model.DynamicConfigValue(id_val="mappings", value=[never]),
                ],
            )
        panel = panel.data_links([self._next("")])
        self._put(
            panel,
            "What the center sees",
            "How old the newest figures are, or since when (at most three days back) the center is blind.",
            24,
            3,
            _NEVER,
        )

    def number(
        self, title: str, description: str, query: str, *, unit: str = "short", steps: tuple[Step, ...] = PLAIN,
        width: int = 4, height: int = 4, empty: str = "", link: Any = None, decimals: int | None = None,
        words: Words | None = None,
    ) -> None:  # fmt: skip
        """One number, large, its colour by thresholds, or a state in `words`. Without a value it says that it is not
        known; why (`empty`) stands in the description, where there is room for it."""
        panel = (
            stat.Panel().with_target(instant(query)).unit(unit).thresholds(thresholds(steps))
            .mappings([*([self._states(words)] if words else []), not_known(self.say(_SHORT))])
            .color_mode(shown.BigValueColorMode.BACKGROUND).graph_mode(shown.BigValueGraphMode.NONE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        )  # fmt: skip
        if decimals is not None:
            panel = panel.decimals(decimals)
        self._put(panel.data_links([link or self._next("")]), title, description, width, height, _SHORT, empty)

    def series(
        self, title: str, description: str, queries: dict[str, str], *, unit: str, width: int = 12, height: int = 8,
        steps: tuple[Step, ...] | None = None, empty: str = UNKNOWN, link: Any = None, least: float | None = None,
        most: float | None = None, stacked: bool = False,
    ) -> None:  # fmt: skip
        """Lines over time; `queries` by legend (of labels, as `{{circuit}}`): the last and highest of each beside them."""
        panel = (
            timeseries.Panel().unit(unit).line_width(1).fill_opacity(25 if stacked else 0)
            .show_points(shown.VisibilityMode.NEVER)
            .legend(common.VizLegendOptions().show_legend(True).display_mode(shown.LegendDisplayMode.TABLE)
                    .placement(shown.LegendPlacement.RIGHT).calcs(["lastNotNull", "max"]))
            .tooltip(common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING))
        )  # fmt: skip
        for number, (legend, query) in enumerate(queries.items()):
            words = self._legend(legend)
            panel = panel.with_target(over(query, words, chr(65 + number)))
        if steps:
            panel = panel.thresholds(lines(steps)).thresholds_style(
                common.GraphThresholdsStyleConfig().mode(shown.GraphThresholdsStyleMode.DASHED)
            )
        if stacked:
            panel = panel.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL))
        if least is not None:
            panel = panel.min(least)
        if most is not None:
            panel = panel.max(most)
        for legend in queries:
            panel = self._named(panel, legend)
        panel = panel.data_links([link or self._next(" ".join(queries))])
        self._put(panel, title, description, width, height, empty)

    def timeline(
        self, title: str, description: str, query: str, legend: str, words: dict[str, tuple[str, str]], *,
        width: int = 24, height: int = 8, empty: str = UNKNOWN, link: Any = None,
        rest: tuple[str, str, float] | None = None,
    ) -> None:  # fmt: skip
        """States over time: a value's word and colour. `rest` is a line for all that `query` leaves out: its words, what
        tells whether they are known, and their value while they are."""
        nothing = f'vector(-1), "{legend[2:].partition("}")[0]}", "{self.say(UNKNOWN)}", "", ""'
        query = query if rest else f"{query} or on () label_replace({nothing})"
        panel = (
            statetimeline.Panel().with_target(over(query, legend, "A"))
            .unit("short").mappings([self._states(words)]).fill_opacity(80).row_height(0.9)
            .thresholds(thresholds(((None, GRAY),))).show_value(shown.VisibilityMode.NEVER).merge_values(True)
        )  # fmt: skip
        if rest:
            says, series, value = rest
            others = f"{value} * group({series}) or on () 0 * group(last_over_time({series}[$__range] @ end())) - 1 or on () vector(-1)"
            panel = panel.with_target(over(others, self.say(says), "B"))
        self._put(panel.data_links([link or self._next(legend)]), title, description, width, height, empty)

    def heat(
        self,
        title: str,
        description: str,
        query: str,
        *,
        unit: str,
        width: int = 12,
        height: int = 8,
        empty: str = UNKNOWN,
    ) -> None:
        """A histogram over time."""
        target = prometheus.Dataquery().expr(query).range().legend_format("{{le}}").format(PromQueryFormat.HEATMAP)
        panel = (
            heatmap.Panel().with_target(target.ref_id("A")).calculate(False)
            .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Cividis").steps(64))
            .y_axis(heatmap.YAxisConfig().unit(unit))
            .unit(unit).data_links([self._next("")])
        )  # fmt: skip
        self._put(panel, title, description, width, height, empty)

    def bars(
        self, title: str, description: str, query: str, legend: str, *, unit: str, width: int = 12, height: int = 8,
        steps: tuple[Step, ...] = PLAIN, empty: str = UNKNOWN, link: Any = None, least: float = 0,
        most: float | None = None, none: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        """The present values as bars beside each other; `none` is said where there is no bar though `known`."""
        first = legend[2:].partition("}")[0]
        panel = (
            bargauge.Panel().with_target(instant(self._or_said(query, first, none)).legend_format(self._legend(legend))).unit(unit)
            .min(least).mappings([not_known(self.say(_SHORT))])
            .orientation(shown.VizOrientation.HORIZONTAL).display_mode(shown.BarGaugeDisplayMode.BASIC)
            .thresholds(thresholds(steps))
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        )  # fmt: skip
        if most is not None:
            panel = panel.max(most)
        if unit.startswith("suffix:"):
            panel = panel.decimals(0)
        panel = self._named(panel, legend)
        self._put(panel.data_links([link or self._next(legend)]), title, description, width, height, empty)

    def table(
        self, title: str, description: str, query: str | tuple[str, ...], columns: dict[str, str], *, unit: str = "short",
        width: int = 24, height: int = 8, steps: tuple[Step, ...] = PLAIN, empty: str = UNKNOWN,
        links: dict[str, Any] | None = None, none: tuple[str, str] | None = None, words: Words | None = None,
        widths: dict[str, int] | None = None, hidden: tuple[str, ...] = (), looks: dict[str, Look] | None = None,
    ) -> None:  # fmt: skip
        """The present series as rows. `columns` are labels and their titles, in order; the value is `Value`, in `words`
        where it is a state; `links` by column; `none` is a row that is said where there is no other though `known`.
        `hidden` columns are there for links. Of several queries, joined by their labels, values are `Value #A` and on,
        each with a look of its own."""
        queries = (query,) if isinstance(query, str) else query
        hidden = (*hidden, *(("site",) if "name" in columns and "site" not in columns else ()))
        fields = (*columns, *hidden)
        organize = {
            "renameByName": {name: self.say(title) for name, title in columns.items()},
            "indexByName": {name: number for number, name in enumerate(fields)},
            "includeByName": dict.fromkeys(fields, True),
        }
        panel = (
            table.Panel().unit(unit).thresholds(thresholds(steps)).filterable(True)
            .min_width(90).cell_height(shown.TableCellHeight.SM)
        )  # fmt: skip
        if unit.startswith("suffix:"):
            panel = panel.decimals(0)
        for number, each in enumerate(queries):
            said = self._or_said(each, next(iter(columns)), none) if number == 0 else each
            panel = panel.with_target(instant(said, chr(65 + number)).format(PromQueryFormat.TABLE))
        if len(queries) > 1:
            panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        for name, options in (("filterFieldsByName", {"include": {"names": list(fields)}}), ("organize", organize)):
            panel = panel.with_transformation(model.DataTransformerConfig(id_val=name, options=options))
        for column, title_of in columns.items():
            value = column.startswith("Value")
            cell = (looks or {}).get(column, Look(unit, steps, words))
            mapping = self._states(cell.words) if value and cell.words else self._label_words(column)
            given = {"unit": cell.unit, "thresholds": cell.thresholds()} if looks and column in looks else {}
            # An empty cell is not an empty table. Grafana before 9.5 knows the cell's colour by displayMode.
            look = {"custom__cellOptions": {"type": "color-text"}, "custom__displayMode": "color-text"}
            panel = panel.override_by_name(
                self.say(title_of),
                own(
                    noValue=" ", **given, **(look if (value and (cell.words or cell.steps != PLAIN)) or column == "severity" else {}), **({"mappings": [mapping]} if mapping else {}),
                    **({"custom__width": widths[column]} if widths and column in widths else {}),
                ),
            )  # fmt: skip
        for column in hidden:
            panel = panel.override_by_name(column, own(custom__hidden=True))
        for column, link in {**self._row_links(columns), **(links or {})}.items():
            built = link.build()
            panel = panel.override_by_name(
                self.say(columns[column]), own(links=[{"title": built.title, "url": built.url}])
            )
        self._put(panel, title, description, width, height, empty)

    def _label_words(self, label: str) -> Any:
        """The mapping of a label whose values are known; None for another."""
        if label == "alertname":
            return mapped({name: (words[self.language == "vi"], "") for name, words in ALERTS.items()})
        colors = SEVERITY_COLORS if label == "severity" else {}
        found = {value: (self.say(words), colors.get(value, "")) for value, words in WORDS.get(label, {}).items()}
        return mapped(found) if found else None

    def alerts(
        self,
        title: str,
        description: str,
        *,
        width: int = 12,
        height: int = 8,
        severities: tuple[str, ...] = tuple(SEVERITIES),
    ) -> None:
        """What fires now, within the scope of this board, the gravest first, with whom it is about and since when."""
        matchers = f'alertname!="HaidangWatchdog"{_SCOPES.get(self.name, "")}'
        runbook = dashboard.DashboardLink(self.say("Runbook")).url(
            f"${{collector}}/runbooks/${{__data.fields.alertname}}?language={self.language}"
        )
        about = "|".join(severities)
        fires = f'ALERTS{{alertstate="firing",severity=~"{about}",{matchers}}}'
        ranks = " or ".join(
            f'{SEVERITIES[severity]} * ALERTS{{alertstate="firing",severity="{severity}",{matchers}}}'
            for severity in severities
        )
        since = f"(time() - ALERTS_FOR_STATE{{{matchers}}}) * ignoring (alertstate) group_right () {fires}"
        self.table(
            title, description, (f"sort_desc({_about(f'({ranks})')})", _about(f"({since})")),
            {"alertname": "Alert", "severity": "Severity", "name": "Site", "circuit": "Circuit", "device": "Device", "agent": "Agent",
             "Value #B": "For"},
            width=width, height=height, unit="dthms", hidden=("Value #A",), none=("Nothing fires.", SEEN_AND_EVALUATED),
            empty="Not known: the center is blind, or the rules of alerts are not evaluated.", widths={"severity": 140, "Value #B": 120},
            links={"alertname": runbook},
        )  # fmt: skip


def _about(alerts: str) -> str:
    """Alerts with the names of their sites, and those of no site."""
    return f"({named(alerts)} or ({alerts} unless on (site) haidang_site_info))"
