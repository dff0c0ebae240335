"""The runbooks that the collector serves are those of the docs, and do nothing but be read."""

from __future__ import annotations

import re

import yaml
from haidang_collector.console.runbooks import runbook, runbooks

from tests.conftest import ROOT
from tools import runbooks as made


def test_they_are_what_the_docs_say() -> None:
    assert made.MADE.read_text(encoding="utf-8") == made.runbooks(), "run make docs"


def test_each_alert_has_one_in_both_languages() -> None:
    groups = yaml.safe_load((ROOT / "rules/haidang.yml").read_text(encoding="utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    for language in ("en", "vi"):
        assert {alert for alert, _ in runbooks(language)} == alerts
        assert len({title for _, title in runbooks(language)}) == len(alerts)
    for alert in alerts:
        page = runbook(alert, "vi")
        assert page
        assert page.summary
        assert page.body
        assert page.title != alert
    assert runbook("HaidangNoSuch", "en") is None


def test_nothing_in_them_leads_out_or_acts() -> None:
    for alert, _ in runbooks("en"):
        page = runbook(alert, "vi")
        assert page
        html = page.summary + page.body
        assert not re.search(r"<(script|style|iframe|img|form|object)|\son\w+=|javascript:", html, re.I)
        for address in re.findall(r'href="([^"]*)"', html):
            assert runbook(address.removeprefix("/runbooks/"), "en"), f"{alert}: {address}"
