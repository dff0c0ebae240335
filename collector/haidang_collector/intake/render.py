"""Samples as lines of the exposition, those that may be: of known metrics, by those who may say them.

The lines of a report are made once, when it comes in; a scrape puts them together.
"""

from __future__ import annotations

from collections import Counter

from haidang_wire.metrics import CATALOGUE, samples_of
from haidang_wire.report import Sample

from haidang_collector.registry.rights import DEVICE, NAMING, Voice
from haidang_collector.settings import Limits

OWN_TIMES = (0.0, float(2**33))
"""What an agent's own clock may say: it may be anywhere (a dead battery: 1970)."""

# By sample: sources, label names, the labels as text to fill in, the family, the labels that name somebody's thing, and
# whether its value is a time.
_SPECS = {
    sample: (
        metric.sources, frozenset(labels), "".join(f',{n}="%({n})s"' for n in labels), metric.name, NAMING[sample],
        metric.name.endswith("_timestamp_seconds"),
    )
    for metric in CATALOGUE.values()
    for sample, labels in samples_of(metric).items()
}  # fmt: skip


def render(
    agent: str, samples: list[Sample], voice: Voice, limits: Limits, refused: Counter[str]
) -> tuple[dict[str, bytes], list[int], int]:
    """The lines of an agent's samples by family, the places of those that are in them, and a number that is the same
    for the same series, in whatever order; what is not taken is counted by reason."""
    # The hot loop of the collector: a sample takes about a microsecond and a half.
    families: dict[str, list[str]] = {}
    seen: set[str] = set()
    kept: list[int] = []
    site = voice.site
    prefix = f'{{site="{site}",agent="{agent}"'
    for index, sample in enumerate(samples):
        metric, labels, value = sample.metric, sample.labels, sample.value
        if "site" in labels or "agent" in labels:
            if labels.get("site", site) != site or labels.get("agent", agent) != agent:
                refused["foreign_site"] += 1
                continue
            labels = {name: text for name, text in labels.items() if name not in ("site", "agent")}
        problem = _problem(metric, labels, value, voice, limits)
        if problem:
            refused[problem] += 1
            continue
        _, _, template, family, _, _ = _SPECS[metric]
        series = metric + prefix + (template % _escaped(labels) if labels else "")
        if series in seen:
            refused["duplicate"] += 1
            continue
        seen.add(series)
        kept.append(index)
        if family not in families:
            families[family] = []
        families[family].append(f"{series}}} {value!r}\n")
    return {family: "".join(lines).encode() for family, lines in families.items()}, kept, hash(frozenset(seen))


def _problem(metric: str, labels: dict[str, str], value: float, voice: Voice, limits: Limits) -> str:
    spec = _SPECS.get(metric)
    if spec is None:
        return "unknown_metric"
    if voice.kind not in spec[0]:
        return "wrong_source"
    if labels.keys() != spec[1]:
        return "wrong_labels"
    if value - value != 0.0:  # infinity and NaN
        return "not_finite"
    if spec[5] and not OWN_TIMES[0] <= value <= OWN_TIMES[1]:
        return "out_of_range"
    # Characters take at most four bytes: most values need not be encoded to be measured.
    for text in labels.values():
        if len(text) * 4 > limits.label_bytes and len(text.encode()) > limits.label_bytes:
            return "label_too_long"
    naming = spec[4]
    if naming is DEVICE:  # as Voice.sample() would say it, without the call
        return "" if labels["device"] == voice.device else "foreign_device"
    return voice.sample(naming, labels) if naming else ""


def _escaped(labels: dict[str, str]) -> dict[str, str]:
    together = "".join(labels.values())
    if together.isprintable() and '"' not in together and "\\" not in together:
        return labels
    return {name: escape(value) for name, value in labels.items()}


def escape(value: str) -> str:
    """A label value as the text formats want it; control characters that could end a line in
    somebody's parser become U+FFFD."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return value
    value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return "".join(c if c >= " " and c not in "\x7f\x85\u2028\u2029" else "\ufffd" for c in value)
