"""Events: each is matched, recorded and acted on in one commit group, once.

A repeat is recognised by (namespace, source, id): at first by a bounded memory of recent events, without matching anything; in
the end by the unique key in the store, which drops the group of the second one. Either way the answer is the first's outcome.
The commit checks that the handler set is still the one that the event was matched against; when it is not, the event is matched
again. A handler whose action fails is recorded as failed, what it had done is taken back, and the other handlers do not notice.

At most `DIRECT` commands of an event are carried out in its own group; further ones become durable signals in that group, and
beyond `ROWS` of those, jobs: one signal for many runs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any

from msgspec import convert, json, structs

from pelton.errors import Code, PeltonError, Stopping
from pelton.kernel.expressions.base import ExpressionError, Unanswered
from pelton.kernel.machine.scene import mix
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import EvaluationKey
from pelton.kernel.model.signals import Start
from pelton.kernel.model.state import Run, RunStatus
from pelton.kernel.model.transition import Hold, Refused, Transition
from pelton.runtime.api import (
    ActionContext,
    Command,
    CorrelateCommand,
    EventEffect,
    EventIn,
    HandlerAction,
    HandlerDecision,
    Ingested,
    MatchCommand,
    PlanProblem,
    SignalCommand,
    StartCommand,
)
from pelton.runtime.commit.committer import Committer
from pelton.runtime.commit.group_builder import FREES_KEYS, GroupBuilder, has_freed
from pelton.runtime.commit.requests import CommitRequest
from pelton.runtime.commit.unit_of_work import NextBatch, Suspend, UnitOfWork, encode_signal, unchanged
from pelton.runtime.events.correlation import CHUNK, correlate
from pelton.runtime.events.fan_out import FanOut, durable_job
from pelton.runtime.events.matching import EventContext, Fired, consider
from pelton.runtime.names import KEY_KIND
from pelton.store.rows import BookmarkRow, EventRow, ResultRow, RunKeyRow

RECENT = 20_000  # events that are remembered with their outcome
DIRECT = 32
ROWS = 1_000
BODY = 4 << 20  # bytes of JSON
TEXT = 1_024  # characters of a source, id, type or subject
MOST_HOPS = 64
PATIENCE = 1.0  # seconds that an event waits for those before it, so that it finds what they have changed
FIRED = frozenset({"fired", "failed"})

CommandPlace = tuple[str, int, int]  # handler, number of its action, number of the action's command

_encode = json.Encoder(order="sorted", enc_hook=repr).encode


class IngestOutcomes:
    """The outcomes of one call, in the order of its events."""

    __slots__ = ("future", "left", "outcomes")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Ingested | PeltonError | None] = [None] * count
        self.left = count
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self.future.set_result(None)

    def put(self, index: int, outcome: Ingested | PeltonError) -> None:
        self.outcomes[index] = outcome
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(None)


class ArrivalOrder:
    """Events that are under way, in the order in which they came. Cost: constant, for one that waits the logarithm of those."""

    __slots__ = ("_keys", "_waiting")

    def __init__(self) -> None:
        self._keys: OrderedDict[int, None] = OrderedDict()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []  # a heap

    def begin(self, key: int) -> None:
        """Keys rise."""
        self._keys[key] = None

    def end(self, key: int) -> bool:
        """True when no more are under way."""
        self._keys.pop(key, None)
        oldest = next(iter(self._keys), None)
        while self._waiting and (oldest is None or self._waiting[0][0] <= oldest):
            _, future = heappop(self._waiting)
            if not future.done():
                future.set_result(None)
        return oldest is None

    async def first(self, key: int) -> None:
        """Returns when none is older, or after a while."""
        if next(iter(self._keys), key) >= key:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (key, future))
        with suppress(TimeoutError):
            await asyncio.wait_for(future, PATIENCE)


class EventRequest(CommitRequest):
    __slots__ = (
        "_router",
        "body_hash",
        "event",
        "followers",
        "found",
        "hops",
        "key",
        "keys",
        "ns",
        "outdated",
        "posted",
        "repeat",
        "set_used",
    )

    def __init__(self, router: EventIngester, event: EventIn, key: int, body_hash: bytes) -> None:
        super().__init__()
        self._router = router
        self.event = event
        self.ns = event.ns
        self.key = key
        self.body_hash = body_hash
        self.hops = event.hops
        self.followers: list[tuple[IngestOutcomes, int, bytes]] = []  # the first is the event itself
        self.keys: dict[CommandPlace, int] = {}  # keys of runs to be started, the same in every try
        self.repeat = False  # the store has it already
        self.found: EventRow | None = None
        self.outdated = False
        self.posted: Ingested | None = None

    def perform(self, committer: Committer, turn: UnitOfWork) -> GroupBuilder | None:
        return self._router.perform(self, committer, turn)

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.answers.outside.clear()
        if reason.startswith("event"):
            self.repeat = True
        elif reason.startswith("handlers"):
            self.outdated = True
            self._router.overtaken(self)

    def settled(self) -> None:
        assert self.posted is not None
        self._router.settled(self, self.posted)

    def failed(self, error: PeltonError) -> None:
        self._router.failed(self, error)

    async def find(self) -> None:
        event = self.event
        self.found = await self._router.store_event(event.ns, event.source, event.id)
        if self.found is None:  # it was removed meanwhile: then this one is the first
            self.repeat = False


class EventIngester:
    def __init__(self, committer: Committer, recent: int = RECENT) -> None:
        self._committer = committer
        self._most = recent
        self._recent: OrderedDict[tuple[str, str, str], EventRequest | tuple[bytes, Ingested]] = OrderedDict()
        self._under_way: dict[str, ArrivalOrder] = {}  # by namespace
        self.stats = {"events": 0, "repeats": 0, "unmatched": 0}

    def overtaken(self, job: EventRequest) -> None:
        self._committer.definitions.handlers.overtaken(job.ns, job)

    # ---- the door

    async def post(self, events: Sequence[EventIn]) -> list[Ingested | PeltonError]:
        """One outcome an event. Raises PeltonError when nothing was taken (busy, stopping)."""
        committer = self._committer
        if committer.room < len(events):
            if committer.stopping:
                raise Stopping
            raise PeltonError(Code.BUSY, f"there is no room for {len(events)} events now; try again in a moment")
        gathered = IngestOutcomes(len(events))
        for index, event in enumerate(events):
            error = self._post_one(gathered, index, event)
            if error is not None:
                gathered.put(index, error)
        await gathered.future
        return gathered.outcomes  # type: ignore[return-value]

    def _post_one(self, gathered: IngestOutcomes, index: int, event: EventIn) -> PeltonError | None:
        if len(event.source) + len(event.type) + len(event.id) + len(event.subject) > TEXT:
            for name in ("source", "type", "id", "subject"):
                if len(getattr(event, name)) > TEXT:
                    return PeltonError(Code.TOO_LARGE, f"the event's {name} is longer than {TEXT} characters", name)
        body = _encode(event.body)
        if len(body) > BODY:
            return PeltonError(
                Code.TOO_LARGE, f"the event's body has {len(body)} bytes of JSON; at most {BODY} are taken", "body"
            )
        body_hash = blake2b(b"%b\0%b" % (event.type.encode(), body), digest_size=16).digest()
        self.stats["events"] += 1
        if event.id:
            known = self._recent.get((event.ns, event.source, event.id))
            if known is not None:
                self.stats["repeats"] += 1
                if type(known) is EventRequest:
                    known.followers.append((gathered, index, body_hash))
                else:
                    first, posted = known  # type: ignore[misc]
                    gathered.put(index, repeated(posted, first != body_hash))
                return None
        key = self._committer.keys()
        if not event.id:
            event = structs.replace(event, id=self._committer.codec.event_id(key))
        job = EventRequest(self, event, key, body_hash)
        job.followers.append((gathered, index, body_hash))
        try:
            self._committer.enqueue(job)
        except PeltonError as error:
            return error
        self._recent[event.ns, event.source, event.id] = job
        self._under_way.setdefault(event.ns, ArrivalOrder()).begin(key)
        return None

    async def earlier(self, job: EventRequest) -> None:
        """Returns when the events of the namespace that came before this one are over, or have taken too long."""
        await self._under_way[job.ns].first(job.key)

    def _over(self, job: EventRequest) -> None:
        ordered = self._under_way.get(job.ns)
        if ordered is not None and ordered.end(job.key):
            del self._under_way[job.ns]

    def settled(self, job: EventRequest, posted: Ingested) -> None:
        self._over(job)
        event = job.event
        self._committer.definitions.handlers.through(event.ns, job)
        first_hash = job.body_hash if job.found is None else bytes(job.found.hash)
        identity = (event.ns, event.source, event.id)
        first = structs.replace(posted, duplicate=False, conflict=False) if posted.duplicate else posted
        self._recent[identity] = (first_hash, first)
        self._recent.move_to_end(identity)
        while len(self._recent) > self._most:
            name, oldest = next(iter(self._recent.items()))
            if type(oldest) is EventRequest:
                break
            del self._recent[name]
        if posted.state == "unmatched":
            self.stats["unmatched"] += 1
        for number, (gathered, index, body_hash) in enumerate(job.followers):
            if number or job.found is not None:
                gathered.put(index, repeated(posted, body_hash != first_hash))
            else:
                gathered.put(index, posted)

    def failed(self, job: EventRequest, error: PeltonError) -> None:
        self._over(job)
        event = job.event
        self._committer.definitions.handlers.through(event.ns, job)
        if self._recent.get((event.ns, event.source, event.id)) is job:
            del self._recent[event.ns, event.source, event.id]
        for gathered, index, _ in job.followers:
            gathered.put(index, error)

    async def store_event(self, ns: str, source: str, event_id: str) -> EventRow | None:
        return await self._committer.store.event_by_id(ns, source, event_id)

    # ---- one event

    def perform(self, job: EventRequest, committer: Committer, turn: UnitOfWork) -> GroupBuilder | None:
        if job.repeat:
            if job.found is None:
                raise Suspend(fetch=job.find)
            job.posted = posted_of(job.found)
            return None
        event = job.event
        handlers = committer.definitions.handlers.known(event.ns)
        if handlers is None or job.outdated:
            job.outdated = False
            raise Suspend(fetch=lambda: committer.definitions.handlers.refresh(event.ns))
        row = EventRow(
            job.key,
            event.ns,
            event.source,
            event.id,
            event.type,
            event.subject,
            event.time,
            turn.now,
            event.body,
            event.attributes,
            job.body_hash,
            handlers.counter,
            [],
            [],
            "unmatched",
            event.hops,
        )
        effects: list[EventEffect] = []
        decisions: list[HandlerDecision] = []
        acts = HandlerActions(self, job, committer, turn, row)
        if event.hops > MOST_HOPS:
            detail = f"{event.hops} runs and events led here; at most {MOST_HOPS} may. Is it a circle?"
            effects.append(EventEffect(handler="", action="", outcome="failed", detail=detail))
            row.state = "failed"
        else:
            context = EventContext(turn.now, mix(job.key, 0, 0), job.answers.scripts.get)
            try:
                decisions, fired = consider(handlers.index, row, context, committer.definitions.views)
            except Unanswered as unanswered:
                raise Suspend(keys=tuple(map(EvaluationKey, unanswered.questions))) from None
            acts.carry_out(fired, decisions, effects)
            row.state = state_of(decisions, effects)
        row.decisions, row.effects = decisions, effects
        job.posted = Ingested(job.key, False, False, row.state, decisions, effects)
        building = turn.finish()
        building.group.events.append(row)
        building.group.handlers.append((event.ns, handlers.counter))
        if event.bookmark is not None:
            building.group.bookmarks.append(BookmarkRow(event.ns, event.source, *event.bookmark))
        if acts.run_keys:
            building.group.run_keys.extend(acts.run_keys)
        if acts.jobs:
            building.group.results.extend(acts.jobs)
        for many in acts.many.values():
            building.post(durable_job(committer.keys(), many, turn.now))
        building.rows += 1
        committer.open_batch.rows += 1
        building.jobs.append(job)
        return building


class HandlerActions:
    """The actions of the handlers that one event fired."""

    __slots__ = ("_committer", "_event", "_job", "_planned", "_router", "_turn", "done", "jobs", "many", "run_keys")

    def __init__(self, router: EventIngester, job: EventRequest, committer: Committer, turn: UnitOfWork, event: EventRow) -> None:
        self._router = router
        self._job = job
        self._committer = committer
        self._turn = turn
        self._event = event
        self._planned: list[tuple[Fired, list[tuple[HandlerAction, list[Command]]]]] = []
        self.done = 0
        self.run_keys: list[RunKeyRow] = []
        self.many: dict[bytes, FanOut] = {}
        self.jobs: list[ResultRow] = []

    def carry_out(self, fired: Sequence[Fired], decisions: list[HandlerDecision], effects: list[EventEffect]) -> None:
        """Raises Suspend with everything that the commands lack, in one go."""
        self._plan(fired, decisions)
        self._prepare()
        turn = self._turn
        commands = [command for _, acts in self._planned for _, commands in acts for command in commands]
        turn.multiple = len(commands) > 1 or any(isinstance(command, MatchCommand) for command in commands)
        for match, acts in self._planned:
            mark, mine = turn.mark(), []
            kept = self.done, len(self.run_keys), len(self.jobs), {name: len(job.runs) for name, job in self.many.items()}
            try:
                for position, (action, commands) in enumerate(acts):
                    mine += self._act(match.handler, action, commands, position)
            except (Suspend, NextBatch):
                raise
            except Exception as error:  # one handler's trouble is its own
                turn.back(mark)
                self._back(*kept)
                detail = error.message if isinstance(error, PeltonError) else f"{type(error).__name__}: {error}"
                fail(decisions, match.handler, detail[:2000])
                mine = [EventEffect(handler=match.handler.name, action="", outcome="failed", detail=detail[:2000])]
            if mine and all(effect.outcome == "failed" for effect in mine):
                details = dict.fromkeys(effect.detail for effect in mine)  # once each, in their order
                fail(decisions, match.handler, "; ".join(details)[:2000])
            effects += mine

    def _back(self, done: int, run_keys: int, jobs: int, many: dict[bytes, int]) -> None:
        """What a handler wanted that failed is not done later either."""
        self.done = done
        del self.run_keys[run_keys:]
        del self.jobs[jobs:]
        self.many = {name: job for name, job in self.many.items() if name in many}
        for name, count in many.items():
            del self.many[name].runs[count:]

    def _plan(self, fired: Sequence[Fired], decisions: list[HandlerDecision]) -> None:
        scripts = self._job.answers.scripts
        questions: list[Any] = []
        for match in fired:
            context = ActionContext(
                self._event.ns,
                self._event,
                match.payload,
                self._turn.now,
                mix(self._job.key, match.handler.id & 0xFFFFFFFF, 0),
                self._committer.codec,
                scripts.get,
            )
            acts: list[tuple[HandlerAction, list[Command]]]
            try:
                acts = [(action, list(action.plan(context))) for action in match.actions]
            except Unanswered as unanswered:
                questions += map(EvaluationKey, unanswered.questions)
                continue
            except ExpressionError as error:
                fail(decisions, match.handler, error.message)
                continue
            except Exception as error:  # a language's mistake must not stop the event
                fail(decisions, match.handler, f"{type(error).__name__}: {error}")
                continue
            self._planned.append((match, acts))
        if questions:
            raise Suspend(keys=tuple(questions))

    def _prepare(self) -> None:
        ns, known = self._event.ns, self._job.answers.outside
        bindings: list[tuple[str, str, int]] = []
        runs: list[int] = []
        keyed: list[StartCommand] = []
        definitions = self._committer.definitions
        matches: list[tuple[CommandPlace, MatchCommand]] = []
        for match, acts in self._planned:
            for position, (_, commands) in enumerate(acts):
                for index, command in enumerate(commands):
                    if isinstance(command, StartCommand):
                        name = (ns, command.process, command.version)
                        if not command.definition and definitions.bound(*name) is None and ("bind", *name) not in known:
                            bindings.append(name)
                        if command.key and key_name(command) not in known:
                            keyed.append(command)
                    elif isinstance(command, SignalCommand) and len(runs) < DIRECT:
                        runs.append(command.run)
                    elif isinstance(command, MatchCommand):
                        place = (match.handler.name, position, index)
                        if ("open", *place) not in known:
                            matches.append((place, command))
                        elif not isinstance(found := known["open", *place], PeltonError):
                            runs += found[0][: max(DIRECT - len(runs), 0)]
        loads = self._turn.missing(runs)
        if loads or bindings or keyed or matches:
            fetch = (lambda: self._look_up(keyed, matches)) if keyed or matches else None
            raise Suspend(loads=loads, bindings=tuple(bindings), fetch=fetch)

    async def _look_up(self, commands: Sequence[StartCommand], matches: Sequence[tuple[CommandPlace, MatchCommand]]) -> None:
        if matches:
            await self._router.earlier(self._job)
        for place, match in matches:
            found = self._committer.finder.open(self._event.ns, match.process, match.where, match.conjuncts)
            try:
                self._job.answers.outside["open", *place] = await found
            except PeltonError as error:
                self._job.answers.outside["open", *place] = error
        for command in commands:
            live = command.on_same_key == "fail if live"
            runs = await self._committer.store.run_keys(self._event.ns, KEY_KIND, command.process, command.key, live)
            head = await self._committer.store.head(runs[0]) if runs else None
            stub = head is not None and head.status == RunStatus.EXPECTED
            self._job.answers.outside[key_name(command)] = 0 if stub or not runs else runs[0]
            self._job.answers.outside["stub", *key_name(command)] = runs[0] if stub else 0

    def _act(self, handler: Handler, action: HandlerAction, commands: list[Command], position: int) -> list[EventEffect]:
        effects: list[EventEffect] = []
        for index, command in enumerate(commands):
            effect = EventEffect(handler=handler.name, action=action.name, outcome="failed")
            if isinstance(command, PlanProblem):
                effect.detail = command.detail
            elif isinstance(command, StartCommand):
                self._start(command, effect, (handler.name, position, index))
            elif isinstance(command, CorrelateCommand):
                self._post(command, effect)
            elif isinstance(command, MatchCommand):
                effects += self._match(command, effect, (handler.name, position, index))
                continue
            else:
                self._signal(command, effect)
            self.done += 1
            effects.append(effect)
        return effects

    def _start(self, command: StartCommand, effect: EventEffect, place: CommandPlace) -> None:
        process = self._process(command)
        if command.key:
            other = self._job.answers.outside[key_name(command)] or self._begun(process.name, command.key)
            if other:
                effect.run = other
                effect.outcome = "unchanged" if command.on_same_key == "return" else "failed"
                effect.detail = f"a run of {command.process!r} has the key {command.key!r}"
                return
        stub = self._job.answers.outside["stub", *key_name(command)] if command.key else 0
        key = stub or self._job.keys.get(place)
        if stub:
            self._turn.entry(stub)
        if key is None:
            key = self._job.keys[place] = self._committer.keys()
        ns = self._event.ns
        signal = Start(
            key=key,
            ns=ns,
            definition=process.definition,
            input=command.input,
            meta=command.meta,
            hops=self._event.hops + 1,
            trigger=command.trigger,
        )
        frees = bool(command.key) and command.on_same_key == "fail if live"
        if self.done >= DIRECT and not command.key:
            refused = self._tried(signal, process)
            if refused is not None:
                effect.detail = refused.detail
                return
            self._turn.post(key, signal)
        else:
            answer = self._turn.start(signal, process, FREES_KEYS if frees else 0)
            if type(answer) is Refused:
                effect.detail = answer.detail
                return
        self.run_keys += [row for row in key_rows(ns, process.name, command, key) if not (stub and row.unique)]
        effect.outcome, effect.run = "started", key

    def _tried(self, signal: Start, process: Process) -> Refused | None:
        """Whether a start that is left to a later commit will be refused: the event's record is to say so. Only what is begun
        from its content can be."""
        if process.records is None and signal.trigger is None:
            return None
        turn = self._turn
        mark, rows, notes = turn.mark(), turn.rows, len(turn.notes)
        answer = turn.start(signal, process)
        turn.back(mark)
        turn.rows = rows
        del turn.notes[notes:]
        return answer if type(answer) is Refused else None

    def _begun(self, process: str, text: str) -> int:
        """The run of this very event that has that key, 0 for none: the store does not know it yet."""
        for row in self.run_keys:
            if row.kind == KEY_KIND and row.text == text and row.process == process:
                entry = self._turn.made.get(row.run)
                if entry is None or entry.head is None or not has_freed(entry.head):
                    return row.run
        return 0

    def _process(self, command: StartCommand) -> Process:
        if command.definition:
            return self._turn.process(command.definition)
        name = (self._event.ns, command.process, command.version)
        found = self._committer.definitions.bound(*name) or self._job.answers.outside.get(("bind", *name))
        if isinstance(found, Process):
            return found
        raise (
            found
            if isinstance(found, PeltonError)
            else PeltonError(Code.UNKNOWN_PROCESS, f"there is no process {command.process!r}")
        )

    def _signal(self, command: SignalCommand, effect: EventEffect) -> None:
        turn = self._turn
        effect.run = command.run
        if self.done >= DIRECT:
            self._later(command)
            effect.outcome, effect.detail = "signalled", "in a commit of its own"
            return
        entry = turn.entry(command.run)
        if entry is None or entry.head is None or entry.head.ns != self._event.ns:
            effect.detail = f"unknown run {self._committer.codec.run_id(command.run)}"
            return
        before, notes = entry.head, len(turn.notes)
        answer = turn.signal(entry, command.signal)
        if type(answer) is Refused:
            effect.detail = answer.detail
        else:
            told(effect, answer, before, turn.notes[notes:])  # type: ignore[arg-type]

    def _match(self, command: MatchCommand, effect: EventEffect, place: CommandPlace) -> list[EventEffect]:
        """One effect a run, for those that are told at once; one for all the others."""
        found = self._job.answers.outside["open", *place]
        if isinstance(found, PeltonError):
            raise found
        runs, more = found
        effects: list[EventEffect] = []
        room = max(DIRECT - self.done, 0)
        for run in runs[:room]:
            mine = EventEffect(handler=effect.handler, action=effect.action, outcome="failed")
            self._signal(SignalCommand(run=run, signal=command.signal), mine)
            if mine.outcome == "failed":  # it stands where the signal leads nowhere: that is no fault of the handler's
                mine.outcome = "unchanged"
            effects.append(mine)
        self.done += len(effects)
        rest = runs[room:]
        if rest:
            number = self._committer.keys()
            signal: Any = command.signal  # tolerant: what it comes to is told in the results
            for at in range(0, len(rest), CHUNK):
                job = FanOut(self._event.ns, signal, rest[at : at + CHUNK], results=number, hops=self._event.hops + 1)
                self.many[b"%d-%d" % (number, at)] = job
            self.jobs.append(ResultRow(number, 0, len(rest), self._turn.now, "job", self._event.ns))
            effect.outcome = "signalled"
            bound = f"; only the first {len(runs)} that match are told" if more else ""
            effect.detail = f"{len(rest)} more in commits of their own: job {number}{bound}"
            effect.output = {"job": str(number), "runs": len(rest)}
            effects.append(effect)
        elif not effects:
            effect.outcome, effect.detail = "unchanged", "no open run matches"
            effects.append(effect)
        return effects

    def _post(self, command: CorrelateCommand, effect: EventEffect) -> None:
        met = correlate(self._turn, self._committer, self._event.ns, command, self._event.key)
        if met.taken:
            effect.outcome, (effect.run, effect.n) = "signalled", met.taken[0]
        else:
            effect.outcome = "signalled" if met.later else "held" if met.held else "unchanged"
        count = len(met.taken) + met.later
        if count != 1:
            effect.detail = f"{count or 'no'} waits for {command.name!r} with key {command.key!r}"

    def _later(self, command: SignalCommand) -> None:
        turn = self._turn
        if len(turn.posts) < ROWS:
            turn.post(command.run, command.signal)
            return
        encoded = encode_signal(command.signal)
        job = self.many.get(encoded)
        if job is None:
            job = self.many[encoded] = FanOut(ns=self._event.ns, signal=command.signal, runs=[])  # type: ignore[arg-type]
        job.runs.append(command.run)


def told(effect: EventEffect, change: Transition, before: Run, notes: list[tuple[Code, str]]) -> None:
    """What became of a signal."""
    if change.run is before or unchanged(change, before):
        effect.outcome = "unchanged"
    elif any(type(given) is Hold for given in change.effects):
        effect.outcome = "held"
    else:
        effect.outcome = "signalled"
        if change.ended:
            effect.n = change.ended[0].n
    if notes:
        effect.detail = notes[0][1]


def key_name(command: StartCommand) -> tuple[str, str, str, str]:
    return ("key", command.process, command.key, command.on_same_key)


def key_rows(ns: str, process: str, command: StartCommand, run: int) -> list[RunKeyRow]:
    rows = [RunKeyRow(ns, kind, process, text, run, False) for kind, text in command.keys]
    if command.key:
        rows.append(RunKeyRow(ns, KEY_KIND, process, command.key, run, True))
    return rows


def repeated(posted: Ingested, conflict: bool) -> Ingested:
    return structs.replace(posted, duplicate=True, conflict=conflict)


def posted_of(row: EventRow) -> Ingested:
    return Ingested(
        row.key, True, False, row.state, convert(row.decisions, list[HandlerDecision]), convert(row.effects, list[EventEffect])
    )


def fail(decisions: list[HandlerDecision], handler: Handler, detail: str) -> None:
    for index, decision in enumerate(decisions):
        if decision.id == handler.id and decision.verdict == "fired":
            decisions[index] = structs.replace(decision, verdict="failed", detail=detail)
            return


def state_of(decisions: list[HandlerDecision], effects: list[EventEffect]) -> str:
    fired = [decision for decision in decisions if decision.verdict in FIRED]
    if not fired:
        return "unmatched"
    outcomes = {effect.outcome for effect in effects}
    if not any(decision.verdict == "fired" for decision in fired) or outcomes == {"failed"}:
        return "failed"
    return "held" if outcomes == {"held"} else "matched"
