"""What of a delivery is more than its agent may have: refused or left out, named in the receipt, counted.

Before it is stored: series, events. What the ledger would not take is named after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from haidang_wire.report import Refusal

from haidang_collector.intake.ingest import Batch, Prepared
from haidang_collector.intake.turns import Intake
from haidang_collector.intake.writer import Outcome
from haidang_collector.quotas.allowances import DAY_SECONDS, SETTING, Allowance
from haidang_collector.quotas.series import SeriesADay
from haidang_collector.registry.rights import ABOUT_DEVICES
from haidang_collector.settings import Settings
from haidang_collector.telemetry import Telemetry

SeriesBeside = Callable[[str, str, Mapping[str, int]], int]


class Shares:
    """Applies the quotas of all agents to what they deliver."""

    def __init__(self, settings: Settings, series_beside: SeriesBeside, intake: Intake, telemetry: Telemetry) -> None:
        """`series_beside` is Latest's."""
        self._limits = settings.limits
        self._series_beside = series_beside
        self._intake = intake
        self._telemetry = telemetry
        self._series = SeriesADay(settings.quotas.series_a_day, settings.quotas.sources)

    def forget(self, agent: str) -> None:
        """One that may no longer speak."""
        self._series.forget(agent)

    def left_out(self, batch: Batch, outcome: Outcome) -> list[Refusal]:
        """Name and count what was not stored because its agent has enough; what of reports was left out, and what of
        those that are stored their agent may not say."""
        for quota, prepared in outcome.over_quota:
            self._refuse_for_quota(batch, prepared, quota)
        left_out = []
        for quota, prepared, number in outcome.left_out:
            report = prepared.report
            if quota == "disk":
                detail = f"{report.source}: {number} facts and events, the collector's disk is nearly full"
                self._telemetry.disk_refused.labels("documents").inc(number)
            else:
                what = {"late": "its samples", "links": f"{number} links"}.get(quota, f"{number} facts or events")
                detail = f"{report.source}: {what} beyond quotas.{SETTING[quota]}"
                self._intake.note(batch.agent, quota, number)
            left_out.append(Refusal(report.epoch, report.sequence, detail))
        for prepared in (*outcome.live, *outcome.late):
            report = prepared.report
            for reason, number in prepared.refused_documents.items():
                detail = f"{report.source}: {number} facts or events are refused ({reason})"
                left_out.append(Refusal(report.epoch, report.sequence, detail))
        return left_out

    def leave_out_events(self, batch: Batch, allowance: Allowance) -> list[Refusal]:
        """Events beyond a day's; the newest reports' are kept."""
        left_out = []
        for prepared in sorted(batch.prepared, key=lambda prepared: prepared.taken, reverse=True):
            report = prepared.report
            told = len(report.events) + len(prepared.unknown_events)
            granted = allowance.events.take_up_to(told, time.monotonic())
            if more := told - granted:
                del prepared.unknown_events[max(0, granted - len(report.events)) :]
                del report.events[granted:]
                detail = f"{report.source}: {more} events beyond quotas.events_a_day"
                left_out.append(Refusal(report.epoch, report.sequence, detail))
                self._intake.note(batch.agent, "events", more)
        return left_out

    def refuse_series(self, batch: Batch, now: float) -> None:
        """No agent, and no device, may fill the exposition, or Prometheus with ever other series."""
        most = self._limits.series_an_agent
        kept = []
        coming: dict[str, int] = {}
        for prepared in batch.prepared:
            report = prepared.report
            own = len(prepared.kept_samples)
            series = self._series_beside(batch.agent, report.source, coming) + own
            if series <= most:
                if self._is_of_a_days_series(batch, prepared, now):
                    kept.append(prepared)
                    coming[report.source] = max(own, coming.get(report.source, 0))
            else:
                detail = f"{report.source}: {series} series, more than {most} (limits.series_an_agent)"
                batch.refused.append(Refusal(report.epoch, report.sequence, detail))
                batch.refused_reasons["too_many_series"] += 1
        batch.prepared[:] = kept

    def _is_of_a_days_series(self, batch: Batch, prepared: Prepared, now: float) -> bool:
        report = prepared.report
        kind, _, target = report.source.partition(":")
        device = target if kind in ABOUT_DEVICES else ""
        day = int(now // DAY_SECONDS)
        if self._series.take(batch.agent, report.source, device, prepared.series, prepared.blocks.values(), day):
            return True
        self._refuse_for_quota(batch, prepared, "series")
        return False

    def _refuse_for_quota(self, batch: Batch, prepared: Prepared, quota: str) -> None:
        report = prepared.report
        detail = f"{report.source}: the agent has used up quotas.{SETTING[quota]}"
        batch.refused.append(Refusal(report.epoch, report.sequence, detail))
        batch.refused_reasons["quota"] += 1
        self._intake.note(batch.agent, quota)
