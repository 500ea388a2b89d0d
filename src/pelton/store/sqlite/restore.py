"""Puts a backup in the place of a store's file. What was there is kept beside it, whole: the file with its log.

The copy is made and verified under another name first. No server may be running, and none can start meanwhile.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from pelton.store.port import StoreBusy, StoreFailed
from pelton.store.sqlite import check
from pelton.store.sqlite.backup import PART, back_up, sync
from pelton.store.sqlite.locks import Locks

NEW = ".restoring"
OLD = ".before-restore"
MOST_KEPT = 1_000


class Restored(NamedTuple):
    """`kept`: what was there before; None if there was nothing."""

    bytes: int
    kept: Path | None


async def restore(backup: Path, target: Path) -> Restored:
    """Raises StoreFailed, also if a server is running; then everything is as it was."""
    _check(backup, target)
    locks = Locks(str(target))
    try:
        await locks.take(0.0)
    except StoreBusy as error:
        raise StoreFailed(str(error)) from None
    try:
        return _put_back(backup, target)
    except OSError as error:
        raise StoreFailed(f"{backup} could not be put in the place of {target}: {error}") from error
    finally:
        locks.release()


def _check(backup: Path, target: Path) -> None:
    if backup.is_dir():
        raise StoreFailed(f"{backup} is a directory: name the backup, which is a file")
    if not backup.is_file():
        raise StoreFailed(f"{backup} does not exist: name a backup")
    if target.exists() and backup.samefile(target):
        raise StoreFailed(f"{backup} is the data itself: name a backup")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _put_back(backup: Path, target: Path) -> Restored:
    new = target.with_name(target.name + NEW)
    try:
        for left in (new, new.with_name(new.name + PART)):
            left.unlink(missing_ok=True)
        size = back_up(backup, new)
        found = check.check(new)
        if found.problems:
            raise StoreFailed(f"{backup} is not sound ({'; '.join(found.problems[:3])}): choose another backup")
        kept = _keep(target)
        new.rename(target)
        sync(target.absolute().parent)
        return Restored(size, kept)
    finally:
        for left in (new, *(new.with_name(new.name + end) for end in (PART, "-wal", "-shm"))):
            left.unlink(missing_ok=True)


def _keep(target: Path) -> Path | None:
    """Moves the file aside with its log, so that the two can still be opened together, and removes what is left of them."""
    log, index = target.with_name(f"{target.name}-wal"), target.with_name(f"{target.name}-shm")
    kept = None
    if target.exists() or log.exists():
        kept = _free_name(target)
        if log.exists():  # first: a log without its file is harmless, a file without its log is short of what was acknowledged
            os.link(log, kept.with_name(f"{kept.name}-wal"))
        if target.exists():
            target.rename(kept)
        log.unlink(missing_ok=True)
    index.unlink(missing_ok=True)
    sync(target.absolute().parent)
    return kept


def _free_name(target: Path) -> Path:
    for number in range(1, MOST_KEPT):
        name = target.with_name(f"{target.name}{OLD}{f'-{number}' if number > 1 else ''}")
        if not name.exists() and not name.with_name(f"{name.name}-wal").exists():
            return name
    raise StoreFailed(f"there are {MOST_KEPT - 1} files {target.name}{OLD} already: delete some of them")
