"""Verifies a store's file: that SQLite finds it sound, and that its rows agree with one another.

Everything is read from one snapshot, so a running server may go on. Rows are read in the order of their runs and one run at a
time is in memory. Cost: every row is decoded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec

from pelton.kernel.model.state import RunStatus, ThreadStatus
from pelton.store.packing import (
    decode_any,
    decode_dead,
    decode_definition,
    decode_delivery,
    decode_event,
    decode_held,
    decode_open,
    decode_pending_signal,
    decode_run,
    decode_secret,
    decode_step,
    decode_thread,
)
from pelton.store.sqlite.backup import opened
from pelton.store.sqlite.schema import migrations, version

MOST = 100  # problems that are told
TABLES = (
    "run", "open", "step", "thread", "var", "record", "past", "event", "known_event", "timer", "held", "sticky", "copy",
    "wait_key", "run_key", "inbox", "delivery", "dead", "definition", "result", "log", "seen", "secret",
)  # fmt: skip
OF_RUNS = (
    "open",
    "step",
    "blob",
    "thread",
    "var",
    "fragment",
    "attempt",
    "checkpoint",
    "record",
    "past",
    "attr",
    "wait_key",
    "run_key",
)
BODIES = {
    "event": ("key", decode_event),
    "held": ("id", decode_held),
    "inbox": ("id", decode_pending_signal),
    "delivery": ("number", decode_delivery),
    "dead": ("number", decode_dead),
    "definition": ("id", decode_definition),
}
UNSOUND = (msgspec.MsgspecError, ValueError, TypeError)


class Checked(NamedTuple):
    """`rows`: by table. `problems`: one line each, at most MOST; none = the file is sound. `note`: what was left out, and why."""

    schema: int
    bytes: int
    rows: dict[str, int]
    problems: list[str]
    note: str = ""


def check(path: Path) -> Checked:
    """Raises StoreFailed if the file cannot be read as a store's."""
    db = opened(path)
    try:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # the snapshot
        schema, latest = version(db), migrations()[-1][0]
        size = int(db.pragma("page_count")) * int(db.pragma("page_size"))
        problems = [f"SQLite: {text}" for (text,) in db.execute(f"PRAGMA integrity_check({MOST})") if text != "ok"]
        if schema != latest:
            note = f"the rows were not checked: the file has schema {schema}, and this version knows {latest}"
            return Checked(schema, size, {}, problems, note)
        rows = {name: _count(db, f"SELECT count(*) FROM {name}") for name in TABLES}  # noqa: S608 - names of our own
        for problem in _problems(db):
            problems.append(problem)
            if len(problems) >= MOST:
                break
        return Checked(schema, size, rows, problems)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        return Checked(0, 0, {}, [f"SQLite: {error}"])
    finally:
        db.close()


def _problems(db: apsw.Connection) -> Iterator[str]:
    for table in OF_RUNS:
        found = f"SELECT DISTINCT run FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM run WHERE key = t.run) LIMIT {MOST}"  # noqa: S608
        for (run,) in db.execute(found):
            yield f"{table}: rows of run {run}, which does not exist"
    for key, live, rev, ended, head in db.execute("SELECT key, live, rev, ended, head FROM run ORDER BY key"):
        yield from _run(db, key, live, rev, ended, head)
    for run, n in db.execute(
        "SELECT run, n FROM wait_key w WHERE NOT EXISTS (SELECT 1 FROM open o WHERE o.run = w.run AND o.n = w.n)"
    ):
        yield f"run {run}: step {n} has a key that it waits for, and is not open"
    for run, n in db.execute("SELECT o.run, o.n FROM open o JOIN run r ON r.key = o.run WHERE o.line <> r.line LIMIT ?", (MOST,)):
        yield f"run {run}: step {n} is listed under another process than its run"
    twice = (
        "SELECT ns, kind, text, count(*) FROM run_key WHERE live = 1 AND uniq = 1 GROUP BY 1, 2, 3, process HAVING count(*) > 1"
    )
    for ns, kind, text, count in db.execute(twice):
        yield f"name {kind} {text!r} of {ns}: {count} live runs have it"
    for table, (name, decode) in BODIES.items():
        for number, body in db.execute(f"SELECT {name}, body FROM {table}"):  # noqa: S608
            try:
                decode(body)
            except UNSOUND as error:
                yield f"{table} {number}: cannot be decoded: {error}"
    for ns, name, body in db.execute("SELECT ns, name, body FROM secret ORDER BY ns, name"):
        try:
            row = decode_secret(body)
        except UNSOUND as error:
            yield f"secret {name!r} of {ns}: cannot be decoded: {error}"
            continue
        if (row.ns, row.name) != (ns, name):
            yield f"secret {name!r} of {ns}: its row is that of {row.name!r} of {row.ns}"
        if bool(row.sealed) == bool(row.source) or bool(row.sealed) != bool(row.key):
            yield f"secret {name!r} of {ns}: it has neither a sealed value with its key nor a source alone"


def _run(db: apsw.Connection, key: int, live: int, rev: int, ended: int, packed: bytes) -> Iterator[str]:
    """What is wrong with one run."""
    try:
        head = decode_run(packed)
        rows = [
            (n, parts, decode_open(body))
            for n, parts, body in db.execute("SELECT n, parts, body FROM open WHERE run = ?", (key,))
        ]
        threads = [decode_thread(body) for (body,) in db.execute("SELECT body FROM thread WHERE run = ?", (key,))]
        last = last_parts = 0
        steps: set[int] = set()
        for n, parts, body in db.execute("SELECT n, parts, body FROM step WHERE run = ?", (key,)):
            decode_step(body)
            steps.add(n)
            last = max(last, n)
            last_parts += parts.bit_count()
        for (value,) in db.execute("SELECT value FROM var WHERE run = ?", (key,)):
            decode_any(value)
    except UNSOUND as error:
        yield f"run {key}: a row cannot be decoded: {error}"
        return
    if head.key != key or head.rev != rev:
        yield f"run {key}: its head says run {head.key}, revision {head.rev}; its row says revision {rev}"
    if head.open != len(rows):
        yield f"run {key}: {len(rows)} open rows; its head says {head.open}"
    going_on = RunStatus.RUNNING <= head.status < RunStatus.COMPLETED
    if bool(live) != going_on or bool(ended) != (head.status >= RunStatus.COMPLETED):
        yield f"run {key}: its row says live {live}, ended {ended}; its head says {RunStatus(head.status).name}"
    if rows and not going_on:
        yield f"run {key}: it is {RunStatus(head.status).name} and has {len(rows)} open rows"
    if max([last, *(n for n, _, _ in rows)]) >= head.next_n:
        yield f"run {key}: it has a step with a number from {head.next_n} on, which is the next"
    both = steps.intersection(n for n, _, _ in rows)
    if both:
        yield f"run {key}: steps {sorted(both)[:10]} are open and have ended"
    blobs = _count(db, "SELECT count(*) FROM blob WHERE run = ?", key)
    wanted = last_parts + sum(parts.bit_count() for _, parts, _ in rows)
    if blobs != wanted:
        yield f"run {key}: {blobs} large values; its rows name {wanted}"
    tokens: dict[int, int] = {}
    for _, _, row in rows:
        if row.scope < 0:
            tokens[-row.scope] = tokens.get(-row.scope, 0) + 1
    for thread in threads:
        if thread.no and thread.status < ThreadStatus.COMPLETED and thread.open != tokens.get(thread.no, 0):
            yield f"run {key}: thread {thread.no} has {tokens.get(thread.no, 0)} tokens; its row says {thread.open}"


def _count(db: apsw.Connection, sql: str, *values: int) -> int:
    count: Any = db.execute(sql, values).fetchall()[0][0]
    return int(count)
