"""Where packets are lost, on the way there or back: what a stateful session-reflector's own count tells."""

from __future__ import annotations

OMITTED = 1
"""The number every session leaves out, as if that packet were lost at once: from then on a reflector
that counts for itself answers with other numbers than one that only copies ours."""


class Directions:
    """One STAMP session. A stateless reflector gives each packet's own number back (RFC 8762, section 4.2):
    it tells nothing of directions, and `known` stays False."""

    __slots__ = ("_before", "_first", "_last", "backward", "forward", "known")

    def __init__(self) -> None:
        self.known = False
        self.forward = self.backward = 0
        self._first: tuple[int, int] | None = None
        self._last = -1
        self._before = 0

    def answer(self, sent: int, reflected: int) -> None:
        """The reflector answered our packet `sent` with its own packet number `reflected`."""
        self.known = self.known or sent != reflected
        sent -= sent > OMITTED
        if self._first is None or reflected < self._last - 1000 or reflected == 0:
            # The session begins, or begins again at a reflector that was restarted.
            self._first, self._before = (sent, reflected), self.forward
        self._last = max(reflected, self._last) if reflected >= self._first[1] else reflected
        missing = (sent - self._first[0]) - (reflected - self._first[1])
        self.forward = max(self.forward, self._before + missing)

    def lost(self, total: int) -> None:
        """Packets lost both ways together."""
        self.backward = max(self.backward, total - self.forward)
