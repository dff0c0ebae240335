"""Client certificates in the ledger: which count, of whom, until when. Every function takes the connection of a
transaction.

A row is changed, never its meaning: `change` grows with each, so that whoever reads along takes only what is new.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from haidang_wire.errors import HaidangError

from haidang_collector.identity.authority import KINDS, LONGEST_DAYS, Issued, Presented
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.statements import Only, lock
from haidang_collector.ledger.tables import certificates, revocations, unlisted
from haidang_collector.principals import Principal

_DAY = 86400.0
KEPT_ENDED_SECONDS = 30 * _DAY
# An agent needs one, and one that it has not used yet; the rest tells why an old one is refused.
_KEPT_OF_AN_AGENT = 10
# What is in somebody's memory has its row, or else nobody could list or revoke it: a row goes when all know long since
# that it counts no more, and an agent that renews faster than that is refused.
_KEPT_REVOKED_SECONDS = _DAY
_MOST_OF_AN_AGENT = 100
# A backup is as old as its file says, to a second, on the clock of the same machine.
_BACKUP_SLACK_SECONDS = 60.0


class CertificateError(HaidangError):
    """There is no such certificate, or it no longer counts."""


@dataclass(frozen=True)
class Certificate:
    """A row. Times are Unix seconds; `used` is the first time, `revoked` from when it is refused, `reason` is of
    REASONS or empty."""

    serial: str
    kind: str
    name: str
    authority: str
    issued: float
    ends: float
    used: float | None
    revoked: float | None
    reason: str

    @property
    def until(self) -> float:
        """When it ceases to count, see `counts_until`."""
        return counts_until(self.ends, self.revoked, self.reason)


REASONS = {
    "revoked": "the certificate was revoked",
    "replaced": "a newer certificate of this agent is in use: this one is a copy, or of a machine that was set back",
    "released": "the name was released for another machine",
    "authority": "the CA of this certificate is no longer in use",
    "too_old": "the certificate is of an earlier version and has counted for as long as a new one would",
}
"""Why a certificate is refused before its own end, in words."""
_AHEAD = ("authority", "too_old")


def counts_until(ends: float, revoked: float | None, reason: str) -> float:
    """When a certificate ceases to count. With its CA it does at a time that may lie ahead. What somebody revoked,
    released or replaced counts at no time (0): the clock may have been ahead when that was done."""
    if revoked is None:
        return ends
    return min(ends, revoked) if reason in _AHEAD else 0.0


COLUMNS = tuple(column for column in certificates.c if column.name != "change")


def note_issued(connection: sa.Connection, kind: str, name: str, issued: Issued) -> None:
    """A new certificate. Of an agent's others that nobody used it takes the place: their answers were lost."""
    now = time.time()
    if kind == "agent":
        _revoke(connection, _of(kind, name) & certificates.c.used.is_(None) & _counts(now), now, "replaced")
    connection.execute(
        sa.insert(certificates).values(
            serial=issued.serial, kind=kind, name=name, authority=issued.authority, issued=issued.issued,
            ends=issued.ends, used=None, revoked=None, reason="", change=_next_change(connection),
        )
    )  # fmt: skip
    if kind == "agent":
        _remove_revoked(connection, name, now)


def note_used(connection: sa.Connection, serials: Iterable[str], now: float) -> None:
    """Certificates were used the first time: an agent's others end. One that was revoked meanwhile ends nothing."""
    for serial in serials:
        row = known(connection, serial)
        if row is None or row.used is not None or row.until <= now:
            continue
        _change(connection, certificates.c.serial == serial, used=now)
        if row.kind == "agent":
            _end_others(connection, row.name, serial, now)


def known(connection: sa.Connection, serial: str) -> Certificate | None:
    """The row of a certificate, whether it counts or not."""
    row = connection.execute(sa.select(*COLUMNS).where(certificates.c.serial == serial)).first()
    return None if row is None else Certificate(*row)


def adopt(connection: sa.Connection, shown: Presented, now: float) -> bool:
    """Give an unlisted certificate that counts (see `may_count`) its row; whether it has one that counts now."""
    there = known(connection, shown.serial)
    if there is not None:
        return there.until > now
    counts_until = may_count(connection, shown, now)
    if counts_until is None:
        return False
    early = counts_until < shown.ends
    connection.execute(
        sa.insert(certificates).values(
            serial=shown.serial, kind=shown.kind, name=shown.name, authority=shown.authority, issued=shown.issued,
            ends=shown.ends, used=now, revoked=counts_until if early else None, reason="too_old" if early else "",
            change=_next_change(connection),
        )
    )  # fmt: skip
    if shown.kind == "agent":
        _end_others(connection, shown.name, shown.serial, now)
    return True


def may_count(connection: sa.Connection, shown: Presented, now: float) -> float | None:
    """Until when a certificate of ours counts that has no row; None when it does not.

    It must be of a time whose certificates the ledger can't know (`unlisted`), and later than what revoked its name;
    an agent's also later than all that it used, since those have ended it.
    """
    window = sa.select(unlisted.c.until).where(
        unlisted.c.kind == shown.kind, unlisted.c.issued_from <= shown.issued, unlisted.c.issued_until >= shown.issued,
        unlisted.c.until > now,
    )  # fmt: skip
    until = connection.execute(window.order_by(unlisted.c.until.desc())).scalar()
    if until is None:
        return None
    named = (revocations.c.kind == shown.kind) & (revocations.c.name == shown.name)
    revoked = connection.execute(sa.select(revocations.c.at).where(named)).scalar()
    if revoked is not None and shown.issued <= revoked:
        return None
    if shown.kind == "agent":
        seen = certificates.c.used.is_not(None) | certificates.c.revoked.is_not(None)
        latest = sa.select(sa.func.max(certificates.c.issued)).where(_of(shown.kind, shown.name) & seen)
        if shown.issued <= (connection.execute(latest).scalar() or 0.0):
            return None
    return float(until)


def require(connection: sa.Connection, shown: Presented, now: float) -> None:
    """Raises CertificateError for one that no longer counts, and for an agent that was given too many lately: asked
    again where a new one is issued for it."""
    row = known(connection, shown.serial)
    if row is None and may_count(connection, shown, now) is None:
        raise CertificateError("the certificate is not known here")
    if row is not None and row.until <= now:
        raise CertificateError(REASONS.get(row.reason, "the certificate has ended"))
    if shown.kind == "agent":
        _remove_revoked(connection, shown.name, now)
        of_agent = sa.select(sa.func.count()).select_from(certificates).where(_of(shown.kind, shown.name))
        if connection.execute(of_agent).scalar_one() >= _MOST_OF_AN_AGENT:
            raise CertificateError(
                f"agent {shown.name!r} was given {_MOST_OF_AN_AGENT} certificates lately; the one it has counts on",
                remedy="It may renew again in a day",
            )


def revoke_name(connection: sa.Connection, principal: Principal, kind: str, name: str) -> int:
    """Refuse every certificate of a name issued until now, known here or not; how many were known and counted."""
    counting = sa.select(certificates.c.serial).where(_of(kind, name) & _counts(time.time()))
    before = {"serials": list(connection.execute(counting.order_by(certificates.c.change.desc())).scalars())}
    counted = end_name(connection, kind, name, "revoked")
    after = {"certificates": counted}
    audit.note(connection, principal, Action.CERTIFICATE_REVOKE, f"{kind}/{name}", before, after)
    return counted


def end_name(connection: sa.Connection, kind: str, name: str, reason: str) -> int:
    """The same as a part of what the audit says already."""
    now = time.time()
    connection.execute(sa.delete(revocations).where(revocations.c.kind == kind, revocations.c.name == name))
    connection.execute(sa.insert(revocations).values(kind=kind, name=name, at=now))
    return _revoke(connection, _of(kind, name) & _counts(now), now, reason)


def revoke_serial(connection: sa.Connection, principal: Principal, serial: str) -> Certificate:
    """Refuse one certificate. Raises CertificateError when there is none that counts."""
    now = time.time()
    wanted = serial.strip().lower().replace(":", "").lstrip("0")
    row = known(connection, wanted)
    if row is None or row.until <= now:
        raise CertificateError(
            f"there is no certificate {serial!r} that counts", remedy="See: haidang-collector certificates list"
        )
    _revoke(connection, certificates.c.serial == wanted, now, "revoked")
    before = {"serial": wanted, "revoked": row.revoked}
    audit.note(
        connection, principal, Action.CERTIFICATE_REVOKE, f"{row.kind}/{row.name}", before, {**before, "revoked": now}
    )
    return row


def follow_authorities(connection: sa.Connection, ends: Mapping[str, float], now: float) -> None:
    """Certificates end with their CA: `ends` says until when each CA counts; one that is not there is over."""
    _revoke(connection, certificates.c.authority.not_in(list(ends)) & _not_revoked(now), now, "authority")
    for authority, until in ends.items():
        later = (certificates.c.authority == authority) & (certificates.c.ends > until)
        _revoke(connection, later & _not_revoked(until), until, "authority")


def note_authorities(
    connection: sa.Connection, principal: Principal, action: Action, were: list[str], are: list[str]
) -> None:
    """Which CAs count (fingerprints, the issuing one first) changes."""
    audit.note(connection, principal, action, are[0], {"trusted": were}, {"trusted": are})


def find_authorities(connection: sa.Connection, are: list[str]) -> None:
    """The CA is a file, and no transaction has both: so its change is noted before it is made. Where the CAs are others
    than was noted last, a row says so: the change came to nothing, a backup was restored, a file was put there. That
    one has ended at its time is no change."""
    last = audit.find(connection, audit.Wanted(what="ca"), 1)
    noted = (last[0].after or {}).get("trusted", []) if last else are
    if noted[:1] != are[:1] or not set(are) <= set(noted):
        note_authorities(connection, Principal.itself(), Action.CA_FOUND, noted, are)


def listed(connection: sa.Connection, *, now: float, kind: str = "", ended: bool = False) -> list[Certificate]:
    """Certificates that count (or all that are kept), by kind and name, the newest of a name first."""
    query = sa.select(*COLUMNS).order_by(certificates.c.kind, certificates.c.name, certificates.c.issued.desc())
    if kind:
        query = query.where(certificates.c.kind == kind)
    found = [Certificate(*row) for row in connection.execute(query)]
    return [each for each in found if ended or each.until > now]


def note_restored(connection: sa.Connection, backed_up: float, now: float) -> None:
    """Agents went on renewing after the backup was taken: those certificates count though they are not in it.
    Others' are made again by the data center."""
    note_unlisted(connection, "agent", backed_up - _BACKUP_SLACK_SECONDS, now)


def note_unlisted(connection: sa.Connection, kind: str, issued_from: float, issued_until: float) -> None:
    """Certificates of a kind issued between count without a row, for at most as long as a new one would."""
    connection.execute(
        sa.insert(unlisted).values(
            kind=kind, issued_from=issued_from, issued_until=issued_until,
            until=issued_until + LONGEST_DAYS[kind] * _DAY,
        )
    )  # fmt: skip


def remove_ended(connection: sa.Connection, now: float) -> None:
    """Keep the tables small. The newest change stays: numbers are never given twice."""
    newest = sa.select(sa.func.max(certificates.c.change)).scalar_subquery()
    over = certificates.c.ends < now - KEPT_ENDED_SECONDS
    connection.execute(sa.delete(certificates).where(over & (certificates.c.change < newest)))
    connection.execute(sa.delete(unlisted).where(unlisted.c.until < now))
    longest = max(LONGEST_DAYS[kind] for kind in KINDS) * _DAY
    connection.execute(sa.delete(revocations).where(revocations.c.at < now - longest))


def _remove_revoked(connection: sa.Connection, agent: str, now: float) -> None:
    newest = sa.select(certificates.c.serial).where(_of("agent", agent)).order_by(certificates.c.change.desc())
    older = certificates.c.serial.not_in(newest.limit(_KEPT_OF_AN_AGENT))
    long_since = certificates.c.reason.not_in(_AHEAD) & (certificates.c.revoked < now - _KEPT_REVOKED_SECONDS)
    connection.execute(sa.delete(certificates).where(_of("agent", agent) & older & long_since))


def _end_others(connection: sa.Connection, agent: str, serial: str, now: float) -> None:
    _revoke(connection, _of("agent", agent) & (certificates.c.serial != serial) & _counts(now), now, "replaced")


def _revoke(connection: sa.Connection, which: sa.ColumnElement[bool], at: float, reason: str) -> int:
    return _change(connection, which, revoked=at, reason=reason)


def _change(connection: sa.Connection, which: sa.ColumnElement[bool], **values: object) -> int:
    statement = sa.update(certificates).where(which).values(change=_next_change(connection), **values)
    return connection.execute(statement).rowcount


def _next_change(connection: sa.Connection) -> int:
    lock(connection, Only.CERTIFICATES)
    return (connection.execute(sa.select(sa.func.max(certificates.c.change))).scalar() or 0) + 1


def _of(kind: str, name: str) -> sa.ColumnElement[bool]:
    return (certificates.c.kind == kind) & (certificates.c.name == name)


def _counts(now: float) -> sa.ColumnElement[bool]:
    return (certificates.c.ends > now) & _not_revoked(now)


def _not_revoked(now: float) -> sa.ColumnElement[bool]:
    ahead = certificates.c.reason.in_(_AHEAD) & (certificates.c.revoked > now)
    return certificates.c.revoked.is_(None) | ahead
