"""The assignment: what the center wants an agent to watch. The only thing that flows back.

Credentials are named in it, never contained: they are in a file of the agent's own machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from haidang_wire.errors import HaidangError


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
class Assignment:
    """What one agent watches."""

    devices: tuple[AssignedDevice, ...] = ()

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
    """An assignment out of its JSON form; keys a newer center added are passed over.

    Raises HaidangError naming what is wrong.
    """
    if not isinstance(document, dict) or not isinstance(document.get("devices"), list):
        raise HaidangError("devices must be a list")
    return Assignment(tuple(_device(number, value) for number, value in enumerate(document["devices"])))


def _device(number: int, value: Any) -> AssignedDevice:
    if not isinstance(value, dict):
        raise HaidangError(f"devices[{number}] must be an object")
    known = {field.name: value[field.name] for field in fields(AssignedDevice) if field.name in value}
    for name in ("id", "address"):
        if not known.get(name):
            raise HaidangError(f"devices[{number}].{name} is missing")
    others = known.pop("trap_addresses", [])
    if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
        raise HaidangError(f"devices[{number}].trap_addresses must be a list of texts")
    for name, given in known.items():
        if type(given) is not (int if name == "port" else str):
            raise HaidangError(f"devices[{number}].{name} is {given!r}")
    return AssignedDevice(trap_addresses=tuple(others), **known)
