"""`haidang-collector`: every command. What one does to the ledger is elsewhere."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from haidang_wire import __version__
from haidang_wire.errors import HaidangError

from haidang_collector import installer, months
from haidang_collector.cli import audit as audit_command
from haidang_collector.cli import backup
from haidang_collector.cli import certificates as certificate_commands
from haidang_collector.cli.said import date, duration, local_time
from haidang_collector.collector import prepare_state_dir
from haidang_collector.identity import agents as identities
from haidang_collector.identity import tokens
from haidang_collector.identity.authority import Authority
from haidang_collector.intake import quarantine
from haidang_collector.inventory import claims
from haidang_collector.ledger.database import Ledger
from haidang_collector.outage import sla
from haidang_collector.outage import store as outage_store
from haidang_collector.principals import Principal
from haidang_collector.printable import plain
from haidang_collector.registry import store as registry_store
from haidang_collector.registry.file import load_registry
from haidang_collector.registry.model import Registry
from haidang_collector.registry.names import Holder, Names
from haidang_collector.registry.routing import with_officers
from haidang_collector.reports import plan
from haidang_collector.reports import sla as report
from haidang_collector.reports.sla import LANGUAGES
from haidang_collector.settings import Settings, load_settings, read_secret


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="haidang-collector", description="Hải Đăng's collector")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--config", type=Path, help="configuration file (TOML)")
    groups = parser.add_subparsers(dest="group", required=True, metavar="COMMAND")
    groups.add_parser("serve", help="run the collector")

    token = groups.add_parser("token", help="enrolment tokens").add_subparsers(dest="action", required=True)
    create = token.add_parser("create", help="print a new token, once")
    create.add_argument("--site", required=True, help="site of the registry the token enrols for")
    create.add_argument("--uses", default="1", help="how many agents may use it, or `unlimited` (default: 1)")
    create.add_argument("--line", action="store_true", help="print the whole line that installs an agent with it")
    create.add_argument("--expires", default="24h", help="its life, as 30m, 24h or 7d (default: 24h)")
    token.add_parser("list", help="show tokens")
    token.add_parser("revoke", help="end a token").add_argument("id")

    agents = groups.add_parser("agents", help="enrolled agents").add_subparsers(dest="action", required=True)
    agents.add_parser("list", help="show agents")
    agents.add_parser("revoke", help="refuse an agent from its next request on").add_argument("id")

    held = groups.add_parser("quarantine", help="the last refused report of each agent, source and reason")
    apart = held.add_subparsers(dest="action", required=True)
    apart.add_parser("list", help="show what was refused, and why")
    shown = apart.add_parser("show", help="print such a report (its first 64 KiB)")
    for name in ("agent", "source", "reason"):
        shown.add_argument(name, help="as `list` shows it")
    apart.add_parser("clear", help="forget them").add_argument(
        "agent", nargs="?", default="", help="of this agent alone"
    )

    groups.add_parser("installer", help="print the script that installs the agent (GET /install.sh)")
    saved = groups.add_parser("backup", help="write the whole state to one file, beside a running collector")
    saved.add_argument("file", type=Path, help="as haidang-2026-11-25.tar.gz; who has it can be the collector")
    back = groups.add_parser("restore", help="put a backup into the state folder; the collector must not run")
    back.add_argument("file", type=Path)
    back.add_argument("--force", action="store_true", help="although there is a state; it is kept in before-restore")

    release = agents.add_parser("release", help="its machine is gone: refuse it, let another of its site have its name")
    release.add_argument("id")

    registry = groups.add_parser("registry", help="the registry").add_subparsers(dest="action", required=True)
    for action, text in (("check", "check a file or folder"), ("load", "check it and put it in force")):
        registry.add_parser(action, help=text).add_argument("file", type=Path)
    routes = registry.add_parser("routes", help="print an Alertmanager configuration that tells each site's IT officer")
    routes.add_argument("file", type=Path)
    routes.add_argument("alertmanager", type=Path, help="the configuration to add to (rules/alertmanager.yml)")

    certificate_commands.add_parsers(groups)

    machines = groups.add_parser("machines", help="machines two sites say are theirs")
    disputed = machines.add_subparsers(dest="action", required=True)
    disputed.add_parser("disputes", help="show those in dispute")
    settle = disputed.add_parser("decide", help="end a dispute")
    settle.add_argument("number", type=int, help="of the machine that claims to be another one")
    settle.add_argument(
        "decision", choices=claims.DECISIONS,
        help="moved: it is the other one, which moved; other: two machines; refused: the claim is not believed",
    )  # fmt: skip

    work = groups.add_parser("maintenance", help="planned work").add_subparsers(dest="action", required=True)
    add = work.add_parser("add", help="plan work: outages of it page nobody and count in no SLA")
    add.add_argument("element", help="the site or circuit worked on")
    add.add_argument("--begins", default="now", help="local time, as 2026-10-03T22:00 (default: now)")
    add.add_argument("--lasts", required=True, help="as 30m, 4h or 1d")
    add.add_argument("--text", default="", help="what is done, for those who read it")
    work.add_parser("list", help="show what is planned and not over")
    work.add_parser("end", help="it is over now, or does not take place").add_argument("number", type=int)

    audit_command.add_parser(groups)
    month = groups.add_parser("sla", help="print a month's availability; write it as CSV and PDF")
    month.add_argument("--carrier", default="", help="circuits of this carrier alone")
    figures = groups.add_parser("report", help="print how a month met the plan's targets; write it as PDF and XLSX")
    for monthly in (month, figures):
        monthly.add_argument("--month", required=True, help="as 2026-10")
        monthly.add_argument("--language", choices=LANGUAGES, default="vi", help="of table and files (default: vi)")
        monthly.add_argument("--folder", type=Path, default=Path(), help="where the files are written (default: here)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 when all is well, 1 when something failed, 2 for a wrong call."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(options.config)
        if options.group == "serve":
            from haidang_collector.http.server import serve

            return serve(settings)
        if options.group == "registry" and options.action == "check":
            print(f"{options.file}: {len(load_registry(options.file).sites)} sites, no faults")
            return 0
        if options.group == "registry" and options.action == "routes":
            print(with_officers(options.alertmanager, load_registry(options.file)), end="")
            return 0
        return _ledger_command(options, settings)
    except HaidangError as error:
        print(f"haidang-collector: {error}", file=sys.stderr)
        return 1


def _ledger_command(options: argparse.Namespace, settings: Settings) -> int:
    state_dir = prepare_state_dir(settings)
    if options.group == "installer":
        authority = Authority(state_dir, read_secret(settings.ca_key_passphrase_file))
        print(installer.script(settings.url, authority.fingerprint), end="")
        return 0
    if options.group in ("backup", "restore"):
        if options.group == "backup":
            names = backup.backup(state_dir, options.file)
        else:
            names = backup.restore(state_dir, options.file, Principal.of_command(), force=options.force)
        print(f"{options.file}: {', '.join(names)}")
        return 0
    ledger = Ledger(state_dir)
    commands = {
        "token": _token, "agents": _agents, "registry": _registry, "machines": _machines, "maintenance": _maintenance,
        "sla": _sla, "report": _report, "quarantine": _quarantine, "audit": audit_command.show,
        **certificate_commands.COMMANDS,
    }  # fmt: skip
    command = commands[options.group]
    try:
        command(options, settings, ledger)
    finally:
        ledger.close()
    return 0


def _token(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    if options.action == "create":
        uses = None if options.uses == "unlimited" else _positive(options.uses)
        authority = Authority(Path(settings.state_dir), read_secret(settings.ca_key_passphrase_file))
        with ledger.transaction() as connection:
            token, secret = tokens.create_token(
                connection, Principal.of_command(), options.site, uses=uses, life_seconds=duration(options.expires)
            )
        whole = f"{secret}.{authority.fingerprint}"
        print(installer.line(settings.url, authority.fingerprint, whole) if options.line else whole)
        left = "many times" if uses is None else f"{uses} time{'s' * (uses > 1)}"
        print(f"token {token.id} of site {token.site}: {left}, until {date(token.expires)}", file=sys.stderr)
    elif options.action == "revoke":
        with ledger.transaction() as connection:
            tokens.revoke_token(connection, Principal.of_command(), options.id)
    else:
        with ledger.reading() as connection:
            found = tokens.list_tokens(connection)
        for token in found:
            uses_left = "unlimited" if token.uses_left is None else str(token.uses_left)
            state = "revoked" if token.revoked else "valid until"
            print(f"{token.id}  {token.site:<30} uses left {uses_left:<10} {state} {date(token.expires)}")


def _agents(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    if options.action == "revoke":
        with ledger.transaction() as connection:
            identities.revoke_agent(connection, Principal.of_command(), options.id)
        return
    if options.action == "release":
        with ledger.transaction() as connection:
            there = identities.release_agent(connection, Principal.of_command(), options.id)
        print(f"the name {options.id} is free for a new machine{'' if there else ': nobody had it'}")
        return
    with ledger.reading() as connection:
        agents = identities.list_agents(connection)
    for agent in agents:
        state = "revoked" if agent.revoked else "stopped" if agent.stopped else "enrolled"
        until = f"until {date(agent.certificate_ends)}" if agent.certificate_ends else "none: the name was released"
        print(f"{agent.id:<40} {agent.site:<30} {state:<9} certificate {until}")


def _quarantine(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    if options.action == "clear":
        with ledger.transaction() as connection:
            print(f"{quarantine.clear(connection, Principal.of_command(), options.agent)} forgotten")
        return
    with ledger.reading() as connection:
        kept = quarantine.list_kept(connection, options.agent if options.action == "show" else "")
    if options.action == "list":
        for each in kept:
            key = f"{each.agent:<30} {each.source:<12} {each.reason:<16}"
            print(f"{key} {each.count:>6} times, last {date(each.last)}  {printable(each.detail)}")
        return
    wanted = (options.agent, options.source, options.reason)
    report = next((each.report for each in kept if (each.agent, each.source, each.reason) == wanted), None)
    if report is None:
        raise HaidangError("there is no such report", remedy="See: haidang-collector quarantine list")
    print(printable(report.decode("utf-8", "backslashreplace")))


def printable(text: str) -> str:
    """A text of somebody else's, without what a terminal would obey."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _registry(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    registry = load_registry(options.file)
    names = Names(registry)
    with ledger.transaction() as connection:
        registry_store.save_registry(connection, Principal.of_command(), registry)
        known = identities.list_agents(connection)
    print(f"{len(registry.sites)} sites are in force")
    for each in names.foreign([Holder(agent.id, agent.site) for agent in known if agent.revoked is None]):
        print(f"haidang-collector: {names.problem(each)}", file=sys.stderr)


def _machines(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    if options.action == "decide":
        with ledger.transaction() as connection:
            principal = Principal.of_command()
            number = claims.decide(connection, principal, options.number, options.decision, time.time())
        print(f"machine {number} is what was decided: {options.decision}")
        return
    with ledger.reading() as connection:
        found = claims.listed(connection)
    for each in found:
        # Names and serials are what agents say: nothing of them steers a terminal.
        name, serial, seen = printable(each["name"]), printable(each["serial"]), date(each["claims_last_seen"])
        print(
            f"{each['id']:>7}  of {each['site']} ({each['agent']}, {name}, serial {serial or 'unknown'}) claims to be"
            f" {each['claims']} of {each['claims_site']} ({each['claims_agent']}, seen {seen})"
        )


def _maintenance(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    now = time.time()
    asked = ledger.reading() if options.action == "list" else ledger.transaction()
    with asked as connection:
        if options.action == "add":
            if not _registry_in_force(connection).is_site_or_circuit(options.element):
                raise HaidangError(f"there is no site or circuit {options.element!r}")
            begins = now if options.begins == "now" else local_time(options.begins, "--begins")
            ends = begins + duration(options.lasts, "--lasts")
            works = [
                outage_store.add_maintenance(
                    connection, Principal.of_command(), options.element, begins, ends, options.text
                )
            ]
        elif options.action == "end":
            works = [outage_store.end_maintenance(connection, Principal.of_command(), options.number, now)]
        else:
            works = outage_store.list_maintenance(connection, begins=now)
    for work in works:
        print(f"{work.id:>5}  {work.element:<30} {date(work.begins)} to {date(work.ends)}  {plain(work.text)}")


def _sla(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    month, now = months.month(options.month), time.time()
    period = month.period
    with ledger.reading() as connection:
        registry = _registry_in_force(connection)
        judged = settings.outages.sla_judged_ratio
        figures = sla.figures(registry, period, outage_store.record(connection, *period), now, judged)
        listed = outage_store.between(connection, *period)
    if options.carrier and not any(carrier.id == options.carrier for carrier in registry.carriers):
        raise HaidangError(f"there is no carrier {options.carrier!r}")
    if period[0] >= now:
        raise HaidangError(f"{month} has not begun")
    made = report.Report(registry, str(month), figures, listed, options.carrier, judged)
    print(report.table(made, options.language), end="")
    name = f"sla-{month}" + (f"-{options.carrier}" if options.carrier else "")
    files = {f"{name}.csv": report.as_csv(made).encode(), f"{name}.pdf": report.as_pdf(made, options.language)}
    _write(options.folder, files)


def _report(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    month, now = months.month(options.month), time.time()
    if month.period[0] >= now:
        raise HaidangError(f"{month} has not begun")
    with ledger.reading() as connection:
        made = plan.gather(connection, _registry_in_force(connection), month, now)
    if not made.province:
        remedy = "The collector makes them each minute while it runs; there are months since it does"
        raise HaidangError(f"there are no figures of {month}", remedy=remedy)
    print(plan.as_text(made, options.language), end="")
    name = f"plan-{month}"
    content = {"pdf": plan.as_pdf(made, options.language), "xlsx": plan.as_xlsx(made, options.language)}
    _write(options.folder, {f"{name}.{ending}": data for ending, data in content.items()})


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        file = folder / name
        try:
            file.write_bytes(content)
        except OSError as error:
            raise HaidangError(f"can't be written: {error.strerror}", where=str(file)) from error
        print(file, file=sys.stderr)


def _registry_in_force(connection: sa.Connection) -> Registry:
    registry = registry_store.load_registry(connection)[1]
    if registry is None:
        raise HaidangError("there is no registry", remedy="Load it: haidang-collector registry load FILE")
    return registry


def _positive(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise HaidangError(f"--uses must be a number from 1 or `unlimited`, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
