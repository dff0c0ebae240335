"""What the registry has this agent watch: fetched when it changes, kept for the next start."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from haidang_wire.assignment import Assignment, assignment_from, assignment_json
from haidang_wire.errors import HaidangError

from haidang_agent.platform.files import read_private, write_private
from haidang_agent.transport import Transport

log = logging.getLogger(__name__)

FILE = "assignment.json"
_MOST_VERSION = 100


class Assignments:
    """The assignment in force. `listeners` are called, from the uplink's thread, when it changes."""

    def __init__(self, state_dir: Path) -> None:
        """Begins with what was kept. A file that can't be read counts as none: it is fetched again."""
        self._file = state_dir / FILE
        self.current = Assignment()
        self._version = ""
        self.listeners: list[Callable[[], None]] = []
        try:
            kept = json.loads(read_private(self._file))
            self.current, self._version = assignment_from(kept["assignment"]), str(kept["version"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, HaidangError) as error:
            log.warning("%s can't be used and is fetched again: %s", self._file, error)

    def follow(self, version: str, transport: Transport) -> None:
        """Fetch what is in force when its version is not ours. Raises HaidangError."""
        if version == self._version:
            return
        if len(version) > _MOST_VERSION:
            raise HaidangError("the collector names an assignment that is none")
        if not version:
            self._take(version, Assignment())
            return
        answer = transport.request("GET", "/v1/assignment")
        if answer.status != 200:
            raise HaidangError(f"the collector gives no assignment: {answer.problem()}")
        self._take(version, assignment_from(answer.json()))

    def _take(self, version: str, assignment: Assignment) -> None:
        self.current, self._version = assignment, version
        log.info("assigned to this agent: %d devices, %d paths", len(assignment.devices), len(assignment.paths))
        for listener in list(self.listeners):  # sources come and go in their own threads meanwhile
            listener()
        # Kept last: a full disk costs the next start a fetch, not this one its devices.
        kept = {"version": version, "assignment": assignment_json(assignment)}
        write_private(self._file, json.dumps(kept, ensure_ascii=False))
