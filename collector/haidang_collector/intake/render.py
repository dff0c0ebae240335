"""Samples as lines of the exposition, those that may be: of known metrics, by those who may say them.

The lines of a report are made once, when it comes in; a scrape puts them together.
"""

from __future__ import annotations

from collections import Counter

from haidang_wire.metrics import CATALOGUE, samples_of
from haidang_wire.report import Sample

from haidang_collector.lines import escape
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
    # The hot loop of the collector: a sample takes less than a microsecond.
    kind = voice.kind
    families: dict[str, list[str]] = {}
    seen: set[str] = set()
    kept: list[int] = []
    prefix = f'{{site="{voice.site}",agent="{agent}"'
    # Characters take at most four bytes: what is shorter than that in all need not be measured.
    surely_short = limits.label_bytes // 4
    for index, sample in enumerate(samples):
        metric, labels, value = sample.metric, sample.labels, sample.value
        spec = _SPECS.get(metric)
        if spec is None:
            refused["unknown_metric"] += 1
            continue
        sources, names, template, family, naming, is_time = spec
        if labels.keys() != names:  # it may say whose it is, if it is
            if any(labels.get(name, own) != own for name, own in (("site", voice.site), ("agent", agent))):
                refused["foreign_site"] += 1
                continue
            labels = {name: text for name, text in labels.items() if name not in ("site", "agent")}
            if labels.keys() != names:
                refused["wrong_labels"] += 1
                continue
        text = problem = ""
        if kind not in sources:
            problem = "wrong_source"
        elif value - value != 0.0:  # infinity and NaN
            problem = "not_finite"
        elif is_time and not OWN_TIMES[0] <= value <= OWN_TIMES[1]:
            problem = "out_of_range"
        elif naming is DEVICE:  # as Voice.sample() would say it, without the call
            problem = "" if labels["device"] == voice.device else "foreign_device"
        elif naming:
            problem = voice.sample(naming, labels)
        if names and not problem:
            text = template % labels
            if len(text) > surely_short and any(len(each.encode()) > limits.label_bytes for each in labels.values()):
                problem = "label_too_long"
        if problem:
            refused[problem] += 1
            continue
        if not text.isprintable() or text.count('"') != 2 * len(names) or "\\" in text:
            text = template % {name: escape(each) for name, each in labels.items()}
        series = f"{metric}{prefix}{text}"
        if series in seen:
            refused["duplicate"] += 1
            continue
        seen.add(series)
        kept.append(index)
        if family not in families:
            families[family] = []
        families[family].append(f"{series}}} {value!r}\n")  # as line() would write it, without the call
    return {family: "".join(lines).encode() for family, lines in families.items()}, kept, hash(frozenset(seen))
