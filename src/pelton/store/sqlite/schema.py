"""Migrates a file to this version's schema.

A new file gets `schema.sql`; an older one gets the migrations that it lacks, each in a transaction with its version. The version
is in SQLite's own `user_version`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from msgspec import msgpack

from pelton.kernel.model.state import Bit
from pelton.store.packing import UNFIT, decode_any, decode_open, decode_thread, pack
from pelton.store.port import StoreFailed
from pelton.store.rows import state_number

HERE = Path(__file__).parent
APPLICATION = 0x50454C54  # "PELT": how a file is known to be ours


def migrations() -> list[tuple[int, str]]:
    """Version and SQL, ascending from 1 without gaps."""
    found = sorted((int(file.name[:4]), file.read_text("utf-8")) for file in (HERE / "migrations").glob("*.sql"))
    assert [version for version, _ in found] == list(range(1, len(found) + 1))
    return found


def packed_field(*values: Any) -> Any:
    """One field of a packed row, by position, for migrations: packed_field(body, place)."""
    body, place = values
    return msgpack.decode(body)[place]


def version(db: apsw.Connection) -> int:
    return int(db.pragma("user_version"))


def _thread_of(body: bytes) -> int:
    """The thread of an open row."""
    return decode_open(body).thread


def _as_stranded(body: bytes) -> bytes:
    """An open row with the mark of a token that parked for fuel."""
    row = decode_open(body)
    row.bits |= Bit.STRANDED
    return pack(row)


def _thread_above(body: bytes) -> int | None:
    """The number of a thread's parent; None when it has ended."""
    thread = decode_thread(body)
    return thread.parent if thread.live else None


def _event_state(outcome: bytes) -> int:
    """The number of an event's state. One that cannot be read is listed with those that failed, as it is shown."""
    try:
        return state_number(decode_any(outcome)[2])
    except (*UNFIT, LookupError):
        return state_number("failed")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "thread_of": _thread_of,
    "as_stranded": _as_stranded,
    "thread_above": _thread_above,
    "event_state": _event_state,
}
"""What migrations call to look into rows."""


def migrate(db: apsw.Connection, path: str, fresh: bool = True) -> int:
    """Returns the version reached. `fresh` False creates a new file by migrations too, for a test. Raises StoreFailed for a file
    that was written by a newer Pelton or by another program."""
    db.create_scalar_function("packed_field", packed_field, 2, deterministic=True)
    steps = migrations()
    latest = steps[-1][0]
    current = version(db)
    owner = db.pragma("application_id")
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
    if tables and owner != APPLICATION:
        raise StoreFailed(f"{path} is a SQLite file of another program: use a different path")
    if current > latest:
        raise StoreFailed(
            f"{path} has schema {current}, newer than {latest}, the latest that this version supports: run the newer version"
        )
    if not tables and fresh:
        with db:
            db.execute((HERE / "schema.sql").read_text("utf-8"))
            db.execute("INSERT INTO meta (name, value) VALUES ('secret', ?)", (os.urandom(32),))
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {latest}")
        return latest
    for name, function in FUNCTIONS.items():
        db.create_scalar_function(name, function, 1)
    for number, sql in steps[current:]:
        with db:
            db.execute(sql)
            db.execute("INSERT INTO meta (name, value) VALUES ('secret', ?) ON CONFLICT DO NOTHING", (os.urandom(32),))
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {number}")
    for name in FUNCTIONS:
        db.create_scalar_function(name, None)
    return latest
