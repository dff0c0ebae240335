"""Lines of the exposition (text format 0.0.4 and OpenMetrics 1.0, which agree here): how a sample is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Sample = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""


def escape(value: str) -> str:
    """A label value as the text formats want it; control characters that could end a line in
    somebody's parser become U+FFFD."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return value
    value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return "".join(c if c >= " " and c not in "\x7f\x85\u2028\u2029" else "\ufffd" for c in value)


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand behind a name; empty when there are none."""
    text = ",".join([f'{name}="{escape(value)}"' for name, value in labels.items()])
    return f"{{{text}}}" if text else ""


def line(series: str, value: float) -> str:
    """The line of one sample. Python's shortest text that reads as the same number is good for both formats."""
    return f"{series} {value!r}\n"


def families_of(samples: Iterable[Sample]) -> list[tuple[str, bytes]]:
    """(family, its lines), in the order in which families are met first."""
    families: dict[str, list[str]] = {}
    for name, labels, value in samples:
        families.setdefault(name, []).append(line(name + label_text(labels), value))
    return [(name, "".join(lines).encode()) for name, lines in families.items()]
