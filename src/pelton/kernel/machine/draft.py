"""The state of one call of `advance`: what it reads, an overlay of what it has decided so far, and a worklist of what follows.

Invariants: rows that were read are never changed, only copies of them are; every open row is counted once in the head and once in
its owner (a scope step, a thread other than the root, or nothing for the root thread). Reads see the overlay first.
Cost: every operation here is O(1) in the length of the run's history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple

from pelton.errors import Code
from pelton.kernel.machine.many import ManyRows
from pelton.kernel.model.process import Acquired, Fragment, Node, Process
from pelton.kernel.model.reads import FragmentKey, FragmentsKey, NewestBelowKey, PlaceBelowKey, RunReads
from pelton.kernel.model.state import (
    FRAGMENTED,
    THREADED,
    Bit,
    Failure,
    OpenStep,
    Run,
    State,
    Step,
    StepStatus,
    Thread,
    ThreadStatus,
    Tries,
)
from pelton.kernel.model.transition import (
    UNSET,
    Announcement,
    ClearTimers,
    CloseCorrelations,
    ContinueLater,
    Effect,
    RecordChange,
    Transition,
)

KEPT = Bit.OPTIONAL_FAILED | Bit.DEFERRED_FAILED | Bit.BUILT_IN | Bit.THREAD | Bit.DYNAMIC | Bit.GONE_ON  # when a row has ended
LEAVES = Bit.TIMED | Bit.KEYED | Bit.COPIED | Bit.COUNTED  # something is to be cleared away when the row goes
FUEL = 512  # activations in one transition; the rest follows in the next commit
WORKING = (State.WORK, State.CALL, State.EMIT)  # what someone else is busy with

# bits of Run.flags
# THREADED = 1, in model/state.py: has rows in `thread`
SKIPS = 2  # an operator asked to skip a slot
SKIPPED = "skip:"  # before the slot: the variable that says with what
UNMARKED = 4  # has nodes that its process lacks, and was started by an earlier version of Pelton: its rows do not say which
# TRIED = 1 << 11, in model/state.py: has attempts or checkpoints that have rows of their own
# FRAGMENTED = 1 << 10, in model/state.py: has nodes that its process lacks; its rows say which
DEADLINE = 8  # the run itself has a timer
RESTING = 16  # it is paused, and ends when it is resumed: see Thread.resting of thread 0
PRIORITY = 16  # the bits from here on: priority of its work, 0 to 99. The one below is the runtime's.


class Moment(NamedTuple):
    """When something is done, and by whom. `now` in milliseconds; `stamp` in microseconds, rising from change to change."""

    now: int
    stamp: int
    actor: str = ""
    request: str = ""


class Token(NamedTuple):
    """A token about to enter `node`. `scope` > 0: number of the owning scope step; < 0: a thread, negated; 0: the root thread."""

    node: str
    thread: int
    scope: int
    it: int
    attempt: int = 0
    previous: int = 0
    first: int = 0
    due: int = 0
    branch: int = 0  # fork: the next branch to open, when fuel ran out in between
    fork: int = 0  # as in OpenStep
    fragment: int = 0
    origin: int = 0  # join, and fork whose fuel ran out: the fork that opens it (see `flow.branch_out`)
    position: int = -1  # of another attempt: the place of the one before; -1 = the next place of the thread
    tries: Tries | None = None  # of another attempt: the checkpoints of the one before


def token_at(row: OpenStep | Step | Token, node: str) -> Token:
    """A token about to enter `node` from where a row stands."""
    if row.fork or row.fragment:
        return Token(node, row.thread, row.scope, row.it, fork=row.fork, fragment=row.fragment)
    return Token(node, row.thread, row.scope, row.it)


class ScopeEmptied(NamedTuple):
    """The last token of an owner (as Token.scope; never 0) is gone."""

    scope: int


class FailureEscaped(NamedTuple):
    """A failure reaches the owner `scope` (as Token.scope; 0 = the run). `n`: the step that failed."""

    scope: int
    thread: int
    failure: Failure
    n: int
    status: int


class StepFailed(NamedTuple):
    """An open row has failed; whether it is retried, and what follows, is not yet decided."""

    n: int
    failure: Failure
    status: int  # StepStatus
    output: Any = None
    unopened: bool = False  # it could not even be entered: nothing of it can be kept for another attempt


class Again(NamedTuple):
    """Another attempt of an open wait is to begin."""

    n: int


class CopiesLeft(NamedTuple):
    """A wait has ended for which events were kept while it was halted: what it has not claimed of them goes."""

    row: OpenStep


class ThreadHalting(NamedTuple):
    """A thread has its first halt reason: what is to be let finish in it is still to be counted."""

    thread: int


class ThreadStill(NamedTuple):
    """The last thing that a halting thread waited for is gone, or the same below it: it may now stand still."""

    thread: int


class ThreadResumed(NamedTuple):
    """The last halt reason of a thread is gone: its tokens and waits are still to be moved."""

    thread: int


class ThreadEnded(NamedTuple):
    """A thread that joins wait for has ended: they are still to be told."""

    thread: int


class LeavingFailed(NamedTuple):
    """A step has ended, and a guard or an assignment of its way on failed."""

    n: int
    failure: Failure


class Spawn(NamedTuple):
    """A thread that is still to be started. `starter`: the step that starts it."""

    entry: str
    parent: int
    variables: dict[str, Any]
    fragment: int = 0
    starter: int = 0


class RowDropped(NamedTuple):
    """An open row is no longer wanted: it is dropped, with everything inside it."""

    n: int
    reason: str


class BranchesLost(NamedTuple):
    """A join has what it waits for, and ends the branches that have not got there. `n`: its number."""

    n: int


Item = (
    Token
    | ScopeEmptied
    | FailureEscaped
    | StepFailed
    | ThreadHalting
    | ThreadStill
    | ThreadResumed
    | ThreadEnded
    | LeavingFailed
    | Spawn
    | RowDropped
    | BranchesLost
    | Again
    | CopiesLeft
)


class StepFailure(Exception):
    """Raised while a node is activated: the step fails with this."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Refusal(Exception):
    """The signal cannot be applied: the whole draft is dropped."""

    def __init__(self, code: Code, detail: str, trace: list[Any] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.trace = trace or []


class Draft(ManyRows):
    __slots__ = (
        "acquired",
        "acquisitions",
        "counts",
        "effects",
        "ended",
        "first",
        "fuel",
        "given",
        "known",
        "last",
        "latest",
        "moment",
        "now",
        "places",
        "process",
        "ranges",
        "reached",
        "record_change",
        "reopened",
        "reuse",
        "stranded",
        "thrifty",
        "variables",
        "visits",
        "worklist",
    )

    def __init__(self, process: Process, reads: RunReads, head: Run, now: int, created: bool = False) -> None:
        super().__init__(reads, head, created)
        self.process = process
        self.first = head.next_n  # numbers from here on are assigned by this draft: the store does not know them
        self.now = now
        self.worklist: deque[Item] = deque()
        self.known: set[int] = set()  # of those: the ones that the store has already
        self.ended: dict[int, Step] = {}
        self.reopened: set[int] = set()  # ended rows of the store that go
        self.latest: dict[str, OpenStep | Step] = {}  # newest row per slot, of those touched here
        self.places: dict[tuple[str, int, int], OpenStep | Step] = {}  # the same by slot, scope and iteration
        self.ranges: dict[tuple[str, int, int], OpenStep | Step | None] | None = None  # places that were read with many others
        self.variables: dict[tuple[int, str], Any] = {}
        self.acquired: dict[int, Acquired] = {}
        self.acquisitions: list[tuple[int, str, Any, int]] = []
        self.effects: list[Effect] = []
        self.counts: list[tuple[OpenStep, int, Sequence[tuple[str, int | float]]]] = []  # tokens at counted nodes: by, sums
        self.fuel = FUEL
        self.reached = -1  # the fuel that was left when something was first found missing; -1: the present one
        self.thrifty = False  # an expression for which something has still to be read fails
        self.visits: dict[str, int] = {}  # how often a node was entered, where the process limits that
        self.reuse = 0  # the next step that is entered takes this number: in a rewind, and a silent fork's join
        self.given: Any = None  # and this input, when there is one
        self.last: Step | None = None  # the step that ended last
        self.stranded = False  # fuel ran out
        self.record_change: RecordChange | None = None  # what happened to the run's record
        self.moment: Moment | None = None  # when and by whom, where the signal says so

    # ---- reading

    def open(self, n: int) -> OpenStep | None:
        row = self.open_rows.get(n)
        if row is not None:
            return row
        if n in self.closed or self.created or n >= self.first or (self.cut and n > 0):
            return None
        return self.reads.open(n) if self.all_rows_read is None else self.all_rows_read.get(n)

    def edit(self, row: OpenStep) -> OpenStep:
        """A copy of the row that may be changed; the same one for the rest of the call."""
        mine = self.open_rows.get(row.n)
        if mine is None:
            mine = copy(row)
            self.known.add(row.n)
            self.put(mine)
        return mine

    def put(self, row: OpenStep) -> None:
        self.open_rows[row.n] = row
        if self.rows_here is not None:
            self.note_row(row)
        if row.n > 0:
            self.index(row)

    def newest(self, slot: str) -> OpenStep | Step | None:
        """The newest step of a slot that no rewind took back."""
        mine = self.latest.get(slot)
        if self.created or (mine is not None and mine.n >= self.first):
            return mine
        found: OpenStep | Step | None
        found = self.reads.answer(NewestBelowKey(slot, self.cut)) if self.cut else self.reads.newest(slot)
        # The row touched here may be older than the newest one in the store.
        if mine is None or (found is not None and found.n > mine.n):
            return found
        return mine

    def at(self, slot: str, scope: int, it: int) -> OpenStep | Step | None:
        """The newest step of a slot in one iteration of one owner."""
        mine = self.places.get((slot, scope, it))
        if mine is not None:
            return mine
        if self.created or scope >= self.first or -scope >= self.first_thread:
            return None
        if self.cut:
            found: OpenStep | Step | None = self.reads.answer(PlaceBelowKey(slot, scope, it, self.cut))
            return found
        if self.ranges and (slot, scope, it) in self.ranges:
            return self.ranges[slot, scope, it]
        return self.reads.at(slot, scope, it)

    def below(self, slot: str, scope: int, it: int, n: int) -> OpenStep | Step | None:
        """The newest step of a slot in one iteration of one owner with a number below `n`. Costs a look at every row that was
        touched here."""
        place = (slot, scope, it)
        rows: list[OpenStep | Step] = [*self.open_rows.values(), *self.ended.values()]
        mine = [row for row in rows if (row.slot, row.scope, row.it) == place and 0 <= row.n < n]
        newest = max(mine, key=lambda row: row.n, default=None)
        below = min(n, self.cut or n)
        while not self.created:
            found: OpenStep | Step | None = self.reads.answer(PlaceBelowKey(slot, scope, it, below))
            if found is None or (newest is not None and newest.n >= found.n):
                break
            if found.n not in self.closed and found.n not in self.reopened:
                return found
            below = found.n
        return newest

    def of_iteration(self, slot: str, it: int) -> OpenStep | Step | None:
        """The newest step of a slot in iteration `it` of any scope, among those touched here."""
        rows = [row for (name, _, iteration), row in self.places.items() if name == slot and iteration == it]
        return max(rows, key=lambda row: row.n, default=None)

    def step(self, n: int) -> OpenStep | Step | None:
        row = self.open_rows.get(n) or self.ended.get(n)
        if row is not None or self.created:
            return row
        if n in self.closed or n in self.reopened or n >= self.first or (self.cut and n >= self.cut):
            return None
        row = self.all_rows_read.get(n) if self.all_rows_read is not None else None
        return row or self.reads.step(n)

    def edit_thread(self, no: int) -> Thread:
        mine = self.threads.get(no)
        if mine is None:
            found = self.thread(no)
            mine = copy(found) if found is not None else Thread(self.head.key, no, opened=self.head.created)
            self.threads[no] = mine
            if not self.head.flags & THREADED:
                self.head.flags |= THREADED
                self.head.threaded = self.head.next_n
        return mine

    # ---- nodes

    def node(self, name: str) -> Node:
        """A node of the process. For rows use `node_of`: their node may be one that a dynamic fork made."""
        node = self.process.nodes.get(name)
        if node is None and self.head.flags & UNMARKED:
            node = next((fragment.nodes[name] for fragment in self.unmarked().values() if name in fragment.nodes), None)
        if node is None:
            raise Refusal(Code.INVALID, f"{name!r} is not part of version {self.process.version} of {self.process.name!r}")
        return node

    def node_of(self, row: OpenStep | Step) -> Node:
        """The node at which a row stands."""
        return self.find_node(row.slot, row.fragment)[0] if row.fragment else self.node(row.slot)

    def maker_of(self, row: OpenStep | Step) -> Process | Fragment:
        """What the node of a row is part of."""
        acquired = self.fragment(row.fragment) if row.fragment else None
        return acquired.fragment if acquired is not None else self.process

    def find_node(self, name: str, fragment: int) -> tuple[Node, int]:
        """The node that a name in a fragment means, and the fragment that it is part of: this one, one around it, or (0) the
        process."""
        while fragment:
            acquired = self.fragment(fragment)
            if acquired is None:
                break
            node = acquired.fragment.nodes.get(name)
            if node is not None:
                return node, fragment
            fragment = acquired.parent
        return self.node(name), 0

    def fragment(self, n: int) -> Acquired | None:
        """What step `n` made; None when it is no dynamic fork."""
        mine = self.acquired.get(n)
        if mine is not None or self.created or n >= self.first or not self.head.flags & FRAGMENTED:
            return mine
        found: Acquired | None = self.reads.answer(FragmentKey(n))
        return found

    def unmarked(self) -> dict[str, Fragment]:
        """The fragments whose rows do not say that they are part of them: the newest of each fork, by its node."""
        if self.created or not self.head.flags & UNMARKED:
            return {}
        return {node: fragment for _, node, fragment in self.reads.answer(FragmentsKey())}

    def joins_of(self, step: OpenStep | Step) -> tuple[str, ...]:
        """The names of the joins that await a step."""
        if step.fragment:
            acquired = self.fragment(step.fragment)
            return acquired.fragment.joins_of.get(step.slot, ()) if acquired is not None else ()
        joins = self.process.joins_of.get(step.slot, ())
        if self.head.flags & UNMARKED:
            found = [name for each in self.unmarked().values() for name in each.joins_of.get(step.slot, ())]
            joins = tuple(dict.fromkeys([*joins, *found]))
        return joins

    def var(self, thread: int, name: str) -> list[Any] | None:
        """A one-element list with the value of a variable seen from a thread, or None."""
        no = thread
        while True:
            if (no, name) in self.variables:
                value = self.variables[no, name]
                if value is not UNSET:
                    return [value]
            elif not self.created and no < self.first_thread:
                found = self.reads.var(no, name)
                if found is not None:
                    return found
            if no <= 0:
                return None
            no = self.seen_from(no)

    def seen_from(self, no: int) -> int:
        """The thread whose variables a thread sees next after its own."""
        thread = self.thread(no)
        if thread is None:
            return 0
        return thread.parent if thread.sees < 0 else thread.sees

    def stored(self, no: int, name: str) -> bool:
        return not self.created and no < self.first_thread and self.reads.var(no, name) is not None

    def set_var(self, thread: int, name: str, value: Any) -> None:
        """Sets the variable where it is declared, seen from a thread upwards; else in the root thread."""
        no = thread
        while no > 0:
            declared = (no, name) in self.variables or self.stored(no, name)
            if declared:
                break
            no = self.seen_from(no)
        self.variables[max(no, 0), name] = value

    # ---- rows

    def number(self) -> int:
        if self.reuse:
            n, self.reuse = self.reuse, 0
            return n
        n = self.head.next_n
        self.head.next_n = n + 1
        return n

    def place(self, token: Token) -> int:
        """The position of the step that a token is about to make, in a process that counts them."""
        if token.position >= 0:
            return token.position
        thread = self.edit_thread(token.thread)
        thread.position += 1
        return thread.position - 1

    def add(self, row: OpenStep) -> OpenStep:
        """A new open row; its token is counted in its owner already."""
        if self.process.counted and row.n > 0:
            self.count_in(row)
        self.head.open += 1
        self.put(row)
        return row

    def close(self, row: OpenStep) -> None:
        """The row is removed, with its timers and correlations. The token is not yet counted out of its owner."""
        self.head.open -= 1
        if row.n in self.open_rows:
            del self.open_rows[row.n]
            if row.n in self.known:
                self.known.discard(row.n)
                self.closed.add(row.n)
        else:
            self.closed.add(row.n)
        if row.bits & LEAVES:
            self.clear_after(row)
        if self.head.flags & THREADED and row.state in WORKING:
            self.count_finished(row)

    def clear_after(self, row: OpenStep) -> None:
        """What a row leaves behind goes with it."""
        if row.bits & Bit.TIMED:
            self.effects.append(ClearTimers(row.n))
        if row.bits & Bit.KEYED:
            self.effects.append(CloseCorrelations(row.n))
        if row.bits & Bit.COPIED:
            self.worklist.append(CopiesLeft(row))
        if row.bits & Bit.COUNTED:
            self.counts.append((row, -1, ()))

    def count_in(self, row: OpenStep) -> None:
        """A token enters a node that is counted over all runs."""
        counted = self.process.counted.get(row.slot)
        if counted is None or row.fragment:
            return
        sums: list[tuple[str, int | float]] = []
        first = not row.previous and row.n not in self.reopened
        for name in counted.sums if first else ():
            found = self.var(row.thread, name)
            if found is not None and type(found[0]) in (int, float):
                sums.append((name, found[0]))
        row.bits |= Bit.COUNTED
        self.counts.append((row, 1, sums))

    def count_finished(self, row: OpenStep) -> None:
        """A row goes that its thread, if it is halting, may have waited for."""
        thread = self.thread(row.thread)
        if thread is not None and thread.status == ThreadStatus.HALTING and self.lets_finish(row):
            mine = self.edit_thread(row.thread)
            mine.busy -= mine.busy > 0
            if mine.busy <= 0:
                self.worklist.append(ThreadStill(row.thread))

    def lets_finish(self, row: OpenStep) -> bool:
        """Whether a halt of its thread waits for this row. A call of a thread stands still when that thread does."""
        return row.state in WORKING and not row.bits & Bit.THREAD and self.node_of(row).on_halt == "finish"

    def end(self, row: OpenStep, status: StepStatus, output: Any, reason: str = "", failure: str = "", bits: int = 0) -> Step:
        """An open row becomes an ended step."""
        self.close(row)
        step = self.record(
            Step(
                row.run,
                row.n,
                row.slot,
                int(status),
                row.scope,
                row.it,
                row.thread,
                row.attempt,
                row.previous,
                row.opened,
                row.started,
                self.now,
                row.first,
                row.input,
                output,
                reason,
                row.k,
                int(row.bits & KEPT) | bits,
                row.child,
                row.worker,
                row.polls,
                row.state,
                failure,
                row.fork,
                row.fragment,
            )
        )
        if row.position >= 0:
            step.position = row.position
        if row.tries is not None:
            step.tries = row.tries
        return step

    def record(self, step: Step) -> Step:
        self.ended[step.n] = step
        self.last = step
        self.index(step)
        return step

    def index(self, row: OpenStep | Step) -> None:
        newest = self.latest.get(row.slot)
        if newest is None or newest.n <= row.n:
            self.latest[row.slot] = row
        place = (row.slot, row.scope, row.it)
        mine = self.places.get(place)
        if mine is None or mine.n <= row.n:
            self.places[place] = row

    def park(self, token: Token, bits: int = 0, left: int = 0) -> None:
        """`left`: with VIA_LEAVE, the step whose way on the token will look for."""
        self.head.parks += 1
        self.add(
            OpenStep(
                self.head.key,
                -self.head.parks,
                token.node,
                State.PARKED,
                token.scope,
                token.it,
                token.thread,
                token.attempt,
                token.previous,
                self.now,
                self.now,
                token.first,
                k=token.branch,
                bits=bits,
                child=left or token.origin,
                due=token.due,
                fork=token.fork,
                fragment=token.fragment,
                position=token.position,
                tries=token.tries,
            )
        )

    def forget(self, gone: Callable[[Token], bool]) -> None:
        """Drops tokens that are about to enter something that has been taken back."""
        items = [item for item in self.worklist if not (isinstance(item, Token) and gone(item))]
        self.worklist.clear()
        self.worklist.extend(items)

    def strand(self) -> None:
        """Fuel has run out: parks the tokens on the worklist, and asks for a Continue."""
        rest = [item for item in self.worklist if isinstance(item, Token)]
        others = [item for item in self.worklist if not isinstance(item, Token)]
        self.worklist.clear()
        self.worklist.extend(others)
        for token in rest:
            self.park(token, Bit.STRANDED)
        if rest:
            self.ask_to_continue()

    def ask_to_continue(self) -> None:
        """Asks for a Continue, in the next commit."""
        if not self.stranded:
            self.stranded = True
            self.effects.append(ContinueLater())

    def ask_for_nothing(self) -> None:
        """Takes that back: the run ends, and what parked goes with it."""
        if self.stranded:
            self.stranded = False
            self.effects = [effect for effect in self.effects if not isinstance(effect, ContinueLater)]

    def grow(self, scope: int, by: int = 1) -> None:
        """Counts tokens into (or out of) an owner."""
        if scope > 0:
            row = self.open(scope)
            if row is not None:
                self.edit(row).left += by
        elif scope < 0:
            self.edit_thread(-scope).open += by

    def announce(self, kind: str, n: int, data: Any = None) -> None:
        self.effects.append(Announcement(kind, n, data))

    def transition(self) -> Transition:
        head = self.head
        head.rev += 1
        head.updated = self.now
        known = self.known
        opened = [row for n, row in self.open_rows.items() if n not in known]
        changed = [row for n, row in self.open_rows.items() if n in known] if known else []
        return Transition(
            head,
            self.created,
            opened,
            changed,
            list(self.closed),
            list(self.ended.values()),
            list(self.reopened),
            list(self.threads.values()),
            [(no, name, value) for (no, name), value in self.variables.items()],
            self.acquisitions,
            self.effects,
            self.record_change,
            self.acquired,
        )
