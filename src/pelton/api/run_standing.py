"""Why a run stands where it stands: what its open steps wait for, who holds its work, and the events it has got and sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from msgspec import json

from pelton.kernel.machine.tokens.lifecycle import meta_from
from pelton.kernel.model.process import (
    Arm,
    AtTime,
    Emit,
    Node,
    OnCondition,
    OnEvent,
    OnMerge,
    OnTrigger,
    Outside,
    Process,
    Take,
    Wait,
)
from pelton.kernel.model.state import END, Bit, OpenStep, Run, RunStatus, State, Step, worker_of
from pelton.models import RunEventView, RunExplanation, RunHead, RunWaitView
from pelton.runtime.api import Engine, RunView
from pelton.runtime.caller import Caller
from pelton.runtime.names import shown_queue
from pelton.runtime.rows import FEW, next_count
from pelton.transport.pages import MAX_PAGE

MOST_STEPS = 100  # open ones
MOST_READ = 1_000  # steps looked through for events
MOST_EVENTS = 100
MOST_BYTES = MAX_PAGE // 2  # of the events that came, and of those that went
_encode = json.Encoder(enc_hook=str).encode
NAMED = 5  # waits named in a sentence
FOR_GOOD = 2**62  # a lease that ends later never ends
OUTSIDE = frozenset({"trigger", "event", "report"})


class Standing:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def waits(self, caller: Caller, run: Run) -> list[RunWaitView]:
        """What the first 100 open steps wait for, by number."""
        if RunStatus(run.status).ended or not run.definition:
            return []
        process = await self._engine.process(run.definition)
        rows = [row for row in await self._engine.open_steps(run) if row.n > 0 or row.state == State.PARKED]
        found: list[RunWaitView] = []
        for row in rows[:MOST_STEPS]:
            found += await self._of_step(caller, process, row)
        return found

    async def _of_step(self, caller: Caller, process: Process, row: OpenStep) -> list[RunWaitView]:
        node = process.nodes.get(row.slot)
        match row.state:
            case State.WORK:
                return [self._work(caller, row)]
            case State.WAIT:
                arms = list(_of_arms(node, row))
                return arms or [RunWaitView(row.n, row.slot, "report")]
            case State.CALL:
                return [await self._child(caller, row)]
            case State.EMIT:
                return [RunWaitView(row.n, row.slot, "report")]
            case State.PARKED:
                return [RunWaitView(row.n, row.slot, "resume")]
            case _:
                return [RunWaitView(row.n, row.slot, "steps")]

    def _work(self, caller: Caller, row: OpenStep) -> RunWaitView:
        queue = shown_queue(row.queue)
        view = RunWaitView(row.n, row.slot, "work", queue, at=row.due)
        if row.lease:
            view.worker = worker_of(row.worker)[0]
            view.since = row.started
            view.lease = row.lease if row.lease < FOR_GOOD else 0
        view.polled = max((at for name, _, at in self._engine.polled(caller) if name == queue), default=0)
        return view

    async def _child(self, caller: Caller, row: OpenStep) -> RunWaitView:
        view = RunWaitView(row.n, row.slot, "steps" if row.bits & Bit.THREAD else "run")
        if row.child and view.what == "run":
            view.run = self._engine.codec.run_id(row.child)
            child = await self._engine.head(caller, row.child)
            view.status = RunStatus(child.status).name if child is not None else ""
        return view

    async def explain(self, caller: Caller, view: RunView, head: RunHead) -> RunExplanation:
        run = view.run
        waits = await self.waits(caller, run)
        got, sent = EventList(), EventList()
        meta = meta_from(view.start.input)
        if meta.event:
            got.add(RunEventView(meta.event, "started", run.created, data=view.start.output))
        looked = await self._look_through(caller, view, got, sent)
        await self._kept(caller, run, got)
        why = await self._why(caller, view, waits)
        more = looked == MOST_READ or got.more or sent.more or run.open > MOST_STEPS
        return RunExplanation(head, why, waits, got.shown, sent.shown, more)

    async def _why(self, caller: Caller, view: RunView, waits: Sequence[RunWaitView]) -> str:
        run, end = view.run, view.end
        status = RunStatus(run.status)
        if status.ended:
            reason = f": {end.reason}" if end is not None and end.reason else ""
            return f"the run has ended ({status.name.lower()}){reason}"
        paused = await self._engine.why_paused(caller, run)
        text = described(waits, self._engine.now())
        if paused:
            return f"{paused}; {text}" if text else paused
        if text:
            return text
        return "its steps are about to go on"

    async def _look_through(self, caller: Caller, view: RunView, got: EventList, sent: EventList) -> int:
        """The events of the first steps, a few of which are in memory at a time. Returns how many there were."""
        looked, after, count = 0, -1, FEW
        while looked < MOST_READ:
            most = min(count, MOST_READ - looked)
            rows = await self._engine.steps(caller, view.run.key, after, most)
            for row in rows:
                if (taken := _taken(view.process, row)) is not None:
                    got.add(taken)
                if (message := _sent(view.process, row)) is not None:
                    sent.add(message)
            looked += len(rows)
            if len(rows) < most:
                break
            after = rows[-1].n
            count = next_count(count, sum(len(_encode((row.input, row.output))) for row in rows))
            await asyncio.sleep(0)
        return looked

    async def _kept(self, caller: Caller, run: Run, got: EventList) -> None:
        """The events that stay with a run, or else those that it holds."""
        after, count, some = 0, FEW, False
        while not got.more:
            rows = await self._engine.kept_of(caller, run.key, after, count)
            for each in rows:
                got.add(RunEventView(each.name, "taken" if each.taken else "kept", each.posted, each.n, data=each.body))
            some = some or bool(rows)
            if len(rows) < count:
                break
            after = rows[-1].id
            count = next_count(count, sum(len(_encode(each.body)) for each in rows))
        if run.held and not some:
            for held in await self._engine.held_of(caller, run.key):
                got.add(RunEventView(held.name, "held", held.posted, data=held.body))


class EventList:
    """The first events that there is room for, by number and by bytes. `more`: there are others."""

    def __init__(self) -> None:
        self.shown: list[RunEventView] = []
        self.more = False
        self._size = 0

    def add(self, view: RunEventView) -> None:
        if self.more:
            return
        self._size += len(_encode(view))
        self.more = len(self.shown) >= MOST_EVENTS or (bool(self.shown) and self._size > MOST_BYTES)
        if not self.more:
            self.shown.append(view)


def _taken(process: Process, row: OpenStep | Step) -> RunEventView | None:
    """The event that an ended wait has taken."""
    if not isinstance(row, Step) or row.state != State.WAIT or row.k >= 0:
        return None
    node, place = process.nodes.get(row.slot), -1 - row.k
    arm = node.arms[place] if isinstance(node, Wait) and place < len(node.arms) else None
    return RunEventView(arm.event, "taken", row.ended, row.n, row.slot, row.output) if isinstance(arm, OnEvent) else None


def _sent(process: Process, row: OpenStep | Step) -> RunEventView | None:
    if row.slot == END or not isinstance(process.nodes.get(row.slot), Emit):
        return None
    return RunEventView(row.slot, "sent", row.ended if isinstance(row, Step) else row.opened, row.n, row.slot, row.output)


def _of_arms(node: Node | None, row: OpenStep) -> Iterator[RunWaitView]:
    """What each arm of a wait waits for."""
    if isinstance(node, Take):
        yield RunWaitView(row.n, row.slot, "place", node.event)
    if not isinstance(node, Wait):
        return
    for place, arm in enumerate(node.arms):
        view = _of_arm(arm, row, place)
        if view is not None:
            yield view


def _of_arm(arm: Arm, row: OpenStep, place: int) -> RunWaitView | None:
    waits = row.waits if isinstance(row.waits, dict) else {}
    match arm:
        case OnEvent():
            key = waits.get(str(place), "")
            return RunWaitView(row.n, row.slot, "event", arm.event, key=str(key) if arm.key is not None else "")
        case OnTrigger():
            return RunWaitView(row.n, row.slot, "trigger", arm.trigger)
        case AtTime():
            due = (row.times or {}).get(str(place))
            return RunWaitView(row.n, row.slot, "time", at=due.at) if due is not None and due.at else None
        case Outside():
            return RunWaitView(row.n, row.slot, "report")
        case OnCondition():
            return RunWaitView(row.n, row.slot, "condition")
        case OnMerge():
            return RunWaitView(row.n, row.slot, "data")
    return None


def described(waits: Sequence[RunWaitView], now: int = 0) -> str:
    """The waits as a sentence, for people; "" for none. Steps that wait for other steps are left out where others are named."""
    named = [each for each in waits if each.what != "steps"] or list(waits)
    by_step: dict[tuple[int, str], list[str]] = {}
    for each in named:
        by_step.setdefault((each.n, each.slot), []).append(_words(each, now))
    parts = [f"{slot} waits for {' or '.join(dict.fromkeys(texts))}" for (_, slot), texts in by_step.items()]
    more = f"; and {len(parts) - NAMED} more steps" if len(parts) > NAMED else ""
    return "; ".join(parts[:NAMED]) + more


def _words(wait: RunWaitView, now: int) -> str:
    match wait.what:
        case "work":
            return _work_words(wait, now)
        case "event":
            return f"event {wait.name!r}" + (f" with key {wait.key!r}" if wait.key else "")
        case "trigger":
            return f"trigger {wait.name!r}"
        case "time":
            return moment(wait.at)
        case "report":
            return "somebody to complete it"
        case "condition":
            return "a condition on its variables"
        case "data":
            return "data to be merged"
        case "run":
            return f"run {wait.run}" + (f", which is {wait.status}" if wait.status else "")
        case "place":
            return f"a place in queue {wait.name!r}"
        case "resume":
            return "its thread to be resumed"
        case _:
            return "other steps"


def _work_words(wait: RunWaitView, now: int) -> str:
    if wait.worker or wait.since:
        return f"worker {wait.worker or '(without a name)'}, which has had its work since {moment(wait.since)}"
    if wait.name.startswith("@"):
        return f"the server to do {wait.name[1:]}"
    if wait.at > now > 0:
        return f"{moment(wait.at)}, when its work on queue {wait.name!r} is due"
    polled = (
        f"last asked for at {moment(wait.polled)}" if wait.polled else "which no worker has asked for since the server started"
    )
    return f"a worker of queue {wait.name!r}, {polled}"


def moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
