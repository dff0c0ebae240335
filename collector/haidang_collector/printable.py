"""Texts that others chose (names of machines, words of operators), made harmless for what shows them: spreadsheets,
PDFs, terminals."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Any

# Longer is cut: no name is, and a cell of a spreadsheet ends at 32,767.
MOST = 32_000
# Control characters, lone surrogates and what is no character (XML has none of them), and marks that turn the
# direction of what follows.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
# Where a cell may begin in the eyes of a program that takes another separator for the file's, or quotes for
# nothing (Excel in Vietnamese splits at `;`), there a formula must not, nor a quote, which would take in what follows.
_BEFORE_FORMULA = re.compile(r"(?<![\s;,|\"'])[\s;,|\"']*+(?=[=+\-@＝＋－＠])")
_BEFORE_QUOTE = re.compile(r"[;|]\s*(?=\"|\Z)")  # at its end stands the writer's own


def plain(text: str, most: int = MOST) -> str:
    """One line of printable characters, at most that many; what is cut ends with `…`."""
    text = _UNPRINTABLE.sub(" ", text)
    return text if len(text) <= most else text[: most - 1] + "…"


def cell(value: object) -> object:
    """A value for CSV. A text gets a `'` where a spreadsheet would see a formula, whichever separator it splits at
    (OWASP, CSV injection); numbers stay numbers."""
    if not isinstance(value, str):
        return value
    return _BEFORE_QUOTE.sub(r"\g<0>'", _BEFORE_FORMULA.sub(_marked, plain(value)))


def _marked(found: re.Match[str]) -> str:
    begins_a_cell = found.start() == 0 or any(each in found[0] for each in ';,|"')
    return f"{found[0]}'" if begins_a_cell else found[0]


class CsvWriter:
    """csv.writer whose cells are all harmless."""

    def __init__(self, to: Any) -> None:
        self._writer = csv.writer(to)

    def row(self, values: Iterable[object]) -> None:
        """Write one."""
        self._writer.writerow([cell(value) for value in values])
