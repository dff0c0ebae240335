"""What one poll of one device found, on its way into a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from haidang_wire.report import Fact, Sample

from haidang_agent.schedule.source import Findings, Instant, instant

_TEXT_BYTES = 200

Labels = tuple[tuple[str, str], ...]


@dataclass
class Poll:
    """What one poll found, of which `begun` is when its tables began to be read. With `trace`, `origin`
    maps each sample to the OIDs it came from or could have come from."""

    device: str
    profile: str = ""
    trace: bool = False
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)
    origin: dict[tuple[str, Labels], set[str]] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    begun: Instant = field(default_factory=instant)

    def labels(self, **labels: str) -> Labels:
        """Labels of a sample of this device, cut to what a collector takes."""
        cut = {
            name: text if len(text) <= _TEXT_BYTES // 4 else text.encode()[:_TEXT_BYTES].decode("utf-8", "ignore")
            for name, text in labels.items()
        }
        return tuple(sorted({"device": self.device, **cut}.items()))

    def put(self, metric: str, value: float | None, labels: Labels, oids: Iterable[str] = ()) -> None:
        """Add a sample; nothing for None. The later one of two of a series counts: what a vendor
        says of a thing is better than what the standard tables say."""
        if value is None:
            return
        at = (f"haidang_{metric}", labels)
        self.samples[at] = value
        if self.trace:
            self.origin.setdefault(at, set()).update(oids)

    def add(self, metric: str, value: float | None, oids: Iterable[str] = (), **labels: str) -> None:
        """Add a sample with labels in words."""
        self.put(metric, value, self.labels(**labels), oids)

    def findings(self) -> Findings:
        """As a report carries it."""
        samples = [Sample(metric, dict(labels), value) for (metric, labels), value in self.samples.items()]
        return Findings(samples, self.facts)
