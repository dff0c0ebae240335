"""The assignment: what the registry has an agent watch. The only thing that flows back.

Credentials are named in it, never contained: they are in a file of the agent's own machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from haidang_wire.errors import HaidangError

MOST_OF_A_KIND = 10_000
"""An agent takes no more devices, paths or services than this."""

_MOST_TEXT = 2_000
_MOST_ADDRESSES = 100


@dataclass(frozen=True)
class AssignedDevice:
    """A device to poll. `trap_addresses` are others than `address` its traps may come from."""

    id: str
    address: str
    port: int = 161
    credential: str = ""
    profile: str = ""
    trap_addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class AssignedPath:
    """A path to measure: `target` is the site or circuit it leads to or along. A `stamp_port` asks
    for STAMP (RFC 8762) beside ICMP echo, authenticated when a `stamp_key` is named."""

    target: str
    address: str
    stamp_port: int = 0
    stamp_key: str = ""


@dataclass(frozen=True)
class AssignedService:
    """A service to ask, by its URL. Where `documents_url` is given, that is a JSON document of counts: the objects
    of the list at the dotted path `documents_items` (or the document itself) hold the unit they are of, how many
    documents there are and how many of them are electronic, each at a dotted path."""

    id: str
    url: str
    credential: str = ""
    documents_url: str = ""
    documents_items: str = ""
    documents_unit: str = ""
    documents_count: str = ""
    documents_electronic: str = ""


@dataclass(frozen=True)
class Assignment:
    """What one agent watches. `last_user`: whether it may say who was logged on last."""

    devices: tuple[AssignedDevice, ...] = ()
    paths: tuple[AssignedPath, ...] = ()
    services: tuple[AssignedService, ...] = ()
    last_user: bool = False

    @property
    def version(self) -> str:
        """Tells two assignments apart: empty for the empty one, which no agent needs to ask for."""
        if self == Assignment():
            return ""
        text = json.dumps(assignment_json(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def assignment_json(assignment: Assignment) -> dict[str, Any]:
    """The JSON form."""
    return asdict(assignment)


def assignment_from(document: Any) -> Assignment:
    """An assignment out of its JSON form; keys a newer collector added are passed over.

    Raises HaidangError naming what is wrong.
    """
    devices = [_device(f"devices[{number}]", value) for number, value in enumerate(_list(document, "devices", None))]
    paths = [
        AssignedPath(**_known(f"paths[{number}]", value, AssignedPath, needed=("target", "address")))
        for number, value in enumerate(_list(document, "paths", []))
    ]
    services = [
        AssignedService(**_known(f"services[{number}]", value, AssignedService, needed=("id", "url")))
        for number, value in enumerate(_list(document, "services", []))
    ]
    return Assignment(tuple(devices), tuple(paths), tuple(services), document.get("last_user") is True)


def _list(document: Any, name: str, default: Any) -> list[Any]:
    value = document.get(name, default) if isinstance(document, dict) else None
    if not isinstance(value, list):
        raise HaidangError(f"{name} must be a list")
    if len(value) > MOST_OF_A_KIND:
        raise HaidangError(f"{name}: {len(value)} are more than {MOST_OF_A_KIND}")
    return value


def _device(where: str, value: Any) -> AssignedDevice:
    others = value.get("trap_addresses", []) if isinstance(value, dict) else []
    if not isinstance(others, list) or len(others) > _MOST_ADDRESSES or not all(map(_is_text, others)):
        raise HaidangError(f"{where}.trap_addresses must be a list of at most {_MOST_ADDRESSES} texts")
    known = _known(where, value, AssignedDevice, needed=("id", "address"))
    return AssignedDevice(**{**known, "trap_addresses": tuple(others)})


def _known(where: str, value: Any, kind: type, needed: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a kind that are there, of the type each has."""
    if not isinstance(value, dict):
        raise HaidangError(f"{where} must be an object")
    found: dict[str, Any] = {}
    for field in fields(kind):
        if field.name not in value or field.name == "trap_addresses":
            continue
        given = value[field.name]
        good = type(given) is int and 0 <= given <= 65535 if field.name.endswith("port") else _is_text(given)
        if not good:
            raise HaidangError(f"{where}.{field.name} is {str(given)[:100]!r}")
        found[field.name] = given
    for name in needed:
        if not found.get(name):
            raise HaidangError(f"{where}.{name} is missing")
    return found


def _is_text(value: Any) -> bool:
    """One line of what can be shown: it stands in logs, and in files of UTF-8."""
    return isinstance(value, str) and len(value) <= _MOST_TEXT and (value.isprintable() or not value)
