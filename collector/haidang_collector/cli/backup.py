"""The collector's whole state as one file, and back: CA, keys, database.

Taken beside a running collector: the database is copied as it is between two commits. Whoever has
the file can be the collector (and read its CA's key, if ca_key_passphrase_file is not used): keep it so.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

from haidang_wire.errors import HaidangError

from haidang_collector.identity import certificate_rows as certificates
from haidang_collector.ledger import audit, sqlite
from haidang_collector.ledger.audit import Action
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.sqlite import CopyError
from haidang_collector.principals import Principal

_DATABASE = "collector.db"
_NEEDED = (_DATABASE, "ca.key", "ca.pem")


def backup(state_dir: Path, to: Path) -> list[str]:
    """Write the state to a tar file of mode 0600, whole or not at all; the names in it. Raises HaidangError."""
    new = to.with_name(f"{to.name}.{secrets.token_hex(8)}.new")
    try:
        with tempfile.TemporaryDirectory(dir=state_dir, prefix=".backup-") as folder:
            copy = Path(folder) / _DATABASE
            began = time.time()
            sqlite.copy(state_dir / _DATABASE, copy)
            os.utime(copy, (began, began))  # what the file says of its age, nothing later is missing from it
            files = [file for file in sorted(state_dir.iterdir()) if _is_state(file, to)]
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
                for each in (copy, *files):
                    tar.add(each, each.name)
                tar.close()
                file.flush()
                os.fsync(file.fileno())
        new.replace(to)
    except (OSError, CopyError, tarfile.TarError) as error:
        new.unlink(missing_ok=True)
        raise HaidangError(f"the backup can't be made: {error}", where=str(to)) from error
    return [_DATABASE, *(file.name for file in files)]


def restore(state_dir: Path, source: Path, principal: Principal, *, force: bool) -> list[str]:
    """Put a backup into the state folder; the names that were in it. Its audit goes on: what was noted since the
    backup, and that it was restored.

    Raises HaidangError for a file that is no whole backup (then nothing is changed), and for a folder that has
    a state already, unless it is forced; what was there is kept beside it.
    """
    if (state_dir / _DATABASE).exists() and not force:
        raise HaidangError(
            "there is a state already", where=str(state_dir), remedy="Stop the collector and give --force to replace it"
        )
    try:
        with tempfile.TemporaryDirectory(dir=state_dir, prefix=".restore-") as folder:
            names = _unpack(source, Path(folder))
            _note_restored(Path(folder))
            _carry_audit(Path(folder), state_dir / _DATABASE, principal, source)
            kept = state_dir / "before-restore"
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(mode=0o700)
            for file in [file for file in state_dir.iterdir() if file.is_file() and not _is_same(file, source)]:
                file.rename(kept / file.name)
            for name in names:
                file = Path(folder) / name
                file.chmod(0o644 if name == "ca.pem" else 0o600)
                file.rename(state_dir / name)
            if not any(kept.iterdir()):
                kept.rmdir()
    except (OSError, CopyError, tarfile.TarError, EOFError, LedgerError) as error:
        raise HaidangError(f"the backup can't be used: {error}", where=str(source)) from error
    return names


def _note_restored(folder: Path) -> None:
    """Certificates that agents got after the backup are not in it, and count all the same."""
    taken = (folder / _DATABASE).stat().st_mtime
    ledger = Ledger(folder)
    try:
        with ledger.transaction() as connection:
            certificates.note_restored(connection, taken, time.time())
    finally:
        ledger.close()


def _is_state(file: Path, backup: Path) -> bool:
    # The database is copied by itself; a backup is none of the state, though it may stand in the same folder.
    return file.is_file() and _DATABASE not in file.name and not _is_same(file, backup)


def _is_same(file: Path, other: Path) -> bool:
    return file.resolve() == other.resolve()


def _unpack(source: Path, folder: Path) -> list[str]:
    with tarfile.open(source) as tar:
        members = tar.getmembers()
        names = [member.name for member in members]
        if not set(_NEEDED) <= set(names) or any(not m.isfile() or "/" in m.name for m in members):
            raise tarfile.TarError("it is no backup of a collector")
        for member in members:  # plain files by plain names; Python 3.11.2 can't be asked to see to that
            content = tar.extractfile(member)
            assert content is not None
            with (folder / member.name).open("wb") as file:
                shutil.copyfileobj(content, file)
            os.utime(folder / member.name, (member.mtime, member.mtime))
    sqlite.check(folder / _DATABASE)
    return names


def _carry_audit(folder: Path, replaced: Path, principal: Principal, source: Path) -> None:
    """Nobody gets rid of the audit by restoring: what the replaced database has since is copied."""
    ledger = Ledger(folder)  # migrates it, too
    try:
        with ledger.transaction() as connection:
            carried = audit.carry(connection, replaced) if replaced.exists() else 0
            after = {"file": source.name, "carried": carried}
            audit.note(connection, principal, Action.STATE_RESTORE, str(source), None, after)
    finally:
        ledger.close()
