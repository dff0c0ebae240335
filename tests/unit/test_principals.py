"""Who may what: each kind of principal against each right, as the door answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from haidang_collector.collector import Collector
from haidang_collector.identity import certificate_rows
from haidang_collector.identity.authority import Issued, Presented
from haidang_collector.principals import Principal, Right
from haidang_collector.problems import Problem
from haidang_collector.settings import Settings

MAY = {
    "agent": {Right.REPORT},
    "scraper": {Right.SCRAPE},
    "operator": {Right.LOOK, Right.CHANGE},
    "nobody": set(),
}
TOKEN = "a-scrape-token-of-some-length"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="utf-8")
    token.chmod(0o600)
    made = Collector(Settings(state_dir=str(tmp_path / "state"), metrics_token_file=str(token)))
    ends, authority = time.time() + 3600, made.authority.key_identifier
    made.certificates.authorities = frozenset({authority})
    with made.ledger.transaction() as connection:
        for number, kind in enumerate(MAY, 1):
            certificate_rows.note_issued(connection, kind, "tên", Issued("", 0.0, ends, f"{number}", authority))
    yield made
    made.close()


def scope(collector: Collector, kind: str, **headers: str) -> dict[str, Any]:
    authority = collector.authority.key_identifier
    shown = Presented(f"{[*MAY].index(kind) + 1}", kind, "tên", 0.0, time.time() + 3000, authority)
    return {
        "client": ("10.0.0.7", 5000),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "extensions": {"tls": {"peer_certificate": None if kind == "nobody" else shown}},
    }


@pytest.mark.parametrize("kind", MAY)
@pytest.mark.parametrize("right", Right)
def test_the_door_lets_each_do_what_is_his(collector: Collector, kind: str, right: Right) -> None:
    if right in MAY[kind]:
        assert collector.peers.require(scope(collector, kind), right) == Principal(kind, "tên", "10.0.0.7")
    else:
        with pytest.raises(Problem) as refused:
            collector.peers.require(scope(collector, kind), right)
        assert refused.value.status == 401


@pytest.mark.parametrize("kind", MAY)
def test_the_scrape_token_is_for_scraping_alone(collector: Collector, kind: str) -> None:
    asked = scope(collector, kind, authorization=f"Bearer {TOKEN}")
    assert collector.peers.require(asked, Right.SCRAPE).kind == "scraper"
    for right in set(Right) - MAY[kind] - {Right.SCRAPE}:
        with pytest.raises(Problem):
            collector.peers.require(asked, right)
    for wrong in ("", "Bearer ", f"bearer {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        if kind != "scraper":
            with pytest.raises(Problem):
                collector.peers.require(scope(collector, kind, authorization=wrong), Right.SCRAPE)


def test_a_kind_that_is_not_named_may_nothing() -> None:
    for kind in ("", "root", "OPERATOR", "token"):
        assert not any(Principal(kind, "x", "").may(right) for right in Right)
    assert all(Principal.of_command().may(right) for right in Right)
