"""`haidang-collector scraper|operator|certificates|ca`."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from haidang_wire.errors import HaidangError
from haidang_wire.labels import is_identifier

from haidang_collector.cli.said import date, duration
from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.identity.authority import (
    KINDS,
    LONGEST_DAYS,
    Authority,
    as_pkcs12,
    fingerprint,
    new_key_and_request,
)
from haidang_collector.identity.certificate_rows import Certificate
from haidang_collector.identity.files import write_private
from haidang_collector.ledger import audit
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.database import Ledger
from haidang_collector.principals import Principal
from haidang_collector.settings import Settings, read_secret

_NAMED = 20


def add_parsers(groups: Any) -> None:
    """The commands' options; groups is what argparse's add_subparsers gives."""
    for kind, text in (
        ("scraper", "read /metrics and /sd"),
        ("operator", "see the status page, read outages and inventory, plan work"),
    ):
        certificate = groups.add_parser(kind, help=f"make a certificate that may {text}")
        certificate.add_argument("name")
        certificate.add_argument(
            "file", type=Path, help="where key and certificate are written: one PEM file, or FILE.p12"
        )
        longest = LONGEST_DAYS[kind]
        certificate.add_argument(
            "--days", type=int, default=longest, help=f"its life, at most and by default {longest} days"
        )

    certificate = groups.add_parser("certificates", help="certificates of agents, operators and scrapers")
    actions = certificate.add_subparsers(dest="action", required=True)
    shown = actions.add_parser("list", help="show those that count")
    shown.add_argument("--kind", choices=KINDS, default="", help="only these")
    shown.add_argument("--all", action="store_true", help="also those that ended or were revoked lately, and why")
    revoke = actions.add_parser("revoke", help="refuse a certificate from its next request on")
    revoke.add_argument("what", help="its serial number, or KIND/NAME for all that a name has, as operator/truc-ban")

    authority = groups.add_parser("ca", help="the certification authority").add_subparsers(dest="action", required=True)
    authority.add_parser("show", help="show it, and how many certificates are of it")
    rotate = authority.add_parser("rotate", help="begin the next CA; the one before counts for a time")
    rotate.add_argument("--overlap", default="", help="for how long, as 180d (default: an agent's life and 90 days)")
    retire = authority.add_parser("retire", help="end the CA before, sooner than at its time")
    retire.add_argument("--force", action="store_true", help="although certificates of it count: they end with it")


def _make(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    kind, name = options.group, options.name
    if not is_identifier(name):
        raise HaidangError(f"the name {name!r} must be of a-z 0-9 . _ -")
    if not 1 <= options.days <= LONGEST_DAYS[kind]:
        raise HaidangError(f"--days must be 1 to {LONGEST_DAYS[kind]} for {kind}s")
    authority = _authority(settings)
    key, request = new_key_and_request(name)
    issued = authority.issue_client(request, kind, name, options.days)
    password = ""
    content = key + issued.pem.encode()
    if options.file.suffix == ".p12":  # what browsers and telephones import
        password = secrets.token_urlsafe(12)
        content = as_pkcs12(key, issued.pem, name, password)
    with ledger.transaction() as connection:
        certificates.note_issued(connection, kind, name, issued)
        made = {"kind": kind, "serial": issued.serial, "begins": issued.begins, "ends": issued.ends}
        audit.note(connection, Principal.of_command(), Action.CERTIFICATE_MAKE, name, None, made)
        try:
            write_private(options.file, content)
        except OSError as error:
            raise HaidangError(f"can't be written: {error.strerror}", where=str(options.file)) from error
    print(f"{options.file}: until {date(issued.ends)}", end="\n" if not password else "; ")
    if password:
        print(f"its password, shown this once: {password}")


def _certificates(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    now = time.time()
    if options.action == "revoke":
        with ledger.transaction() as connection:
            kind, _, name = options.what.partition("/")
            if not name:
                one = certificates.revoke_serial(connection, Principal.of_command(), options.what)
                said = f"{one.kind}/{one.name}: certificate {one.serial}"
            elif kind not in KINDS or not is_identifier(name):
                raise HaidangError(f"{options.what!r} must be a serial number, or one of {'|'.join(KINDS)}/NAME")
            else:
                number = certificates.revoke_name(connection, Principal.of_command(), kind, name)
                said = f"{options.what}: all certificates issued until now ({number} were known and counted)"
        print(f"{said}: refused from the next request on")
        return
    with ledger.reading() as connection:
        found = certificates.listed(connection, now=now, kind=options.kind, ended=options.all)
    for each in found:
        state = "until" if each.until > now else each.reason or "ended"
        until = date(each.until or each.revoked or each.ends)
        used = f"first used {date(each.used)}" if each.used else "not used yet"
        print(f"{each.kind + '/' + each.name:<40} {each.serial:<40} {state:<8} {until}  {used}")


def _ca(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    if options.action == "show":
        _show(settings, ledger)
        return
    now = time.time()
    with ledger.transaction() as connection:
        authority = _found(connection, settings)
        were = [fingerprint(each) for each in authority.trusted]
        if options.action == "rotate":
            life = settings.client_certificate_days * 86400
            overlap = duration(options.overlap, "--overlap") if options.overlap else life + 90 * 86400
            identifier, action = authority.key_identifier, Action.CA_ROTATE
            planned = authority.successor(overlap / 86400)
            assert planned.previous is not None
            said = [
                f"the CA is now {planned.trusted[0]}",
                f"the one before counts until {date(planned.previous.until)}; agents take over the new one with their"
                " next deliveries",
            ]
        else:
            identifier, action = _before(authority), Action.CA_RETIRE
            planned = authority.without_previous()
            counting_still = _of(certificates.listed(connection, now=now), identifier)
            if counting_still and not options.force:
                raise HaidangError(
                    f"certificates of the CA before still count: {_names(counting_still)}",
                    remedy="Wait until their agents have renewed and make new ones for people, or give --force",
                )
            said = [f"the CA {were[-1]} is over"]
        # Before it is made: whatever fails then, there is no change that nobody knows of.
        certificates.note_authorities(connection, Principal.of_command(), action, were, planned.trusted)
    try:
        # The transaction keeps two of these commands apart.
        with ledger.transaction() as connection:
            authority.take(planned)
            left = _of(certificates.listed(connection, now=now), identifier)
            certificates.follow_authorities(connection, authority.ends(), now)
    except (HaidangError, OSError) as error:
        with contextlib.suppress(HaidangError), ledger.transaction() as connection:
            _found(connection, settings)  # else the next command or start says it
        if isinstance(error, OSError):
            raise HaidangError(f"can't be written: {error.strerror}", where=str(authority.key_file)) from error
        raise
    by_hand = [each for each in left if each.kind != "agent"]
    if by_hand:
        said.append(f"these end with it, make new ones: {_names(by_hand)}")
    said.append(f"Prometheus and a reverse proxy, which verify the collector, need {authority.certificate_file} again")
    print("\n".join(said))


def _show(settings: Settings, ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        authority = _found(connection, settings)
        counting = Counter((each.authority, each.kind) for each in certificates.listed(connection, now=time.time()))
    for certificate, (identifier, until) in zip(authority.trusted, authority.ends().items(), strict=True):
        of_kinds = ", ".join(f"{counting[identifier, kind]} {kind}s" for kind in KINDS)
        role = "issues" if certificate is authority.certificate else "is replaced"
        print(f"{fingerprint(certificate)} {role}, counts until {date(until)}: {of_kinds}")


def _found(connection: sa.Connection, settings: Settings) -> Authority:
    """The CA as it is, which the audit knows then."""
    authority = _authority(settings)
    certificates.find_authorities(connection, [fingerprint(each) for each in authority.trusted])
    return authority


def _before(authority: Authority) -> str:
    """The key identifier of the CA that is being replaced. Raises HaidangError when there is none."""
    others = [identifier for identifier in authority.ends() if identifier != authority.key_identifier]
    if not others:
        raise HaidangError("no CA is being replaced", remedy="Begin with: haidang-collector ca rotate")
    return others[0]


def _of(found: list[Certificate], identifier: str) -> list[Certificate]:
    return [each for each in found if each.authority == identifier]


def _names(found: list[Certificate]) -> str:
    names = sorted({f"{each.kind}/{each.name}" for each in found})
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _authority(settings: Settings) -> Authority:
    return Authority(Path(settings.state_dir), read_secret(settings.ca_key_passphrase_file))


COMMANDS = {"scraper": _make, "operator": _make, "certificates": _certificates, "ca": _ca}
