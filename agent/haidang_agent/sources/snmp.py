"""Devices over SNMP: every device assigned to this agent, each polled in its own time, a report each;
and their traps, which become events and start a poll of what sent them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from haidang_wire.assignment import AssignedDevice
from haidang_wire.errors import HaidangError
from haidang_wire.sources import SNMP

from haidang_agent.config import SnmpConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.schedule.source import Deliver, Findings, instant
from haidang_agent.snmp.credentials import Credential, load_credentials
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.poll import poll
from haidang_agent.snmp.profile import load_profiles
from haidang_agent.snmp.session import DeviceError, Session
from haidang_agent.snmp.watched import Watched

if TYPE_CHECKING:
    from haidang_agent.snmp.listener import Listener

log = logging.getLogger(__name__)

# Tasks that are no device's: no device has such a name.
LISTENER, COUNTER = "(traps)", "(counts)"

# Credentials may be mended on this machine without a change of the assignment.
_LOOK_AGAIN_SECONDS = 60.0
# Each poll holds a socket, and a service may have 1,024 files open; devices that are gone take six seconds each.
_SOCKETS = 200


class Snmp:
    """A standing source. A device that hangs holds its own task; one that is slow, one of `at_once` turns too."""

    name = SNMP

    def __init__(self, config: SnmpConfig, assignments: Assignments, state_dir: Path) -> None:
        """Raises ConfigError for profiles that can't be used."""
        self.config = config
        self.failures = {"error": 0, "timeout": 0}
        self.duration = 0.0
        self._assignments = assignments
        self._profiles = load_profiles(config.profiles_folder)
        self._credentials: dict[str, Credential] = {}
        self._credentials_read = -1.0
        self._credentials_problem = ""
        self._watched: dict[str, Watched] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begin()
        self._listener: Listener | None = None
        if config.traps.enabled:
            from haidang_agent.snmp.listener import Listener  # brings pysnmp: as much memory as all the rest

            self._listener = Listener(config.traps, state_dir, config.interval_seconds)

    def collect(self) -> Findings:
        """All devices once, for people: together what `run()` delivers as a report of each. One that does not answer
        says haidang_device_up 0."""
        together = Findings()
        for found in asyncio.run(self._all()):
            together.samples += found.samples
            together.facts += found.facts
        return together

    async def _all(self) -> list[Findings]:
        self._begin()
        self._read_credentials()
        watched = [Watched(device, self.config.interval_seconds) for device in self._assignments.current.devices]
        polls = await asyncio.gather(*(self._poll(each) for each in watched), return_exceptions=True)
        found = []
        for each, said in zip(watched, polls):
            if isinstance(said, BaseException):  # a defect that one device brings out is no other's
                self.failures["error"] += 1
                log.warning("polling %s failed", each.device.id, exc_info=said)
            else:
                found.append(said.findings())
        return found

    def _begin(self) -> None:
        self._turns, self._sockets = asyncio.Semaphore(self.config.at_once), asyncio.Semaphore(_SOCKETS)

    async def run(self, deliver: Deliver) -> None:
        """Poll and listen until cancelled."""
        loop = asyncio.get_running_loop()
        self._begin()
        changed = asyncio.Event()

        def on_change() -> None:  # from the uplink's thread
            with contextlib.suppress(RuntimeError):  # a loop that was closed meanwhile
                loop.call_soon_threadsafe(changed.set)

        self._assignments.listeners.append(on_change)
        try:
            while True:
                changed.clear()
                other_credentials = self._read_credentials()
                self._adjust(deliver)
                await self._listen(deliver, again=other_credentials)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(changed.wait(), _LOOK_AGAIN_SECONDS)
        finally:
            self._assignments.listeners.remove(on_change)
            for task in self._tasks.values():
                task.cancel()
            self._tasks.clear()
            self._watched.clear()

    async def _listen(self, deliver: Deliver, *, again: bool) -> None:
        """One task that hears traps, begun anew with other credentials, and one that counts them."""
        if self._listener is None:
            return
        self._listener.assign(self._watched)
        if again and LISTENER in self._tasks:
            outdated = self._tasks.pop(LISTENER)
            outdated.cancel()
            await asyncio.wait({outdated})
        listening = self._tasks.get(LISTENER)
        if listening and listening.done():
            self.failures["error"] += 1
            log.warning("traps: the listener failed and is begun again", exc_info=listening.exception())
            del self._tasks[LISTENER]
        if self._credentials and LISTENER not in self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks[LISTENER] = loop.create_task(self._listener.run(dict(self._credentials), deliver))
            if COUNTER not in self._tasks:
                self._tasks[COUNTER] = loop.create_task(self._count(self._listener.counts, deliver))

    async def _count(self, counts: dict[str, int], deliver: Deliver) -> None:
        while True:
            now, findings = instant(), Findings()
            for outcome, count in counts.items():
                findings.add("agent_snmp_traps_total", count, outcome=outcome)
            deliver(self.name, now, self.config.interval_seconds, findings)
            await asyncio.sleep(self.config.interval_seconds)

    def _adjust(self, deliver: Deliver) -> None:
        """A task for each assigned device, and for no other."""
        wanted = {device.id: device for device in self._assignments.current.devices}
        for name, watched in list(self._watched.items()):
            if wanted.get(name) != watched.device:
                self._tasks.pop(name).cancel()
                del self._watched[name]
        for name, device in wanted.items():
            if name not in self._watched:
                self._watched[name] = watched = Watched(device, self.config.interval_seconds)
                self._tasks[name] = asyncio.get_running_loop().create_task(self._watch(watched, deliver), name=name)

    async def _watch(self, watched: Watched, deliver: Deliver) -> None:
        first = True
        while True:
            await watched.due(first=first)
            first = False
            try:
                await self._report(watched, deliver)
            except Exception:  # a defect that one device brings out is no other device's
                self.failures["error"] += 1
                log.warning("polling %s failed", watched.device.id, exc_info=True)

    async def _report(self, watched: Watched, deliver: Deliver) -> None:
        # Nothing of a poll outlives this: a thousand tasks that wait hold no samples.
        found = await self._poll(watched)
        if found.notes != watched.said:  # said once, not every minute
            log.warning("%s: %s", found.device, "; ".join(found.notes) or "answers again, completely")
        watched.said = found.notes
        deliver(f"{self.name}:{found.device}", found.begun, self.config.interval_seconds, found.findings())

    async def _poll(self, watched: Watched) -> Poll:
        async with self._sockets:
            return await self._ask(watched)

    async def _ask(self, watched: Watched) -> Poll:
        device, config = watched.device, self.config
        started = time.monotonic()
        try:
            session = Session(
                device.address,
                device.port,
                self._credential(device),
                timeout_seconds=config.answer_seconds,
                retries=config.retries,
                packets_a_second=config.packets_a_second,
                limit_seconds=config.timeout_seconds,
                manner=watched.memory.manner,
            )
            profile = self._profile(device)
            found = await poll(device.id, session, self._profiles, profile, memory=watched.memory, turns=self._turns)
        except DeviceError as error:
            found = Poll(device.id, notes=[str(error)])
            found.add("device_up", 0)
        took = found.samples.get(("haidang_device_poll_seconds", found.labels()), time.monotonic() - started)
        self.failures["timeout"] += took > config.timeout_seconds
        # The longest of about the last round: it fades as devices are polled.
        self.duration = max(took, self.duration * (1 - 1 / (len(self._watched) + 1)))
        return found

    def _credential(self, device: AssignedDevice) -> Credential:
        if device.credential not in self._credentials:
            problem = self._credentials_problem or f"{self.config.credentials_file} has no {device.credential!r}"
            raise DeviceError(f"can't be asked: {problem}")
        return self._credentials[device.credential]

    def _profile(self, device: AssignedDevice) -> str:
        if device.profile and device.profile not in self._profiles.all:
            raise DeviceError(f"the registry gives it the profile {device.profile!r}, which is not known here")
        return device.profile

    def _read_credentials(self) -> bool:
        """The credentials file, when it is new; whether it was. One that can't be used leaves those
        in force that were."""
        path = Path(self.config.credentials_file)
        try:
            written = path.stat().st_mtime
        except OSError:
            written = 0.0
        if written == self._credentials_read or not self._assignments.current.devices:
            return False
        self._credentials_read = written
        try:
            self._credentials, self._credentials_problem = load_credentials(path), ""
        except HaidangError as error:
            self.failures["error"] += 1
            self._credentials_problem = str(error)
            log.error("%s", error)
            return False
        return True
