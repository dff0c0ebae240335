"""What a metric family is. The families themselves: metrics.py."""

from __future__ import annotations

from dataclasses import dataclass

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"
INFO = "info"


@dataclass(frozen=True)
class Metric:
    """One metric family.

    name: the name of its samples (histograms: without `_bucket`, `_sum`, `_count`);
    sources: the kinds of source that report it, or `collector` when the collector makes it;
    labels: without `site` and `agent`, which the collector adds to what agents report;
    cardinality: the series to expect, for whoever plans storage.
    """

    name: str
    type: str
    unit: str
    sources: tuple[str, ...]
    labels: tuple[str, ...]
    help: str
    cardinality: str

    @property
    def exposed_labels(self) -> tuple[str, ...]:
        """Labels as Prometheus sees them."""
        return self.labels if "collector" in self.sources else ("site", "agent", *self.labels)
