"""The uplink: what the spool holds goes to the collector, newest first, at least once."""

from __future__ import annotations

import gzip
import json
import logging
import math
import random
import sqlite3
import threading
import time
from dataclasses import dataclass, field

from haidang_wire.backoff import backoff_seconds, retry_after_seconds
from haidang_wire.errors import HaidangError
from haidang_wire.reference import reading_from
from haidang_wire.report import CONTENT_TYPE

from haidang_agent.config import UplinkConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.delivery.collector_clock import CollectorClock
from haidang_agent.delivery.spool import Pending, Spool
from haidang_agent.identity import enrolment as identities
from haidang_agent.identity.enrolment import Identity
from haidang_agent.known_time import KnownTime
from haidang_agent.platform.system import boot_seconds
from haidang_agent.transport import Answer, NetworkError, TlsError, Transport, printable

log = logging.getLogger(__name__)

# Sources of one agent run within a second of each other: one request takes them all.
_COALESCE_SECONDS = 1.0
# The most it waits after a first failure, and the least when it is asked to wait.
_BACKOFF_FIRST_SECONDS = 2.0
_LEAST_WAIT_SECONDS = 1.0
_LAST_AGAIN_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 3600.0
_RENEWAL_RETRY_SECONDS = 3600.0
# A reading that was longer under way is asked for again: on a line that loses packets the next may be faster.
_READING_SECONDS = 1.0
_READINGS = 3
_WAIT_MAX_SECONDS = 600.0


@dataclass
class UplinkState:
    """What the agent reports and `status` shows of its deliveries. Times are Unix seconds."""

    last_delivery: float | None = None
    last_error: str = ""
    clock_offset: float | None = None
    failures: dict[str, int] = field(
        default_factory=lambda: {"network": 0, "tls": 0, "identity": 0, "refused": 0, "collector": 0}
    )


class Uplink(threading.Thread):
    """Delivers until stopped. `identity` and `state` may be read from other threads."""

    def __init__(self, identity: Identity, spool: Spool, assignments: Assignments, config: UplinkConfig) -> None:
        super().__init__(name="uplink", daemon=True)
        self.identity = identity
        self.state = UplinkState()
        self.alive_at = time.monotonic()
        self._spool = spool
        self._assignments = assignments
        self._config = config
        self._known_time = KnownTime(identity.state_dir, at_least=identity.begins)
        self._transport = self._new_transport()
        self._clock = CollectorClock()
        self._work = threading.Event()
        self._urgent = threading.Event()
        self._stop_asked = threading.Event()
        self._failures_in_a_row = 0
        self._next_renewal_try = 0.0
        self._trusted = identities.authorities_version(identity)
        self._wanted_trust = self._trusted
        self._renew_for_trust_at = 0.0

    def _new_transport(self) -> Transport:
        return Transport(
            self.identity.collector,
            ca_file=self.identity.ca_file,
            identity_file=self.identity.key_file,
            timeout=self._config.timeout_seconds,
            known_time=self._known_time,
        )

    def wake(self, *, at_once: bool = False) -> None:
        """There is something in the spool; `at_once` when something happened that others wait to hear of."""
        if at_once:
            self._urgent.set()
        self._work.set()

    def stop(self, seconds: float) -> None:
        """Deliver what is newest once more, for at most so many seconds. Over a connection of its own: the turn under
        way may hang in its, and the end of a back-off is not waited for."""
        ends = time.monotonic() + seconds
        self._stop_asked.set()
        self._urgent.set()
        self._work.set()
        last = threading.Thread(target=self._say_last, args=(ends,), name="last delivery", daemon=True)
        last.start()
        last.join(seconds)

    def _say_last(self, ends: float) -> None:
        try:
            last = Uplink(self.identity, self._spool, self._assignments, self._config)
        except HaidangError as error:
            log.warning("%s", error)
            return
        last.state, last._next_renewal_try = self.state, math.inf
        while last._turn() and time.monotonic() + _LAST_AGAIN_SECONDS < ends:
            time.sleep(_LAST_AGAIN_SECONDS)
        last._transport.close()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self._wait(30.0, self._work)
            self._work.clear()
            self._wait(_COALESCE_SECONDS, self._urgent)
            self._urgent.clear()
            wait = self._turn()
            if wait:
                self._wait(wait, self._stop_asked)
                self._work.set()
        self._transport.close()

    def _wait(self, seconds: float, event: threading.Event) -> None:
        # In short steps, so that whoever watches `alive_at` can tell waiting from hanging.
        deadline = time.monotonic() + seconds
        while not event.is_set() and (left := deadline - time.monotonic()) > 0:
            self.alive_at = time.monotonic()
            event.wait(min(left, 10.0))

    def _turn(self) -> float:
        """Deliver everything that waits; the seconds to wait before the next try, or 0."""
        try:
            while not self._stop_asked.is_set():
                as_of = boot_seconds()
                pending = self._spool.newest(self._config.batch_reports)
                if not pending:
                    break
                self.alive_at = time.monotonic()
                wait = self._deliver(pending, as_of)
                if wait:
                    return wait
            self._renew_when_due()
        except sqlite3.Error as error:
            return self._failed("network", f"the spool can't be read: {error}")
        except NetworkError as error:
            return self._failed("network", str(error))
        except TlsError as error:
            return self._failed("tls", str(error))
        except HaidangError as error:
            return self._failed("collector", str(error))
        except Exception as error:  # whatever somebody answers, what is measured is kept, and tried again
            log.exception("a delivery failed")
            return self._failed("collector", f"a delivery failed: {error!r}")
        return 0.0

    def _deliver(self, pending: list[Pending], as_of: float) -> float:
        """`as_of` is when their ages were measured, in seconds since boot."""
        refusal = self._ask_time() if self._transport.connect() or not self._clock.is_known else None
        if refusal is not None:
            return self._not_taken(refusal)
        answer = self._send(pending, as_of)
        # Another collector took the place of the one that was asked.
        if answer.status == 409 and self._learn(answer):
            answer = self._send(pending, as_of)
        if answer.status in (200, 422):
            return self._receipt(pending, answer)
        if answer.status in (400, 411, 413, 415):
            return self._refused(pending, answer, as_of)
        return self._not_taken(answer)

    def _not_taken(self, answer: Answer) -> float:
        if answer.status in (401, 403):
            return self._failed("identity", f"the collector refuses this agent: {answer.problem()}", answer)
        if answer.status == 429:
            return self._asked_to_wait(answer)
        return self._failed("collector", f"the collector answers: {answer.problem()}", answer)

    def _ask_time(self) -> Answer | None:
        """What deliveries refer to; an answer when the collector refuses it."""
        for _ in range(_READINGS):
            answer = self._transport.request("GET", "/v1/time")
            if answer.status == 404:  # older than references
                self._clock.forget()
                return None
            if answer.status != 200:
                return answer
            self._learn(answer)
            if answer.heard - answer.asked < _READING_SECONDS:
                break
        return None

    def _learn(self, answer: Answer) -> bool:
        """Whether an answer holds a reading of the collector's clock, which then is known."""
        document = answer.json()
        try:
            reading = reading_from(document.get("clock") if isinstance(document, dict) else None)
        except ValueError:
            return False
        self._clock.learn(reading, answer.asked, answer.heard)
        return True

    def _send(self, pending: list[Pending], as_of: float) -> Answer:
        now = boot_seconds()
        reports = b",".join(b'{"age":%.3f,"report":%s}' % (p.age + now - as_of, p.body) for p in pending)
        reference = json.dumps(self._clock.reference(now)).encode()
        body = gzip.compress(b'{"sent":%.3f,"reference":%s,"reports":[%s]}' % (time.time(), reference, reports), 6)
        headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": "gzip"}
        return self._transport.request("POST", "/v1/reports", body, headers)

    def _receipt(self, pending: list[Pending], answer: Answer) -> float:
        receipt = answer.json()
        try:
            refused = {(r["epoch"], r["sequence"]): r["detail"] for r in receipt["refused"]}
            received = float(receipt["received"])
            if not math.isfinite(received):
                raise ValueError("a time for `received`")
            left_out = [f"{r['epoch']}/{r['sequence']}: {r['detail']}" for r in receipt.get("left_out", ())]
            wait = max(0.0, min(_WAIT_MAX_SECONDS, float(receipt.get("wait", 0.0))))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise HaidangError(f"the collector's receipt lacks {error}", where=self.identity.collector) from error
        for text in left_out:
            log.warning("the collector left out of report %s", printable(text))
        keys = {(p.epoch, p.sequence) for p in pending}
        for key in keys & set(refused):
            log.warning("the collector refuses report %d/%d: %s", *key, printable(refused[key]))
        self._spool.forget(keys - set(refused))
        if keys & set(refused):
            self._spool.forget(keys & set(refused), refused=True)
        self._learn(answer)
        self._succeeded(received - time.time())
        self._known_time.note(received, time.time())
        self._follow(receipt.get("assignment", ""))
        self._trust(receipt.get("authorities", ""))
        if wait:  # there may be no end to what waits
            self._renew_when_due()
        return wait

    def _follow(self, version: object) -> None:
        # Tried again with the next receipt: deliveries don't wait for it.
        try:
            self._assignments.follow(version if isinstance(version, str) else "", self._transport)
        except HaidangError as error:
            log.warning("%s", error)

    def _trust(self, version: object) -> None:
        # The CA is being replaced, or the one before has ended: a renewal brings those that count. All agents hear it
        # at once, so each waits its own time.
        if isinstance(version, str) and version not in ("", self._trusted, self._wanted_trust):
            self._wanted_trust = version
            spread = random.uniform(0.0, self._config.backoff_max_seconds)  # noqa: S311 (no secret)
            self._renew_for_trust_at = time.monotonic() + spread

    def _refused(self, pending: list[Pending], answer: Answer, as_of: float) -> float:
        # The request as a whole is not acceptable. Halves find the report that makes it so;
        # the good ones are delivered.
        if len(pending) > 1:
            middle = len(pending) // 2
            return self._deliver(pending[:middle], as_of) or self._deliver(pending[middle:], as_of)
        log.error("the collector refuses a report: %s", answer.problem())
        self.state.failures["refused"] += 1
        self._spool.forget([(pending[0].epoch, pending[0].sequence)], refused=True)
        return 0.0

    def _asked_to_wait(self, answer: Answer) -> float:
        # A quota is used up, as after a long outage: nothing is wrong, what waits is kept and delivered then.
        self._spool.durable_now(True)
        wait = max(_LEAST_WAIT_SECONDS, _retry_after(answer))
        text = f"the collector asks to wait {wait:.0f} s: {answer.problem()}"
        if not self.state.last_error:  # said once
            log.info("%s", text)
        self.state.last_error = text
        return wait * random.uniform(1.0, 1.2)  # noqa: S311 (no secret)

    def _succeeded(self, offset: float) -> None:
        if self._failures_in_a_row:
            log.info("the collector takes reports again")
        self._failures_in_a_row = 0
        self._spool.durable_now(False)
        self._spool.note_clock_offset(offset)
        self.state.clock_offset = offset
        self.state.last_delivery = time.time()
        self.state.last_error = ""

    def _failed(self, reason: str, text: str, answer: Answer | None = None) -> float:
        self._transport.close()
        self._failures_in_a_row += 1
        self.state.failures[reason] += 1
        if text != self.state.last_error:  # said once, not every minute of an outage
            log.warning("%s", text)
        self.state.last_error = text
        self._spool.durable_now(True)
        wait = backoff_seconds(self._failures_in_a_row, _BACKOFF_FIRST_SECONDS, self._config.backoff_max_seconds)
        return max(wait, _retry_after(answer))

    def _renew_when_due(self) -> None:
        offset = self.state.clock_offset
        if offset is None or time.monotonic() < self._next_renewal_try:
            return
        for_trust = 0.0 < self._renew_for_trust_at <= time.monotonic()
        if not for_trust and not self.identity.renewal_due(time.time() + offset):
            return
        self._next_renewal_try = time.monotonic() + _RENEWAL_RETRY_SECONDS
        try:
            self.identity = identities.renew(self.identity, self._transport)
        except HaidangError as error:
            log.warning("%s", error)
            return
        self._transport.close()
        self._transport = self._new_transport()
        self._next_renewal_try = 0.0
        self._renew_for_trust_at = 0.0
        self._trusted = identities.authorities_version(self.identity)
        log.info("the certificate is renewed")


def _retry_after(answer: Answer | None) -> float:
    return retry_after_seconds(answer.headers.get("retry-after") if answer else None, _LONGEST_RETRY_SECONDS)
