"""`haidang-collector audit`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from haidang_wire.errors import HaidangError

from haidang_collector.cli.said import date, duration, local_time
from haidang_collector.ledger import audit
from haidang_collector.ledger.database import Ledger
from haidang_collector.settings import Settings

_MOST = 10_000


def add_parser(groups: Any) -> None:
    """The command's options; groups is what argparse's add_subparsers gives."""
    told = groups.add_parser("audit", help="show who changed what, from where and when, the newest first")
    told.add_argument("--since", default="", help="local time, as 2026-10-03T22:00, or how long ago, as 7d")
    told.add_argument("--until", default="", help="the same")
    told.add_argument("--who", default="", help="the name of an operator, of a system user, of a token")
    told.add_argument("--what", default="", help="as maintenance.plan, or maintenance for all of it")
    told.add_argument("--object", default="", help="the agent, token, work... that was changed")
    told.add_argument("--most", type=int, default=100, help="how many are shown (default: 100); an export has all")
    forms = told.add_mutually_exclusive_group()
    for form, text in (("csv", "for spreadsheets"), ("json", "for programs: an object a line")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=f"export {text}")


def show(options: argparse.Namespace, settings: Settings, ledger: Ledger) -> None:
    """Print what fits. Raises HaidangError for options that are none."""
    begins = _moment(options.since, "--since") if options.since else 0.0
    ends = _moment(options.until, "--until") if options.until else None
    wanted = audit.Wanted(begins, ends, options.who, options.what, options.object)
    if options.form:
        audit.export(ledger, wanted, sys.stdout, options.form)
        return
    if not 1 <= options.most <= _MOST:
        raise HaidangError(f"--most must be from 1 to {_MOST}", remedy="Use --csv or --json for more")
    with ledger.reading() as connection:
        found = audit.find(connection, wanted, options.most)
    for entry in found:
        who = f"{entry.kind} {entry.name} ({entry.origin})"
        documents = (entry.before, entry.after)
        was, now = ("–" if each is None else json.dumps(each, ensure_ascii=False) for each in documents)
        print(f"{date(entry.at)}  {entry.action:<17} {entry.object:<20} {who:<40} {was} → {now}")


def _moment(text: str, option: str) -> float:
    """A time, or how long ago."""
    return time.time() - duration(text, option) if text[-1:].isalpha() else local_time(text, option)
