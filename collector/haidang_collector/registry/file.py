"""Reading the registry: YAML files into values with file and line of each, checked by the models and by each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from haidang_wire.errors import ConfigError
from pydantic import ValidationError

from haidang_collector.registry.model import Registry
from haidang_collector.registry.names import Names


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a registry file; line counts from 1."""

    file: str
    line: int
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field or 'registry'}: {self.text}"


class RegistryError(ConfigError):
    """A registry that can't be used; `faults` are all that was found."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


Path_ = tuple[str | int, ...]

# A few aliases of aliases of aliases are a billion values: a registry has far fewer.
_MAX_VALUES = 1_000_000


class _Document:
    """Plain values out of YAML files, and the file and line of each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.value: dict[str, Any] = {}
        self.places: dict[Path_, tuple[str, int]] = {}
        self.faults: list[Fault] = []
        self._values = 0

    def read(self, path: Path) -> None:
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except OSError as error:
            self.faults.append(Fault(str(path), 1, "", f"can't be read: {error.strerror}"))
            return
        except UnicodeDecodeError:
            self.faults.append(Fault(str(path), 1, "", "is not UTF-8 text: save it as UTF-8"))
            return
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            text = getattr(error, "problem", None) or str(error).splitlines()[0]
            self.faults.append(Fault(str(path), line, "", f"is not valid YAML: {text}"))
            return
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            self.faults.append(Fault(str(path), 1, "", "must be a mapping with `province` and `sites`"))
            return
        self._merge(str(path), node)

    def _merge(self, file: str, node: yaml.MappingNode) -> None:
        # Lists of several files are joined, so that each agency may have a file of its own.
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in self.value and isinstance(self.value[key], list) and isinstance(value_node, yaml.SequenceNode):
                for item in value_node.value:
                    self.value[key].append(self._plain(file, item, (key, len(self.value[key])), set()))
            elif key in self.value:
                self.faults.append(Fault(file, line, key, "stands twice"))
            else:
                self.places[(key,)] = (file, line)
                self.value[key] = self._plain(file, value_node, (key,), set())

    def _plain(self, file: str, node: yaml.Node, path: Path_, above: set[int]) -> Any:
        self.places.setdefault(path, (file, node.start_mark.line + 1))
        self._values += 1
        if self._values > _MAX_VALUES:
            raise RegistryError([Fault(file, node.start_mark.line + 1, _dotted(path), "is too large (aliases?)")])
        if id(node) in above:
            self.faults.append(Fault(file, node.start_mark.line + 1, _dotted(path), "contains itself"))
            return None
        above = above | {id(node)}
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                line = key_node.start_mark.line + 1
                if key in result:
                    self.faults.append(Fault(file, line, _dotted((*path, key)), "stands twice"))
                self.places[(*path, key)] = (file, line)
                result[key] = self._plain(file, value_node, (*path, key), above)
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(file, item, (*path, index), above) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError):
            return node.value

    def fault(self, path: Path_, text: str) -> None:
        at = path
        while at and at not in self.places:
            at = at[:-1]
        file, line = self.places.get(at, next(iter(self.places.values()), (str(self.path), 1)))
        self.faults.append(Fault(file, line, _dotted(path), text))


def load_registry(path: Path) -> Registry:
    """Read and check a registry file, or every *.yaml and *.yml of a folder.

    Raises RegistryError with all faults, not only the first.
    """
    document = _Document(path)
    files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
    if not files:
        raise RegistryError([Fault(str(path), 1, "", "no *.yaml file is in this folder")])
    for file in files:
        document.read(file)
    registry: Registry | None = None
    try:
        registry = Registry.model_validate(document.value)
    except ValidationError as error:
        if not document.faults or document.value:
            for problem in error.errors():
                path_ = tuple(problem["loc"])
                document.fault(path_, _explain(problem["type"], problem["msg"], problem["input"], path_))
    if registry:
        _check_references(registry, document)
    if document.faults or registry is None:
        raise RegistryError(document.faults)
    return registry


def _check_references(registry: Registry, document: _Document) -> None:
    for kind in ("sites", "carriers", "circuits", "devices", "services", "hosts"):
        seen: set[str] = set()
        for index, each in enumerate(getattr(registry, kind)):
            if each.id in seen:
                document.fault((kind, index, "id"), f"{each.id!r} stands twice")
            seen.add(each.id)
    _check_sites(registry, document)
    _check_devices(registry, document)
    _check_circuits(registry, document)
    _check_services(registry, document)
    for index, host in enumerate(registry.hosts):
        if registry.site(host.site) is None:
            document.fault(("hosts", index, "site"), f"there is no site {host.site!r}")
    _check_names(registry, document)


def _check_names(registry: Registry, document: _Document) -> None:
    """A name is one machine, which stands at one site."""
    places: dict[str, str] = {}
    said: list[tuple[Path_, str, str]] = [
        (("sites", index, "probe"), site.probe, site.id) for index, site in enumerate(registry.sites) if site.probe
    ]
    said += [(("hosts", index, "id"), host.id, host.site) for index, host in enumerate(registry.hosts)]
    said += [(("devices", index, "id"), device.id, device.site) for index, device in enumerate(registry.devices)]
    for path, name, site in said:
        known = places.setdefault(name, site)
        if known != site:
            document.fault(
                path, f"{name!r} stands at {known!r} already, as a probe, host or device: a name is one machine"
            )
    names, told = Names(registry), set(places)
    agents: list[tuple[Path_, str]] = [
        (("devices", index, "agent"), device.agent) for index, device in enumerate(registry.devices) if device.agent
    ]
    agents += [(("services", index, "agent"), each.agent) for index, each in enumerate(registry.services) if each.agent]
    for path, agent in agents:
        if agent not in told and not names.owners(agent):
            document.fault(path, f"no site is over all that {agent!r} is named for: say in `hosts` where it stands")
        told.add(agent)


def _check_services(registry: Registry, document: _Document) -> None:
    sites = {site.id for site in registry.sites}
    for index, service in enumerate(registry.services):
        if service.site not in sites:
            document.fault(("services", index, "site"), f"there is no site {service.site!r}")
        if not registry.asks(service):
            text = "nobody asks it: give `agent`, or the data center's site a `probe`"
            document.fault(("services", index, "agent"), text)


def _check_sites(registry: Registry, document: _Document) -> None:
    parents = {site.id: site.parent for site in registry.sites}
    if registry.province.center and registry.province.center not in parents:
        document.fault(("province", "center"), f"there is no site {registry.province.center!r}")
    addresses: dict[str, str] = {}
    for index, site in enumerate(registry.sites):
        if site.parent and site.parent not in parents:
            document.fault(("sites", index, "parent"), f"there is no site {site.parent!r}")
        owner = addresses.setdefault(site.address, site.id) if site.address else site.id
        if owner != site.id:
            document.fault(("sites", index, "address"), f"{site.address} is that of {owner!r} already")
        above, passed = site.parent, {site.id}
        while above and above not in passed:
            passed.add(above)
            above = parents.get(above, "")
        if above == site.id:
            document.fault(("sites", index, "parent"), f"site {site.id!r} is its own ancestor")


def _check_devices(registry: Registry, document: _Document) -> None:
    sites = {site.id for site in registry.sites}
    owners: dict[tuple[str, str], str] = {}
    for index, device in enumerate(registry.devices):
        if device.site not in sites:
            document.fault(("devices", index, "site"), f"there is no site {device.site!r}")
        if bool(device.agent) != bool(device.credential):
            text = "an agent polls with a credential: give both `agent` and `credential`, or neither"
            document.fault(("devices", index), text)
        # Behind a relay two devices may share an address: what polls them differs in its port.
        owner = owners.setdefault((device.agent, f"{device.address}:{device.port}"), device.id)
        if owner != device.id:
            document.fault(("devices", index, "address"), f"{device.address} is that of {owner!r} already")


def _check_circuits(registry: Registry, document: _Document) -> None:
    sites, carriers = {site.id for site in registry.sites}, {carrier.id for carrier in registry.carriers}
    devices = {device.id: device for device in registry.devices}
    ports: dict[tuple[str, str], str] = {}
    for index, circuit in enumerate(registry.circuits):
        if circuit.id in sites:
            document.fault(("circuits", index, "id"), f"{circuit.id!r} is a site: paths are named by either")
        if circuit.ends[0].site == circuit.ends[1].site:
            document.fault(("circuits", index, "ends"), f"both are at {circuit.ends[0].site!r}: it joins no two sites")
        if circuit.carrier and circuit.carrier not in carriers:
            document.fault(("circuits", index, "carrier"), f"there is no carrier {circuit.carrier!r}")
        for number, end in enumerate(circuit.ends):
            at: Path_ = ("circuits", index, "ends", number)
            if end.site not in sites:
                document.fault((*at, "site"), f"there is no site {end.site!r}")
            if end.interface and not end.device:
                document.fault((*at, "interface"), "an interface needs the device it is of")
            if end.device and end.device not in devices:
                document.fault((*at, "device"), f"there is no device {end.device!r}")
            elif end.device and devices[end.device].site != end.site:
                document.fault((*at, "device"), f"{end.device!r} is at {devices[end.device].site!r}, not {end.site!r}")
            if end.interface:
                owner = ports.setdefault((end.device, end.interface), circuit.id)
                if owner != circuit.id or end == circuit.ends[1 - number]:
                    text = f"{end.interface!r} of {end.device!r} is that of {owner!r} already"
                    document.fault((*at, "interface"), text)


def _explain(kind: str, message: str, value: object, path: Path_) -> str:
    if kind == "extra_forbidden":
        return f"unknown key {path[-1]!r}"
    if kind == "missing":
        return f"{path[-1]!r} is missing"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "string_pattern_mismatch" and path[-1] in ("id", "parent"):
        return f"{value!r} must be 1 to 63 of a-z 0-9 . _ - , beginning and ending with a letter or digit"
    return f"{message[0].lower()}{message[1:]}, not {value!r}"


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
