"""`haidang-agent run`: the threads and their owner. Who starts, watches and stops it is the affair of `platform`."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from haidang_wire import __version__
from haidang_wire.report import Event
from haidang_wire.sources import LIFECYCLE

from haidang_agent import sources, status
from haidang_agent.config import AgentConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.delivery.spool import Spool
from haidang_agent.delivery.uplink import Uplink
from haidang_agent.identity import enrolment as identities
from haidang_agent.platform import files
from haidang_agent.platform.system import say_alive, say_ready, say_stopping, watchdog_seconds
from haidang_agent.schedule.runner import make
from haidang_agent.schedule.source import Findings, Instant, instant
from haidang_agent.sources.itself import Itself
from haidang_agent.status import Status

log = logging.getLogger(__name__)

SPOOL_FILE = "spool.db"
_STATUS_SECONDS = 60.0
# So often at least it is looked whether all parts live.
_LOOK_SECONDS = 10.0
_STOP_SECONDS = 6.0
# An uplink that shows no life for so long hangs in something that has no time limit.
_UPLINK_DEAD_SECONDS = 300.0


class Service:
    """Everything a running agent has."""

    def __init__(self, config: AgentConfig) -> None:
        """Raises HaidangError when the agent is not enrolled or its folder can't be used."""
        state_dir = Path(config.state_dir)
        self._state_dir = state_dir
        self._config = config
        identity = identities.load(state_dir)
        files.tidy(state_dir)
        spool_config = config.spool
        self._spool = Spool(state_dir / SPOOL_FILE, spool_config.max_bytes, spool_config.max_age_days * 86400)
        assignments = Assignments(state_dir)
        self._uplink = Uplink(identity, self._spool, assignments, config.uplink)
        self._agent = identity.agent
        itself = Itself(self._spool, self._uplink)
        self._runners = [
            make(source, getattr(config.sources, source.name), self._agent, self._deliver)
            for source in [*sources.build(config, identity.agent, assignments, self._spool), itself]
        ]
        assignments.listeners.append(lambda: _not_a_probe(assignments, config))
        itself.runners = self._runners
        self._stop = threading.Event()

    def _deliver(self, source: str, taken: Instant, interval: float, findings: Findings) -> None:
        self._spool.put(self._agent, source, taken.unix, interval, findings, taken.boot)
        self._uplink.wake(at_once=bool(findings.events))

    def _say(self, kind: str) -> None:
        """An event of the agent's own life, in a report of its own."""
        now = instant()
        event = Event(kind, now.unix, {"version": __version__})
        self._deliver(LIFECYCLE, now, self._config.sources.agent.interval_seconds, Findings(events=[event]))

    def run(self) -> int:
        """Run until `stop()`. The exit code: 0, or 1 when a part of the agent died."""
        log.info("haidang-agent %s: agent %s of site %s", __version__, self._agent, self._uplink.identity.site)
        self._say("agent_started")
        if self._spool.set_aside:
            self._say("spool_damaged")
        for thread in [*self._runners, self._uplink]:
            thread.start()
        say_ready()
        code = self._watch()
        say_stopping()
        for runner in self._runners:
            runner.stop()
        self._say("agent_stopped")
        self._uplink.stop(_STOP_SECONDS)
        self._write_status()
        return code

    def stop(self) -> None:
        """End `run()`, from whichever thread or signal: it says goodbye, delivers what it can and returns."""
        self._stop.set()

    def _watch(self) -> int:
        pause = min(_LOOK_SECONDS, watchdog_seconds() / 2)
        next_status = 0.0
        shown: tuple[bool, str] | None = None
        while not self._stop.wait(pause):
            dead = [t.name for t in [*self._runners, self._uplink] if not t.is_alive()]
            if time.monotonic() - self._uplink.alive_at > _UPLINK_DEAD_SECONDS:
                dead.append("uplink (hangs)")
            if dead:
                log.critical("ended by itself: %s; the service manager is to start the agent again", ", ".join(dead))
                return 1
            say_alive()
            uplink = self._uplink.state
            now = (uplink.last_delivery is not None, uplink.last_error)
            if now != shown or time.monotonic() >= next_status:
                shown = now
                next_status = time.monotonic() + _STATUS_SECONDS
                self._write_status()
        return 0

    def _write_status(self) -> None:
        uplink = self._uplink.state
        spool = self._spool.state()
        now = Status(
            time.time(), uplink.last_delivery, uplink.last_error, spool.reports, spool.bytes, spool.limit_bytes,
            {runner.source.name: runner.up for runner in self._runners},
        )  # fmt: skip
        status.write(self._state_dir, now)


def _not_a_probe(assignments: Assignments, config: AgentConfig) -> None:
    if assignments.current.devices and not config.sources.snmp.enabled:
        log.warning(
            "%d devices are assigned to this agent, which is no probe: set sources.snmp.enabled (and install"
            " haidang[probe]), or give them to another agent in the registry",
            len(assignments.current.devices),
        )
    if assignments.current.paths and not config.sources.paths.enabled:
        log.warning(
            "%d paths are assigned to this agent, which measures none: set sources.paths.enabled, or name another"
            " probe in the registry",
            len(assignments.current.paths),
        )
    if assignments.current.services and not config.sources.services.enabled:
        log.warning(
            "%d services are assigned to this agent, which asks none: set sources.services.enabled, or name another"
            " agent in the registry",
            len(assignments.current.services),
        )
