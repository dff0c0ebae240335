"""Reachability, round-trip time and loss of the gateway and of configured targets (ICMP echo)."""

from __future__ import annotations

from haidang_wire.sources import REACHABILITY

from haidang_agent.config import ReachabilityConfig, Target
from haidang_agent.path import icmp
from haidang_agent.platform.system import default_gateway
from haidang_agent.schedule.source import Findings


class Reachability:
    """A few echo requests to every target each run; all targets share the waiting."""

    name = REACHABILITY

    def __init__(self, config: ReachabilityConfig) -> None:
        self.config = config
        self._sent: dict[str, int] = {}
        self._lost: dict[str, int] = {}

    def collect(self) -> Findings:
        """Samples of haidang_path_*. A name that does not resolve is a target that does not
        answer. Raises OSError when this machine may not send echo requests."""
        targets = list(self.config.targets)
        gateway = default_gateway() if self.config.gateway else None
        if gateway:
            targets.append(Target("gateway", gateway))
        findings = Findings()
        answers = icmp.echo(
            {t.name: t.address for t in targets}, count=self.config.echoes, timeout=self.config.answer_seconds
        )
        for target in targets:
            self._add(findings, target, answers[target.name])
        return findings

    def _add(self, findings: Findings, target: Target, round_trips: list[float]) -> None:
        sent = self.config.echoes
        lost = sent - len(round_trips)
        name = target.name
        self._sent[name] = self._sent.get(name, 0) + sent
        self._lost[name] = self._lost.get(name, 0) + lost
        findings.add("path_info", 1, target=name, address=target.address)
        findings.add("path_up", int(bool(round_trips)), target=name)
        findings.add("path_loss_ratio", lost / sent, target=name)
        findings.add("path_echoes_sent_total", self._sent[name], target=name)
        findings.add("path_echoes_lost_total", self._lost[name], target=name)
        if round_trips:
            mean = sum(round_trips) / len(round_trips)
            for statistic, value in (
                ("minimum", min(round_trips)),
                ("mean", mean),
                ("maximum", max(round_trips)),
            ):
                findings.add("path_round_trip_seconds", round(value, 6), target=name, statistic=statistic)
