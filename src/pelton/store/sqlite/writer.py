"""The writer process: it owns the writing connection, and only binds rows and commits.

It is a separate process because SQLite's calls release the interpreter lock row by row, so a busy event loop slows a writing
thread to a crawl. One transaction per batch, at first with all groups merged, operation by operation; if any group is
lost, the transaction is rolled back and repeated group by group under savepoints.

It ends when its parent does (end of file on the pipe), after it has finished what it was writing. It holds the lock file's
descriptor as long as it is alive, so that a new server waits for it. After a failed sync nothing that it writes would be
reliable, and nothing that it writes to a file that was deleted or moved away is found again: it reports that and ends.

Started as `python -m pelton.store.sqlite.writer PIPE LOCK PATH DURABILITY`; imports only what it needs.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from typing import Any

import apsw
from msgspec.msgpack import Decoder, Encoder
from msgspec.msgpack import encode as pack

from pelton.store.retention import Sweep, Swept
from pelton.store.sqlite.checkpoint import Checkpointer
from pelton.store.sqlite.files import StoreFiles
from pelton.store.sqlite.ops import LOOKUPS, NUMBER, OPS, RAISES, SWEEP, BatchOps, GroupOps, Row
from pelton.store.sqlite.sql import load
from pelton.store.sqlite.sweeper import Sweeper, removals

LENGTH = struct.Struct("<Q")
BUSY = 30_000  # milliseconds: only the checkpoint thread and people's tools ever compete
QUARANTINE = 600_000  # milliseconds that an unused meeting point is kept: no decision in flight is older
LOSSES = 256  # late batches whose losses are kept: more than can be under way
IDLE = 50  # meeting points looked at after a batch that raised any


class Lost(Exception):
    """A group's condition did not hold; the text says which."""


class Writer:
    def __init__(self, path: str, durability: str) -> None:
        statements = load("writes.sql")
        self.sql = [statements[op.name] for op in OPS]
        self.idle, self.drop, self.keep = (statements[f"rendezvous_{name}"] for name in ("idle", "drop", "keep"))
        self.meta = statements["meta_put"]
        self.old_lookups = statements["lookup_old"]
        self.write_signal = statements["inbox_put"]
        self.tallied: list[tuple[int, int | float, int]] = []  # group, new value, id of a durable signal
        self.unchanged: list[tuple[int, int, int]] = []  # (operation, group, position) of what the last batch did not change
        self.db = apsw.Connection(path, statementcachesize=256)
        self.db.set_busy_timeout(BUSY)
        synchronous = "FULL" if durability == "full" else "NORMAL"
        for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}", "wal_autocheckpoint = 0", "cache_size = -65536"):
            self.db.execute(f"PRAGMA {pragma}")
        self.files = StoreFiles(path)
        self.files.lost()
        self.sweeper = Sweeper(self.db, removals(statements))
        self.checkpointer = Checkpointer(path, BUSY)
        self.db.set_wal_hook(self._committed)

    def _committed(self, _db: apsw.Connection, _name: str, frames: int) -> int:
        self.checkpointer.frames = frames
        return apsw.SQLITE_OK

    def settings(self) -> dict[str, Any]:
        """The connection's actual settings, for the parent's health report and the tests."""
        return {
            name: self.db.execute(f"PRAGMA {name}").fetchall()[0][0]
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "page_size")
        }

    def commit(self, ops: BatchOps, count: int, entangled: bool, now: int, number: int) -> list[str]:
        """The loss of each group, "" if it was written. Raises apsw.Error if nothing could be written."""
        lost: list[str] | None = None
        self.unchanged.clear()
        self.tallied.clear()
        if not entangled and self._together(ops, number):
            lost = [""] * count
        if lost is None:
            lost = self._one_by_one(apart(ops, count), number)
        self.checkpointer.wake()
        if not RAISES.isdisjoint(ops):
            self._sweep(now)
        if not LOOKUPS.isdisjoint(ops):
            self._drop_lookups(now)
        self.sweeper.written(ops, lost)
        return lost

    def sweep(self, sweep: Sweep) -> Swept:
        """Removes some old data. Raises apsw.Error; then nothing has changed."""
        swept = self.sweeper.sweep(sweep)
        self.checkpointer.wake()
        return swept

    def _note(self, number: int, lost: list[str]) -> None:
        """Records, in the batch's own transaction, its number and its lost groups, for callers that were not answered."""
        self.db.execute(self.meta, ("batch", number))
        if any(lost):
            self.db.execute(self.meta, (f"lost {number % LOSSES}", pack((number, lost))))

    def _together(self, ops: BatchOps, number: int) -> bool:
        """Writes all groups at once; False if any is lost, or if two share a row, since both may succeed one after the other."""
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            for place in sorted(ops):
                op, rows = OPS[place], ops[place][0]
                if op.check:
                    for row in set(rows):  # many groups rest on the same set of handlers
                        self._check(place, row)
                    continue
                if op.reported:
                    self._try(place, rows, ops[place][1])
                    continue
                if op.added:
                    self._add(place, rows, ops[place][1])
                    continue
                before = db.total_changes()
                db.executemany(self.sql[place], rows)
                if op.exact and db.total_changes() - before != len(rows):
                    raise Lost(op.name)
            self._note(number, [])
            db.execute("COMMIT")
        except (Lost, apsw.ConstraintError, TypeError, OverflowError):
            db.execute("ROLLBACK")
            return False
        except apsw.Error:
            self._rollback()
            raise
        return True

    def _one_by_one(self, groups: list[GroupOps], number: int) -> list[str]:
        db = self.db
        lost: list[str] = []
        self.unchanged.clear()
        self.tallied.clear()
        db.execute("BEGIN IMMEDIATE")
        try:
            for owner, ops in enumerate(groups):
                db.execute("SAVEPOINT one")
                try:
                    self._group(ops, owner)
                except Lost as reason:
                    lost.append(str(reason))
                    db.execute("ROLLBACK TO one")
                except (apsw.ConstraintError, TypeError, OverflowError) as error:
                    lost.append(f"invalid: {error}")
                    db.execute("ROLLBACK TO one")
                else:
                    lost.append("")
                db.execute("RELEASE one")
            self._note(number, lost)
            db.execute("COMMIT")
        except apsw.Error:
            self._rollback()
            raise
        return lost

    def _try(self, place: int, rows: list[Row], owners: list[int]) -> None:
        """Notes which rows of an operation change nothing, by group and by position among the group's rows of that operation."""
        db, statement = self.db, self.sql[place]
        positions: dict[int, int] = {}
        for row, owner in zip(rows, owners, strict=True):
            position = positions[owner] = positions.get(owner, -1) + 1
            before = db.total_changes()
            db.execute(statement, row)
            if db.total_changes() == before:
                self.unchanged.append((place, owner, position))

    def _add(self, place: int, rows: list[Any], owners: list[int]) -> None:
        """Adds to numbers, and writes what follows where a mark is crossed: with the change that crosses it, or not at all."""
        db, statement = self.db, self.sql[place]
        for row, owner in zip(rows, owners, strict=True):
            value: Any = db.execute(statement, row[:4]).fetchall()[0][0]
            mark, before = row[4], value - row[3]  # exact where there is a mark: tokens are whole numbers
            then = row[5:10] if before < mark <= value else row[10:15] if value < mark <= before else (0,)
            if mark and then[0]:
                db.execute(self.write_signal, then)
            self.tallied.append((owner, value, then[0] if mark else 0))

    def _group(self, ops: GroupOps, owner: int) -> None:
        db = self.db
        for number in sorted(ops):
            op = OPS[number]
            if op.check:
                for row in ops[number]:
                    self._check(number, row)
            elif op.reported:
                self._try(number, ops[number], [owner] * len(ops[number]))
            elif op.added:
                self._add(number, ops[number], [owner] * len(ops[number]))
            elif op.lost:
                for row in ops[number]:
                    before = db.total_changes()
                    try:
                        db.execute(self.sql[number], row)
                    except apsw.ConstraintError:
                        raise Lost(op.lost.format(*row)) from None
                    if op.exact and db.total_changes() - before != 1:
                        raise Lost(op.lost.format(*row))
            else:
                db.executemany(self.sql[number], ops[number])

    def _check(self, number: int, row: Row) -> None:
        """The row's last value must match the stored one. If there is none, that is -1 for a run, 0 for a counter or a
        definition."""
        found = self.db.execute(self.sql[number], row[:-1]).fetchall()
        nothing = -1 if number == NUMBER["check_run"] else 0
        if (found[0][0] if found else nothing) != row[-1]:
            raise Lost(OPS[number].lost.format(*row))

    def _drop_lookups(self, now: int) -> None:
        """Drops attributes that nobody looks up any more. Not immediately, as with meeting points. A failure is harmless."""
        try:
            self.db.execute(self.old_lookups, (now - QUARANTINE, IDLE))
        except apsw.Error:
            self._rollback()

    def _rollback(self) -> None:
        if self.db.in_transaction:  # some errors have rolled back already
            self.db.execute("ROLLBACK")

    def _sweep(self, now: int) -> None:
        """Drops rendezvous rows where nothing waits and nothing is held. Not immediately, since a revision that starts over
        could let a decision pass that was made on an earlier life of the row. A separate transaction; a failure is harmless."""
        old = self.db.execute(self.idle, (now - QUARANTINE, IDLE)).fetchall()
        if not old:
            return
        try:
            self.db.execute("BEGIN IMMEDIATE")
            for ns, name, key, used in old:
                if used:
                    self.db.execute(self.keep, (ns, name, key, now))
                else:
                    self.db.execute(self.drop, (ns, name, key))
            self.db.execute("COMMIT")
        except apsw.Error:
            self._rollback()

    def close(self) -> None:
        self.checkpointer.close()
        self.db.close()


def apart(ops: BatchOps, count: int) -> list[GroupOps]:
    """Writes the batch group by group."""
    groups: list[GroupOps] = [{} for _ in range(count)]
    for number, (rows, owners) in ops.items():
        for row, owner in zip(rows, owners, strict=True):
            groups[owner].setdefault(number, []).append(row)
    return groups


def receive(pipe: socket.socket, size: int) -> bytearray | None:
    """Exactly that many bytes, or None at end of file."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = pipe.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return data


def serve(pipe: socket.socket, writer: Writer) -> None:
    decode = Decoder(tuple[int, bool, int, int, dict[int, tuple[list[tuple[Any, ...]], list[int]]]]).decode
    encode = Encoder().encode
    decode_sweep = Decoder(Sweep).decode

    def answer(*values: Any) -> None:
        body = encode(values)
        pipe.sendall(LENGTH.pack(len(body)) + body)

    answer(0, writer.settings(), "")
    while (head := receive(pipe, LENGTH.size)) is not None:
        body = receive(pipe, LENGTH.unpack(head)[0])
        if body is None:
            return
        number, entangled, now, count, ops = decode(body)
        swept: tuple[Any, ...] = ()
        try:
            if SWEEP in ops:
                lost, swept = [""], writer.sweep(decode_sweep(ops[SWEEP][0][0][0]))
            else:
                lost = writer.commit(ops, count, entangled, now, number)
        except apsw.Error as error:
            ends = isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError)
            answer(number, None, f"{type(error).__name__}: {error}", ends)
            if ends:
                return
        else:
            if gone := writer.files.lost():
                answer(number, None, gone, True)
                return
            answer(number, lost, writer.checkpointer.trouble, False, swept, writer.unchanged, writer.tallied)


def main() -> None:
    pipe_fd, lock_fd, path, durability = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    os.set_inheritable(lock_fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent says when to end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = socket.socket(fileno=pipe_fd)
    pipe.set_inheritable(False)
    writer = Writer(path, durability)
    try:
        serve(pipe, writer)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the parent went while it was being answered
    finally:
        writer.close()


if __name__ == "__main__":
    main()
