"""What counts as a sign that a site's power failed: the same for what is judged now and for what is told afterwards."""

from __future__ import annotations

from haidang_wire.report import Event, Sample

from haidang_collector.outage.remarks import Remark, remark
from haidang_collector.outage.witness import text

# Metrics of power, and which of their two values says that it failed.
_FAILED = {"haidang_ups_on_battery": True, "haidang_host_mains_power": False}
METRICS = frozenset(_FAILED)
"""Samples of other metrics say nothing of power."""


def sample_sign(sample: Sample, agent: str) -> Remark | None:
    """What a sample of an agent says of power that failed; None when it does not."""
    if _FAILED.get(sample.metric) != bool(sample.value):
        return None
    device = sample.labels.get("device")
    return remark("ups", device=device) if device else remark("battery", agent=agent)


def gasp_sign(event: Event) -> Remark:
    """What a dying gasp says: the event of a device that loses its power, sent with the last of it."""
    return remark("gasp", device=text(event.body, "device"))
