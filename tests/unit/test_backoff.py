"""How long who failed waits: longer each time, never all at once, and as long as it is asked to."""

from __future__ import annotations

import pytest
from haidang_wire.backoff import backoff_seconds, retry_after_seconds
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(min_value=1, max_value=10**9))
def test_each_failure_doubles_the_wait_to_a_bound(failures: int) -> None:
    highest = min(60.0, 2.0 * 2 ** min(failures - 1, 20))
    waits = [backoff_seconds(failures, 2.0, 60.0) for _ in range(20)]
    assert all(0.2 * highest <= wait <= highest for wait in waits)
    assert len(set(waits)) > 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12", 12), ("0.5", 0.5), ("4000", 300), (None, 0), ("", 0), ("soon", 0), ("nan", 0), ("inf", 0), ("-1e999", 0),
        ("-7", 0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
    ],
)  # fmt: skip
def test_what_a_server_asks_for_is_bounded(value: str | None, seconds: float) -> None:
    assert retry_after_seconds(value, 300.0) == seconds
