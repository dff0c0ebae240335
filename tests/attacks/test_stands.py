"""The measure itself: a collector that nobody attacks stands."""

from __future__ import annotations

import pytest

from tests.attacks.conftest import Machine, stands
from tests.conftest import Center

pytestmark = pytest.mark.system


def test_a_collector_stands(center: Center, honest: Machine, attacker: Machine) -> None:
    status, receipt = attacker.deliver(attacker.report(), attacker.report(source="nonsense"))
    assert status == 200
    assert (receipt["accepted"], len(receipt["refused"])) == (1, 1)
    stands(center, honest)
