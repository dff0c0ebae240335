"""Texts Windows' own tools write: lists of properties of WMI classes, and exports of the registry."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

Row = dict[str, str]


def properties(text: str) -> list[Row]:
    """Objects of `Name=value` lines with empty lines between, as `wmic … get /value` and our PowerShell print them.
    Names of empty values are there with an empty text."""
    rows: list[Row] = []
    row: Row = {}
    for raw in text.splitlines():
        line = raw.strip("\r\n\0")
        name, equals, value = line.partition("=")
        if equals and re.fullmatch(r"\s*[A-Za-z_]\w*\s*", name):
            name = name.strip()
            if name in row:  # a lost empty line
                rows.append(row)
                row = {}
            row[name] = html.unescape(value.strip())
        elif not line.strip() and row:
            rows.append(row)
            row = {}
    return [*rows, row] if row else rows


def sections(text: str) -> dict[str, list[Row]]:
    """`== NAME` lines begin what belongs to each."""
    found: dict[str, list[Row]] = {}
    parts = re.split(r"(?m)^== (\w+)[ \t]*\r?$", text)
    for name, body in zip(parts[1::2], parts[2::2]):
        found.setdefault(name, []).extend(properties(body))
    return found


def registry(text: str) -> dict[str, Row]:
    """Keys of a `.reg` export, each as its values. Texts as they are, numbers in decimal, the rest left out."""
    keys: dict[str, Row] = {}
    row: Row | None = None
    for line in _joined(text):
        key = re.fullmatch(r"\[(-?)(.+)\]", line)
        if key:
            row = keys.setdefault(key[2], {}) if not key[1] else None
            continue
        value = re.match(r'(@|"((?:[^"\\]|\\.)*)")=(.*)', line, re.DOTALL)
        if value and row is not None:
            text_of = _value(value[3].strip())
            if text_of is not None:
                row["" if value[1] == "@" else _unescaped(value[2])] = text_of
    return keys


def _joined(text: str) -> Iterator[str]:
    """Lines, with those that go on (a text with a line end in it, hexadecimal with a backslash) as one."""
    held = ""
    for line in text.splitlines():
        if held:
            # What begins anew ends a text whose own end was cut off.
            if re.match(r'\[HKEY|"[^"]*"=', line):
                yield held
                held = ""
            else:
                held += line.strip() if "=hex" in held else f"\n{line}"
        held = held or line.strip()
        if "=hex" in held and held.endswith("\\"):
            held = held[:-1]
            continue
        opened = re.match(r'(?:@|"(?:[^"\\]|\\.)*")="((?:[^"\\]|\\.)*)("?)$', held, re.DOTALL)
        if opened and not opened[2] and len(held) < 65536:
            continue
        if held:
            yield held
        held = ""
    if held:
        yield held


def _value(text: str) -> str | None:
    if text.startswith('"'):
        return _unescaped(text[1:].rpartition('"')[0])
    if text.startswith("dword:"):
        return str(int(text[6:], 16)) if re.fullmatch("dword:[0-9a-fA-F]{1,8}", text) else None
    expand = re.match(r"hex\((?:2|1)\):([0-9a-fA-F,\s]*)", text)
    if expand:
        data = bytes(int(byte, 16) for byte in expand[1].replace(",", " ").split() if len(byte) <= 2)
        return data.decode("utf-16-le", "replace").rstrip("\0")
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
