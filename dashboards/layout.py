"""Where the panels of a board stand, what it is called in its language, and where its links lead."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.marks import Annotation, Mark, marks
from dashboards.parts import mapped, own
from dashboards.texts import VIETNAMESE
from dashboards.words import WORDS, Words

LANGUAGES = ("en", "vi")
WIDTH = 24
DATA_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
UNKNOWN = "Not known: nothing tells of it."
_TAG = "haidang"
# Label of a series → the board that shows one of it.
_NEXT = {
    "name": "site", "circuit": "circuit", "device": "device", "service": "services", "agent": "agents", "figure": "plan", "site": "site",
}  # fmt: skip
# Where a board leads that says nothing of one thing: to what one would ask next.
_LEADS = {
    "wall": "wan", "wan": "circuit", "circuit": "wan", "site": "wan", "device": "wan", "fleet": "wan", "appliances": "device",
    "workstations": "site", "services": "plan", "plan": "site", "agents": "collector", "collector": "agents",
}  # fmt: skip
_TITLES = {
    "circuit": "Circuit", "device": "Device", "services": "Services", "agents": "Agents", "plan": "The plan",
    "site": "Site", "wan": "Circuits", "collector": "Collector",
}  # fmt: skip


@dataclass
class Layout:
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

    def address(self) -> None:
        """Where the collector is: said by the rules that are installed, so that it is known while it is down."""
        self.builder.with_variable(
            dashboard.QueryVariable("collector").hide(model.VariableHide.HIDE_VARIABLE).datasource(DATA_SOURCE)
            .query("label_values(center:haidang_address:info, url)").refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        )  # fmt: skip

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
        # Where nothing is told, nobody knows whether what is said of a center that sees is the reason.
        said = self.say(empty) if empty.startswith("Not known") else f"{self.say('Not known, or:')} {self.say(empty)}"
        self.builder.with_panel(panel.no_value(said).datasource(DATA_SOURCE))

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
                variable = "site" if to == "agents" or label == "name" else label
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


def _given(label: str) -> dict[str, str]:
    variable = "site" if label == "name" else label
    return {variable: f"${{__data.fields.{variable}}}"}


def uid(name: str, language: str) -> str:
    """The address of a board."""
    return f"haidang-{name}-{language}"
