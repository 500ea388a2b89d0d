"""Which life a store's file and the write-ahead log beside it belong to. A life is one server's use of the file, from its start.

SQLite applies a log to whatever file it finds beside it. After a crash the log is the file's own, and has what was acknowledged.
When another file has been put in its place (a copy, to go back to an earlier state), the log is not, and applying it destroys the
file without a word. So each life has a number, which is in the file itself before the log has anything of that life, and in
`<file>.writer` from then on. A log beside a file of another life is applied only if the result is sound.

In the same way a file that is empty or missing beside what an earlier life has left is not taken for a new one.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from pelton.store.port import StoreFailed

LIFE = "life"  # in the table meta, of the file itself
PUT = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
PROBLEMS = 3  # that are told


def check_emptied(path: str) -> None:
    """Raises StoreFailed if the file is empty or missing although there was one."""
    if _size(path):
        return
    left = [name for name in (f"{path}-wal", f"{path}.writer") if _size(name)]
    if left:
        what = "is empty" if Path(path).exists() else "is missing"
        raise StoreFailed(
            f"{path} {what}, but an earlier server has left {' and '.join(left)}: put the file back (pelton restore BACKUP), "
            f"or delete {' and '.join(left)} to start without any data"
        )


def has_foreign_log(path: str, noted: str) -> bool:
    """Whether the log beside the file may be that of another file. `noted`: the last life, "" if that is not known."""
    return bool(_size(f"{path}-wal")) and bool(_size(path)) and (not noted or _life_in(path) != noted)


def check_sound(db: apsw.Connection, path: str) -> None:
    """Raises StoreFailed if the file, with the log applied, is not sound. Then both stay as they are."""
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        problems = [text for (text,) in db.execute(f"PRAGMA integrity_check({PROBLEMS})") if text != "ok"]
    except (apsw.CorruptError, apsw.NotADBError) as error:
        problems = [str(error)]
    if problems:
        said = " ".join("; ".join(problems).split())
        raise StoreFailed(
            f"{path} and {path}-wal do not belong together ({said}): another file was put in the place of the one "
            "that the log was written for; put a backup in place with `pelton restore BACKUP`, which removes the log"
        )
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def begin(db: apsw.Connection) -> str:
    """Notes a new life in the file itself, and returns it."""
    life = os.urandom(8).hex()
    with db:
        db.execute(PUT, (LIFE, life))
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)  # one that is held up by a reader costs the next start a check
    return life


def forget(db: apsw.Connection) -> None:
    """Makes the file one that no log belongs to."""
    db.execute("DELETE FROM meta WHERE name = ?", (LIFE,))


def _life_in(path: str) -> str:
    """The life in the file itself, without its log."""
    try:
        db = apsw.Connection(
            f"{Path(path).absolute().as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        try:
            found = db.execute("SELECT value FROM meta WHERE name = ?", (LIFE,)).fetchall()
        finally:
            db.close()
    except apsw.Error:  # it may be in the middle of a checkpoint
        return ""
    return str(found[0][0]) if found else ""


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
