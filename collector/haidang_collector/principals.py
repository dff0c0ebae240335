"""Who acts, from the door to the audit, and what each kind of them may do."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    """What is asked for at the door."""

    REPORT = "report"  # deliver, renew, know its assignment and the clock
    SCRAPE = "scrape"  # the exposition, and where it is
    LOOK = "look"  # status page, searches, outages, audit
    CHANGE = "change"  # maintenance, disputes


_RIGHTS: dict[str, frozenset[Right]] = {
    "agent": frozenset({Right.REPORT}),
    "scraper": frozenset({Right.SCRAPE}),
    "operator": frozenset({Right.LOOK, Right.CHANGE}),
    # Who runs a command on this machine as the collector's user has its database in his hands.
    "command": frozenset(Right),
    "collector": frozenset(Right),
}


@dataclass(frozen=True)
class Principal:
    """Who does something. `kind` is `agent`, `operator` or `scraper` (name: its certificate's), `command` (the system
    user's, sudo's when it says one), `token` (the id of the one that enrols), `collector` (itself) or `nobody`;
    `origin` is the address it comes from, or `user@host` of a command."""

    kind: str
    name: str
    origin: str

    @classmethod
    def of_command(cls) -> Principal:
        """Who runs this process. sudo's word for who called it counts as much as any of root's: the user the kernel
        knows stands in `origin`."""
        user = _user()
        return cls("command", os.environ.get("SUDO_USER") or user, f"{user}@{socket.gethostname()}")

    @classmethod
    def itself(cls) -> Principal:
        """The collector, of its own accord."""
        return cls("collector", "housekeeping", f"{_user()}@{socket.gethostname()}")

    def may(self, right: Right) -> bool:
        """Whether it has this right."""
        return right in _RIGHTS.get(self.kind, frozenset())


def _user() -> str:
    try:
        import pwd
    except ImportError:  # Windows
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
