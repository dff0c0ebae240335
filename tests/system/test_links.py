"""Links as the kernel tells of them, and garbage in place of its messages."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from haidang_agent.config import LinksConfig
from haidang_agent.schedule.source import Findings
from haidang_agent.sources.links import Links, links
from hypothesis import given
from hypothesis import strategies as st

from tests.system.network import fiber, ip

pytestmark = pytest.mark.system


def test_links_that_go_down_and_come_up_are_told_at_once() -> None:
    said: list[tuple[str, str, str, Any]] = []

    def deliver(source: str, taken: float, interval: float, findings: Findings) -> None:
        assert source == "links"
        said.extend((e.kind, e.body["device"], e.body["interface"], e.body["admin_up"]) for e in findings.events)

    async def watch(site: str) -> None:
        task = asyncio.ensure_future(Links("sw", LinksConfig()).run(deliver))
        await asyncio.sleep(0.2)
        for command, wanted in (
            (("-n", site, "link", "set", "wan0", "down"), ("link_down", "sw", "fiber", True)),
            (("-n", site, "link", "set", "wan0", "up"), ("link_up", "sw", "fiber", True)),
            (("link", "set", "fiber", "down"), ("link_down", "sw", "fiber", False)),
            (("link", "delete", "fiber"), None),
        ):
            ip(*command)
            for _ in range(50):
                if wanted is None or wanted in said:
                    break
                await asyncio.sleep(0.1)
            assert wanted is None or wanted in said, said
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with fiber() as line:
        asyncio.run(watch(line.site))


@given(st.binary(max_size=300))
def test_garbage_is_no_link_and_no_error(data: bytes) -> None:
    for name, admin_up, up in links(data):
        assert isinstance(name, str)
        assert admin_up or not up
