"""What every dashboard has in common, once: data source, colours, thresholds, units, links, empty states, layout.

A dashboard is a function of a Board: it says in English what stands where, in reading order, and Board lays it out,
numbers it, and puts it into the language that is built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    text,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from dashboards.marks import Annotation, Mark, marks
from dashboards.states import AGE, BAD, BLIND, GRAY, LOWEST, PLAIN, SEEN_AND_EVALUATED, Step
from dashboards.texts import VIETNAMESE

LANGUAGES = ("en", "vi")
WIDTH = 24
DATA_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG = "haidang"
UNKNOWN = "Not known: nothing tells of it."


@dataclass
class Board:
    """One dashboard of one language. `uid` is the same word in both, with the language behind it."""

    name: str
    title: str
    description: str
    language: str
    refresh: str = "30s"
    since: str = "now-6h"
    builder: dashboard.Dashboard = field(init=False)
    _number: int = 0
    _x: int = 0
    _y: int = 0
    _line: int = 0

    def __post_init__(self) -> None:
        self.builder = (
            dashboard.Dashboard(self.say(self.title))
            .uid(uid(self.name, self.language))
            .description(self.say(self.description))
            .tags([_TAG, self.language])
            .timezone("browser")
            .time(self.since, "now")
            .refresh(self.refresh)
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .readonly()
            .with_variable(dashboard.DatasourceVariable("datasource").label(self.say("Data source")).type("prometheus"))
            .link(
                dashboard.DashboardLink("Hải Đăng").type(model.DashboardLinkType.DASHBOARDS).tags([_TAG, self.language])
                .as_dropdown(True).include_vars(False).keep_time(True)
            )
        )  # fmt: skip
        for mark in marks(self.name, self.language):
            self.builder.annotation(self._annotation(mark))

    def _annotation(self, mark: Mark) -> Annotation:
        """In the language of this board; its text leads to the site."""
        text = mark.text
        if mark.leads:
            address = f"/d/{uid(mark.leads, self.language)}?var-{mark.leads}={{{{{mark.leads}}}}}"
            text = f'{text} <a href="{address}">{self.say(_TITLES[mark.leads])}</a>'
        return Annotation(DATA_SOURCE, self.say(mark.name), text, mark)

    def say(self, english: str) -> str:
        """In the language of this board. KeyError for a text nobody has translated."""
        return english if self.language == "en" else VIETNAMESE[english]

    def json(self) -> str:
        """As it is committed."""
        return JSONEncoder(sort_keys=True, indent=2).encode(self.builder.build()) + "\n"

    # Variables

    def choose(self, name: str, label: str, query: str, *, several: bool = True) -> None:
        """A variable filled by a query (`label_values(...)`); what is chosen first is everything."""
        made = (
            dashboard.QueryVariable(name).label(self.say(label)).datasource(DATA_SOURCE).query(query)
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
        )  # fmt: skip
        if several:
            made = made.multi(True).include_all(True).all_value(".*")
        self.builder.with_variable(made)

    # Layout

    def row(self, title: str) -> None:
        """A heading across."""
        self._x, self._y = 0, self._y + self._line
        self._line = 1
        self._number += 1
        place = model.GridPos(h=1, w=WIDTH, x=0, y=self._y)
        self.builder.with_row(dashboard.Row(self.say(title)).grid_pos(place).id(self._number))
        self._y += 1
        self._line = 0

    def _put(self, panel: Any, title: str, description: str, width: int, height: int, empty: str = UNKNOWN) -> None:
        """Place it. `empty` is what it says when Prometheus answers nothing: never that all is well."""
        if self._x + width > WIDTH:
            self._x, self._y = 0, self._y + self._line
            self._line = 0
        self._number += 1
        place = model.GridPos(h=height, w=width, x=self._x, y=self._y)
        self._x += width
        self._line = max(self._line, height)
        panel = panel.title(self.say(title)).description(self.say(description)).id(self._number).grid_pos(place)
        self.builder.with_panel(panel.no_value(self.say(empty)).datasource(DATA_SOURCE))

    def _not_known(self, empty: str) -> Any:
        """The mapping of no value and no number: gray, in words."""
        result = model.ValueMappingResult(text=self.say(empty), color=GRAY, index=99)
        return model.SpecialValueMap(
            model.DashboardSpecialValueMapOptions(model.SpecialValueMatch.NULL_AND_NAN, result)
        )

    def _or_said(self, query: str, label: str, none: tuple[str, str] | None) -> str:
        """The query, or where it finds nothing while `known` (PromQL) is known, one series that says so in words."""
        if none is None:
            return query
        words, known = none
        return f'{query} or on () label_replace(0 * max({known}), "{label}", "{self.say(words)}", "", "")'

    def link(self, to: str, label: str, **variables: str) -> Any:
        """A link to another board with its variables set, the time kept."""
        given = "".join(f"&var-{name}={value}" for name, value in variables.items())
        address = f"/d/{uid(to, self.language)}?${{datasource:queryparam}}&${{__url_time_range}}{given}"
        return dashboard.DashboardLink(self.say(label)).url(address)

    def _next(self, legends: str) -> Any:
        """Where a graph leads that says nothing else: to the board of what its series are of."""
        for label, to in _NEXT.items():
            if f"{{{{{label}}}}}" in legends and to != self.name:
                variable = "site" if to == "agents" else label
                given = {} if to == "plan" else {variable: f"${{__field.labels.{variable}}}"}
                return self.link(to, _TITLES[to], **given)
        return self.link(_LEADS[self.name], _TITLES[_LEADS[self.name]])

    def _row_links(self, columns: dict[str, str]) -> dict[str, Any]:
        """Where the cells of a table lead: to the board of what they name."""
        named = {"site": "site", "circuit": "circuit", "device": "device", "service": "services"}
        return {
            label: self.link(to, _TITLES[to], **{label: f"${{__data.fields.{label}}}"})
            for label, to in named.items()
            if label in columns and to != self.name
        } or {next(iter(columns)): self.link(_LEADS[self.name], _TITLES[_LEADS[self.name]])}

    # Panels

    def head(self) -> None:
        """How old what is shown is, or across the board since when the center is blind, and why."""
        panel = (
            stat.Panel().unit("s").thresholds(_thresholds(PLAIN)).mappings([self._not_known(_NEVER)])
            .color_mode(shown.BigValueColorMode.BACKGROUND).graph_mode(shown.BigValueGraphMode.NONE)
            .text_mode(shown.BigValueTextMode.VALUE_AND_NAME).orientation(shown.VizOrientation.HORIZONTAL)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
            .with_target(_instant(AGE).legend_format(self.say("Figures are as old as")))
        )  # fmt: skip
        never = model.ValueMap(options={"0": model.ValueMappingResult(text=self.say("never"), color=BAD, index=0)})
        for number, (words, query) in enumerate(BLIND.items(), 1):
            name = chr(65 + number)
            panel = panel.with_target(_instant(query, name).legend_format(self.say(words))).override_by_query(
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
            "How old the newest figures are, and what the center is blind to.",
            24,
            3,
            _NEVER,
        )

    def number(
        self, title: str, description: str, query: str, *, unit: str = "short", steps: tuple[Step, ...] = PLAIN,
        width: int = 4, height: int = 4, empty: str = UNKNOWN, link: Any = None, decimals: int | None = None,
    ) -> None:  # fmt: skip
        """One number, large, its colour by thresholds."""
        panel = (
            stat.Panel().with_target(_instant(query)).unit(unit).thresholds(_thresholds(steps))
            .mappings([self._not_known(empty)])
            .color_mode(shown.BigValueColorMode.BACKGROUND).graph_mode(shown.BigValueGraphMode.NONE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        )  # fmt: skip
        if decimals is not None:
            panel = panel.decimals(decimals)
        self._put(panel.data_links([link or self._next("")]), title, description, width, height, empty)

    def series(
        self, title: str, description: str, queries: dict[str, str], *, unit: str, width: int = 12, height: int = 8,
        steps: tuple[Step, ...] | None = None, empty: str = UNKNOWN, link: Any = None, least: float | None = None,
        most: float | None = None, stacked: bool = False,
    ) -> None:  # fmt: skip
        """Lines over time; `queries` by legend (of labels, as `{{circuit}}`)."""
        panel = (
            timeseries.Panel().unit(unit).line_width(1).fill_opacity(25 if stacked else 8)
            .show_points(shown.VisibilityMode.NEVER)
            .legend(common.VizLegendOptions().show_legend(True).display_mode(shown.LegendDisplayMode.LIST)
                    .placement(shown.LegendPlacement.BOTTOM))
            .tooltip(common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING))
        )  # fmt: skip
        for number, (legend, query) in enumerate(queries.items()):
            words = legend if "{{" in legend else self.say(legend)
            panel = panel.with_target(
                prometheus.Dataquery().expr(query).range().legend_format(words).ref_id(chr(65 + number))
            )
        if steps:
            panel = panel.thresholds(_lines(steps)).thresholds_style(
                common.GraphThresholdsStyleConfig().mode(shown.GraphThresholdsStyleMode.DASHED)
            )
        if stacked:
            panel = panel.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL))
        if least is not None:
            panel = panel.min(least)
        if most is not None:
            panel = panel.max(most)
        panel = panel.data_links([link or self._next(" ".join(queries))])
        self._put(panel, title, description, width, height, empty)

    def timeline(
        self, title: str, description: str, query: str, legend: str, words: dict[str, tuple[str, str]], *,
        width: int = 24, height: int = 8, empty: str = UNKNOWN, link: Any = None,
        rest: tuple[str, str, float] | None = None,
    ) -> None:  # fmt: skip
        """States over time: a value's word and colour. `rest` is a line for all that `query` leaves out: its words, what
        tells whether they are known, and their value while they are."""
        options = {
            value: model.ValueMappingResult(text=self.say(word), color=color, index=number)
            for number, (value, (word, color)) in enumerate(words.items())
        }
        panel = (
            statetimeline.Panel().with_target(prometheus.Dataquery().expr(query).range().legend_format(legend).ref_id("A"))
            .unit("short").mappings([model.ValueMap(options=options)]).fill_opacity(80).row_height(0.9)
            .thresholds(_thresholds(((None, GRAY),))).show_value(shown.VisibilityMode.NEVER).merge_values(True)
        )  # fmt: skip
        if rest:
            says, series, value = rest
            others = f"{value} * group({series}) or on () 0 * group(last_over_time({series}[$__range] @ end())) - 1"
            panel = panel.with_target(
                prometheus.Dataquery().expr(others).range().legend_format(self.say(says)).ref_id("B")
            )
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
            bargauge.Panel().with_target(_instant(self._or_said(query, first, none)).legend_format(legend)).unit(unit)
            .min(least).mappings([self._not_known(empty)])
            .orientation(shown.VizOrientation.HORIZONTAL).display_mode(shown.BarGaugeDisplayMode.BASIC)
            .thresholds(_thresholds(steps))
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        )  # fmt: skip
        if most is not None:
            panel = panel.max(most)
        self._put(panel.data_links([link or self._next(legend)]), title, description, width, height, empty)

    def table(
        self, title: str, description: str, query: str, columns: dict[str, str], *, unit: str = "short", width: int = 24,
        height: int = 8, steps: tuple[Step, ...] = PLAIN, empty: str = UNKNOWN, links: dict[str, Any] | None = None,
        none: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        """The present series as rows. `columns` are labels and their titles, in order; the value is `Value`; `links`
        by column; `none` is a row that is said where there is no other though `known`."""
        query = self._or_said(query, next(iter(columns)), none)
        keep = {name: number for number, name in enumerate(columns)}
        organize = {
            "renameByName": {name: self.say(words) for name, words in columns.items()},
            "indexByName": keep,
            "includeByName": dict.fromkeys(columns, True),
        }
        panel = (
            table.Panel().with_target(_instant(query).format(PromQueryFormat.TABLE)).unit(unit)
            .thresholds(_thresholds(steps)).filterable(True).cell_height(shown.TableCellHeight.SM)
            .with_transformation(
                model.DataTransformerConfig(
                    id_val="filterFieldsByName", options={"include": {"names": list(columns)}}
                )
            )
            .with_transformation(model.DataTransformerConfig(id_val="organize", options=organize))
        )  # fmt: skip
        if "Value" in columns:
            colored = [model.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"})]
            panel = panel.override_by_name(self.say(columns["Value"]), colored)
        given = links or {}
        for column, link in {**self._row_links(columns), **given}.items():
            value = [{"title": link.build().title, "url": link.build().url}]
            panel = panel.override_by_name(
                self.say(columns[column]), [model.DynamicConfigValue(id_val="links", value=value)]
            )
        self._put(panel, title, description, width, height, empty)

    def alerts(self, title: str, description: str, *, width: int = 12, height: int = 8) -> None:
        """What fires now, within the scope of this board, the gravest first."""
        fires = _alerting(self.name)
        graver = " or ".join(f'{rank} * {fires[:-1]},severity="{severity}"}}' for severity, rank in SEVERITIES.items())
        self.table(
            title, description, f"sort_desc({graver})",
            {"alertname": "Alert", "severity": "Severity", "site": "Site", "circuit": "Circuit", "device": "Device"},
            width=width, height=height, none=("Nothing fires.", SEEN_AND_EVALUATED), empty="Not known: the rules of alerts are not evaluated.",
        )  # fmt: skip

    def words(self, title: str, description: str, markdown: str, *, width: int = 24, height: int = 3) -> None:
        """Text for people."""
        panel = text.Panel().mode(TextMode.MARKDOWN).content(self.say(markdown))
        self._put(panel, title, description, width, height)


def uid(name: str, language: str) -> str:
    """The address of a board."""
    return f"haidang-{name}-{language}"


def _instant(query: str, name: str = "A") -> Any:
    return prometheus.Dataquery().expr(query).instant().ref_id(name)


def _thresholds(steps: tuple[Step, ...]) -> Any:
    """With gray below them all: Grafana shows the lowest where there is no value."""
    return _lines(((None, GRAY), *((LOWEST if value is None else value, color) for value, color in steps)))


def _lines(steps: tuple[Step, ...]) -> Any:
    made = [model.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


_NEVER = "Not known: for three days Prometheus has had nothing of the collector."
SEVERITIES = {"critical": 3, "warning": 2, "info": 1}
# Label of a series → the board that shows one of it.
_NEXT = {
    "circuit": "circuit", "device": "device", "service": "services", "agent": "agents", "figure": "plan", "site": "site",
}  # fmt: skip
# Where a board leads that says nothing of one thing: to what one would ask next.
_LEADS = {
    "wall": "wan", "wan": "circuit", "circuit": "wan", "site": "wan", "device": "wan", "appliances": "device",
    "workstations": "site", "services": "plan", "plan": "site", "agents": "collector", "collector": "agents",
}  # fmt: skip
_TITLES = {
    "circuit": "Circuit", "device": "Device", "services": "Services", "agents": "Agents", "plan": "The plan",
    "site": "Site", "wan": "Circuits", "collector": "Collector",
}  # fmt: skip
# Which alerts a board marks on its graphs: those of what it shows.
_SCOPES = {
    "circuit": ',circuit=~"$circuit"', "site": ',site=~"$site"', "device": ',device=~"$device"',
    "appliances": ',site=~"$site"', "workstations": ',site=~"$site"', "agents": ',site=~"$site"',
}  # fmt: skip


def _alerting(name: str) -> str:
    return f'ALERTS{{alertstate="firing",alertname!="HaidangWatchdog"{_SCOPES.get(name, "")}}}'
