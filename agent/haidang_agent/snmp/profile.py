"""Profiles: what to ask a kind of device, and what the answers mean. Data in profiles/*.yaml.

docs/snmp-profiles.md explains the format with a worked example. Every problem of a profile is
named with file and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml
from haidang_wire.errors import ConfigError
from haidang_wire.metrics import CATALOGUE
from haidang_wire.sources import SNMP

SHIPPED = Path(__file__).parent / "profiles"
GENERIC = "generic"

_OID = re.compile(r"\d+(\.\d+)+")
_INDEX_PART = re.compile(r"index:\d+")
_TRANSFORMS = ("", "mw_to_dbm", "timestamp", "present")
_JOINS = ("", "ifIndex", "entity", "bridgePort")
_LEVELS = ("low_alarm", "low_warning", "high_warning", "high_alarm")


@dataclass(frozen=True)
class Column:
    """A column and how its raw value becomes a number.

    Raw values in `absent` or beyond `minimum` and `maximum` mean nothing. `enum` maps raw
    numbers (and `default` all others); else a value is times `scale`, plus `offset`, then
    through `transform`, plus the columns of `add` without those of `subtract`, times the column
    `times`. `part` is a regular expression whose first group is the number in a text; `bit` the place of one in a bit
    string (0 is the first octet's highest, RFC 2578 section 8.3). The transform `timestamp` reads a
    DateAndTime or a date in words as Unix seconds, `present` gives 1 for any text.
    """

    oid: str
    scale: float = 1.0
    offset: float = 0.0
    transform: str = ""
    absent: tuple[float, ...] = ()
    minimum: float = -math.inf
    maximum: float = math.inf
    enum: dict[str, float] | None = None
    add: tuple[str, ...] = ()
    subtract: tuple[str, ...] = ()
    times: str = ""
    part: str = ""
    bit: int = -1

    @cached_property
    def plain(self) -> bool:
        """Whether an integer means itself times `scale`."""
        return self == Column(self.oid, self.scale, add=self.add, subtract=self.subtract, times=self.times)


@dataclass(frozen=True)
class Reading:
    """One metric of a table: the first of `columns` that has a value in a row gives it."""

    metric: str
    columns: tuple[Column, ...]
    labels: tuple[tuple[str, str], ...] = ()
    thresholds: tuple[tuple[str, Column], ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows under `entry` (OID of the conceptual row).

    `interface` says how a row finds its port; `label` is what it is called when that one is not
    found or when it is of no port. `label` and `lane` are templates, as `Fan {index}` or
    `{column:2}`. `when` are conditions on columns or, as `index:1`, on a part of the index.
    """

    name: str
    entry: str
    readings: tuple[Reading, ...]
    interface: str = ""
    interface_index: str = "{index:0}"
    label: str = "{index}"
    lane: str = ""
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class EntitySensors:
    """A table shaped like ENTITY-SENSOR-MIB's (RFC 3433); `thresholds` one like CISCO-ENTITY-SENSOR-MIB's."""

    entry: str
    thresholds: str = ""


@dataclass(frozen=True)
class Profile:
    """One kind of device: how it is recognised, what it extends, what it is asked."""

    name: str
    vendor: str = ""
    object_ids: tuple[str, ...] = ()
    description: str = ""
    extends: str = ""
    identity: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tables: tuple[Table, ...] = ()
    entity_sensors: tuple[EntitySensors, ...] = ()
    without: tuple[str, ...] = ()
    file: str = ""


class _Map(dict[str, Any]):
    line = 1


class _Loader(yaml.SafeLoader):
    pass


def _mapping(loader: _Loader, node: yaml.MappingNode) -> _Map:
    result = _Map()
    result.line = node.start_mark.line + 1
    for key_node, value_node in node.value:
        name = str(key_node.value)
        if name in result:
            raise yaml.constructor.ConstructorError(None, None, f"{name} stands twice", key_node.start_mark)
        result[name] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# `1.3` is an OID here as often as a number: numbers stay text until a field wants one.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Reader:
    """Turns one document into a Profile; every fault names file, line and key."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def fail(self, line: int, text: str) -> ConfigError:
        return ConfigError(text, where=f"{self.file}:{line}")

    def keys(self, value: Any, what: str, line: int, allowed: str) -> _Map:
        if not isinstance(value, _Map):
            raise self.fail(line, f"{what} must be a mapping")
        unknown = sorted(set(value) - set(allowed.split()))
        if unknown:
            raise self.fail(value.line, f"{what}: unknown key {unknown[0]!r}; known are {allowed}")
        return value

    def items(self, value: Any, what: str, line: int) -> list[Any]:
        if not isinstance(value, list):
            raise self.fail(line, f"{what} must be a list")
        return value

    def text(self, at: _Map, name: str, default: str | None = None) -> str:
        value = at.get(name, default)
        if not isinstance(value, str):
            raise self.fail(at.line, f"{name} is missing" if value is None else f"{name} must be text")
        return value

    def number(self, value: Any, what: str, line: int) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise self.fail(line, f"{what} must be a number, not {value!r}") from None

    def oid(self, value: Any, what: str, line: int, entry: str = "") -> str:
        if isinstance(value, str) and value.isdecimal() and entry:
            return f"{entry}.{value}"
        if not isinstance(value, str) or not _OID.fullmatch(value):
            raise self.fail(line, f"{what} must be an OID{' or a column number' if entry else ''}, not {value!r}")
        return value

    def profile(self, document: Any) -> Profile:
        top = self.keys(document, "a profile", 1, "name vendor match extends identity tables entity_sensors without")
        match = self.keys(top.get("match", _Map()), "match", top.line, "sysObjectID sysDescr")
        object_ids = self.items(match.get("sysObjectID", []), "match.sysObjectID", top.line)
        description = self.text(match, "sysDescr", "")
        self.pattern(description, match.line)
        identity = self.keys(top.get("identity", _Map()), "identity", top.line, "model version serial")
        return Profile(
            name=self.text(top, "name"),
            vendor=self.text(top, "vendor", ""),
            object_ids=tuple(self.oid(oid, "match.sysObjectID", match.line) for oid in object_ids),
            description=description,
            extends=self.text(top, "extends", "" if top.get("name") == GENERIC else GENERIC),
            identity=tuple((name, tuple(self.sources(value, name, identity.line))) for name, value in identity.items()),
            tables=tuple(self.table(t, top.line) for t in self.items(top.get("tables", []), "tables", top.line)),
            entity_sensors=tuple(
                self.entity(e, top.line) for e in self.items(top.get("entity_sensors", []), "entity_sensors", top.line)
            ),
            without=tuple(str(name) for name in self.items(top.get("without", []), "without", top.line)),
            file=str(self.file),
        )

    def pattern(self, text: str, line: int) -> None:
        try:
            re.compile(text)
        except re.error as error:
            raise self.fail(line, f"{text!r} is no regular expression: {error}") from None

    def sources(self, value: Any, what: str, line: int) -> Iterator[str]:
        """Where a part of the identity is found: OIDs (a column's first text counts), or
        `sysDescr REGEX` whose first group it is."""
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and each.startswith("sysDescr "):
                self.pattern(each[9:], line)
                yield each
            else:
                yield self.oid(each, f"identity.{what}", line)

    def entity(self, value: Any, line: int) -> EntitySensors:
        at = self.keys(value, "entity_sensors", line, "entry thresholds")
        limits = self.oid(at["thresholds"], "thresholds", at.line) if "thresholds" in at else ""
        return EntitySensors(self.oid(at.get("entry"), "entry", at.line), limits)

    def table(self, value: Any, line: int) -> Table:
        at = self.keys(value, "a table", line, "name entry interface interface_index label lane when read")
        entry = self.oid(at.get("entry"), "entry", at.line)
        interface = self.text(at, "interface", "")
        if interface not in _JOINS and not interface.startswith(("name ", "described ")):
            known = f"{', '.join(_JOINS[1:])}, `name COLUMN` or `described TEMPLATE`"
            raise self.fail(at.line, f"interface must be {known}, not {interface!r}")
        if interface.startswith("name "):
            interface = "name " + self.oid(interface[5:].strip(), "interface", at.line, entry)
        when = self.keys(at["when"], "when", at.line, " ".join(at["when"])) if at.get("when") else _Map()
        return Table(
            name=self.text(at, "name"),
            entry=entry,
            readings=tuple(
                self.reading(r, entry, at.line) for r in self.items(at.get("read"), f"{at.get('name')}.read", at.line)
            ),
            interface=interface,
            interface_index=self.text(at, "interface_index", "{index:0}"),
            label=self.text(at, "label", "port {index:0}" if interface else "{index}"),
            lane=self.text(at, "lane", ""),
            when=tuple(
                (
                    column if _INDEX_PART.fullmatch(column) else self.oid(column, "when", at.line, entry),
                    tuple(wanted if isinstance(wanted, list) else [wanted]),
                )
                for column, wanted in when.items()
            ),
        )

    def reading(self, value: Any, entry: str, line: int) -> Reading:
        shape = f"metric first labels thresholds {' '.join(_COLUMN_KEYS)}"
        at = self.keys(value, "read", line, shape)
        metric = self.text(at, "metric")
        known = CATALOGUE.get(f"haidang_{metric}")
        if known is None or SNMP not in known.sources:
            raise self.fail(at.line, f"metric: there is no {metric!r} for devices in the catalogue")
        labels = self.keys(at.get("labels", _Map()), "labels", at.line, " ".join(known.labels))
        if "first" in at:
            columns = [self.column(c, entry, at.line) for c in self.items(at["first"], "first", at.line)]
        else:
            columns = [self.column(_Map({k: v for k, v in at.items() if k in _COLUMN_KEYS}), entry, at.line)]
        limits = self.keys(at.get("thresholds", _Map()), "thresholds", at.line, " ".join(_LEVELS))
        if limits and f"haidang_{threshold_metric(metric)}" not in CATALOGUE:
            raise self.fail(at.line, f"thresholds: {metric} has no metric for them in the catalogue")
        return Reading(
            metric,
            tuple(columns),
            tuple((name, str(text)) for name, text in labels.items()),
            tuple((level, self.limit(value, level, columns[0], entry, limits.line)) for level, value in limits.items()),
        )

    def limit(self, value: Any, level: str, like: Column, entry: str, line: int) -> Column:
        """A limit: a column read as the value's own, or one with a shape of its own."""
        if isinstance(value, _Map):
            return self.column(value, entry, line)
        return replace(
            like, oid=self.oid(value, level, line, entry), add=(), subtract=(), minimum=-math.inf, maximum=math.inf
        )

    def column(self, value: Any, entry: str, line: int) -> Column:
        at = self.keys(value, "a column", line, " ".join(_COLUMN_KEYS))
        line = max(line, at.line)
        transform = self.text(at, "transform", "")
        if transform not in _TRANSFORMS:
            raise self.fail(line, f"transform must be {' or '.join(_TRANSFORMS[1:])}, not {transform!r}")
        self.pattern(self.text(at, "part", ""), line)
        enum = self.keys(at["enum"], "enum", line, " ".join(at["enum"])) if at.get("enum") else None
        return Column(
            oid=self.oid(at.get("column"), "column", line, entry),
            scale=self.number(at.get("scale", 1), "scale", line),
            offset=self.number(at.get("offset", 0), "offset", line),
            transform=transform,
            absent=tuple(self.number(v, "absent", line) for v in self.items(at.get("absent", []), "absent", line)),
            minimum=self.number(at.get("minimum", -math.inf), "minimum", line),
            maximum=self.number(at.get("maximum", math.inf), "maximum", line),
            enum={raw: self.number(v, f"enum.{raw}", line) for raw, v in enum.items()} if enum else None,
            add=tuple(self.oid(v, "add", line, entry) for v in self.items(at.get("add", []), "add", line)),
            subtract=tuple(
                self.oid(v, "subtract", line, entry) for v in self.items(at.get("subtract", []), "subtract", line)
            ),
            times=self.oid(at["times"], "times", line, entry) if "times" in at else "",
            part=self.text(at, "part", ""),
            bit=int(self.number(at.get("bit", -1), "bit", line)),
        )


_COLUMN_KEYS = (
    "column",
    "scale",
    "offset",
    "transform",
    "absent",
    "minimum",
    "maximum",
    "enum",
    "add",
    "subtract",
    "times",
    "part",
    "bit",
)


def threshold_metric(metric: str) -> str:
    """The metric of a metric's alarm and warning limits: optical_bias_amperes → optical_bias_threshold_amperes."""
    quantity, _, unit = metric.rpartition("_")
    return f"{quantity}_threshold_{unit}"


def load_profile(file: Path) -> Profile:
    """One file. Raises ConfigError with file and line."""
    reader = _Reader(file)
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(file)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", where=str(file), remedy="Save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise reader.fail(line, f"is not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise reader.fail(1, f"is not valid YAML: {error}") from error
    return reader.profile(document)


class Profiles:
    """All profiles, each with what it extends worked in."""

    def __init__(self, loaded: Iterable[Profile]) -> None:
        """Later ones replace earlier ones of the same name. Raises ConfigError."""
        self._raw = {profile.name: profile for profile in loaded}
        if GENERIC not in self._raw:
            raise ConfigError(f"the profile {GENERIC!r} is missing")
        self.all = {name: self._whole(name, ()) for name in self._raw}

    def _whole(self, name: str, above: tuple[str, ...]) -> Profile:
        profile = self._raw.get(name)
        if profile is None:
            where = self._raw[above[-1]].file
            raise ConfigError(f"extends {name!r}, which does not exist", where=where)
        if name in above:
            raise ConfigError(f"extends itself: {' → '.join([*above, name])}", where=profile.file)
        if not profile.extends:
            return profile
        base = self._whole(profile.extends, (*above, name))
        own = {table.name for table in profile.tables}
        unknown = set(profile.without) - {table.name for table in base.tables} - {"entity_sensors"}
        if unknown:
            raise ConfigError(f"without: {sorted(unknown)[0]!r} is none of {base.name}'s tables", where=profile.file)
        inherited = tuple(t for t in base.tables if t.name not in own and t.name not in profile.without)
        sensors = () if "entity_sensors" in profile.without else base.entity_sensors
        return replace(
            profile,
            vendor=profile.vendor or base.vendor,
            identity=tuple({**dict(base.identity), **dict(profile.identity)}.items()),
            tables=inherited + profile.tables,
            entity_sensors=sensors + profile.entity_sensors,
        )

    def choose(self, object_id: str, description: str) -> Profile:
        """The profile whose sysObjectID prefix is the longest that fits, among equals one whose
        sysDescr fits too; the generic one for a device nobody has described."""
        best, best_rank = self.all[GENERIC], (0, 0)
        for profile in self.all.values():
            if profile.description and not re.search(profile.description, description, re.IGNORECASE):
                continue
            fits = [len(p) for p in profile.object_ids if object_id == p or object_id.startswith(p + ".")]
            if not fits and (profile.object_ids or not profile.description):
                continue
            rank = (max(fits, default=0), int(bool(profile.description)))
            if rank > best_rank:
                best, best_rank = profile, rank
        return best


@lru_cache(maxsize=4)
def load_profiles(folder: str = "") -> Profiles:
    """The shipped profiles and those of a folder, which replace shipped ones of the same name.

    Raises ConfigError with file and line.
    """
    files = sorted(SHIPPED.glob("*.yaml"))
    if folder:
        if not Path(folder).is_dir():
            raise ConfigError("is no folder of profiles", where=folder)
        files += sorted(Path(folder).glob("*.yaml"))
    return Profiles(load_profile(file) for file in files)
