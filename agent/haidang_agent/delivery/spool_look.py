"""What a spool holds, looked at by root in a folder of the agent's user, who may put anything there at any instant.

SQLite opens files by their path, and waits for a pipe under one of its names for ever. So a child opens them: it keeps
the rights of the folder's owner alone, has no terminal and nothing of root's environment, and has an end.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from haidang_agent.delivery.spool import SpoolState, check
from haidang_agent.platform.files import is_file, opened
from haidang_agent.platform.system import APART, become, rights_of

# A hundred megabytes are read in a second or two, from a slow card in twenty.
_SECONDS = 60.0
_MOST_BYTES = 10_000
_MOST = 2**53


def look(path: Path) -> SpoolState | None:
    """The state of the spool file at a path, beside a running agent; None without a file. Raises OSError,
    sqlite3.Error when it is damaged."""
    path = path.absolute()
    with opened(path.parent) as at:
        try:
            if not is_file(at, path):
                raise OSError(f"{path}: is not a file")
        except FileNotFoundError:
            return None
        # It begins as root: the owner need not be able to run this Python.
        rights = rights_of(at)
    apart = APART if rights else {}
    command = [sys.executable, "-I", "-m", "haidang_agent.delivery.spool_look", str(path), *rights]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False, cwd=os.sep, **apart
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{path}: is not read within {_SECONDS:.0f} s") from error
    return _understand(done.stdout[:_MOST_BYTES], done.stderr[-500:])


def _understand(answer: bytes, said: bytes) -> SpoolState | None:
    """What a child says, over which the folder's owner may have had power."""
    try:
        document = json.loads(answer)
        if document is None:
            return None
        if "problem" in document:
            raise sqlite3.DatabaseError(str(document["problem"]))
        numbers = [document[name] for name in ("reports", "bytes", "oldest_age")]
        if not all(type(each) in (int, float) and 0 <= each < _MOST for each in numbers):
            raise ValueError("no numbers")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        words = said.decode("utf-8", "replace").strip().splitlines()
        raise OSError(words[-1] if words else "the spool can't be looked at") from error
    return SpoolState(int(numbers[1]), 0, int(numbers[0]), float(numbers[2]), 0, {}, True)


def main(path: str, *owner: str) -> None:
    """Print the state as JSON, having become its owner."""
    if owner:
        become(*owner)
    try:
        state = check(Path(path))
        answer = asdict(state) if state else None
    except (sqlite3.Error, OSError) as error:
        answer = {"problem": str(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
