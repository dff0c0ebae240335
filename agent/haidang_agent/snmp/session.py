"""One device's conversation: GET and walks, paced, patient, and never in a loop."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar, Union

from gufo.snmp import NoSuchInstance, SnmpError, SnmpVersion
from gufo.snmp.aio import SnmpSession
from haidang_wire.errors import HaidangError

from haidang_agent.snmp.credentials import Credential

_T = TypeVar("_T")
Value = Union[None, str, bytes, int, float, bool]

# Tried in turn when an answer is too big for the device or for the path; 0 is GETNEXT.
# 40 counters fit an Ethernet frame; a device whose answer would not fit gives fewer (RFC 3416, section 4.2.3).
_REPETITIONS = (40, 10, 3, 0)
_MAX_ROWS = 200_000
_GET_AT_ONCE = 20


class DeviceError(HaidangError):
    """A device that does not answer, or refuses."""


@dataclass
class Walk:
    """What a subtree held: the index (the OID behind the subtree's) → value, in the device's order.
    Not complete: `note` says why, and `rows` are what was read until then."""

    rows: dict[str, Value] = field(default_factory=dict)
    note: str = ""

    @property
    def complete(self) -> bool:
        """Whether the subtree was read to its end."""
        return not self.note


@dataclass
class Manner:
    """What was learnt about a device and holds for its next poll: repetitions it can bear."""

    step: int = 0


class Session:
    """Requests to one device, one at a time. Close it by leaving it alone: it holds one UDP socket."""

    def __init__(
        self,
        address: str,
        port: int,
        credential: Credential,
        *,
        timeout_seconds: float = 2.0,
        retries: int = 2,
        packets_a_second: float = 0.0,
        limit_seconds: float = math.inf,
        manner: Manner | None = None,
    ) -> None:
        """Asks nothing more limit_seconds after begin(). `authentic` is whether answers prove who gave them (version 3
        with a password). Raises DeviceError for an address that can't be used."""
        self._where = f"{address}:{port}"
        self._retries = retries
        self._dead = ""
        self._limit_seconds = limit_seconds
        self._ends = math.inf
        self.manner = manner or Manner()
        self._bulk = credential.version != "1"
        self.authentic = credential.version == "3" and bool(credential.auth)
        version = {"1": SnmpVersion.v1, "2c": SnmpVersion.v2c, "3": SnmpVersion.v3}[credential.version]
        try:
            self._session = SnmpSession(
                address,
                port,
                community=credential.community,
                user=credential.snmp_user() if credential.version == "3" else None,
                version=version,
                timeout=timeout_seconds,
                limit_rps=packets_a_second or None,
            )
        except (OSError, ValueError) as error:
            raise DeviceError(f"can't be asked: {error}", where=self._where) from error

    def begin(self) -> None:
        """The time limit counts from here."""
        self._ends = time.monotonic() + self._limit_seconds

    async def open(self) -> None:
        """Learn engine id and time (version 3). Raises DeviceError."""
        for attempt in range(self._retries + 1):
            try:
                await _guarded(self._session.refresh())
                return
            except TimeoutError:
                if attempt == self._retries:
                    raise DeviceError("does not answer", where=self._where) from None
            except (SnmpError, OSError) as error:
                raise DeviceError(f"refuses: {_words(error)}", where=self._where) from error

    async def get(self, oids: list[str]) -> dict[str, Value]:
        """The values of instances; what a device does not have is left out. Raises DeviceError."""
        found: dict[str, Value] = {}
        for start in range(0, len(oids), _GET_AT_ONCE):
            found.update(await self._get(oids[start : start + _GET_AT_ONCE]))
        return found

    async def _get(self, oids: list[str]) -> dict[str, Value]:
        problem = ""
        for _ in range(self._retries + 1):
            try:
                found = await _guarded(self._session.get_many(oids))
            except TimeoutError:
                problem = "does not answer"
                continue
            except NoSuchInstance:
                found = {}
            except (SnmpError, OSError, ValueError) as error:
                problem = f"refuses: {_words(error)}"
                continue
            if not found and len(oids) > 1:
                # Version 1 refuses a whole request for one unknown name (RFC 1157, section 4.1.2).
                middle = len(oids) // 2
                return {**await self._get(oids[:middle]), **await self._get(oids[middle:])}
            return {oid: value for oid, value in found.items() if value is not None}
        raise DeviceError(problem, where=self._where)

    async def walk(self, oid: str) -> Walk:
        """A subtree. Never raises for what a device does; see Walk.note."""
        if self._dead:
            return Walk(note=self._dead)
        best = Walk()
        steps = range(self.manner.step, len(_REPETITIONS)) if self._bulk else (len(_REPETITIONS) - 1,)
        for step in steps:
            walk, silent = await self._attempt(oid, _REPETITIONS[step])
            if not silent:
                if self._bulk:
                    self.manner.step = step
                return walk
            if len(walk.rows) >= len(best.rows):
                best = walk
        # Neither large nor small questions are answered: nothing more is asked of it this time.
        self._dead = best.note
        return best

    async def _attempt(self, oid: str, repetitions: int) -> tuple[Walk, bool]:
        """What was read, and whether the device fell silent before the end."""
        source = self._session.getbulk(oid, repetitions) if repetitions else self._session.getnext(oid)
        walk = Walk()
        rows, prefix, failures = walk.rows, len(oid) + 1, 0
        while True:
            if time.monotonic() > self._ends:
                self._dead = walk.note = f"the device took longer than {self._limit_seconds:.0f} seconds"
                return walk, False
            try:
                answer = [await _guarded(source.__anext__()), *_rest(source)]
            except (StopAsyncIteration, NoSuchInstance):  # version 1 says the latter at the end of everything
                return walk, False
            except TimeoutError:
                problem = "stopped answering" if rows else "does not answer"
            except (SnmpError, OSError, ValueError) as error:
                problem = f"answered with an error: {_words(error)}"
            else:
                failures = 0
                for name, value in answer:
                    index = name[prefix:]
                    if index in rows:
                        walk.note = f"{oid} does not increase at {name}"
                        return walk, False
                    rows[index] = value
                if len(rows) > _MAX_ROWS:
                    walk.note = f"{oid} has more than {_MAX_ROWS} rows"
                    return walk, False
                continue
            failures += 1
            if failures > self._retries:
                walk.note = f"{oid}: the device {problem}"
                return walk, True


def _rest(source: object) -> list[tuple[str, Value]]:
    """What the library's iterator still holds of one packet: taken at once, because an await for
    each of 25 values costs more than decoding them. It is private to gufo-snmp; where it is
    missing, they come one by one."""
    held: list[tuple[str, Value] | None] | None = getattr(source, "_buffer", None)
    if not held:
        return []
    end = held.index(None) if None in held else len(held)
    taken = [each for each in held[:end] if each is not None]
    del held[:end]
    return taken


async def _guarded(answer: Awaitable[_T]) -> _T:
    """What the library answers. Its parser can panic on a damaged packet (gufo-snmp 0.13: one cut
    off in a header), and a panic is no Exception: from the network nothing may end the process."""
    try:
        return await answer
    except BaseException as error:  # a panic's class can't be imported; everything else is raised again
        if type(error).__name__ != "PanicException":
            raise
        raise SnmpError("a damaged packet") from None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
