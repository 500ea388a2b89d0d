"""The actions of the handlers that one event fired, carried out in the event's own unit of work.

An action that cannot be carried out is an effect that says why; the handler's other actions are not affected. What nobody expects
(a fault) reverts all that its handler did, and leaves other handlers alone. At most `DIRECT` commands
of an event are carried out in its own group; further ones become durable signals in that group, and beyond `ROWS` of those,
fan-outs: one signal for many runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, structs

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import ExpressionError, Unanswered
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import EvaluationKey, RunKey
from pelton.kernel.model.signals import Start
from pelton.kernel.model.state import Run, RunStatus
from pelton.kernel.model.transition import Hold, Refused, Transition
from pelton.runtime.api import (
    ActionContext,
    Command,
    CorrelateCommand,
    EventEffect,
    HandlerAction,
    HandlerDecision,
    MatchCommand,
    PlanProblem,
    SignalCommand,
    StartCommand,
)
from pelton.runtime.cache.reads import OUTSIDE
from pelton.runtime.commit.durable import encode_signal
from pelton.runtime.commit.group_builder import FREES_KEYS, has_freed
from pelton.runtime.commit.suspend import NextBatch, NextCommit, Suspend
from pelton.runtime.commit.unit_of_work import UnitOfWork, unchanged
from pelton.runtime.events.arrival import Line
from pelton.runtime.events.correlation import CHUNK, correlate
from pelton.runtime.events.fan_out import FanOut
from pelton.runtime.events.matching import Fired
from pelton.runtime.events.searches import DIRECT, CommandPlace, EventSearches
from pelton.runtime.names import KEY_KIND
from pelton.store.rows import EventRow, ResultRow, RunKeyRow

ROWS = 1_000


Planned = tuple[Fired, list[tuple[HandlerAction, list[Command]]]]


class EventPlan(NamedTuple):
    """What an event's handlers decided and want done, as of one value of their counter."""

    counter: int
    decisions: list[HandlerDecision]
    fired: Sequence[Fired]
    planned: list[Planned]


class _Needs(Struct):
    """What the commands of an event are about."""

    searches: list[tuple[CommandPlace, MatchCommand]]
    records: list[str]  # processes whose records the event begins, or looks for
    bindings: list[tuple[str, str, int]]  # processes that are not known yet
    runs: list[int]
    keyed: list[StartCommand]  # whose keys have not been looked up
    unread: list[tuple[CommandPlace, MatchCommand]]  # searches
    commands: int


class InLine(Protocol):
    """The event as seen by its actions: see `arrival`."""

    keys: dict[CommandPlace, int]  # for runs to be started, the same in every attempt
    marks: list[int]  # of its searches
    plan: EventPlan | None  # kept from one attempt to the next
    rehearsed: bool  # all that its actions lack was read, as far as that can be told before its turn

    def concerns(self, lines: Sequence[Line]) -> None:
        """It is known what the event concerns."""

    def has_come(self) -> bool:
        """Whether the event may act."""
        ...

    def wait(self) -> Suspend:
        """What waits for the event's turn."""
        ...


class HandlerActions:
    """The actions of the handlers that one event fired."""

    __slots__ = (
        "_answers", "_event", "_keys", "_line", "_planned", "_searches", "_unit", "_workspace", "done", "jobs", "many",
        "run_keys",
    )  # fmt: skip

    def __init__(
        self,
        unit: UnitOfWork,
        event: EventRow,
        line: InLine,
    ) -> None:
        self._workspace = unit.workspace
        self._answers = unit.answers
        self._keys = line.keys
        self._line = line
        self._searches: EventSearches | None = None  # made when there is something to look for
        self._unit = unit
        self._event = event
        self._planned: list[Planned] = []
        self.done = 0
        self.run_keys: list[RunKeyRow] = []
        self.many: dict[bytes, FanOut] = {}
        self.jobs: list[ResultRow] = []

    def carry_out(self, fired: Sequence[Fired], decisions: list[HandlerDecision], effects: list[EventEffect]) -> None:
        """Carries out the commands when the event's turn has come. Raises Suspend with everything that they lack, in one go, and
        when all is there, to wait for the turn."""
        line = self._line
        plan = line.plan
        if plan is None:
            line.concerns(lines_of(fired))
            self._plan(fired, decisions)
            line.plan = EventPlan(self._event.handlers, list(decisions), fired, self._planned)
        else:
            self._planned = plan.planned
        needs = self._needs(fired)
        searches, records = needs.searches, needs.records
        if records or plan is not None:
            line.concerns([*lines_of(fired), *records])
        if searches and self._workspace.shared and not line.has_come():
            raise line.wait()
        self._prepare(needs)
        unit = self._unit
        unit.multiple = needs.commands > 1 or bool(searches)
        if not line.has_come():
            if not searches and not line.rehearsed:
                self._rehearse(decisions, effects)
            raise line.wait()
        if not self._workspace.shared:
            for process in records:
                unit.keep_to((self._event.ns, process), any(command.process == process for _, command in searches))
        if searches:
            self._searching.settle(searches)
        self._act_all(decisions, effects)
        if self._searches is not None:
            self._searches.finish()

    @property
    def _searching(self) -> EventSearches:
        if self._searches is None:
            self._searches = EventSearches(self._unit, self._event.ns, self._line.marks)
        return self._searches

    def _needs(self, fired: Sequence[Fired]) -> _Needs:
        """One look at all commands."""
        ns, bound, known = self._event.ns, self._workspace.definitions.bound, self._answers.outside
        records = {action.records: None for match in fired for action in match.actions if action.records}
        needs = _Needs([], [], [], [], [], [], 0)
        for match, acts in self._planned:
            for position, (_, commands) in enumerate(acts):
                needs.commands += len(commands)
                for index, command in enumerate(commands):
                    if isinstance(command, StartCommand):
                        process = bound(ns, command.process, command.version)
                        if command.process and (process is None or process.records is not None):
                            records[command.process] = None
                        if process is None and not command.definition:
                            name = ("bind", ns, command.process, command.version)
                            if name not in known:
                                needs.bindings.append(name[1:])
                        if command.key and key_name(command) not in known:
                            needs.keyed.append(command)
                    elif isinstance(command, SignalCommand):
                        if len(needs.runs) < DIRECT:
                            needs.runs.append(command.run)
                    elif isinstance(command, MatchCommand):
                        place = (match.handler.name, position, index)
                        needs.searches.append((place, command))
                        records[command.process] = None
                        if self._searching.is_read(place):
                            needs.runs += self._searching.ahead(place)[: max(DIRECT - len(needs.runs), 0)]
                        else:
                            needs.unread.append((place, command))
        needs.records += records
        return needs

    def _rehearse(self, decisions: list[HandlerDecision], effects: list[EventEffect]) -> None:
        """Does everything before the event's turn has come, to have read what it lacks; nothing of it stays. Raises Suspend for
        scripts and for runs that are not in memory; whatever depends on what is before this event waits for its turn."""
        self._unit.multiple = True
        try:
            self._act_all(list(decisions), list(effects))
        except NextBatch:
            pass
        except Suspend as lacks:
            if lacks.wait is None and all(type(key) is RunKey or isinstance(key, OUTSIDE) for key in lacks.keys):
                raise
        self._line.rehearsed = True

    def _act_all(self, decisions: list[HandlerDecision], effects: list[EventEffect]) -> None:
        unit = self._unit
        for match, acts in self._planned:
            mark, mine = unit.mark(), []
            fan_outs = {name: len(fan_out.runs) for name, fan_out in self.many.items()} if self.many else {}
            kept = self.done, len(self.run_keys), len(self.jobs), fan_outs
            try:
                for position, (action, commands) in enumerate(acts):
                    mine += self._act(match.handler, action, commands, position)
            except (Suspend, NextBatch):
                raise
            except Exception as error:  # one handler's trouble is its own
                unit.back(mark)
                self._back(*kept)
                detail = error.message if isinstance(error, PeltonError) else f"{type(error).__name__}: {error}"
                fail(decisions, match.handler, detail[:2000])
                mine = [EventEffect(handler=match.handler.name, action="", outcome="failed", detail=detail[:2000])]
            if mine and mine[0].outcome == "failed" and all(effect.outcome == "failed" for effect in mine):
                details = dict.fromkeys(effect.detail for effect in mine)  # once each, in their order
                fail(decisions, match.handler, "; ".join(details)[:2000])
            effects += mine

    def _back(self, done: int, run_keys: int, jobs: int, many: dict[bytes, int]) -> None:
        """Drops the deferred commands of a handler that failed."""
        self.done = done
        del self.run_keys[run_keys:]
        del self.jobs[jobs:]
        self.many = {name: fan_out for name, fan_out in self.many.items() if name in many}
        for name, count in many.items():
            del self.many[name].runs[count:]

    def _plan(self, fired: Sequence[Fired], decisions: list[HandlerDecision]) -> None:
        scripts = self._answers.scripts
        questions: list[Any] = []
        for match in fired:
            context = ActionContext(
                self._event.ns,
                self._event,
                match.handler.language,
                match.view,
                self._unit.now,
                match.handler.id,
                self._workspace.codec,
                scripts.get,
            )
            acts: list[tuple[HandlerAction, list[Command]]] = []
            for action in match.actions:
                try:
                    acts.append((action, list(action.plan(context))))
                except Unanswered as unanswered:
                    questions += map(EvaluationKey, unanswered.questions)
                except ExpressionError as error:
                    acts.append((action, [PlanProblem(detail=error.message)]))
                except Exception as error:  # a language's mistake must not stop the event
                    acts.append((action, [PlanProblem(detail=f"{type(error).__name__}: {error}"[:2000])]))
            self._planned.append((match, acts))
        if questions:
            raise Suspend(keys=tuple(questions))

    def _prepare(self, needs: _Needs) -> None:
        loads = self._unit.missing(needs.runs) if needs.runs else ()
        keyed, unread = needs.keyed, needs.unread
        if loads or needs.bindings or keyed or unread:
            fetch = (lambda: self._look_up(keyed, unread)) if keyed or unread else None
            raise Suspend(loads=loads, bindings=tuple(needs.bindings), fetch=fetch)

    async def _look_up(self, commands: Sequence[StartCommand], matches: Sequence[tuple[CommandPlace, MatchCommand]]) -> None:
        for place, match in matches:
            await self._searching.read(place, match)
        for command in commands:
            live = command.on_same_key == "fail if live"
            runs = await self._workspace.store.run_keys(self._event.ns, KEY_KIND, command.process, command.key, live)
            head = await self._workspace.store.head(runs[0]) if runs else None
            placeholder = head is not None and head.status == RunStatus.EXPECTED
            self._answers.outside[key_name(command)] = 0 if placeholder or not runs else runs[0]
            self._answers.outside["placeholder", *key_name(command)] = runs[0] if placeholder else 0

    def _act(self, handler: Handler, action: HandlerAction, commands: list[Command], position: int) -> list[EventEffect]:
        effects: list[EventEffect] = []
        for index, command in enumerate(commands):
            effect = EventEffect(handler=handler.name, action=action.name, outcome="failed")
            if isinstance(command, PlanProblem):
                effect.detail = command.detail
            elif isinstance(command, StartCommand):
                self._start(command, effect, (handler.name, position, index))
            elif isinstance(command, CorrelateCommand):
                self._correlate(command, effect)
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
        if isinstance(process, PeltonError):
            effect.detail = process.message
            return
        if command.key:
            other = self._answers.outside[key_name(command)] or self._started_with(process.name, command.key)
            if other:
                effect.run = other
                effect.outcome = "unchanged" if command.on_same_key == "return" else "failed"
                effect.detail = f"a run of {command.process!r} has the key {command.key!r}"
                return
        placeholder = self._answers.outside["placeholder", *key_name(command)] if command.key else 0
        key = placeholder or self._keys.get(place)
        if placeholder:
            self._unit.entry(placeholder)
        if key is None:
            key = self._keys[place] = self._workspace.keys()
        ns = self._event.ns
        signal = Start(
            key=key,
            ns=ns,
            definition=process.definition,
            input=command.input,
            meta=command.meta,
            hops=self._event.hops + 1,
            ancestor=self._unit.ancestor,
            trigger=command.trigger,
            trace=self._workspace.spans.of_event(self._event.trace, self._event.key),
        )
        frees = bool(command.key) and command.on_same_key == "fail if live"
        keys = key_rows(ns, process.name, command, key)
        if placeholder:
            keys = [row for row in keys if not row.unique]
        if self.done >= DIRECT and not command.key:
            refused = self._tried(signal, process)
            if refused is not None:
                effect.detail = refused.detail
                return
            self._unit.defer(key, signal)
            self._unit.named += keys
        else:
            before = len(self._unit.named)
            self._unit.named += keys
            answer = self._unit.start(signal, process, FREES_KEYS if frees else 0)
            if type(answer) is Refused:
                del self._unit.named[before:]
                effect.detail = answer.detail
                return
        self.run_keys += keys
        effect.outcome, effect.run = "started", key

    def _tried(self, signal: Start, process: Process) -> Refused | None:
        """Whether a start that is deferred to a later commit will be refused, so that the event's record can say so. Only a start
        from inline content can be."""
        if process.records is None and signal.trigger is None:
            return None
        unit = self._unit
        mark, rows, notes = unit.mark(), unit.rows, len(unit.notes)
        answer = unit.start(signal, process)
        unit.back(mark)
        unit.rows = rows
        del unit.notes[notes:]
        return answer if type(answer) is Refused else None

    def _started_with(self, process: str, text: str) -> int:
        """The run with that key that this event itself starts, which the store does not know yet; 0 for none."""
        for row in self.run_keys:
            if row.kind == KEY_KIND and row.text == text and row.process == process:
                entry = self._unit.made.get(row.run)
                if entry is None or entry.head is None or not has_freed(entry.head):
                    return row.run
        return 0

    def _process(self, command: StartCommand) -> Process | PeltonError:
        """What is to be started, or why it cannot be."""
        if command.definition:
            return self._unit.process(command.definition)
        name = (self._event.ns, command.process, command.version)
        known = self._workspace.definitions.bound(*name)
        if known is not None and self._workspace.shared:
            self._unit.rests.defined.setdefault(name[0], self._workspace.definitions.counter(name[0]))
        found = known or self._answers.outside.get(("bind", *name))
        if isinstance(found, Process):
            return found
        return found if isinstance(found, PeltonError) else PeltonError(Code.UNKNOWN_PROCESS, f"no process {command.process!r}")

    def _signal(self, command: SignalCommand, effect: EventEffect) -> None:
        unit = self._unit
        effect.run = command.run
        if self.done >= DIRECT:
            self._later(command)
            effect.outcome, effect.detail = "signalled", "in a separate commit"
            return
        entry = unit.entry(command.run)
        if entry is None or entry.head is None or entry.head.ns != self._event.ns:
            effect.detail = f"unknown run {self._workspace.codec.run_id(command.run)}"
            return
        before, notes = entry.head, len(unit.notes)
        try:
            answer = unit.signal(entry, command.signal)
        except NextCommit:
            self._later(command)
            effect.outcome, effect.detail = "signalled", "in a separate commit"
            return
        if type(answer) is Refused:
            effect.detail = answer.detail
        else:
            describe(effect, answer, before, unit.notes[notes:])  # type: ignore[arg-type]

    def _match(self, command: MatchCommand, effect: EventEffect, place: CommandPlace) -> list[EventEffect]:
        """One effect per run for those signalled immediately, and one for all the others."""
        found = self._searching.result(place)
        runs, more = [record.run for record in found.records], found.more
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
            number = self._workspace.keys()
            signal: Any = command.signal  # tolerant: what it comes to is told in the results
            for at in range(0, len(rest), CHUNK):
                fan_out = FanOut(
                    self._event.ns, signal, rest[at : at + CHUNK], results=number, hops=self._event.hops + 1,
                    ancestor=self._unit.ancestor,
                )  # fmt: skip
                self.many[b"%d-%d" % (number, at)] = fan_out
            self.jobs.append(ResultRow(number, 0, len(rest), self._unit.now, "job", self._event.ns))
            effect.outcome = "signalled"
            bound = f"; only the first {len(runs)} matching runs are signalled" if more else ""
            effect.detail = f"{len(rest)} more in separate commits: job {number}{bound}"
            effect.output = {"job": str(number), "runs": len(rest)}
            effects.append(effect)
        elif not effects:
            self._searching.explain(place, command, effect)
            effects.append(effect)
        return effects

    def _correlate(self, command: CorrelateCommand, effect: EventEffect) -> None:
        correlated = correlate(self._unit, self._event.ns, command, self._event.key)
        if correlated.taken:
            effect.outcome, (effect.run, effect.n) = "signalled", correlated.taken[0]
        else:
            stays = correlated.held or correlated.sticky
            effect.outcome = "signalled" if correlated.later else "held" if stays else "unchanged"
        count = len(correlated.taken) + correlated.later
        if correlated.exists:
            effect.detail = f"there is an event {command.name!r} with key {command.key!r} already, which stays"
        elif count != 1:
            effect.detail = f"{count or 'no'} waits for {command.name!r} with key {command.key!r}"

    def _later(self, command: SignalCommand) -> None:
        unit = self._unit
        if len(unit.deferred) < ROWS:
            unit.defer(command.run, command.signal, self._event.ns)
            return
        encoded = encode_signal(command.signal)
        fan_out = self.many.get(encoded)
        if fan_out is None:
            kept: Any = command.signal
            rise = self._event.hops + 1
            fan_out = self.many[encoded] = FanOut(self._event.ns, kept, [], hops=rise, ancestor=unit.ancestor)
        fan_out.runs.append(command.run)


def lines_of(fired: Sequence[Fired]) -> list[Line]:
    """What the events of these handlers concern, as far as that is known without planning."""
    found: list[Line] = []
    for match in fired:
        found.append(match.handler.id)
        for action in match.actions:
            if action.records and action.records not in found:
                found.append(action.records)
    return found


def describe(effect: EventEffect, change: Transition, before: Run, notes: list[tuple[Code, str]]) -> None:
    """The effect that describes a signal's outcome."""
    if change.run is before or unchanged(change, before):
        effect.outcome = "unchanged"
    elif any(type(given) is Hold and given.taken < 0 for given in change.effects):
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


def fail(decisions: list[HandlerDecision], handler: Handler, detail: str) -> None:
    for index, decision in enumerate(decisions):
        if decision.id == handler.id and decision.verdict == "fired":
            decisions[index] = structs.replace(decision, verdict="failed", detail=detail)
            return
