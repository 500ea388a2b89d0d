"""A consistent copy of a store's file, whether or not a server has it open.

SQLite makes the copy from one snapshot while the server goes on writing, and leaves out free space. It is written beside its
target under another name and given its own once it is safely on the disk, so that a target that exists is a whole one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import apsw

from pelton.store.port import StoreFailed
from pelton.store.sqlite import lives
from pelton.store.sqlite.schema import APPLICATION

BUSY = 30_000  # milliseconds
PART = ".part"


def opened(path: Path) -> apsw.Connection:
    """A connection that only reads, and leaves the file as it found it. Raises StoreFailed for a file that is not a store's."""
    if not path.is_file():
        raise StoreFailed(f"{path} does not exist: name the data directory or a backup")
    if not path.stat().st_size:
        raise StoreFailed(f"{path} is empty: name the data directory or a backup")
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        db.set_busy_timeout(BUSY)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        owner = db.pragma("application_id")
    except apsw.NotADBError:
        raise StoreFailed(f"{path} is not a SQLite file: name the data directory or a backup") from None
    except apsw.Error as error:
        raise StoreFailed(f"{path} cannot be read: {error}") from error
    if owner != APPLICATION:
        db.close()
        raise StoreFailed(f"{path} is a SQLite file of another program: name the data directory or a backup")
    return db


def back_up(path: Path, target: Path) -> int:
    """Copies the store's file `path` to `target`, which must not exist. Returns the size in bytes. Raises StoreFailed; then
    there is no target."""
    if target.exists():
        raise StoreFailed(f"{target} exists: choose another name, or move it away first")
    if not target.absolute().parent.is_dir():
        raise StoreFailed(f"{target.absolute().parent} is not a directory: create it first")
    db = opened(path)
    part = target.with_name(target.name + PART)
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)  # it holds whatever the store holds
        os.close(descriptor)
        if not db.pragma("auto_vacuum"):  # of the copy; in the file itself this changes nothing
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("VACUUM INTO ?", (str(part),))
        _settle(part)
        sync(part)
        os.link(part, target)  # unlike a rename it fails if the target has been made meanwhile
        part.unlink()
        sync(target.absolute().parent)
        return target.stat().st_size
    except FileExistsError as error:
        raise StoreFailed(f"{target} exists: choose another name, or move it away first") from error
    except (apsw.Error, OSError) as error:
        raise StoreFailed(f"{path} could not be copied to {target}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        db.close()


def _settle(part: Path) -> None:
    """The copy is of no server's life, so that a log beside the place where it is put one day is not taken for its own."""
    copy = apsw.Connection(str(part))
    try:
        copy.execute("PRAGMA journal_mode = MEMORY").fetchall()  # it has no name yet: what is left of it is thrown away
        lives.forget(copy)
    finally:
        copy.close()


def sync(path: Path) -> None:
    """Has the file or directory on the disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
