"""What `advance` reads: a run's cache entry, and what was fetched for the current signal.

Answers that the entry cannot keep (the step of an old iteration, events held for the run) belong to one request and one revision
of the run; if the run has changed in the meantime they are dropped and read again. Answers that depend on no run (scripts,
definitions, the keys of new runs) stay with the request for all its attempts, so that each attempt decides the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pelton.kernel.expressions.base import Evaluation, Outcome
from pelton.kernel.model.reads import (
    Codec,
    CompiledKey,
    DefinitionKey,
    EvaluationKey,
    FoundKey,
    Held,
    HeldKey,
    InlineKey,
    Missing,
    NamedKey,
    NewestKey,
    NewRunKey,
    PausedKey,
    ProcessKey,
    ProcessPause,
    RefusalKey,
    RoomKey,
    RunKey,
    ServedKey,
    SlotKey,
    Spent,
    StepKey,
    TakerKey,
    ThreadKey,
    VarKey,
    WaiterKey,
)
from pelton.kernel.model.state import OpenStep, Record, Run, Step, Thread
from pelton.runtime.cache.lookups import SearchResult
from pelton.runtime.cache.runs import RunEntry, unknown

OUTSIDE = (EvaluationKey, DefinitionKey, InlineKey, ProcessKey, ServedKey, CompiledKey)
"""Keys whose answers depend on no run."""
QUEUES = (WaiterKey, TakerKey, RoomKey)
NAMES = (NamedKey, RefusalKey)


def of_run(key: Any) -> bool:
    """Whether an answer is read from the run's own rows."""
    kind = type(key)
    return kind not in OUTSIDE and kind is not RunKey and kind is not PausedKey and not (kind is HeldKey and key.key)


class Answers:
    """What was read for one request."""

    __slots__ = ("asked", "defined", "made", "named", "of_runs", "outside", "revisions", "scripts", "spent")

    def __init__(self) -> None:
        self.asked: set[tuple[int, Any]] | None = None  # of runs that the request had changed when they were asked
        self.made: dict[tuple[int, int, int], int] = {}  # (run, n, attempt) → key of the child
        self.defined: dict[str, int] = {}  # namespace → counter of its definitions on which these rest, where others define too
        self.named: dict[Any, Any] | None = None  # runs that were found by name, and refusals of what was decided on for them
        self.of_runs: dict[tuple[int, Any], Any] = {}
        self.revisions: dict[int, int] = {}  # run → revision at which its answers were true
        self.outside: dict[Any, Any] = {}
        self.scripts: dict[Evaluation, Outcome] = {}
        self.spent: dict[int, Spent] | None = None  # by run: its reads for this request have exceeded a limit

    def keep(self, run: int, revision: int, key: Any, answer: Any) -> None:
        if self.revisions.get(run, revision) != revision:
            self.forget(run)
        self.revisions[run] = revision
        self.of_runs[run, key] = answer

    def ask_once(self, run: int, keys: tuple[Any, ...]) -> bool:
        """Questions about a run that the request has changed. False for one that was asked already: no answer in the store holds
        for the run as it is now."""
        asked = self.asked = self.asked if self.asked is not None else set()
        mine = {(run, key) for key in keys if of_run(key)}
        fresh = asked.isdisjoint(mine)
        asked |= mine
        return fresh

    def forget_definitions(self) -> None:
        """What was bound by name may be another now."""
        self.defined.clear()
        self.outside = {key: found for key, found in self.outside.items() if not _by_name(key)}

    def forget(self, run: int) -> None:
        self.of_runs = {known: answer for known, answer in self.of_runs.items() if known[0] != run}
        self.revisions.pop(run, None)


def _by_name(key: Any) -> bool:
    return isinstance(key, DefinitionKey) or (type(key) is tuple and key[0] == "bind")


class CachedReads:
    """One instance serves all calls, one after another: see `of`."""

    __slots__ = (
        "_answers", "_codec", "_entry", "_found", "_held", "_keys", "_look", "_names", "_paused", "_queues", "_stamp",
        "reads", "spent", "stamped",
    )  # fmt: skip

    def __init__(
        self,
        codec: Codec,
        keys: Callable[[], int],
        look: Callable[[int], Run | None],
        held: Callable[[HeldKey], list[Held]],
        stamp: Callable[[], int],
        found: Callable[[SearchResult], list[Record] | None] = lambda found: list(found.records),
        queues: Callable[[WaiterKey | TakerKey | RoomKey], Any] = lambda key: None,
        paused: Callable[[PausedKey], ProcessPause | None] = lambda key: None,
        names: Callable[[NamedKey | RefusalKey], Any] = lambda key: None,
    ) -> None:
        """`keys` makes run keys; `look(key)` yields another run's head, None for a run that does not exist; `held(key)` what is
        held under a name and key; both may raise Missing. `stamp()` makes the instant of a request. `found(answer)` is
        what a search has found, None if that no longer holds. `queues(key)` looks into the queues of the namespace, `names(key)`
        for a run by name; `paused(key)` says whether a process is paused, or raises Missing."""
        self._paused = paused
        self._names = names
        self._queues = queues
        self._found = found
        self._codec = codec
        self._keys = keys
        self._look = look
        self._held = held
        self._stamp = stamp
        self.stamped = 0
        self._entry = RunEntry(0)
        self._answers: Answers | None = None
        self.spent: Spent | None = None
        self.reads: dict[int, int] = {}  # other runs that were looked at, with their revisions

    @classmethod
    def of_one(cls, codec: Codec, keys: Callable[[], int] = lambda: 0) -> CachedReads:
        """For a look at what one run has: nothing beside it is there."""
        return cls(codec, keys, lambda key: None, lambda key: [], lambda: 0)

    def of(self, entry: RunEntry, answers: Answers | None) -> CachedReads:
        self._entry = entry
        if answers is not None and answers.revisions:
            head = entry.head
            known = answers.revisions.get(entry.key)
            if known is not None and known != (head.rev if head is not None else 0):
                answers.forget(entry.key)
        self._answers = answers
        self.spent = answers.spent.get(entry.key) if answers is not None and answers.spent else None
        return self

    @property
    def entry(self) -> RunEntry:
        """Whose reads these are."""
        return self._entry

    @property
    def codec(self) -> Codec:
        return self._codec

    @property
    def stamp(self) -> int:
        """The request's instant, the same for everything that it does; taken on first use."""
        if not self.stamped:
            self.stamped = self._stamp()
        return self.stamped

    def head(self) -> Run | None:
        return self._entry.head

    def open(self, n: int) -> OpenStep | None:
        entry = self._entry
        row = entry.open.get(n)
        if row is not None or entry.all_open:
            return row
        found = self._fetched(StepKey(n))
        return found if type(found) is OpenStep else None

    def newest(self, slot: str) -> OpenStep | Step | None:
        entry = self._entry
        row = entry.newest.get(slot, unknown)
        if row is not unknown:
            known: OpenStep | Step | None = row
            return known
        if entry.all_newest:
            return None
        raise Missing(NewestKey(slot))

    def at(self, slot: str, scope: int, it: int) -> OpenStep | Step | None:
        entry = self._entry
        row = entry.newest.get(slot, unknown)
        if row is unknown:
            if entry.all_newest:
                return None
        elif row is None or row.n < scope or (row.scope == scope and row.it < it):
            return None  # steps inside a scope have higher numbers than it, those of later iterations higher ones again
        elif row.scope == scope and row.it == it:
            found: OpenStep | Step = row
            return found
        fetched: OpenStep | Step | None = self._fetched(SlotKey(slot, scope, it))
        return fetched

    def step(self, n: int) -> OpenStep | Step | None:
        row = self._entry.open.get(n)
        if row is not None:
            return row
        found: OpenStep | Step | None = self._fetched(StepKey(n))
        return found

    def var(self, thread: int, name: str) -> list[Any] | None:
        entry = self._entry
        found = entry.variables.get((thread, name), unknown)
        if found is not unknown:
            value: list[Any] | None = found
            return value
        if entry.all_variables or (entry.all_root_variables and thread == 0):
            return None
        raise Missing(VarKey(thread, name))

    def thread(self, no: int) -> Thread | None:
        entry = self._entry
        found = entry.threads.get(no, unknown)
        if found is not unknown:
            thread: Thread | None = found
            return thread
        if entry.all_threads:
            return None
        raise Missing(ThreadKey(no))

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self._answers.scripts.get(question) if self._answers is not None else None

    def answer(self, key: Any) -> Any:
        kind = type(key)
        if kind is NewRunKey:
            return self._new_run(key)
        if kind is RunKey:
            head = self._look(key.key)
            self.reads[key.key] = head.rev if head is not None else -1
            return head
        if kind is PausedKey:
            return self._paused(key)
        if kind is EvaluationKey:
            outcome = self.evaluated(key.question)
            if outcome is None:
                raise Missing(key)
            return outcome
        if kind in OUTSIDE:
            if self._answers is None or (found := self._answers.outside.get(key, unknown)) is unknown:
                raise Missing(key)
            return found
        if kind is FoundKey:
            return self._search(key)
        if kind in QUEUES:
            return self._queues(key)
        if kind in NAMES:
            return self._names(key)
        if kind is HeldKey:
            if key.key:
                return self._held(key)
            head = self._entry.head
            if head is None or not head.held:
                return []
        known = self._entry.known(key)
        return self._fetched(key) if known is unknown else known

    def _search(self, key: FoundKey) -> list[Record]:
        known = self._found(self._fetched(key))
        if known is None:
            assert self._answers is not None
            del self._answers.of_runs[self._entry.key, key]
            raise Missing(key)
        return known

    def _new_run(self, key: NewRunKey) -> int:
        answers = self._answers
        if answers is None:
            raise Missing(key)
        name = (self._entry.key, key.n, key.attempt)
        made = answers.made.get(name)
        if made is None:
            made = answers.made[name] = self._keys()
        return made

    def _fetched(self, key: Any) -> Any:
        answers = self._answers
        if answers is not None:
            found = answers.of_runs.get((self._entry.key, key), unknown)
            if found is not unknown:
                return found
        raise Missing(key)
