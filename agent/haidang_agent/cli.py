"""`haidang-agent`: enrol, run, once, status, doctor, device, discover, profiles."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from haidang_wire import __version__
from haidang_wire.errors import HaidangError
from haidang_wire.labels import to_identifier

from haidang_agent.config import DEFAULT_CONFIG, AgentConfig, load_config
from haidang_agent.platform.system import START_COMMAND, log_handler, refuse_anothers, serve
from haidang_agent.texts import language, say, shown

# Other modules are imported where a command needs them: `run` keeps in memory what it imports.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="haidang-agent", description="Hải Đăng's agent")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--config", type=Path, help=f"configuration file (default: {DEFAULT_CONFIG} if it exists)")
        sub.add_argument("--state-dir", type=Path, help="folder of identity and spool, instead of the configured one")
        sub.add_argument("--language", choices=("en", "vi"), help="language of messages (default: the environment's)")
        return sub

    enrol = command("enrol", "Buy this machine's certificate with a token from the data center.")
    enrol.add_argument("--collector", required=True, metavar="URL", help="https://HOST:PORT of the collector")
    enrol.add_argument("--token", required=True, help="the token; `-` reads it from standard input, @FILE from a file")
    enrol.add_argument("--ca-fingerprint", metavar="F", help="SHA-256 of the collector's CA, if the token lacks it")
    enrol.add_argument("--name", help="name of this agent (default: the host name)")
    enrol.add_argument("--force", action="store_true", help="replace an enrolment that exists")
    command("run", "Measure and report until stopped.")
    once = command("once", "Show what would be reported, without a collector.")
    once.add_argument("--source", metavar="NAME", help="only this source")
    once.add_argument("--json", action="store_true", help="print the Report as JSON and nothing else")
    command("status", "Show who this agent is and how its deliveries go.")
    command("doctor", "Find what is wrong and say what to do.")
    device = command("device", "Poll one device over SNMP once and show what it says.")
    device.add_argument("address")
    device.add_argument("--port", type=int, default=161)
    device.add_argument("--name", help="its name in metrics (default: the address)")
    device.add_argument(
        "--credential", metavar="NAME", help="one of the credentials file, instead of the options below"
    )
    device.add_argument("--community", help="community; `-` asks for it (default: public)")
    device.add_argument("--v1", action="store_true", help="version 1 instead of 2c")
    device.add_argument("--v3-user", metavar="USER", help="version 3; its passwords are asked for")
    device.add_argument("--auth", default="", help="md5, sha, sha224, sha256, sha384 or sha512")
    device.add_argument("--privacy", default="", help="des, aes128, aes192 or aes256")
    device.add_argument("--profile", default="", help="profile to use instead of the one that fits")
    device.add_argument("--json", action="store_true", help="print the Report as JSON and nothing else")
    discover = command("discover", "Find SNMP devices in a network and propose entries for the registry.")
    discover.add_argument("network", help="as 10.20.0.0/22")
    discover.add_argument("--port", type=int, default=161)
    discover.add_argument("--credential", metavar="NAME", action="append", help="only this one of the credentials file")
    profiles = command("profiles", "Check, list or show the profiles of devices.")
    profiles.add_argument("action", choices=("check", "list", "show"))
    profiles.add_argument("what", nargs="?", default="", help="check: a file or folder; show: a name")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 when all is well, 1 when something failed, 2 for a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a C locale must not turn Vietnamese into an exception
            stream.reconfigure(encoding="utf-8", errors="replace")
    options = _parser().parse_args(arguments)
    commands = {
        "enrol": _enrol, "run": _run, "once": _once, "status": _status, "doctor": _doctor,
        "device": _snmp, "discover": _snmp, "profiles": _snmp,
    }  # fmt: skip
    _log("warning")
    try:
        return commands[options.command](options)
    except HaidangError as error:
        print(shown(f"haidang-agent: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _config(options: argparse.Namespace) -> AgentConfig:
    config = load_config(options.config)
    return replace(config, state_dir=str(options.state_dir)) if options.state_dir else config


class _Shown(logging.Formatter):
    """A line each, and of a defect the lines of where it is: what stands in a message may be anybody's."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(shown(line) for line in super().formatException(ei).split("\n"))


def _log(level: str) -> None:
    root = logging.getLogger()
    if not root.handlers:
        handler = log_handler()
        handler.setFormatter(_Shown("%(levelname)s %(message)s"))
        root.addHandler(handler)
    root.setLevel(level.upper())


def _enrol(options: argparse.Namespace) -> int:
    from haidang_agent.identity import enrolment as identities

    config = _config(options)
    state_dir, lang = Path(config.state_dir), language(options.language)
    if (state_dir / "enrolment.json").exists() and not options.force:
        known = identities.load(state_dir)
        what = say("already enrolled", lang, agent=known.agent, site=known.site)
        raise HaidangError(what, remedy=say("use force", lang))
    token = options.token
    if token == "-":  # noqa: S105
        token = sys.stdin.readline()
    elif token.startswith("@"):
        try:
            token = Path(token[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HaidangError("the token can't be read", where=token[1:]) from error
    identity = identities.enrol(
        state_dir,
        options.collector.rstrip("/"),
        token,
        name=options.name or identities.previous_name(state_dir) or to_identifier(socket.gethostname()),
        ca_fingerprint=options.ca_fingerprint,
        timeout=config.uplink.timeout_seconds,
    )
    run = START_COMMAND if str(state_dir) == AgentConfig().state_dir else "haidang-agent run"
    print(shown(say("enrolled", lang, agent=identity.agent, site=identity.site, until=_date(identity.ends), run=run)))
    return 0


def _run(options: argparse.Namespace) -> int:
    from haidang_agent.service import Service

    config = _config(options)
    refuse_anothers(Path(config.state_dir))
    _log(config.log_level)
    service = Service(config)
    return serve(service.run, service.stop)


def _once(options: argparse.Namespace) -> int:
    from haidang_wire.report import Report, report_json

    from haidang_agent import sources
    from haidang_agent.delivery.assignment import Assignments
    from haidang_agent.schedule.runner import make
    from haidang_agent.sources.itself import Itself

    config = _config(options)
    name, _ = _agent_and_site(config)
    itself = Itself()
    assignments = Assignments(Path(config.state_dir))
    built = {source.name: source for source in [*sources.build(config, name, assignments), itself]}
    if options.source is not None and options.source not in built:
        raise HaidangError(f"no source {options.source!r} is enabled", remedy=f"There are: {', '.join(sorted(built))}")
    runners = [
        make(source, getattr(config.sources, source.name), name, lambda *_: None)
        for source in built.values()
        if options.source in (None, source.name)
    ]
    itself.runners = runners
    taken = time.time()
    found = [runner.run_once() for runner in runners]
    report = Report(
        agent=name, epoch=0, sequence=0, source=options.source or "once", taken=taken,
        interval=min(runner.config.interval_seconds for runner in runners),
        samples=[sample for findings in found if findings for sample in findings.samples],
        facts=[fact for findings in found if findings for fact in findings.facts],
        events=[event for findings in found if findings for event in findings.events],
    )  # fmt: skip
    if options.json:
        print(json.dumps(report_json(report), ensure_ascii=False))
    else:
        for sample in report.samples:
            labels = ", ".join(f"{label}={value}" for label, value in sample.labels.items())
            print(shown(f"{sample.metric:<48} {sample.value:<16g} {labels}"))
    return 0 if all(found_one is not None for found_one in found) else 1


def _agent_and_site(config: AgentConfig) -> tuple[str, str]:
    from haidang_agent.identity import enrolment as identities

    try:
        identity = identities.load(Path(config.state_dir))
    except HaidangError:
        return to_identifier(socket.gethostname()), "SITE"
    return identity.agent, identity.site


def _status(options: argparse.Namespace) -> int:
    from haidang_agent import status
    from haidang_agent.identity import enrolment as identities

    config = _config(options)
    lang = language(options.language)
    identity = identities.load(Path(config.state_dir))
    rows = [
        ("status agent", identity.agent),
        ("status site", identity.site),
        ("status collector", identity.collector),
        ("status certificate", _date(identity.ends)),
    ]
    now = status.read(identity.state_dir)
    if now:
        verdict = {True: say("ok", lang), False: say("failed", lang), None: "-"}
        rows += [
            ("status delivery", _date(now.last_delivery) if now.last_delivery else say("never", lang)),
            ("status waiting", str(now.spool_reports)),
            ("status spool", f"{now.spool_bytes / 2**20:.1f} / {now.spool_limit_bytes / 2**20:.0f} MB"),
            ("status sources", ", ".join(f"{name}: {verdict[up]}" for name, up in now.sources.items())),
        ]
        if now.last_error:
            rows.append(("status problem", now.last_error))
    width = max(len(say(key, lang)) for key, _ in rows)
    for key, value in rows:
        print(shown(f"{say(key, lang):<{width}}  {value}"))
    since = time.time() - now.written if now else 0.0
    if now is None or since > 180:
        print(say("not running", lang, seconds=since))
        return 1
    return 1 if now.last_error else 0


def _doctor(options: argparse.Namespace) -> int:
    from haidang_agent.doctor import FAIL, Doctor

    lang = language(options.language)
    failed = False
    for check in Doctor(options.config, options.state_dir, lang).checks():
        failed = failed or check.verdict == FAIL
        line = f"{say(check.verdict, lang):<9} {say('check ' + check.name, lang):<15} {check.text}"
        print(shown(line), flush=True)
    return int(failed)


def _snmp(options: argparse.Namespace) -> int:
    from haidang_agent.snmp import not_installed

    try:
        from haidang_agent.snmp import command
    except ImportError as error:
        raise not_installed(error) from error
    config = _config(options)
    if options.command == "discover":
        options.agent = _agent_and_site(config)
    run = {"device": command.device, "discover": command.discover, "profiles": command.profiles}[options.command]
    return run(options, config.sources.snmp)


def _date(when: float) -> str:
    try:
        return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M %z")
    except (ValueError, OverflowError, OSError):  # beyond the calendar: out of a damaged file
        return repr(when)


if __name__ == "__main__":
    sys.exit(main())
