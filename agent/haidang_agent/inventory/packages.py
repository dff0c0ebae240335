"""Installed software, as dpkg, rpm, snap and flatpak tell it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from haidang_agent.inventory.text import cleaned, moment, number, present

Package = dict[str, Any]

DPKG = (
    "dpkg-query",
    "-W",
    "-f=${Package}\t${Architecture}\t${Version}\t${Installed-Size}\t${Section}\t${Status}\t${Maintainer}\n",
)
RPM = (
    "rpm",
    "-qa",
    "--queryformat=%{NAME}\t%{ARCH}\t%{VERSION}-%{RELEASE}\t%{INSTALLTIME}\t%{SIZE}\t%{VENDOR}\t%{SUMMARY}\t%{GROUP}\n",
)
SNAP = ("snap", "list", "--color=never", "--unicode=never")
FLATPAK = ("flatpak", "list", "--columns=application,branch,installation,name")


def _columns(text: str, least: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        columns = line.split("\t")
        if len(columns) >= least and columns[0].strip():
            yield columns


def _sized(kilobytes: str) -> int | None:
    size = number(kilobytes)
    return size * 1024 if size is not None else None


def dpkg(text: str) -> list[Package]:
    """Packages that are installed; those whose configuration alone is left are not."""
    return [
        present(
            name=cleaned(name), version=cleaned(version), architecture=cleaned(architecture), source="dpkg",
            size_bytes=_sized(size),
        )
        for name, architecture, version, size, *rest in _columns(text, 4)
        if len(rest) < 2 or rest[1].split()[-1:] == ["installed"]
    ]  # fmt: skip


def rpm(text: str) -> list[Package]:
    """Packages; keys of repositories, which rpm lists among them, are none."""
    return [
        present(
            name=cleaned(name), version=cleaned(version), architecture=_known(architecture), source="rpm",
            publisher=_known((*rest, "")[0]), size_bytes=number(size), installed=number(installed),
        )
        for name, architecture, version, installed, size, *rest in _columns(text, 5)
        if name != "gpg-pubkey"
    ]  # fmt: skip


def _known(value: str) -> str | None:
    return None if value.strip() == "(none)" else cleaned(value)


def snap(text: str) -> list[Package]:
    """The table of `snap list`, whose columns stand below their titles."""
    lines = text.splitlines()
    title = next((n for n, line in enumerate(lines) if re.match(r"Name\s+Version\s", line)), None)
    if title is None:
        return []
    starts = [found.start() for found in re.finditer(r"\S+", lines[title])]
    names = lines[title].lower().split()
    found = []
    for line in lines[title + 1 :]:
        columns = [line[at:to].strip() for at, to in zip(starts, [*starts[1:], None])]
        row = dict(zip(names, columns))
        if row.get("name") and row.get("version"):
            publisher = cleaned(row.get("publisher", "").rstrip("*\u2713\u2717 "))
            found.append(
                present(name=cleaned(row["name"]), version=cleaned(row["version"]), source="snap", publisher=publisher)
            )
    return found


def flatpak(text: str) -> list[tuple[str, str, str, str]]:
    """(application, branch, `system` or `user`, name) of each line of `flatpak list`."""
    return [
        (columns[0].strip(), columns[1].strip(), columns[2].strip(), columns[3].strip())
        for columns in _columns(text, 4)
    ]


def flatpak_application(listed: tuple[str, str, str, str], info: str) -> Package:
    """One of them with what `flatpak info` says of it. The tool speaks the user's language: run it in C."""
    application, branch, installation, name = listed
    fields: dict[str, str] = {}
    for line in info.splitlines():
        title, colon, value = line.partition(":")
        if colon and value.strip():
            fields.setdefault(title.strip().lower(), value.strip())
    return present(
        name=cleaned(name) or application, version=cleaned(fields.get("version") or branch), source="flatpak",
        architecture=cleaned(fields.get("arch")), publisher=cleaned(fields.get("origin")),
        installed=moment(fields.get("date"), "%Y-%m-%d %H:%M:%S %z"),
        scope="user" if installation == "user" else None,
    )  # fmt: skip
