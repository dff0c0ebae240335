"""Keys of STAMP's authenticated mode, by name, from a file that only the agent's user may read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from haidang_wire.errors import ConfigError

from haidang_agent.config import load_tables
from haidang_agent.platform.files import refuse_readable

_MIN_KEY_BYTES = 16


@dataclass(frozen=True)
class Key:
    """One `[NAME]` of the keys file. The key is not shown by repr()."""

    key: str = field(default="", repr=False, metadata={"doc": "The key in hexadecimal digits.", "minimum": None})


def load_keys(path: Path) -> dict[str, bytes]:
    """The keys of a file, by name. Raises ConfigError with file and key, and for a file that others may read."""
    found: dict[str, Key] = load_tables(path, Key)
    try:
        refuse_readable(path)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(path)) from error
    keys: dict[str, bytes] = {}
    for name, each in found.items():
        try:
            keys[name] = bytes.fromhex(each.key)
        except ValueError as error:
            raise ConfigError(f"{name}.key must be hexadecimal digits", where=str(path)) from error
        if len(keys[name]) < _MIN_KEY_BYTES:
            raise ConfigError(f"{name}.key must have at least {_MIN_KEY_BYTES * 2} digits", where=str(path))
    return keys
