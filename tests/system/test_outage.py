"""The whole way with real parts: a value reaches Prometheus, a cut reaches the webhook, the gap fills."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.conftest import BIN, Center, Processes, free_port, wait_for
from tests.system.network import fiber
from tests.system.stack import SETTLED_SECONDS, Stack

pytestmark = pytest.mark.system
INTERVAL = 5
CUT_SECONDS = 60


@pytest.mark.timeout(600)
def test_a_cut_pages_resolves_and_leaves_no_gap(tmp_path: Path, processes: Processes) -> None:
    with fiber() as link:
        prometheus_port = free_port()
        remote_write = f'[remote_write]\nurl = "http://127.0.0.1:{prometheus_port}/api/v1/write"\n'
        center = Center(tmp_path, processes, link.center_address, remote_write)
        stack = Stack(tmp_path, processes, center, prometheus_port)
        folder = center.enrol(tmp_path / "agent", site="xa-dong-thinh", name="may-xa")
        config = tmp_path / "agent.toml"
        config.write_text(
            "".join(
                f"[sources.{name}]\ninterval_seconds = {INTERVAL}\njitter_seconds = 0\n"
                for name in ("agent", "host", "reachability")
            )
            + "[uplink]\ntimeout_seconds = 5\nbackoff_max_seconds = 4\n"
        )
        agent = str(BIN / "haidang-agent")
        processes.start("agent", *link.in_site(agent, "run", "--state-dir", str(folder), "--config", str(config)))

        labels = '{site="xa-dong-thinh",agent="may-xa"}'
        wait_for("the agent is up in Prometheus", lambda: stack.query(f"haidang_agent_up{labels} == 1"), 40)
        memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
        assert memory
        (series,) = stack.query(f"haidang_host_memory_size_bytes{labels}")
        assert float(series["value"][1]) == int(memory[1]) * 1024
        gateway = 'haidang_path_up{site="xa-dong-thinh",target="gateway"} == 1'
        wait_for("the gateway answers echoes", lambda: stack.query(gateway), 20)
        wait_for("the watchdog arrives", lambda: stack.webhook.has("firing", "HaidangWatchdog"), 60)
        # Beyond the time in which a collector that has just started pages nobody.
        start = f"time() - haidang_collector_start_timestamp_seconds > {SETTLED_SECONDS + 1}"
        wait_for("the collector has settled", lambda: stack.query(start), 60)

        began = time.time()
        link.set("down")
        wait_for("the page", lambda: stack.webhook.has("firing", "HaidangAgentDown"), CUT_SECONDS)
        time.sleep(max(0.0, began + CUT_SECONDS - time.time()))  # the outage itself, not luck
        link.set("up")
        ended = time.time()
        wait_for("resolved", lambda: stack.webhook.has("resolved", "HaidangAgentDown"), 60)
        pages = [alert for alert in stack.webhook.alerts if alert[0] == "firing" and alert[1] == "HaidangAgentDown"]
        assert {page[2]["site"] for page in pages} == {"xa-dong-thinh"}

        def filled() -> bool:
            window = f"[{round(ended - began)}s]"
            (found,) = stack.query(f"haidang_host_processes{labels}{window}", time=ended) or [{"values": []}]
            late = [when for when, _ in found["values"] if began < when < ended]
            gaps = [b - a for a, b in zip([began, *late], [*late, ended], strict=True)]
            return max(gaps) < 2 * INTERVAL + 1

        wait_for("the gap is filled in the very same series", filled, 60)
        assert len(stack.query(f"count by (job, instance) (haidang_host_processes{labels})")) == 1
