"""The Report, the one type that travels, and the two messages that carry it.

Agents write it with `json` (the host agent needs no decoder library); the collector
decodes straight into the same dataclasses. Times are Unix seconds, intervals and ages
are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from haidang_wire.reference import Reading

CONTENT_TYPE = "application/vnd.haidang.reports.v1+json"


@dataclass(frozen=True)
class Sample:
    """A number now. `metric` is a name of the catalogue, `labels` exactly its labels
    (without `site` and `agent`, which the collector adds), `value` a finite number."""

    metric: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Fact:
    """A document about one thing; the collector keeps the current one of each
    (kind, key) and the history of its changes."""

    kind: str
    key: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Event:
    """Something that happened at an instant `at` (Unix seconds, the agent's clock)."""

    kind: str
    at: float
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What one source of one agent saw at one time.

    (agent, epoch, sequence) identifies it: an epoch is one run of the agent (it only
    grows), the sequence counts within it. `taken` is the agent's clock, `interval` the
    time after which the same source reports again: a report is current for 2.5 of them.
    """

    agent: str
    epoch: int
    sequence: int
    source: str
    taken: float
    interval: float
    samples: list[Sample]
    facts: list[Fact] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Refusal:
    """A report, or a part of one, that the collector will never accept, and why."""

    epoch: int
    sequence: int
    detail: str


@dataclass(frozen=True)
class Receipt:
    """The answer to a delivery. Everything the delivery held is either durable at the
    collector or named in `refused`; the agent may forget it all.

    `received` is the collector's clock; `samples_refused` counts samples left out of
    reports that were otherwise kept; `left_out` names facts and events left out of such, or refused. `assignment`
    is the version of what the agent is to watch: one that differs from what it has is to be fetched.
    `clock` is what the collector's steady clock said when it answered. `authorities` names the CAs it
    is to trust: with others it renews its certificate, and is given them. `wait` is how many seconds to
    wait before the next delivery, of an agent that used up its quota.
    """

    received: float
    accepted: int
    duplicates: int
    samples_refused: int
    refused: list[Refusal]
    assignment: str = ""
    clock: Reading | None = None
    authorities: str = ""
    left_out: list[Refusal] = field(default_factory=list)
    wait: float = 0.0


def report_json(report: Report) -> dict[str, Any]:
    """The JSON form of a report: what `json.dumps` takes and a Report decodes from."""
    return {
        "agent": report.agent,
        "epoch": report.epoch,
        "sequence": report.sequence,
        "source": report.source,
        "taken": report.taken,
        "interval": report.interval,
        "samples": [{"metric": s.metric, "labels": s.labels, "value": s.value} for s in report.samples],
        "facts": [{"kind": f.kind, "key": f.key, "body": f.body} for f in report.facts],
        "events": [{"kind": e.kind, "at": e.at, "body": e.body} for e in report.events],
    }


EXPIRY_INTERVALS = 2.5


def expiry(taken: float, interval: float) -> float:
    """The Unix time at which a report stops being current."""
    return taken + EXPIRY_INTERVALS * interval
