"""The files of a store, as they are on the disk: that they are still those which are open, and that only their owner may read
them.

A file that was deleted or moved away while it is open can be written as before, and nothing of that is found again. So the writer
looks after each commit, before it is acknowledged, and the server once a second.
"""

from __future__ import annotations

import os
import shutil
import stat

BESIDE = ("", "-wal", "-shm")
OTHERS = stat.S_IRWXG | stat.S_IRWXO
OWNER_ONLY = 0o600


def disk_free(path: str) -> int:
    """Bytes that the disk of that file has left; 0 if it does not say."""
    try:
        return shutil.disk_usage(os.path.dirname(path) or ".").free  # noqa: PTH120 - a path of a file is text here
    except OSError:
        return 0


class StoreFiles:
    """The files at `path`. Each is known from the first look that finds it."""

    def __init__(self, path: str) -> None:
        self._known: dict[str, tuple[int, int]] = {}
        self._names = [path + end for end in BESIDE]

    def lost(self) -> str:
        """Why what is written now would not be found again; "" if it would."""
        for name in self._names:
            try:
                found = os.stat(name)  # noqa: PTH116 - three a commit: a path object costs more than the call
            except (FileNotFoundError, NotADirectoryError):
                if name in self._known:
                    return f"{name} has been deleted or moved away while it was in use"
            except OSError:
                continue  # the disk does not answer just now; if it has failed, a write says so
            else:
                identity = (found.st_dev, found.st_ino)
                if self._known.setdefault(name, identity) != identity:
                    return f"{name} has been replaced by another file while it was in use"
        return ""


def secure(path: str) -> bool:
    """Creates the store's file if it is missing, so that only its owner may read it, and takes the rights of others away from
    files that are there. SQLite gives files beside it the same rights. True if there were such rights. Raises OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
    open_to_others = False
    for end in BESIDE:
        try:
            mode = os.stat(path + end).st_mode  # noqa: PTH116
        except FileNotFoundError:
            continue
        if mode & OTHERS:
            open_to_others = True
            os.chmod(path + end, mode & ~OTHERS & 0o777)  # noqa: PTH101
    return open_to_others
