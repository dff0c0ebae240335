"""What an installation needs of an operating system: a module that has all of this (`linux.py`)."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from .texts import Failure, Texts, printable

# A version's folder is named so and by its build; of one that somebody installed by hand, by the time it was found.
VERSION = "haidang-agent-"
BY_HAND = f"{VERSION}by-hand-"


class Seen(NamedTuple):
    """A service as the system sees it: whether it runs, and whether it ends again and again, or for good."""

    runs: bool
    failed: bool


class System(Protocol):
    """Its functions raise Failure and OSError."""

    WORDS: Texts
    """What `texts.TEXTS` lacks: what people do with this system's own tools."""

    SCRIPT: str
    """What people call to install."""

    ROLES: tuple[str, ...]
    """What an agent can be besides one."""

    FOLDER: Path
    """Each version has a folder of its own in it."""

    STATE: Path
    """Identity and spool of the agent."""

    CONFIGURATION: Path

    def settle(self) -> None:
        """Give this process a folder, rights of new files and a path for tools that are nobody's."""

    def require(self) -> None:
        """Raises Failure where no agent can be installed."""

    def alone(self) -> AbstractContextManager[None]:
        """No two installations at once. Raises Failure."""
        ...

    def program(self, folder: Path, name: str) -> Path:
        """Where a program of a version is."""
        ...

    def finish(self, folder: Path) -> None:
        """What the system wants of the programs of a version once they are there."""

    def current(self) -> Path | None:
        """The folder of the version in use."""
        ...

    def roles(self) -> tuple[str, ...]:
        """The roles the agent has."""
        ...

    def is_service_of(self, folder: Path, roles: tuple[str, ...]) -> bool:
        """Whether the service is set up exactly as a version has it."""
        ...

    def make_user(self) -> None:
        """The agent's user, and the folders of its state and configuration."""

    def adopt(self) -> Path | None:
        """An installation by hand becomes the version before: where it is now; None where there is none."""
        ...

    def switch(self, folder: Path, roles: tuple[str, ...]) -> None:
        """Make a version the one in use, in one step, and start it."""

    def look(self) -> Seen:
        """How the service goes."""
        ...

    def last_words(self) -> str:
        """The end of the service's log."""
        ...

    def read_status(self) -> bytes:
        """What the agent says of itself; its user may put anything there."""
        ...

    def parts(self) -> list[Path]:
        """What beside versions is put onto a machine, for people."""
        ...

    def remove(self) -> None:
        """Stop the service and take `parts` away."""

    def remove_user(self) -> None:
        """The agent's user."""


def run(*command: str, check: bool = True) -> str:
    """What a command printed, stripped. Raises Failure with what it said when it fails."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=600,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure("command", command=command[0], detail=error) from error
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failure("command", command=" ".join(command[:3]), detail=printable("; ".join(said[-3:])))
    return done.stdout.strip()
