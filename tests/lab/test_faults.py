"""Each fault of the lab does what it says, and is mended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import unavailable
from tests.lab.lab import Lab, Topology, unable
from tests.lab.machine import Machine, command

pytestmark = [pytest.mark.system, pytest.mark.alone]
UNIT = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'date +%%Y > /root/year'\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if reason := unable():
        unavailable(reason)
    with Lab(Topology(("one", "two"), (), (("one", "two"),)), tmp_path_factory.mktemp("faults")) as made:
        yield made


def lost(machine: Machine, count: int = 60) -> int:
    """Percent of echoes to it that are not answered."""
    said = command("ping", "-q", f"-c{count}", "-i0.02", "-W1", machine.address, check=False)
    return int(said.split("% packet loss")[0].split()[-1].split(".")[0])


def test_a_lossy_machine_loses_and_is_mended(lab: Lab) -> None:
    lab["two"].lose(50)
    assert 15 < lost(lab["two"]) < 85
    lab["two"].mend()
    assert lost(lab["two"], 5) == 0


def test_a_frozen_machine_does_nothing_until_it_goes_on(lab: Lab) -> None:
    lab["two"].freeze()
    ssh = ["timeout", "3", *lab.ssh("two"), "hostname"]
    assert command(*ssh, check=False) == ""
    lab["two"].mend()
    assert command(*lab.ssh("two"), "hostname") == "two"


def test_a_full_line_carries_little(lab: Lab) -> None:
    lab.saturate("one", "two", "64kbit")
    large = ("ping", "-q", "-c20", "-i0.02", "-s1400", "-W1", lab["two"].address)
    assert " 0% packet loss" not in command(*large, check=False)
    lab.saturate("one", "two", "")
    assert " 0% packet loss" in command(*large, check=False)


def test_a_service_lives_at_another_time(lab: Lab) -> None:
    machine = lab["two"]
    machine.file("/etc/systemd/system/year.service").write_text(UNIT)
    year = int(machine.run("date", "+%Y"))
    machine.shift_clock("year", "-3y")
    assert int(machine.file("/root/year").read_text()) == year - 3
    machine.shift_clock("year", "")
    assert int(machine.file("/root/year").read_text()) == year


def test_another_address(lab: Lab) -> None:
    machine, before = lab["two"], lab["two"].address
    machine.move_to("10.97.8.99")
    assert lost(machine, 3) == 0
    machine.move_to(before)
    assert lost(machine, 3) == 0
