"""The collector as one thing: its parts, and what happens to a delivery, an enrolment, a registry."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import sqlalchemy as sa
from haidang_wire import __version__
from haidang_wire.errors import ConfigError
from haidang_wire.report import Receipt
from haidang_wire.sources import INVENTORY

from haidang_collector.disk import Disk
from haidang_collector.exposition.latest import AgentState, Latest
from haidang_collector.exposition.remote_write import RemoteWriter
from haidang_collector.exposition.text import registry_families
from haidang_collector.housekeeping import Housekeeping
from haidang_collector.identity import agents as identities
from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity import enrolments, tokens
from haidang_collector.identity.authority import Authority, Issued, Presented, fingerprint
from haidang_collector.identity.certificates import Certificates
from haidang_collector.identity.peers import Peers
from haidang_collector.intake.clock import TimeBase
from haidang_collector.intake.delivery import Deliveries
from haidang_collector.intake.feed import Accepted, Feed
from haidang_collector.intake.ingest import Batch, Speaker
from haidang_collector.intake.shares import Shares
from haidang_collector.intake.time_base import redate
from haidang_collector.intake.turns import Intake
from haidang_collector.inventory.software import LongLists
from haidang_collector.lease import AlwaysHeld, Duties, Task
from haidang_collector.ledger import known_time
from haidang_collector.ledger.beside import Beside
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.lines import families_of
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.watch import Watch
from haidang_collector.plan.watch import PlanWatch
from haidang_collector.principals import Principal
from haidang_collector.problems import Problem
from haidang_collector.quotas.allowances import Allowance, Quotas
from haidang_collector.quotas.holdings import Keeper
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.assignments import Assignments
from haidang_collector.registry.model import Registry
from haidang_collector.registry.names import Holder, Names
from haidang_collector.registry.rights import Voice
from haidang_collector.settings import Settings, read_secret
from haidang_collector.supervision import Supervision
from haidang_collector.telemetry import Telemetry
from haidang_collector.topology import store as link_store
from haidang_collector.topology.links import Address, addresses

log = logging.getLogger(__name__)

_WATCH_SECONDS = 1.0
# No command that revoked something has even ended by then, and thousands of requests a second share a look.
_LOOK_SECONDS = 0.005


class Collector:
    """Configuration in, `run()` for its background tasks, `close()`."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError or LedgerError."""
        state_dir = prepare_state_dir(settings)
        self.settings = settings
        self.authority = Authority(state_dir, read_secret(settings.ca_key_passphrase_file))
        self.ledger = Ledger(state_dir)
        self._beside = Beside(self.ledger)
        self.certificates = Certificates(self.ledger, _LOOK_SECONDS)
        self.peers = Peers(settings, self.authority, self.certificates)
        self.telemetry = Telemetry()
        self.time_base = TimeBase()
        self.supervision = Supervision(self.telemetry)
        self.disk = Disk(state_dir, settings.disk, self.telemetry)
        self.latest = Latest()
        self.registry: Registry | None = None
        self.assignments = Assignments()
        self.outage_watch = Watch(
            self.ledger, settings, self.telemetry, self.time_base.now, lambda: self.time_base.anchor
        )  # fmt: skip
        self.plan = PlanWatch(self.ledger, self.telemetry, self.time_base.now)
        self.quotas = Quotas(settings.quotas)
        self.intake = Intake(settings.limits, self.quotas, self.telemetry, self.time_base.now)
        self._shares = Shares(settings, self.latest.series_beside, self.intake, self.telemetry)
        self.foreign_names: list[Holder] = []
        self._registry_loaded = 0.0
        self._registry_families: list[tuple[str, bytes]] = []
        # Of the ledger when it was looked at last: its version, and the last change of an agent.
        self._looked_at = self._agents_change = -1
        self._devices: dict[Address, str] = {}
        self._authorities, self._certificates_shown = "", -1
        self._keeper = Keeper(settings.quotas, settings.remote_write.queue_bytes, lambda: self.disk.takes_documents)
        self._deliveries = Deliveries(
            self.ledger,
            self.telemetry,
            self.time_base,
            limit=settings.limits.waiting_requests,
            keep_late=bool(settings.remote_write.url),
            keeper=self._keeper,
            devices=lambda: self._devices,
        )
        self._long_lists = LongLists(self.ledger, self._keeper, self.intake.note)
        self.feed = Feed(self.ledger, self.supervision, settings.limits)
        self.feed.follow("latest", self.latest.take)
        self.feed.follow("plan", self.plan.take)
        self.feed.follow("outages", self.outage_watch.take)
        self.feed.follow("software", self._wake_lists)
        self._housekeeping = Housekeeping(self.ledger, settings, self.certificates, self._deliveries, self.time_base)
        self._remote_writer = (
            RemoteWriter(self.ledger, settings, self.telemetry, self._keeper.late)
            if settings.remote_write.url
            else None
        )

    async def start(self) -> None:
        """Make the exposition complete again from the ledger."""
        now = self.time_base.now()
        await self.ledger.run(known_time.begin, now)
        await self.ledger.run(redate, self.time_base.anchor, now)
        await self._watch_once()
        found = await self.feed.replay(self._voice, now)
        self._deliveries.go_on_after(found.position)
        for agent in found.taken.keys() & self.latest.agents.keys():
            self.latest.agents[agent].last_taken = found.taken[agent]
        self.telemetry.info.labels(__version__, self.ledger.kind).set(1)
        self.telemetry.start.set(now)

    def _voice(self, agent: str, source: str) -> Voice | None:
        return self.speaker(agent).voice(source) if agent in self.latest.agents else None

    async def run(self) -> None:
        """The background tasks, until cancelled; one that fails is begun again, and the others go on."""
        tasks: dict[str, Task] = {
            "deliveries": self._deliveries.run,
            "watch": self._watch,
            "software": self._long_lists.run,
            "lease": Duties(AlwaysHeld(), self.supervision, self._duties()).run,
        }
        async with asyncio.TaskGroup() as group:
            for name, task in tasks.items():
                group.create_task(self.supervision.keep(name, task), name=name)

    def _duties(self) -> dict[str, Task]:
        """What one collector alone may do."""
        duties: dict[str, Task] = {
            "outages": self.outage_watch.run,
            "outage ledger": self.outage_watch.run_ledger,
            "plan": lambda: self.plan.run(self),
            "housekeeping": self._housekeeping.run,
        }
        if self._remote_writer:
            duties["remote write"] = self._remote_writer.run
        return duties

    def close(self) -> None:
        """After run() has ended."""
        self.intake.close()
        self.certificates.close()
        self._beside.close()
        self.ledger.close()

    @property
    def engine(self) -> Engine | None:
        """The outage engine; None without a registry, and while it can't judge."""
        return self.outage_watch.current()

    # Deliveries

    def speaker(self, agent: str) -> Speaker:
        """What an agent may speak for. Raises Problem 403 for one that is not (or no longer) known."""
        state = self._state_of(agent)
        rights = self.assignments.rights(agent, state.site)
        return Speaker(agent, state.site, rights, state.clock, self.time_base)

    def site_of(self, agent: str) -> str:
        """An agent's site. Raises Problem 403 for one that is not (or no longer) known."""
        return self._state_of(agent).site

    def _state_of(self, agent: str) -> AgentState:
        state = self.latest.agents.get(agent)
        if state is None:
            raise Problem(403, "identity", f"agent {agent!r} is not known here, or was revoked")
        return state

    async def take(self, batch: Batch, allowance: Allowance) -> Receipt:
        """Store a delivery, then expose what of it is current. Raises Problem."""
        self._shares.refuse_series(batch, self.time_base.now())
        left_out = self._shares.leave_out_events(batch, allowance)
        if self.certificates.in_first_use(batch.agent):
            await self.certificates.keep(time.time())  # what it replaces is over before this is acknowledged
        outcome = await self._deliveries.store(batch)
        for prepared in outcome.unwritable:
            batch.refuse_unwritable(prepared)
        left_out += self._shares.left_out(batch, outcome)
        batch.follow(self.time_base)
        state = self._state_of(batch.agent)  # it may have been revoked while this was stored
        if outcome.stopped is not None:
            state.stopped = outcome.stopped
        # It is stored: whatever fails now, the answer says so.
        for prepared in reversed(outcome.live):
            self.feed.put(Accepted(prepared, batch.composed))
        for prepared in outcome.late:
            self.feed.put(Accepted(prepared, batch.composed, is_live=False))
        self._count(batch, len(outcome.live), len(outcome.late), outcome.duplicates)
        if outcome.problem:  # a part of it is stored: it is shown, and comes again as what is known
            raise outcome.problem
        return Receipt(
            received=batch.received,
            accepted=len(outcome.live) + len(outcome.late),
            duplicates=outcome.duplicates,
            samples_refused=sum(sum(p.refused_samples.values()) for p in batch.prepared),
            refused=batch.refused,
            assignment=self.assignments.version(batch.agent, state.site),
            clock=self.time_base.read(),
            authorities=self.authority.version,
            left_out=left_out,
            wait=allowance.lacking(time.monotonic())[1],
        )

    def _wake_lists(self, accepted: Accepted) -> None:
        if accepted.prepared.report.source == INVENTORY:
            self._long_lists.wake()

    def _count(self, batch: Batch, live: int, late: int, duplicates: int) -> None:
        reports = self.telemetry.reports
        for outcome, number in (
            ("live", live),
            ("late", late),
            ("duplicate", duplicates),
            ("refused", len(batch.refused)),
        ):
            if number:
                reports.labels(outcome).inc(number)
        if late and not self._remote_writer:
            self.telemetry.late_dropped.labels("no_receiver").inc(late)
        for reason, number in batch.refused_reasons.items():
            self.telemetry.refused_reports.labels(reason).inc(number)
        for prepared in batch.prepared:
            for reason, number in prepared.refused_samples.items():
                self.telemetry.refused_samples.labels(reason).inc(number)
            for reason, number in prepared.refused_documents.items():
                self.telemetry.refused_documents.labels(reason).inc(number)

    # Identities

    async def enrol(
        self, secret: str, name: str, request: str, known: str | None, origin: str
    ) -> tuple[str, str, Issued]:
        """(agent, site, certificate) for a token. `known` is the agent whose certificate the
        request came with, if any; `origin` where it came from. Raises IdentityError, HaidangError."""

        def buy(connection: sa.Connection) -> tuple[str, str, Issued, bool]:
            token, site = tokens.spend_token(connection, secret)
            buyer = Principal("token", token, origin)
            enrolments.count(connection, site, self.settings.limits.enrolments_a_site_a_day)
            agent, moved = enrolments.name_for(
                connection, buyer, self._names(connection), name, site, token, proven=name == known
            )
            issued = self.authority.issue_client(request, "agent", agent, self.settings.client_certificate_days)
            identities.note_certificate(connection, agent, issued)
            return agent, site, issued, moved

        await self.certificates.keep(time.time())  # which one is in use: unused ones end with this
        agent, site, issued, moved = await self.ledger.run(buy)
        if moved:
            self.latest.forget(agent)
        self.latest.enrol(agent, site)
        return agent, site, issued

    def _names(self, connection: sa.Connection) -> Names:
        """The names of the registry in force, also of one that was loaded a moment ago."""
        if registry_store.registry_loaded(connection) == self._registry_loaded:
            return self.assignments.names
        return Names(registry_store.load_registry(connection)[1])

    async def renew(self, shown: Presented, request: str) -> tuple[str, Issued]:
        """(site, certificate) for an agent that may speak, with one that counts. Raises IdentityError,
        CertificateError, HaidangError."""
        agent = shown.name

        def buy(connection: sa.Connection) -> tuple[str, Issued]:
            site = identities.require_agent(connection, agent)
            certificates.require(connection, shown, time.time())
            issued = self.authority.issue_client(request, "agent", agent, self.settings.client_certificate_days)
            identities.note_certificate(connection, agent, issued)
            return site, issued

        await self.certificates.keep(time.time())
        return await self.ledger.run(buy)

    # Background

    async def _watch(self) -> None:
        while True:
            if moved := self.time_base.follow():
                log.warning("this machine's clock was set by %+.1f s: what is current is dated anew", moved)
                self.latest.move(moved)
                self.outage_watch.begin_again(moved)
                self.plan.move(moved)
                self.certificates.read_again()
            try:
                await self._watch_once()
            except LedgerError as error:
                log.error("%s", error)
            self.disk.look()
            self.telemetry.show_agents_quotas(self.quotas.worst(time.monotonic()))
            await asyncio.sleep(_WATCH_SECONDS)

    async def _watch_once(self) -> None:
        """What commands changed beside us: the registry, revocations, enrolments elsewhere, the CA."""
        await self._follow_certificates(time.time())
        version, before = self._beside.version(), self._registry_loaded
        if version == self._looked_at:
            return
        loaded, change, changed = await self.ledger.read(_registry_and_agents, self._agents_change)
        for agent in changed:
            self._follow_agent(agent)
        if loaded != before:
            at, registry = await self.ledger.read(registry_store.load_registry)
            await self.ledger.run(link_store.follow, registry, at)
            await self.outage_watch.use(registry)  # a ledger that fails leaves the one before in force, as a whole
            self.plan.use(registry)
            self._registry_loaded, self.registry, self.assignments = at, registry, Assignments(registry)
            self._registry_families = registry_families(registry)
            self._devices = addresses(registry)
            log.info("the registry has %d sites", len(self.registry.sites) if self.registry else 0)
        if changed or loaded != before:
            self._look_at_names()
        # Where something failed it is all looked at again.
        self._agents_change, self._looked_at = change, version

    def _follow_agent(self, agent: identities.Agent) -> None:
        known = self.latest.agents.get(agent.id)
        if agent.revoked is None:
            if known is not None and known.site != agent.site:  # enrolled elsewhere: nothing it said is this one's
                self.latest.forget(agent.id)
            self.latest.enrol(agent.id, agent.site, stopped=agent.stopped)
        elif known is not None:
            self.latest.forget(agent.id)
            self.quotas.forget(agent.id)
            self._shares.forget(agent.id)
            self._keeper.forget(agent.id)
            log.info("agent %s is revoked", agent.id)

    async def _follow_certificates(self, now: float) -> None:
        try:
            if self.authority.changed():
                self.authority.load()
                log.info("the CA is %s", " and ".join(map(fingerprint, self.authority.trusted)))
        except (OSError, ValueError, TypeError) as error:  # the one in use goes on
            log.error("%s can't be used: %s", self.authority.key_file, error)
        if self.authority.version != self._authorities:
            self.certificates.authorities = frozenset(self.authority.ends())
            await self.ledger.run(certificates.find_authorities, [*map(fingerprint, self.authority.trusted)])
            await self.ledger.run(certificates.follow_authorities, self.authority.ends(), now)
            self._authorities = self.authority.version
        await self.certificates.keep(now)
        self.certificates.follow(now)
        if self.certificates.revision != self._certificates_shown:
            self._certificates_shown = self.certificates.revision
            self.telemetry.client_certificate_ends.clear()
            for kind, name, until in self.certificates.ends(now):
                self.telemetry.client_certificate_ends.labels(kind, name).set(until)

    def _look_at_names(self) -> None:
        """Whoever bears a name that is another site's by now: he was enrolled before the registry said so."""
        holders = (Holder(agent, state.site) for agent, state in self.latest.agents.items())
        foreign = sorted(self.assignments.names.foreign(holders), key=lambda each: (each.site, each.agent))
        for each in foreign:
            if each not in self.foreign_names:
                log.warning("%s", self.assignments.names.problem(each))
        self.foreign_names = foreign

    @property
    def families(self) -> list[tuple[str, bytes]]:
        """What the collector exposes of its own knowledge: the registry, the plan's figures, names that are others'."""
        names = [
            ("haidang_agent_name_foreign", {"site": each.site, "agent": each.agent}, 1) for each in self.foreign_names
        ]
        return [*self._registry_families, *self.plan.blocks, *families_of(names)]


def prepare_state_dir(settings: Settings) -> Path:
    """The state folder, made when missing, closed to others. Raises ConfigError, also for root in the folder of
    another user: who owns it could lead root anywhere, and could not use what root leaves there."""
    state_dir = Path(settings.state_dir)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = state_dir.stat().st_uid
        if os.geteuid() == 0 and owner != 0:
            remedy = "Run the command as its owner: runuser -u haidang-collector -- haidang-collector ..."
            raise ConfigError(f"belongs to user {owner}, not to root", where=settings.state_dir, remedy=remedy)
    except OSError as error:
        raise ConfigError(f"state_dir can't be made: {error.strerror}", where=settings.state_dir) from error
    return state_dir


def _registry_and_agents(connection: sa.Connection, change: int) -> tuple[float, int, list[identities.Agent]]:
    """When the registry was loaded, the last change of an agent, and those that were changed after this one."""
    return registry_store.registry_loaded(connection), *identities.changed_after(connection, change)
