"""Pieces of a panel's JSON, once: queries, thresholds, mappings, overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as model

from dashboards.states import GRAY, LOWEST, Step


def instant(query: str, name: str = "A") -> Any:
    """A query of what is now."""
    return prometheus.Dataquery().expr(query).instant().ref_id(name)


def over(query: str, legend: str, name: str = "A") -> Any:
    """A query over the time shown."""
    return prometheus.Dataquery().expr(query).range().legend_format(legend).ref_id(name)


def thresholds(steps: tuple[Step, ...]) -> Any:
    """With gray below them all: Grafana shows the lowest where there is no value."""
    return lines(((None, GRAY), *((LOWEST if value is None else value, color) for value, color in steps)))


def lines(steps: tuple[Step, ...]) -> Any:
    """As they are, to be drawn across a graph."""
    made = [model.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def mapped(words: Mapping[str, tuple[str, str]]) -> Any:
    """Values as (words, colour)."""
    options = {
        value: model.ValueMappingResult(text=word, color=color or None, index=number)
        for number, (value, (word, color)) in enumerate(words.items())
    }
    return model.ValueMap(options=options)


def not_known(words: str) -> Any:
    """No value and no number, in gray."""
    result = model.ValueMappingResult(text=words, color=GRAY, index=99)
    return model.SpecialValueMap(model.DashboardSpecialValueMapOptions(model.SpecialValueMatch.NULL_AND_NAN, result))


def own(**properties: Any) -> list[model.DynamicConfigValue]:
    """What a field has of its own; `__` in a name stands for a dot."""
    return [model.DynamicConfigValue(id_val=name.replace("__", "."), value=value) for name, value in properties.items()]
