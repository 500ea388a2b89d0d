"""Which threads of a finished run go on when it is taken back, and how they are there again."""

from __future__ import annotations

from collections.abc import Mapping

from pelton.kernel.machine.draft import Draft
from pelton.kernel.machine.legality import change_thread
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.rewind.ways import is_unfinished
from pelton.kernel.machine.tokens.halts import halt
from pelton.kernel.machine.tokens.stops import deal_with
from pelton.kernel.machine.tokens.threads import start_over
from pelton.kernel.model.process import End, Join
from pelton.kernel.model.state import Halt, Step, Thread, ThreadStatus

LOST = "lost to another thread"
TAKEN_BACK = "taken back"
HALTS = {"interrupt": Halt.INTERRUPTED, "failure": Halt.HANDLING}


def restorable(thread: Thread) -> bool:
    """Whether a thread failed, or was cut off by the end of what it belongs to."""
    if thread.status == ThreadStatus.FAILED:
        return thread.reason != TAKEN_BACK
    return thread.status == ThreadStatus.CANCELED and thread.reason not in (LOST, TAKEN_BACK)


class Lineage:
    """The threads of a run by what they belong to; read when first asked for."""

    def __init__(self, draft: Draft, target: Step | None) -> None:
        self.draft = draft
        self.target = target
        self.path: set[int] = set()  # those that the target is in
        self._by_parent: dict[int, list[Thread]] | None = None
        self._by_owner: dict[int, list[Thread]] = {}
        self._handlers: dict[int, Thread] = {}  # by the number of the failed step
        self._handled: set[int] = set()  # threads that failed, and that a join around the target has handlers for
        self._judged: bool | None = None

    def read(self) -> dict[int, list[Thread]]:
        if self._by_parent is None:
            self._by_parent = {}
            around = for_each(sorted(self.path), self.draft.thread)
            joins = {thread.owner for thread in around if thread is not None and thread.handles == "child"}
            for thread in self.draft.all_threads():
                if not thread.no or self.is_taken_back(thread):
                    continue
                if thread.handles == "failure":
                    self._handlers[thread.handled] = thread
                elif thread.handles == "child":
                    if thread.owner in joins:
                        self._handled.add(thread.handled)
                        self._by_owner.setdefault(thread.owner, []).append(thread)
                    continue  # elsewhere the thread that it works for has another try itself
                elif thread.owner:
                    self._by_owner.setdefault(thread.owner, []).append(thread)
                else:
                    self._by_parent.setdefault(self.parent_of(thread), []).append(thread)
        return self._by_parent

    def parent_of(self, thread: Thread) -> int:
        """The nearest thread above one that has not ended well: 0 = the root. Handlers belong to their own, ended or not."""
        if thread.handles in HALTS:
            return max(thread.parent, 0)
        above = self.draft.thread(thread.parent) if thread.parent > 0 else None
        while above is not None and above.status == ThreadStatus.COMPLETED:
            above = self.draft.thread(above.parent) if above.parent > 0 else None
        return above.no if above is not None else 0

    def is_taken_back(self, thread: Thread) -> bool:
        cut = self.draft.cut
        return thread.reason == TAKEN_BACK or (self.target is not None and thread.born > cut)

    def spawned(self, parent: int) -> list[Thread]:
        """Threads of a parent that no step waits for, and those of its children that have ended well."""
        return self.read().get(parent, [])

    def of_scope(self, step: Step) -> list[Thread]:
        self.read()
        return self._by_owner.get(step.n, [])

    def may_go_on(self, thread: Thread) -> bool:
        """Handlers of a thread in which a step is run again do not: they would halt what is asked for. Nor do threads whose
        failure was forgiven or handled, by a join that stands, or around the target."""
        if thread.no in self._handled:
            return False
        if thread.dealt and thread.status == ThreadStatus.FAILED and not thread.owner and not self.judged_by_failed():
            return False
        return not (thread.handles and self.target is not None and thread.parent in (0, *self.path))

    def handlers_for(self, n: int, living: Mapping[int, object]) -> dict[int, Thread]:
        """The handlers that join `n` has for threads that failed, by the numbers of those: what goes on (`living`), and what
        has ended well."""
        voids = self.draft.head.voids
        found: dict[int, Thread] = {}
        for thread in self.draft.all_threads():
            if thread.handles != "child" or thread.owner != n or self.is_taken_back(thread):
                continue
            if any(low <= thread.born < high for low, high in voids):
                continue  # taken back before
            if thread.no in living or thread.status == ThreadStatus.COMPLETED:
                found[thread.handled] = thread
        return found

    def handler_of(self, step: Step) -> Thread | None:
        """The thread that handles, or handled, the failure of a step."""
        self.read()
        return self._handlers.get(step.n)

    def judged_by_failed(self) -> bool:
        """Whether a step that looked at how threads ended has failed itself, and so is to look again."""
        if self._judged is None:
            draft = self.draft
            nodes = [node for node in draft.process.nodes.values() if isinstance(node, Join | End) and node.threads]
            newest = for_each(nodes, lambda node: draft.newest(node.name))
            self._judged = any(isinstance(step, Step) and is_unfinished(draft, step) for step in newest)
        return self._judged


def take_back(draft: Draft, low: int) -> None:
    """Threads that were started after step `low` (0: all): nothing may count or revive them."""
    for thread in draft.all_threads():
        if thread.no and (thread.born > low or not low) and thread.status > ThreadStatus.COMPLETED:
            mine = draft.edit_thread(thread.no)
            if mine.status == ThreadStatus.FAILED:
                change_thread(mine, ThreadStatus.CANCELED)
            mine.reason = TAKEN_BACK


def revive_thread(draft: Draft, no: int) -> Thread:
    """A thread that has ended runs again; neither its tokens nor its children are counted yet."""
    thread = draft.edit_thread(no)
    deal_with(draft, thread)  # its parent need no longer fail with that
    change_thread(thread, ThreadStatus.RUNNING)
    start_over(thread)
    thread.output, thread.ended = None, 0
    return thread


def halt_again(draft: Draft, thread: Thread, *, started: bool) -> None:
    """A handler that goes on halts its parent as it did; one that has not started waits until the parent is at rest."""
    if not started:
        thread.reasons, thread.still = ((int(Halt.NOT_YET), thread.parent),), True
        change_thread(thread, ThreadStatus.HALTING)
        change_thread(thread, ThreadStatus.HALTED)
    halt(draft, thread.parent, (int(HALTS[thread.handles]), thread.no))
