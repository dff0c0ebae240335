"""The collector's own metrics, on prometheus-client, each as the catalogue declares it."""

from __future__ import annotations

from haidang_wire.metric import Metric
from haidang_wire.metrics import CATALOGUE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client import exposition as text_format
from prometheus_client.openmetrics import exposition as openmetrics_format

disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client does not annotate it


TASKS = (
    "deliveries", "watch", "outages", "outage ledger", "plan", "housekeeping", "remote write", "certificates", "door",
    "software", "lease",
)  # fmt: skip
"""What runs in the background, by the label of haidang_collector_task_failures_total."""


def _declared(name: str) -> Metric:
    return CATALOGUE[f"haidang_collector_{name}"]


class Telemetry:
    """One of these a collector; `registry` is what /metrics adds to the agents' series."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector("haidang_collector", registry=self.registry)
        self.info = self._gauge("info")
        self.start = self._gauge("start_timestamp_seconds")
        self.requests = self._counter("requests_total")
        self.reports = self._counter("reports_total")
        self.refused_reports = self._counter("refused_reports_total")
        self.refused_samples = self._counter("refused_samples_total")
        self.refused_documents = self._counter("refused_documents_total")
        self.refused_requests = self._counter("refused_requests_total")
        self.quota_reached = self._counter("quota_reached_total")
        self.agent_quota_reached = self._gauge("agent_quota_reached")
        self.disk_free = self._gauge("disk_free_bytes")
        self.disk_refusing = self._gauge("disk_refusing")
        self.disk_refused = self._counter("disk_refused_total")
        self.enrolments = self._counter("enrolments_total")
        self.refused_enrolments = self._counter("refused_enrolments_total")
        self.renewals = self._counter("renewals_total")
        self.series = self._gauge("series")
        self.exposition_duration = self._gauge("exposition_duration_seconds")
        metric = _declared("commit_duration_seconds")
        self.commit_duration = Histogram(
            metric.name,
            metric.help,
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
        )
        self.commit_failures = self._counter("commit_failures_total")
        self.task_failures = self._counter("task_failures_total")
        self.unusable = self._counter("unusable_total")
        self.late_waiting = self._gauge("late_reports_waiting")
        self.late_dropped = self._counter("late_reports_dropped_total")
        self.remote_write_samples = self._counter("remote_write_samples_total")
        self.remote_write_failures = self._counter("remote_write_failures_total")
        self.outage_evaluation = self._gauge("outage_evaluation_seconds")
        self.disbelieved = self._counter("disbelieved_total")
        self.certificate_expiry = self._gauge("certificate_expiry_timestamp_seconds")
        self.connections = self._gauge("connections")
        self.connection_room = self._gauge("connection_room")
        self.connections_ended = self._counter("connections_ended_total")
        self.client_certificate_ends = self._gauge("client_certificate_ends_timestamp_seconds")
        # Series that must be there before the first time, so that `increase()` sees it.
        for outcome in ("live", "late", "duplicate", "refused"):
            self.reports.labels(outcome)
        for outcome in ("accepted", "refused"):
            self.enrolments.labels(outcome)
            self.renewals.labels(outcome)
        for what in ("documents", "reports"):
            self.disk_refused.labels(what)
        for task in TASKS:
            self.task_failures.labels(task)
        for reason in ("name", "quota", "request", "token"):
            self.refused_enrolments.labels(reason)
        for reason in ("queue_full", "rejected", "no_receiver", "unusable"):
            self.late_dropped.labels(reason)
        for what in ("count", "event", "proof", "sign"):
            self.disbelieved.labels(what)
        for reason in ("network", "status"):
            self.remote_write_failures.labels(reason)

    def count_at_door(self, reason: str) -> None:
        """A connection was ended by the door."""
        self.connections_ended.labels(reason).inc()

    def _gauge(self, name: str) -> Gauge:
        metric = _declared(name)
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _counter(self, name: str) -> Counter:
        metric = _declared(name)
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def show_agents_quotas(self, worst: list[tuple[str, str, int]]) -> None:
        """Those that reached a quota most often lately, and no others: (agent, quota, times)."""
        self.agent_quota_reached.clear()
        for agent, quota, times in worst:
            self.agent_quota_reached.labels(agent, quota).set(times)

    def exposition(self, *, openmetrics: bool) -> bytes:
        """All of it as text, without OpenMetrics' end mark."""
        if openmetrics:
            text: bytes = openmetrics_format.generate_latest(self.registry)  # type: ignore[no-untyped-call]  # theirs
            return text.removesuffix(b"# EOF\n")
        return text_format.generate_latest(self.registry)
