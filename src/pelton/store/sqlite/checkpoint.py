"""The writer's checkpoint thread: it moves pages from the WAL to the file in parallel with commits, so that no commit has to.

On a separate connection: PASSIVE at most every 20 ms, once enough has been written or commits have paused; RESTART if the WAL
has grown long nevertheless (PASSIVE alone never lets a busy writer start it over). Without commits it sleeps without a timeout
and costs nothing.
"""

from __future__ import annotations

import threading

import apsw

PAUSE = 0.02  # seconds between looks
QUIET = 1.0  # seconds without a commit after which what is left is moved
WORTH = 1_000  # frames of 4 kB before a checkpoint: as SQLite's own default. Fewer syncs; no gain in speed was shown for it
LONG = 16_000  # frames of 4 kB after which the WAL is made to start over: about 64 MB


class Checkpointer:
    """`trouble`: the error of the last checkpoint, "" if it succeeded."""

    def __init__(self, path: str, busy: int) -> None:
        self.trouble = ""
        self.frames = 0  # in the WAL after the last commit, as SQLite reported to the committing connection
        self._path = path
        self._busy = busy
        self._dirty = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="checkpoint", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._dirty.set()

    def close(self) -> None:
        self._over.set()
        self._dirty.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        db = apsw.Connection(self._path)
        db.set_busy_timeout(self._busy)
        # On a connection that has read nothing yet, a checkpoint does nothing.
        db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        try:
            moved = 0
            while True:
                self._dirty.wait()
                if self._over.wait(PAUSE):
                    return
                self._dirty.clear()
                if self._over.is_set():  # said just now: the word that was to wake this thread for it may be what was cleared
                    return
                if self.frames < moved:
                    moved = 0  # the WAL has started over
                if self.frames - moved < WORTH and self._dirty.wait(QUIET):
                    continue
                moved = self.frames
                try:
                    self.trouble = self._checkpoint(db)
                except apsw.Error as error:
                    self.trouble = f"{type(error).__name__}: {error}"
        finally:
            db.close()

    def _checkpoint(self, db: apsw.Connection) -> str:
        frames, moved = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        if frames > LONG:
            try:
                frames, moved = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            except apsw.BusyError:
                self._dirty.set()  # a reader takes long: again soon, the WAL grows meanwhile
        if frames < 0 or moved < 0:
            return "the checkpoint did nothing: the connection has not read the database"
        return ""
