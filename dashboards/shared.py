"""What every dashboard has in common, once: data source, colours, thresholds, units, links, empty states, layout.

A dashboard is a function of a Board: it says in English what stands where, in reading order, and Board lays it out,
numbers it, and puts it into the language that is built.
"""

from __future__ import annotations

import re
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
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.alerts import ALERTS
from dashboards.marks import Annotation, Mark, marks
from dashboards.parts import instant, lines, mapped, not_known, over, own, thresholds
from dashboards.states import AGE, BAD, BLIND, GRAY, PLAIN, SEEN_AND_EVALUATED, Step, named
from dashboards.texts import VIETNAMESE
from dashboards.words import SEVERITY_COLORS, WORDS, Words

LANGUAGES = ("en", "vi")
WIDTH = 24
DATA_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG = "haidang"
UNKNOWN = "Not known: nothing tells of it."
SEVERITIES = {"critical": 3, "warning": 2, "info": 1}


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

    def unit(self, word: str) -> str:
        """A number and a word behind it, as Grafana says a unit of one's own."""
        return f"suffix: {self.say(word)}"

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

    def _put(
        self, panel: Any, title: str, description: str, width: int, height: int, empty: str = UNKNOWN, why: str = ""
    ) -> None:
        """Place it. `empty` is what it says when Prometheus answers nothing: never that all is well; `why` that may be."""
        if self._x + width > WIDTH:
            self._x, self._y = 0, self._y + self._line
            self._line = 0
        self._number += 1
        place = model.GridPos(h=height, w=width, x=self._x, y=self._y)
        self._x += width
        self._line = max(self._line, height)
        told = " ".join(self.say(words) for words in (description, why) if words)
        panel = panel.title(self.say(title)).description(told).id(self._number).grid_pos(place)
        self.builder.with_panel(panel.no_value(self.say(empty)).datasource(DATA_SOURCE))

    def _legend(self, legend: str) -> str:
        """Labels as they are, and the words between them in this language."""
        parts = re.split(r"(\{\{\w+\}\})", legend)
        return " ".join(part if part.startswith("{{") else self.say(part.strip()) for part in parts if part.strip())

    def _named(self, panel: Any, legend: str) -> Any:
        """Series that are called by a label of known values stand with the words of each."""
        label = legend.strip("{}")
        for value, words in WORDS.get(label, {}).items() if legend == f"{{{{{label}}}}}" else ():
            panel = panel.override_by_name(value, own(displayName=self.say(words)))
        return panel

    def _states(self, words: Words) -> Any:
        return mapped({value: (self.say(word), color) for value, (word, color) in words.items()})

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
        named = {"site": "site", "name": "site", "circuit": "circuit", "device": "device", "service": "services"}
        return {
            label: self.link(to, _TITLES[to], **_given(label))
            for label, to in named.items()
            if label in columns and to != self.name
        } or {next(iter(columns)): self.link(_LEADS[self.name], _TITLES[_LEADS[self.name]])}

    # Panels

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
            "How old the newest figures are, and what the center is blind to.",
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
        """Lines over time; `queries` by legend (of labels, as `{{circuit}}`)."""
        panel = (
            timeseries.Panel().unit(unit).line_width(1).fill_opacity(25 if stacked else 8)
            .show_points(shown.VisibilityMode.NEVER)
            .legend(common.VizLegendOptions().show_legend(True).display_mode(shown.LegendDisplayMode.LIST)
                    .placement(shown.LegendPlacement.BOTTOM))
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
            .min(least).mappings([not_known(self.say(empty))])
            .orientation(shown.VizOrientation.HORIZONTAL).display_mode(shown.BarGaugeDisplayMode.BASIC)
            .thresholds(thresholds(steps))
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        )  # fmt: skip
        if most is not None:
            panel = panel.max(most)
        panel = self._named(panel, legend)
        self._put(panel.data_links([link or self._next(legend)]), title, description, width, height, empty)

    def table(
        self, title: str, description: str, query: str | tuple[str, ...], columns: dict[str, str], *, unit: str = "short",
        width: int = 24, height: int = 8, steps: tuple[Step, ...] = PLAIN, empty: str = UNKNOWN,
        links: dict[str, Any] | None = None, none: tuple[str, str] | None = None, words: Words | None = None,
        widths: dict[str, int] | None = None, hidden: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """The present series as rows. `columns` are labels and their titles, in order; the value is `Value`, in `words`
        where it is a state; `links` by column; `none` is a row that is said where there is no other though `known`.
        `hidden` columns are there for links. Of several queries, joined by their labels, values are `Value #A` and on."""
        queries = (query,) if isinstance(query, str) else query
        hidden = (*hidden, *(("site",) if "name" in columns and "site" not in columns else ()))
        fields = (*columns, *hidden)
        organize = {
            "renameByName": {name: self.say(title) for name, title in columns.items()},
            "indexByName": {name: number for number, name in enumerate(fields)},
            "includeByName": dict.fromkeys(fields, True),
        }
        panel = (
            table.Panel().unit(unit).thresholds(thresholds(steps)).filterable(True).cell_height(shown.TableCellHeight.SM)
        )  # fmt: skip
        for number, each in enumerate(queries):
            said = self._or_said(each, next(iter(columns)), none) if number == 0 else each
            panel = panel.with_target(instant(said, chr(65 + number)).format(PromQueryFormat.TABLE))
        if len(queries) > 1:
            panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        for name, options in (("filterFieldsByName", {"include": {"names": list(fields)}}), ("organize", organize)):
            panel = panel.with_transformation(model.DataTransformerConfig(id_val=name, options=options))
        for column, title_of in columns.items():
            value = column.startswith("Value")
            mapping = self._states(words) if value and words else self._label_words(column)
            # An empty cell is not an empty table. Grafana before 9.5 knows the cell's colour by displayMode.
            look = {"custom__cellOptions": {"type": "color-text"}, "custom__displayMode": "color-text"}
            panel = panel.override_by_name(
                self.say(title_of),
                own(
                    noValue=" ", **(look if value or column == "severity" else {}), **({"mappings": [mapping]} if mapping else {}),
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
            empty="Not known: the rules of alerts are not evaluated.", widths={"severity": 110, "Value #B": 110},
        )  # fmt: skip


def _given(label: str) -> dict[str, str]:
    variable = "site" if label == "name" else label
    return {variable: f"${{__data.fields.{variable}}}"}


def uid(name: str, language: str) -> str:
    """The address of a board."""
    return f"haidang-{name}-{language}"


_SHORT = "Not known"
_NEVER = "Not known: for three days Prometheus has had nothing of the collector."
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


def _about(alerts: str) -> str:
    """Alerts with the names of their sites, and those of no site."""
    return f"({named(alerts)} or ({alerts} unless on (site) haidang_site_info))"
