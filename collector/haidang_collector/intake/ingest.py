"""From a request's body to reports that may be stored and exposed.

Pure functions of bytes and limits: nothing here waits or writes. The envelope is decoded
first, each report by itself after it, so that a bad report costs only itself; a bad sample
costs only itself too. What comes out of here is of known types within known bounds:
nobody behind has to ask again.
"""

from __future__ import annotations

import logging
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
from haidang_wire.labels import SOURCE
from haidang_wire.reference import Reference
from haidang_wire.report import Event, Fact, Refusal, Report, Sample, expiry
from haidang_wire.sources import INVENTORY, LAN, SOURCES

from haidang_collector.intake.clock import Clock, TimeBase
from haidang_collector.intake.documents import BadDocument, Unknown, event_body, fact_body, names_of
from haidang_collector.intake.render import OWN_TIMES, render
from haidang_collector.ledger.tables import MAX_INTEGER
from haidang_collector.problems import Problem
from haidang_collector.registry.rights import Rights, Voice
from haidang_collector.settings import Limits

log = logging.getLogger(__name__)

_INTERVALS = (0.1, 7 * 86400.0)
_MAX_TEXT = 200
_MAX_DETAIL = 500
_KIND = re.compile(r"[a-z][a-z0-9_]{0,99}")
# What an agent says of, on our clock, is of our time; its own clock may be anywhere (OWN_TIMES).
_BEGINNING = 946_684_800.0  # 2000-01-01
_AHEAD_SECONDS = 7 * 86400.0
# A device that is new has its maker looked up: more work a byte than a package.
_LIST_BYTES_A_FACT = {INVENTORY: 2048, LAN: 256}
_NEIGHBOURS_A_FACT = 20
_PIECE_BYTES = 65_536
_PIECE_SAMPLES = 500


class Envelope(msgspec.Struct):
    """One report of a delivery: its age in seconds when the delivery was sent."""

    age: float
    report: msgspec.Raw


class Delivery(msgspec.Struct):
    """The body of POST /v1/reports. `sent` is the agent's clock at sending; older agents give no reference."""

    sent: float
    reports: list[Envelope]
    reference: Reference | None = None


class _RawFact(msgspec.Struct):
    kind: str
    key: str
    body: msgspec.Raw


class _RawEvent(msgspec.Struct):
    kind: str
    at: float
    body: msgspec.Raw = msgspec.Raw(b"{}")


S = TypeVar("S")


class _RawReport(msgspec.Struct, Generic[S]):
    """A report whose documents are still bytes: what is nested in them costs nothing yet."""

    agent: str
    epoch: int
    sequence: int
    source: str
    taken: float
    interval: float
    samples: list[S]
    facts: list[_RawFact] = []
    events: list[_RawEvent] = []


_delivery_decoder = msgspec.json.Decoder(Delivery)
_report_decoder = msgspec.json.Decoder(_RawReport[Sample])
_large_report_decoder = msgspec.json.Decoder(_RawReport[msgspec.Raw])
_samples_decoder = msgspec.json.Decoder(list[Sample])


@dataclass(frozen=True)
class Speaker:
    """An agent, its site, what it may speak of, its clock, and the collector's."""

    agent: str
    site: str
    rights: Rights = field(default_factory=Rights)
    clock: Clock = field(default_factory=Clock)
    time_base: TimeBase = field(default_factory=TimeBase)

    def voice(self, source: str) -> Voice | None:
        """What a report of this source may speak of; None for one that may not be said."""
        return self.rights.voice(self.agent, self.site, source)


@dataclass
class Prepared:
    """A report of a site that may be stored: `taken` and `expires` on the collector's clock; `blocks` its
    rendered lines by family; `kept_samples` the places of those that were not refused; `series` a number that is the
    same for the same series; `raw`
    its JSON. Facts and events of the report are those of known kinds, the others are apart. What it may not say is
    nowhere in it, and counted by reason."""

    report: Report
    site: str
    raw: bytes
    taken: float
    expires: float
    blocks: dict[str, bytes]
    kept_samples: list[int]
    series: int
    refused_samples: Counter[str]
    refused_documents: Counter[str] = field(default_factory=Counter)
    unknown_facts: list[Unknown] = field(default_factory=list)
    unknown_events: list[Unknown] = field(default_factory=list)

    @property
    def list_facts(self) -> int:
        """What lists cost of which each entry is compared with what is known, as so many facts."""
        bytes_a_fact = _LIST_BYTES_A_FACT.get(self.report.source)
        if bytes_a_fact:
            return len(self.raw) // bytes_a_fact
        told = (len(fact.body["neighbours"]) for fact in self.report.facts if fact.kind == "neighbours")
        return sum(told) // _NEIGHBOURS_A_FACT

    def kept(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """(name, labels, value) of each sample that was kept, as it is exposed."""
        own = {"site": self.site, "agent": self.report.agent}
        for index in self.kept_samples:
            sample = self.report.samples[index]
            yield sample.metric, {**sample.labels, **own}, sample.value


@dataclass(frozen=True)
class Rejected:
    """A report that was refused, for the quarantine."""

    source: str
    reason: str
    detail: str
    raw: bytes


@dataclass
class Batch:
    """What a delivery holds. It was composed then or later; `anchor` is the time base's that its times are on. For
    the receipt of an abandoned one nobody waits any more. `rejected` is one report of each source and reason."""

    agent: str
    received: float
    composed: float = 0.0
    anchor: float = 0.0
    abandoned: bool = False
    prepared: list[Prepared] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    refused_reasons: Counter[str] = field(default_factory=Counter)
    rejected: dict[tuple[str, str], Rejected] = field(default_factory=dict)

    def refuse(self, raw: bytes, where: str, refusal: Refused) -> None:
        """Name a report in the receipt, count it, and keep it for whoever mends it."""
        key = _key(raw)
        rejected = Rejected(_source_kind(key.source), refusal.reason, f"{where}{refusal.detail}"[:_MAX_DETAIL], raw)
        self.refused.append(Refusal(key.epoch, key.sequence, rejected.detail))
        self.refused_reasons[refusal.reason] += 1
        self.rejected.setdefault((rejected.source, rejected.reason), rejected)

    def refuse_unwritable(self, prepared: Prepared) -> None:
        """Name and count a report that could not be written; it is kept already."""
        rejected, report = unwritable(prepared), prepared.report
        self.refused.append(Refusal(report.epoch, report.sequence, rejected.detail))
        self.refused_reasons[rejected.reason] += 1

    def follow(self, time_base: TimeBase) -> None:
        """Put its times on the time base as it is now: the clock may have been set since it was received."""
        moved, self.anchor = time_base.anchor - self.anchor, time_base.anchor
        if moved:
            self.received += moved
            self.composed += moved
            for prepared in self.prepared:
                prepared.taken += moved
                prepared.expires += moved


def unwritable(prepared: Prepared) -> Rejected:
    """A report that the ledger can't hold, though nothing is wrong with the ledger."""
    detail = f"{prepared.report.source}: it can't be stored, see the collector's log"
    return Rejected(_source_kind(prepared.report.source), "unwritable", detail, prepared.raw)


def _source_kind(source: str) -> str:
    kind = source.partition(":")[0]
    return kind if kind in SOURCES else "unknown"


class Refused(Exception):
    """A report that is not taken: `reason` is the bounded label it is counted under."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def pieces(body: bytes, encoding: str) -> Iterator[bytes]:
    """The body as it was before Content-Encoding, which is gzip or identity, a piece at a time.

    Raises Problem: 415 for another encoding, 400 for what is not whole gzip.
    """
    if encoding in ("", "identity"):
        yield from (body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES))
        return
    if encoding != "gzip":
        raise Problem(415, "encoding", "Content-Encoding must be gzip or identity", field="Content-Encoding")
    decoder = zlib.decompressobj(wbits=31)
    while not decoder.eof:
        try:
            data = decoder.decompress(body, _PIECE_BYTES)
        except zlib.error as error:
            raise Problem(400, "malformed", f"the body is not gzip: {error}", field="body") from error
        body = decoder.unconsumed_tail
        if not data and not body and not decoder.eof:
            break
        yield data
    if not decoder.eof or decoder.unused_data:
        raise Problem(400, "malformed", "the gzip body is cut off or has something behind it", field="body")


def read_delivery(data: bytes, speaker: Speaker, received: float, limits: Limits) -> Batch:
    """Decode and check a delivery of this agent. Raises Problem when it is none as a whole: 409 when it refers to a
    clock that is not the collector's."""
    try:
        delivery = _delivery_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed", f"the delivery can't be decoded: {error}", field="body") from error
    if not math.isfinite(delivery.sent):
        raise Problem(400, "malformed", "sent must be a finite number", field="$.sent")
    if not delivery.reports:
        raise Problem(400, "malformed", "there are no reports", field="$.reports")
    if len(delivery.reports) > limits.reports_a_request:
        detail = f"more than {limits.reports_a_request} reports in a request"
        raise Problem(413, "too_many_reports", detail, field="$.reports")
    composed = _composed(delivery, speaker, received)
    batch = Batch(speaker.agent, received, composed, speaker.time_base.anchor)
    for index, envelope in enumerate(delivery.reports):
        raw = bytes(envelope.report)
        try:
            batch.prepared.append(prepare(raw, envelope.age, speaker, composed, limits))
        except Refused as refusal:
            batch.refuse(raw, f"$.reports[{index}]: ", refusal)
        except Exception:  # a defect of ours that this report met: it costs this report alone
            log.exception("a report of agent %s can't be read", speaker.agent)
            batch.refuse(raw, f"$.reports[{index}]: ", Refused("defect", "the collector fails at it, see its log"))
    return batch


def _composed(delivery: Delivery, speaker: Speaker, received: float) -> float:
    """When a delivery was composed, by the oldest that it can be."""
    if delivery.reference is None:
        return received - speaker.clock.held_up(received - delivery.sent)
    composed = speaker.time_base.composed(delivery.reference, received)
    if composed is None:
        raise Problem(
            409, "reference", "the reference is not of this collector's clock: refer to the reading given here",
            field="$.reference", extensions={"clock": msgspec.to_builtins(speaker.time_base.read())},
        )  # fmt: skip
    speaker.clock.offset = composed - delivery.sent
    return composed


def prepare(raw: bytes, age: float, speaker: Speaker, composed: float, limits: Limits) -> Prepared:
    """Decode, check and render one report of a delivery that was composed then. Raises Refused."""
    report = _decode(raw)
    _check(report, speaker.agent, limits)
    taken = composed - max(0.0, age)
    if not _BEGINNING <= taken <= composed:  # False for what is no number, too
        raise Refused("out_of_range", "age must be a number of seconds that leads to no time before 2000")
    voice = speaker.voice(report.source)
    if voice is None:
        raise Refused("foreign_device", f"source: {report.source!r} is about a device not assigned to this agent")
    return _prepared(report, raw, voice, taken, composed, limits)


def _decode(raw: bytes) -> _RawReport[Sample]:
    try:
        return _report_decoder.decode(raw) if len(raw) <= _PIECE_BYTES else _decode_large(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("malformed", str(error)) from error


def _decode_large(raw: bytes) -> _RawReport[Sample]:
    """Its samples some at a time: nothing else runs in the process while msgspec decodes, and all of fifty thousand
    take a tenth of a second."""
    large = _large_report_decoder.decode(raw)
    samples: list[Sample] = []
    for at in range(0, len(large.samples), _PIECE_SAMPLES):
        piece = large.samples[at : at + _PIECE_SAMPLES]
        samples += _samples_decoder.decode(b"[" + b",".join(map(bytes, piece)) + b"]")
    return _RawReport(
        large.agent, large.epoch, large.sequence, large.source, large.taken, large.interval, samples, large.facts,
        large.events,
    )  # fmt: skip


def _prepared(
    report: _RawReport[Sample], raw: bytes, voice: Voice, taken: float, now: float, limits: Limits
) -> Prepared:
    refused: Counter[str] = Counter()
    blocks, kept, series = render(report.agent, report.samples, voice, limits, refused)
    known = Report(
        report.agent, report.epoch, report.sequence, report.source, report.taken, report.interval, report.samples
    )
    prepared = Prepared(known, voice.site, raw, taken, expiry(taken, report.interval), blocks, kept, series, refused)
    if report.facts or report.events:
        _take_documents(report, voice, prepared, now)
    if refused or prepared.refused_documents:
        # Nobody who reads the report later, or after a restart, has to ask again what it may say.
        known.samples[:] = [known.samples[index] for index in kept]
        prepared.kept_samples, prepared.raw = list(range(len(kept))), msgspec.json.encode(report)
    return prepared


def _check(report: _RawReport[Sample], agent: str, limits: Limits) -> None:
    if report.agent != agent:
        raise Refused("foreign_agent", f"agent: {agent!r} may not speak for {report.agent[:_MAX_TEXT]!r}")
    for name in ("epoch", "sequence"):
        if not 0 <= getattr(report, name) <= MAX_INTEGER:
            raise Refused("out_of_range", f"{name} must be 0 to {MAX_INTEGER}")
    if not _INTERVALS[0] <= report.interval <= _INTERVALS[1]:
        raise Refused("out_of_range", f"interval must be {_INTERVALS[0]} to {_INTERVALS[1]:.0f} seconds")
    if not OWN_TIMES[0] <= report.taken <= OWN_TIMES[1]:
        raise Refused("out_of_range", f"taken must be {OWN_TIMES[0]:.0f} to {OWN_TIMES[1]:.0f} seconds")
    if not SOURCE.fullmatch(report.source) or report.source.partition(":")[0] not in SOURCES:
        raise Refused("unknown_source", f"source: {report.source[:_MAX_TEXT]!r} is none this collector knows")
    if len(report.samples) > limits.samples_a_report:
        raise Refused("too_large", f"samples: more than {limits.samples_a_report}")
    if max(len(report.facts), len(report.events)) > limits.documents_a_report:
        raise Refused("too_large", f"facts or events: more than {limits.documents_a_report}")


def _take_documents(report: _RawReport[Sample], voice: Voice, prepared: Prepared, now: float) -> None:
    """Facts and events it may say, those of known kinds as their types say; the others are counted, and gone from the
    report. Raises Refused with the first that is not what it should be."""
    where = ""
    try:
        facts: dict[tuple[str, str], _RawFact] = {}
        events = []
        for number, fact in enumerate(report.facts):
            where = f"facts[{number}]"
            if (fact.kind, fact.key) in facts:
                prepared.refused_documents["repeated"] += 1  # one thing has one document: who is to choose?
            elif _take_fact(fact, voice, prepared, where):
                facts[fact.kind, fact.key] = fact
        for number, event in enumerate(report.events):
            where = f"events[{number}]"
            if _take_event(event, voice, prepared, where, now):
                events.append(event)
        report.facts, report.events = list(facts.values()), events
    except BadDocument as error:
        raise Refused("bad_document", f"{where}.body: {error}") from error


def _take_fact(fact: _RawFact, voice: Voice, prepared: Prepared, where: str) -> bool:
    if not _KIND.fullmatch(fact.kind) or len(fact.key) > _MAX_TEXT or "\0" in fact.key:
        raise Refused("out_of_range", f"{where}: kind must be {_KIND.pattern}, key at most {_MAX_TEXT} characters")
    body = fact_body(fact.kind, fact.body)
    if reason := voice.fact(fact.kind, fact.key):
        prepared.refused_documents[reason] += 1
        return False
    if isinstance(body, str):
        prepared.unknown_facts.append(Unknown(fact.kind, body, key=fact.key))
    else:
        prepared.report.facts.append(Fact(fact.kind, fact.key, body))
    return True


def _take_event(event: _RawEvent, voice: Voice, prepared: Prepared, where: str, now: float) -> bool:
    report = prepared.report
    if not _KIND.fullmatch(event.kind):
        raise Refused("out_of_range", f"{where}: kind must be {_KIND.pattern}")
    if not _BEGINNING <= event.at + prepared.taken - report.taken <= now + _AHEAD_SECONDS:
        raise Refused("out_of_range", f"{where}: at must be between 2000 and a week from now")
    body = event_body(voice.kind, event.kind, event.body)
    if reason := voice.event(event.kind, names_of(body) if isinstance(body, str) else body):
        prepared.refused_documents[reason] += 1
        return False
    if isinstance(body, str):
        prepared.unknown_events.append(Unknown(event.kind, body, at=event.at))
    else:
        report.events.append(Event(event.kind, event.at, body))
    return True


class _Key(msgspec.Struct):
    epoch: int = 0
    sequence: int = 0
    source: str = ""


def _key(raw: bytes) -> _Key:
    try:
        return msgspec.json.decode(raw, type=_Key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Key()


def restore(
    raw: bytes, taken: float, agent: str, voice_of: Callable[[str], Voice | None], limits: Limits
) -> Prepared | None:
    """A stored report again, as far as the voice of its source may say it; None when this version no longer accepts
    it, or it may not be said any more."""
    try:
        report = _decode(raw)
        _check(report, agent, limits)
        voice = voice_of(report.source)
        return _prepared(report, raw, voice, taken, taken, limits) if voice else None
    except Refused:
        return None
