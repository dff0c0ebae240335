"""The agent's configuration: a TOML file into frozen dataclasses.

Every key has a default, a type and a line of documentation here; docs/agent-configuration.md
is generated from it. An unknown key or a wrong type is refused by file and key.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from haidang_wire.errors import ConfigError

from haidang_agent.platform import files
from haidang_agent.platform.system import CONFIGURATION_FOLDER, STATE_FOLDER

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_CONFIG = CONFIGURATION_FOLDER / "agent.toml"


def key(default: Any, doc: str, *, minimum: float | None = None) -> Any:
    """A configuration key with its documentation; `minimum` bounds numbers."""
    return field(default=default, metadata={"doc": doc, "minimum": minimum})


def table(kind: type) -> Any:
    """A table of keys, there with its defaults when the file leaves it out."""
    return field(default_factory=kind)


@dataclass(frozen=True)
class Target:
    """One `[[sources.reachability.targets]]`."""

    name: str = key("", "Name of the target in metrics, for example `center`.")
    address: str = key("", "IPv4 or IPv6 address, or a host name, to send echo requests to.")


@dataclass(frozen=True)
class SourceConfig:
    """What every source has."""

    enabled: bool = key(True, "Whether the source runs.")
    interval_seconds: float = key(15.0, "Time between two runs.", minimum=1)
    jitter_seconds: float = key(0.5, "Random time, 0 to this, added to each wait.", minimum=0)
    timeout_seconds: float = key(10.0, "A run longer than this counts as failed.", minimum=0.1)


@dataclass(frozen=True)
class ReachabilityConfig(SourceConfig):
    """The source that sends ICMP echoes."""

    gateway: bool = key(True, "Whether the default gateway is a target (named `gateway`).")
    echoes: int = key(4, "Echo requests to each target a run, a quarter of a second apart.", minimum=1)
    answer_seconds: float = key(1.0, "How long an answer may take.", minimum=0.05)
    targets: tuple[Target, ...] = key((), "Targets, each with `name` and `address`.")


@dataclass(frozen=True)
class PathsConfig(SourceConfig):
    """The source that measures the paths the registry assigns to this agent (Linux)."""

    enabled: bool = key(False, "Whether this agent measures paths.")
    interval_seconds: float = key(15.0, "Time between two reports of the figures; a change is said at once.", minimum=1)
    probe_seconds: float = key(1.0, "Time between two probes of a path.", minimum=0.1)
    packets_a_second: float = key(5000.0, "Most packets a second, over all paths.", minimum=10)
    keys_file: str = key(str(CONFIGURATION_FOLDER / "stamp.toml"), "File of `[NAME]` STAMP keys, mode 0600.")


@dataclass(frozen=True)
class ReflectorConfig(SourceConfig):
    """The STAMP session-reflector (RFC 8762), for those who measure the path to this machine (Linux)."""

    enabled: bool = key(False, "Whether test packets are reflected.")
    address: str = key("0.0.0.0", "Address to listen on; `::` for IPv6.")  # noqa: S104 (what probes reach)
    port: int = key(862, "UDP port.", minimum=1)
    allowed: str = key("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7", "Networks whose packets are answered.")
    a_second: float = key(20.0, "Most packets a second of one sender that are answered.", minimum=1)
    key_name: str = key("", "Name of the key packets must be signed with; empty for unauthenticated mode.")
    keys_file: str = key(str(CONFIGURATION_FOLDER / "stamp.toml"), "File of `[NAME]` STAMP keys, mode 0600.")


@dataclass(frozen=True)
class TrapsConfig:
    """Traps and informs of the devices."""

    enabled: bool = key(True, "Whether they are listened for.")
    address: str = key("0.0.0.0", "Address to listen on; `::` for IPv6 and IPv4.")  # noqa: S104 (what devices reach)
    port: int = key(162, "UDP port.", minimum=1)
    a_second: float = key(
        100.0, "Traps a second that are read, of all devices; what is above it is counted.", minimum=1
    )


@dataclass(frozen=True)
class SnmpConfig(SourceConfig):
    """The source that polls the devices the registry assigns to this agent. It needs `haidang[probe]`."""

    enabled: bool = key(False, "Whether this agent is a probe.")
    interval_seconds: float = key(60.0, "Time between two polls.", minimum=5)
    timeout_seconds: float = key(50.0, "One poll of one device may take so long.", minimum=1)
    answer_seconds: float = key(2.0, "How long one answer may take.", minimum=0.1)
    retries: int = key(2, "How often a question is asked again.", minimum=0)
    packets_a_second: float = key(0.0, "Most requests a second to one device; 0 for no limit.", minimum=0)
    at_once: int = key(
        6, "Most devices whose tables are read at the same time; each takes about 0.3 MB meanwhile.", minimum=1
    )
    credentials_file: str = key(str(CONFIGURATION_FOLDER / "snmp.toml"), "File of `[NAME]` credentials, mode 0600.")
    profiles_folder: str = key("", "Folder of profiles that replace or add to the shipped ones.")
    traps: TrapsConfig = table(TrapsConfig)


@dataclass(frozen=True)
class SwitchConfig(SourceConfig):
    """Sources for switches that run Linux, and machines with an SFP. They need `packaging/switch.conf`."""

    enabled: bool = key(False, "Whether the source runs.")
    interval_seconds: float = key(60.0, "Time between two runs.", minimum=5)
    timeout_seconds: float = key(30.0, "A run longer than this counts as failed.", minimum=0.1)


@dataclass(frozen=True)
class LinksConfig(SourceConfig):
    """The source that says at once when a link of this machine goes down or comes up (Linux)."""

    enabled: bool = key(False, "Whether the source runs.")


@dataclass(frozen=True)
class InventoryConfig(SourceConfig):
    """The source that reads what this machine is and has, in a child of low priority."""

    interval_seconds: float = key(4 * 3600.0, "Time between two readings.", minimum=60)
    jitter_seconds: float = key(600.0, "Random time, 0 to this, added to each wait.", minimum=0)
    timeout_seconds: float = key(900.0, "A reading longer than this is ended and counts as failed.", minimum=10)


@dataclass(frozen=True)
class ServicesConfig(SourceConfig):
    """The source that asks the services the registry assigns to this agent, over HTTP."""

    enabled: bool = key(False, "Whether this agent asks services.")
    interval_seconds: float = key(60.0, "Time between two rounds.", minimum=5)
    timeout_seconds: float = key(50.0, "One round may take so long.", minimum=1)
    answer_seconds: float = key(10.0, "How long one service may take.", minimum=0.5)
    credentials_file: str = key(
        str(CONFIGURATION_FOLDER / "services.toml"), "File of `[NAME]` tables with `bearer`, mode 0600."
    )
    ca_file: str = key("", "PEM file of further authorities services' certificates may be of.")


@dataclass(frozen=True)
class LanConfig(SourceConfig):
    """The source that sees what else is on this machine's networks (Linux). For a probe, one a network."""

    enabled: bool = key(False, "Whether this agent looks at its networks.")
    interval_seconds: float = key(900.0, "Time between two looks.", minimum=30)
    timeout_seconds: float = key(600.0, "A look longer than this counts as failed.", minimum=1)
    ask: bool = key(True, "Whether addresses that were not heard of are asked, too.")
    packets_a_second: float = key(20.0, "Most questions a second.", minimum=1)
    largest_network: int = key(1024, "Networks of more addresses are listened to, not asked.", minimum=2)


@dataclass(frozen=True)
class SourcesConfig:
    """`[sources.*]`: a table a source."""

    agent: SourceConfig = table(SourceConfig)
    host: SourceConfig = table(SourceConfig)
    inventory: InventoryConfig = table(InventoryConfig)
    lan: LanConfig = table(LanConfig)
    services: ServicesConfig = table(ServicesConfig)
    reachability: ReachabilityConfig = table(ReachabilityConfig)
    paths: PathsConfig = table(PathsConfig)
    reflector: ReflectorConfig = table(ReflectorConfig)
    links: LinksConfig = table(LinksConfig)
    transceivers: SwitchConfig = table(SwitchConfig)
    lldp: SwitchConfig = table(SwitchConfig)
    snmp: SnmpConfig = table(SnmpConfig)


@dataclass(frozen=True)
class SpoolConfig:
    """`[spool]`: what waits on disk for the collector."""

    max_bytes: int = key(
        100 * 1024 * 1024,
        "Most bytes on disk; beyond it old samples are thinned, then dropped.",
        minimum=262_144,
    )
    max_age_days: float = key(30.0, "Reports older than this are dropped.", minimum=0.01)


@dataclass(frozen=True)
class UplinkConfig:
    """`[uplink]`: the way to the collector."""

    timeout_seconds: float = key(15.0, "Time limit of each network operation.", minimum=1)
    backoff_max_seconds: float = key(
        60.0, "Longest wait between two tries; the real wait is random below it.", minimum=1
    )
    batch_reports: int = key(100, "Most reports in one request.", minimum=1)


@dataclass(frozen=True)
class AgentConfig:
    """The whole file."""

    state_dir: str = key(str(STATE_FOLDER), "Folder of the identity and the spool; only the agent's user may read it.")
    log_level: str = key("info", "debug, info, warning or error.")
    spool: SpoolConfig = table(SpoolConfig)
    uplink: UplinkConfig = table(UplinkConfig)
    sources: SourcesConfig = table(SourcesConfig)


def load_config(path: Path | None) -> AgentConfig:
    """Read the file at path, or the default place if there is one, else all defaults.

    Raises ConfigError with file and key.
    """
    if path is None:
        if not DEFAULT_CONFIG.exists():
            return AgentConfig()
        path = DEFAULT_CONFIG
    config: AgentConfig = _fill(AgentConfig, _read(path), str(path), "")
    if config.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError("log_level must be debug, info, warning or error", where=str(path))
    names = set()
    for target in config.sources.reachability.targets:
        if not target.name or not target.address or target.name == "gateway" or target.name in names:
            raise ConfigError(
                f"sources.reachability.targets: name {target.name!r} with address {target.address!r}",
                where=str(path),
                remedy="Each target needs an address and a name of its own (`gateway` is taken)",
            )
        names.add(target.name)
    return config


def load_tables(path: Path, kind: type) -> dict[str, Any]:
    """A file of `[NAME]` tables, each of them a `kind`. Raises ConfigError with file and key."""
    return {name: _fill(kind, table, str(path), f"{name}.") for name, table in _read(path).items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(files.get(None, path, links=True).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", where=str(path), remedy="Save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"is not valid TOML: {error}", where=str(path)) from error


def _fill(kind: type, document: Any, file: str, prefix: str) -> Any:
    if not isinstance(document, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the file'} must be a table", where=file)
    known = {f.name: f for f in fields(kind)}
    for name in document:
        if name not in known:
            raise ConfigError(
                f"unknown key {prefix}{name}", where=file, remedy=f"Known here: {', '.join(sorted(known))}"
            )
    hints = get_type_hints(kind)
    values = {
        name: _value(hints[name], value, file, prefix + name, known[name].metadata.get("minimum"))
        for name, value in document.items()
    }
    return kind(**values)


def _value(hint: Any, value: Any, file: str, name: str, minimum: float | None) -> Any:
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return _fill(hint, value, file, name + ".")
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{name} must be a list of tables", where=file)
        return tuple(_fill(get_args(hint)[0], v, file, f"{name}[{i}].") for i, v in enumerate(value))
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        # The value is not said: it may be a password.
        raise ConfigError(f"{name} must be {_TYPE_NAMES[hint]}, not {type(value).__name__}", where=file)
    if minimum is not None and not value >= minimum:
        raise ConfigError(f"{name} must be at least {minimum:g}, not {value!r}", where=file)
    return value


_TYPE_NAMES = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def documented_keys(kind: type = AgentConfig, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every key as (name, type, default, documentation), for the reference."""
    rows = []
    hints = get_type_hints(kind)
    for f in fields(kind):
        hint = hints[f.name]
        if is_dataclass(hint):
            assert isinstance(hint, type)
            rows += documented_keys(hint, f"{prefix}{f.name}.")
        elif get_origin(hint) is tuple:
            rows.append((prefix + f.name, "list of tables", "[]", f.metadata["doc"]))
            rows += documented_keys(get_args(hint)[0], f"{prefix}{f.name}[].")
        else:
            default = "" if f.default is MISSING else repr(f.default).lower() if hint is bool else repr(f.default)
            rows.append((prefix + f.name, _TYPE_NAMES[hint], default.replace("'", '"'), f.metadata["doc"]))
    return rows
