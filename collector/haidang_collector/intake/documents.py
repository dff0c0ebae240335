"""The bodies of facts and events, from bytes to documents of known fields, types and bounds. Pure.

What is known (`haidang_wire.kinds`) is decoded into its type, so nothing else of it comes in, and whoever reads
it afterwards finds what it should be. What is not known stays the bytes it was, few of them, and nobody looks inside.
"""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from typing import Any

import msgspec
from haidang_wire.documents import DeviceEvent
from haidang_wire.kinds import BODIES, EVENTS, FACTS
from haidang_wire.sources import TRAPS

from haidang_collector.ledger.tables import MAX_INTEGER

_MAX_TEXT = 4096
_MAX_LIST = 20_000
_MAX_UNKNOWN_BYTES = 16_384
_LARGE_BYTES = 65_536
_PIECE_ENTRIES = 500
_NUL, _REPLACEMENT = b"\\u0000", b"\\ufffd"

Decoder = msgspec.json.Decoder[Any]


def _lists_of(body: type) -> dict[str, Decoder]:
    """The fields of a body that are lists, and what decodes one."""
    return {
        name: Decoder(each)
        for name, hint in typing.get_type_hints(body).items()
        for each in (hint, *typing.get_args(hint))
        if typing.get_origin(each) is list
    }


_FACT_DECODERS: dict[str, Decoder] = {kind: Decoder(each.body) for kind, each in FACTS.items()}
_LISTS: dict[str, dict[str, Decoder]] = {kind: _lists_of(body) for kind, body in BODIES.items()}
_EVENT_DECODERS: dict[str, Decoder] = {kind: Decoder(each.body) for kind, each in EVENTS.items()}
_DEVICE_EVENT_DECODER: Decoder = Decoder(DeviceEvent)


class BadDocument(ValueError):
    """A body that is not what its kind says; the text names the field."""


@dataclass(frozen=True)
class Unknown:
    """A fact or event of a kind this collector does not know: `text` is its JSON, `key` a fact's, `at` an event's."""

    kind: str
    text: str
    key: str = ""
    at: float = 0.0


def fact_body(kind: str, raw: msgspec.Raw) -> dict[str, Any] | str:
    """The body of a fact: its known fields, or the text of an unknown kind. Raises BadDocument."""
    return _body(kind, _FACT_DECODERS.get(kind), raw)


def event_body(source_kind: str, kind: str, raw: msgspec.Raw) -> dict[str, Any] | str:
    """The body of an event of a source of this kind. Raises BadDocument."""
    decoder = _EVENT_DECODERS.get(kind)
    if decoder is None and source_kind == TRAPS:
        decoder = _DEVICE_EVENT_DECODER
    return _body(kind, decoder, raw)


def _body(kind: str, decoder: Decoder | None, raw: msgspec.Raw) -> dict[str, Any] | str:
    data = bytes(raw)
    if _NUL in data:  # no database takes it, and no name has it
        data = data.replace(_NUL, _REPLACEMENT)
    if decoder is None:
        return _text(data)
    try:
        if len(data) <= _LARGE_BYTES:
            document = msgspec.to_builtins(decoder.decode(data))
        else:
            document = _decode_large(_LISTS.get(kind, {}), decoder, data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(str(error)) from error
    return _bounded_object(document, "$")


def _decode_large(known: dict[str, Decoder], decoder: Decoder, data: bytes) -> Any:
    """The lists of a body some of their entries at a time: nothing else runs in the process while msgspec decodes.
    Raises msgspec.DecodeError."""
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    lists = {
        name: msgspec.json.decode(fields.pop(name), type=list[msgspec.Raw])
        for name in known.keys() & fields.keys()
        if bytes(fields[name]) != b"null"
    }
    document = msgspec.to_builtins(decoder.decode(msgspec.json.encode(fields)))
    for name, entries in lists.items():
        decode = known[name].decode
        document[name] = [
            msgspec.to_builtins(entry)
            for at in range(0, len(entries), _PIECE_ENTRIES)
            for entry in decode(b"[" + b",".join(map(bytes, entries[at : at + _PIECE_ENTRIES])) + b"]")
        ]
    return document


def _text(data: bytes) -> str:
    if len(data) > _MAX_UNKNOWN_BYTES:
        raise BadDocument(f"its kind is not known, and it has more than {_MAX_UNKNOWN_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadDocument("it is not UTF-8") from error


def _bounded_object(document: dict[str, Any], where: str) -> dict[str, Any]:
    """Its fields that are told. The types bound the depth."""
    if len(document) > _MAX_LIST:
        raise BadDocument(f"more than {_MAX_LIST} fields - at `{where}`")
    return {
        _bounded(name, where): _bounded(value, f"{where}.{name[:50]}")
        for name, value in document.items()
        if value is not None
    }


def _bounded(value: Any, where: str) -> Any:
    if isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise BadDocument(f"a text of more than {_MAX_TEXT} characters - at `{where}`")
    elif isinstance(value, dict):
        return _bounded_object(value, where)
    elif isinstance(value, list):
        if len(value) > _MAX_LIST:
            raise BadDocument(f"a list of more than {_MAX_LIST} - at `{where}`")
        return [_bounded(each, where + "[…]") for each in value]
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise BadDocument(f"an integer beyond {MAX_INTEGER} - at `{where}`")
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadDocument(f"a number that is not finite - at `{where}`")
    return value


def names_of(text: str) -> dict[str, object]:
    """The texts at the top of an unknown body, by name: whom it speaks of. Anything else there is None."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):  # no object: it names nobody
        return {}
    return {name: _text_or_none(bytes(value)) for name, value in fields.items()}


def _text_or_none(value: bytes) -> str | None:
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
