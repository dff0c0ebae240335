"""The agent about itself: version, sources, spool, uplink, certificate, memory, time."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import psutil
from haidang_wire import __version__
from haidang_wire.sources import AGENT

from haidang_agent.delivery.spool import Spool
from haidang_agent.delivery.uplink import Uplink
from haidang_agent.schedule.runner import Runner
from haidang_agent.schedule.source import Findings

if TYPE_CHECKING:
    from haidang_agent.schedule.standing import Standing


class Itself:
    """Always there: its reports are what keeps `haidang_agent_up` at 1."""

    name = AGENT

    def __init__(self, spool: Spool | None = None, uplink: Uplink | None = None) -> None:
        self.runners: Sequence[Runner | Standing] = []
        self._spool = spool
        self._uplink = uplink
        self._process = psutil.Process()
        self._started = time.time()

    def collect(self) -> Findings:
        """Samples of haidang_agent_*."""
        findings = Findings()
        findings.add("agent_info", 1, version=__version__, python=platform.python_version(), system=platform.system())
        findings.add("agent_start_timestamp_seconds", round(self._started, 3))
        times = self._process.cpu_times()
        findings.add("agent_cpu_seconds_total", round(times.user + times.system, 3))
        findings.add("agent_resident_memory_bytes", self._process.memory_info().rss)
        for runner in self.runners:
            self._add_source(findings, runner)
        if self._spool:
            self._add_spool(findings, self._spool)
        if self._uplink:
            findings.add("agent_certificate_expiry_timestamp_seconds", self._uplink.identity.ends)
            for reason, count in self._uplink.state.failures.items():
                findings.add("agent_uplink_failures_total", count, reason=reason)
        return findings

    def _add_source(self, findings: Findings, runner: Runner | Standing) -> None:
        if runner.up is None:
            return
        name = runner.source.name
        findings.add("agent_source_up", int(runner.up), source=name)
        findings.add("agent_source_duration_seconds", round(runner.duration, 4), source=name)
        for reason, count in runner.failures.items():
            # A run that hangs now will be counted when it ends; it may never.
            hangs = int(reason == "timeout" and runner.overdue)
            findings.add("agent_source_failures_total", count + hangs, source=name, reason=reason)

    def _add_spool(self, findings: Findings, spool: Spool) -> None:
        state = spool.state()
        findings.add("agent_spool_bytes", state.bytes)
        findings.add("agent_spool_limit_bytes", state.limit_bytes)
        findings.add("agent_spool_reports", state.reports)
        findings.add("agent_spool_oldest_report_age_seconds", round(state.oldest_age, 1))
        findings.add("agent_spool_thinned_reports_total", state.thinned)
        findings.add("agent_spool_writable", int(state.writable))
        for reason, count in state.dropped.items():
            findings.add("agent_spool_dropped_reports_total", count, reason=reason)
