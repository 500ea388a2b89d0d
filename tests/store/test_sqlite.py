"""What only the SQLite store promises: its schema and migrations, its query plans, its files of SQL, bounded meeting points."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest
from tests.store.rows import held, put, start

from pelton.kernel.model.reads import ChildrenKey, StrandedKey, ThreadRowsKey, WaitsKey
from pelton.kernel.model.state import THREADED, Bit, OpenStep, Run, State, Thread, ThreadStatus
from pelton.store.group import Group
from pelton.store.packing import pack
from pelton.store.port import RowCounts, StoreFailed
from pelton.store.retention import Sweep
from pelton.store.rows import TimerRow
from pelton.store.sqlite import sweeper, writer
from pelton.store.sqlite.ops import NUMBER, OPS
from pelton.store.sqlite.reader import Reader
from pelton.store.sqlite.rows import OPEN_COLUMNS, open_body
from pelton.store.sqlite.runs import RunReader
from pelton.store.sqlite.schema import APPLICATION, FUNCTIONS, migrate, migrations, packed_field
from pelton.store.sqlite.sql import load
from pelton.store.sqlite.store import SqliteStore
from pelton.store.voids import Voids
from pelton.testing.clock import VirtualClock
from pelton.testing.losing_store import LosingStore


def database(fresh: bool) -> apsw.Connection:
    db = apsw.Connection(":memory:")
    migrate(db, "memory", fresh)
    return db


def schema(db: apsw.Connection) -> list[tuple[object, ...]]:
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    # SQLite writes an added column into the text of its table in a way of its own.
    return [(*row[:3], re.sub(r"\s*([(),])\s*", r"\1", re.sub(r"\s+", " ", str(row[3])))) for row in rows]


def test_all_migrations_give_the_schema_of_a_new_file() -> None:
    fresh, migrated = database(True), database(False)
    assert schema(fresh) == schema(migrated)
    for pragma in ("user_version", "application_id"):
        assert fresh.pragma(pragma) == migrated.pragma(pragma)
    assert fresh.pragma("user_version") == len(migrations())


def test_files_of_others_and_of_newer_versions_are_refused() -> None:
    other = apsw.Connection(":memory:")
    other.execute("CREATE TABLE x (y)")
    with pytest.raises(StoreFailed, match="another program"):
        migrate(other, "f")
    newer = database(True)
    newer.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreFailed, match="schema 99"):
        migrate(newer, "f")


def test_every_operation_has_its_statement_and_every_statement_is_valid() -> None:
    db = database(True)
    writes = load("writes.sql")
    assert {op.name for op in OPS} <= set(writes)
    for sql in [*writes.values(), *load("reads.sql").values(), *load("sweeps.sql").values()]:
        db.execute("EXPLAIN " + sql.replace("{open}", OPEN_COLUMNS), (None,) * sql_width(sql)).fetchall()


def sql_width(sql: str) -> int:
    return max((int(number) for number in re.findall(r"\?(\d+)", sql)), default=0)


SCANS = {
    "nodes",  # a row for each server
    "lines", "meta", "namespaces", "sizes_ready", "sizes_leased",  # at opening, or for people
    "inbox", "run_all", "deliveries", "due_logs", "oldest_dead_bodies",  # in the order of an index, up to a limit
    "outstanding",  # counts along indexes, each up to a limit
}  # fmt: skip
SORTS = {
    "definitions_any_version",
    "definitions_at",
    "run_keys_any",
    "run_keys_live_any",
    "sizes_leased",
}  # of small or bounded sets


def test_every_read_goes_by_an_index_without_a_scan_or_a_sort() -> None:
    db = database(True)
    for name, text in load("reads.sql").items():
        sql = text.replace("{open}", OPEN_COLUMNS)
        plan = [str(row[3]) for row in db.execute("EXPLAIN QUERY PLAN " + sql, (None,) * sql_width(sql))]
        if name not in SCANS:
            assert not [
                line for line in plan if line.startswith("SCAN") and "CONSTANT ROW" not in line and "subquery" not in line
            ], (name, plan)
        if name not in SORTS:
            assert not [line for line in plan if "TEMP B-TREE" in line], (name, plan)


@pytest.mark.parametrize(("name", "index"), [
    ("step_newest", "step_slot (run=? AND slot=? AND n<?)"),
    ("step_at", "step_iteration (run=? AND slot=? AND it=? AND scope=? AND n<?)"),
    ("step_iterations", "step_iteration (run=? AND slot=? AND it=?)"),
    ("open_newest", "open_slot (line=? AND slot=? AND run=? AND n>?)"),
    ("open_of_thread", "open_thread (run=? AND thread=?)"),
    ("open_places", "open_stands (run=? AND slot=? AND (thread,n)>(?,?))"),
    ("open_places_before_threads", "open_slot (line=? AND slot=? AND run=? AND n>? AND n<?)"),
    ("open_before_threads", "PRIMARY KEY (run=? AND n>? AND n<?)"),
    ("open_stranded", "open_stranded (run=?)"),
    ("thread_children", "thread_above (run=? AND above=?)"),
    ("ready_after", "open_work (queue=? AND (urgency,due,run,n)>(?,?,?,?))"),
    ("leased", "open_lease (ends<?)"),
    ("run_live", "run_live (line=? AND rowid<?)"),
    ("events_down", "event_state (ns=? AND state=? AND rowid>? AND rowid<?)"),
    ("events_type_down", "event_type (ns=? AND type=? AND state=? AND rowid>? AND rowid<?)"),
    ("events_state_up", "event_state (ns=? AND state=? AND rowid>? AND rowid<?)"),
    ("events_state_down", "event_state (ns=? AND state=? AND rowid>? AND rowid<?)"),
    ("events_type_state_up", "event_type (ns=? AND type=? AND state=? AND rowid>? AND rowid<?)"),
    ("events_type_state_down", "event_type (ns=? AND type=? AND state=? AND rowid>? AND rowid<?)"),
    ("record_at", "autoindex_past_1 (run=? AND since<?)"),
    ("past", "autoindex_past_1 (run=? AND since>?)"),
    ("records_line", "record_line (line=? AND rowid>?)"),
    ("records_live", "record_live (line=? AND rowid>?)"),
    ("records_at", "COVERING INDEX sqlite_autoindex_past_1 (run=? AND since<?)"),
    ("records_all_at", "PRIMARY KEY (rowid>?)"),
    ("attr_count", "COVERING INDEX attr_value (line=? AND name=? AND value>? AND value<?)"),
    ("attr_count_any", "COVERING INDEX attr_value (line=? AND name=? AND value>? AND value<?)"),
    ("attr_runs", "COVERING INDEX attr_value (line=? AND name=? AND value>? AND value<?)"),
    ("attr_runs_any", "COVERING INDEX attr_value (line=? AND name=? AND value>? AND value<?)"),
])  # fmt: skip
def test_the_reads_that_matter_seek_as_far_as_they_can(name: str, index: str) -> None:
    sql = load("reads.sql")[name].replace("{open}", OPEN_COLUMNS)
    plan = " ".join(str(row[3]) for row in database(True).execute("EXPLAIN QUERY PLAN " + sql, (None,) * sql_width(sql)))
    assert index in plan


@pytest.mark.parametrize("name", ["remove_record", "remove_past", "remove_attr", "attr_gone", "attr_put", "record_put"])
def test_writes_about_documents_seek_too(name: str) -> None:
    sql = load("writes.sql")[name]
    plan = [str(row[3]) for row in database(True).execute("EXPLAIN QUERY PLAN " + sql, (None,) * sql_width(sql))]
    assert plan
    assert all(line.startswith("SEARCH") for line in plan), plan


def test_what_rewinds_took_back_is_merged() -> None:
    voids = Voids([(7, 10), (3, 5), (4, 6), (6, 6), (20, 25)])
    assert voids.ranges == [(3, 6), (7, 10), (20, 25)]
    assert voids.gaps(0, 22) == [(0, 3), (6, 7), (10, 20)]
    assert voids.gaps(4, 6) == []
    assert voids.gaps(21, 30) == [(25, 30)]
    assert [voids.low(n) for n in (2, 3, 5, 6, 9)] == [None, 3, 3, None, 7]


def test_a_group_makes_its_lists_as_they_are_asked_for() -> None:
    group = Group(1, logs=[])
    assert set(group.filled) == {"number", "logs"}
    assert not group.has("logs")
    assert not group.has("events")
    group.leases.extend([])
    group.pending_done.append(3)
    assert group.has("pending_done")
    assert set(group.filled) == {"number", "logs", "leases", "pending_done"}
    with pytest.raises(TypeError, match="no rows named nonsense"):
        Group(1, nonsense=[])
    with pytest.raises(AttributeError):
        group.nonsense  # noqa: B018


async def test_what_two_groups_of_a_batch_do_to_one_row_is_done_in_their_order(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    outcomes = await store.commit([Group(1, release=[1]), Group(2, held=[held(1)])])
    assert [outcome.ok for outcome in outcomes] == [False, True]
    assert [row.id for row in await store.held_all("a", 9)] == [1]
    await put(store, Group(3, timers=[TimerRow(1, 1, "arm", 1, 1)]), Group(4, clear_timers=[(1, 1, "")]))
    assert await store.timers(9, 9) == []
    await store.close()


async def test_a_number_that_does_not_fit_is_its_groups_trouble_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    groups = [
        Group(1, [start(1)]),
        Group(2, [start(1 << 80)]),
        Group(3, [start(3)], pending_done=[1 << 70]),
        Group(4, [start(4)]),
    ]
    outcomes = await store.commit(groups)
    assert [outcome.ok for outcome in outcomes] == [True, False, False, True]
    assert [outcome.number for outcome in outcomes] == [1, 2, 3, 4]
    assert outcomes[1].lost.startswith("invalid")
    assert outcomes[2].lost.startswith("invalid")
    assert await store.head(1) is not None
    assert await store.head(4) is not None
    assert await store.head(3) is None
    await store.close()


async def test_meeting_points_that_nobody_uses_go_after_a_while(tmp_path: Path, time: VirtualClock) -> None:
    store = SqliteStore(tmp_path / "test.db", clock=time)
    await store.open()
    await put(store, Group(1, rendezvous=[("a", "n", f"k{number}", 0) for number in range(10)], held=[held(1, "k3", name="n")]))
    time.time += writer.QUARANTINE + 1
    await put(store, Group(2, rendezvous=[("a", "n", "other", 0)]))
    await put(store, Group(3))  # the sweep came before this answer
    left = [number for number in range(10) if await store.rendezvous("a", "n", f"k{number}")]
    assert left == [3]
    assert await store.rendezvous("a", "n", "other") == 1
    await store.close()


async def test_a_losing_store_loses_whole_groups_by_its_seed(tmp_path: Path) -> None:
    inner = SqliteStore(tmp_path / "test.db")
    await inner.open()
    store = LosingStore(inner, seed=1, rate=0.5)
    outcomes = await store.commit([Group(key, [start(key)]) for key in range(1, 101)])
    assert [outcome.number for outcome in outcomes] == list(range(1, 101))
    assert 20 < store.lost < 80
    for outcome in outcomes:
        assert ((await store.head(outcome.number)) is not None) is outcome.ok
    assert store.lost == sum(not outcome.ok for outcome in outcomes)
    await inner.close()


def database_before(migration: str) -> apsw.Connection:
    """A file of the version before the migration that has this text."""
    old = apsw.Connection(":memory:")
    old.create_scalar_function("packed_field", packed_field, 2, deterministic=True)
    for name, function in FUNCTIONS.items():
        old.create_scalar_function(name, function, 1)
    for number, sql in migrations():
        if migration in sql:
            break
        old.execute(sql)
        old.execute(f"PRAGMA user_version = {number}")
    old.execute(f"PRAGMA application_id = {APPLICATION}")
    return old


def test_events_from_before_states_were_indexed_are_found_by_them() -> None:
    old = database_before("event_state")
    outcomes = [pack(([], [], state)) for state in ("matched", "failed", "unmatched", "held", "postponed")]
    for key, outcome in enumerate([*outcomes, b"\xc1", b"", pack([[], []])], 1):
        old.execute("INSERT INTO event VALUES (?, 'default', 't', ?, x'90', ?)", (key, b"%d" % key, outcome))
    migrate(old, "memory")
    found = {state: {key for (key,) in old.execute("SELECT key FROM event WHERE state = ?", (state,))} for state in range(4)}
    assert found == {0: {1}, 1: {3}, 2: {4}, 3: {2, 5, 6, 7, 8}}
    assert [row[2] for row in old.execute(load("reads.sql")["events_state_down"], ("default", 0, 99, 9, 3))] == [8, 7, 6, 5, 2]


def test_rows_from_before_threads_had_indexes_are_found_by_them() -> None:
    """A file of the version before, with a run of two threads, one without, and tokens that parked without saying why."""
    old = database_before("open_thread")
    for key in (1, 2):
        old.execute("INSERT INTO run (key, line, live, rev, created, head) VALUES (?, ?, 1, 1, 1, x'90')", (key, key))
    rows = [OpenStep(1, 1, "w", State.WAIT), OpenStep(1, 2, "w", State.WAIT, thread=1), OpenStep(2, 1, "w", State.WAIT)]
    rows += [OpenStep(1, -1, "w", State.PARKED, thread=1), OpenStep(2, -1, "w", State.PARKED)]
    for row in rows:
        old.execute(
            "INSERT INTO open (run, n, slot, scope, it, queue, urgency, due, lease, lim, started, polls, worker, parts, body)"
            " VALUES (?, ?, ?, 0, 0, '', 0, 0, 0, 0, 0, 0, '', 0, ?)",
            (row.run, row.n, row.slot, open_body(row)),
        )
    for thread in (Thread(1, 0), Thread(1, 1, parent=0), Thread(1, 2, int(ThreadStatus.COMPLETED), parent=0)):
        old.execute("INSERT INTO thread (run, no, body) VALUES (?, ?, ?)", (thread.run, thread.no, pack(thread)))
    migrate(old, "memory")
    read = RunReader(Reader(old, RowCounts()), {}, None)  # type: ignore[arg-type]
    wide, plain = Run(1, "a", 1, flags=THREADED, threads=3), Run(2, "a", 1)
    assert [row.n for row in read.answer(wide, ThreadRowsKey(0))] == [1]
    assert [row.n for row in read.answer(wide, ThreadRowsKey(1))] == [-1, 2]
    assert [row.n for row in read.answer(wide, WaitsKey("w", (0, 0), 9))] == [1, 2]
    assert [row.n for row in read.answer(plain, ThreadRowsKey(0))] == [-1, 1]
    assert [row.n for row in read.answer(plain, WaitsKey("w", (0, 0), 9))] == [1]
    at_node = load("reads.sql")["open_at_node"].replace("{open}", OPEN_COLUMNS)
    assert [row[:2] for row in old.execute(at_node, (1, "w", 0, 0, 9))] == [(1, -1), (1, 1), (1, 2)]
    assert [thread.no for thread in read.answer(wide, ChildrenKey(0))] == [1]
    for run in (wide, plain):  # they may all have parked for fuel: whoever continues the run finds out
        assert [row.bits & Bit.STRANDED > 0 for row in read.answer(run, StrandedKey(9))] == [True]


def test_the_tables_of_a_run_are_looked_into_in_the_order_in_which_they_are_gone_through() -> None:
    """`rows_of_runs` says for each of the removals whether it has anything to do."""
    removals = sweeper.removals(load("writes.sql"))
    looked = re.findall(r"FROM (\w+) WHERE", load("sweeps.sql")["rows_of_runs"])
    assert looked == [re.findall(r"FROM (\w+) WHERE", statement)[0] for statement in removals]


@pytest.mark.parametrize(("again", "recounts"), [(1, False), (3, True)])
def test_runs_are_counted_anew_only_if_those_that_may_have_gone_on_make_a_difference(again: int, recounts: bool) -> None:
    db = database(True)
    for key in (1, 2):
        values = (key, pack([0] * (sweeper.ROOT + 1)))
        db.execute("INSERT INTO run (key, line, live, rev, created, head, ended) VALUES (?, 1, 0, 1, 0, ?, 5)", values)
    statements: list[str] = []
    sweeping = sweeper.Sweeper(db, sweeper.removals(load("writes.sql")))
    sweeping.sweep(Sweep("runs", 9, 0, 0, 2, 1))
    turn = [0] * (sweeper.ENDS[sweeper.RUN_AGAIN] + 1)
    sweeping.written({NUMBER["run_new"]: ([(0, 0, 0, 0, 0, 0, 7)] * 3, [0] * 3)}, [""])
    sweeping.written({sweeper.RUN_AGAIN: ([tuple(turn)] * again, [0] * again)}, [""])

    def trace(_: apsw.Cursor, sql: str, __: object) -> bool:
        statements.append(sql)
        return True

    db.exec_trace = trace
    sweeping.sweep(Sweep("runs", 9, 0, 0, 2, 1))
    assert any("count(*)" in sql for sql in statements) is recounts
