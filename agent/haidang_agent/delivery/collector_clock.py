"""The collector's clock, as far as its answers prove it: what deliveries refer to."""

from __future__ import annotations

from haidang_wire.reference import Reading


class CollectorClock:
    """`asked`, `heard` and `now` are seconds on this machine's steady clock (`system.boot_seconds`).

    A reading in an answer was the collector's clock at some time between question and answer. That makes it a lower
    bound for when the answer was here, and an upper one for when it was asked. The tightest lower bound is kept, which
    is that of the fastest way back, until drift has worn it off.
    """

    def __init__(self) -> None:
        self._kept: Reading | None = None
        self._heard = 0.0

    @property
    def is_known(self) -> bool:
        """Whether there is something to refer to."""
        return self._kept is not None

    def learn(self, reading: Reading, asked: float, heard: float) -> None:
        """An answer with a reading came."""
        kept = self._kept
        if kept is not None and kept.clock == reading.clock:
            # Where the kept bound lies above what was really read, a clock stood still, or drifts more than any should.
            wrong = kept.after(asked - self._heard) > reading.seconds
            if not wrong and kept.after(heard - self._heard) > reading.seconds:
                return
        self._kept, self._heard = reading, heard

    def forget(self) -> None:
        """The collector there tells no time."""
        self._kept = None

    def reference(self, now: float) -> dict[str, object] | None:
        """The JSON form of the Reference of a delivery that is composed now; None while nothing is known."""
        if self._kept is None:
            return None
        return {"clock": self._kept.clock, "seconds": self._kept.seconds, "ago": round(max(0.0, now - self._heard), 6)}
