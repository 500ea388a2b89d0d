"""What an expression of a process sees: the run as the draft has it so far, and the current step.

A `Scene` is made for each evaluation. Everything is read through the draft, so that what is not loaded surfaces as a need.
"""

from __future__ import annotations

from typing import Any

from msgspec import convert

from pelton.kernel.expressions.base import Evaluation, Expression, ExpressionError, Outcome, Unanswered
from pelton.kernel.machine.draft import Draft, Moment, StepFailure, Token
from pelton.kernel.machine.nearest import loop_around, nearest, nearest_of_iteration
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Codec, EvaluationKey, FoundKey, Missing, RecordKey, VarsKey
from pelton.kernel.model.state import START, Failure, OpenStep, Record, Run, StartMeta, Step
from pelton.kernel.model.transition import UNSET

MASK = (1 << 53) - 1


class RunEnd:
    """How the run ends, for the expressions that are evaluated then."""

    __slots__ = ("failure", "output", "reason", "status")

    def __init__(self, status: int, reason: str, failure: Failure | None, output: Any = None) -> None:
        self.status = status
        self.reason = reason
        self.failure = failure
        self.output = output  # of the run, for its follow-ups


class Scene:
    __slots__ = ("at", "draft", "end", "iteration", "step", "thread", "value")

    def __init__(
        self,
        draft: Draft,
        step: OpenStep | Step | None = None,
        value: Any = None,
        thread: int = 0,
        iteration: int = 0,
        end: RunEnd | None = None,
        at: Token | None = None,
    ) -> None:
        self.draft = draft
        self.step = step  # the current step
        self.at = step or at  # where it is evaluated: the current step; the token at a node that leaves no step
        self.value = value  # its evaluated input; the selected text; what was reported
        self.thread = thread
        self.iteration = iteration  # of the current scope step
        self.end = end

    @property
    def now(self) -> int:
        return self.draft.now

    @property
    def seed(self) -> int:
        step = self.step
        return mix(self.draft.head.key, step.n if step is not None else 0, step.attempt if step is not None else 0)

    @property
    def run(self) -> Run:
        return self.draft.head

    @property
    def process(self) -> Process:
        return self.draft.process

    @property
    def codec(self) -> Codec:
        return self.draft.reads.codec

    @property
    def moment(self) -> Moment:
        """When this happens, and by whom: who gave the signal, else who started the run."""
        draft = self.draft
        if draft.moment is None:
            meta = self.meta
            draft.moment = Moment(draft.now, draft.reads.stamp, meta.actor or "", str(meta.extra.get("request", "")))
        return draft.moment

    @property
    def record(self) -> Any:
        """The body of the run's record; None when it has none."""
        draft = self.draft
        if draft.record_change is not None:
            return draft.record_change.record.body if draft.record_change.record is not None else None
        found: Record | None = None if draft.created else draft.reads.answer(RecordKey())
        return found.body if found is not None else None

    @property
    def standing(self) -> Record | None:
        """The run's record before this draft; None when the draft starts the run."""
        draft = self.draft
        if draft.record_change is not None:
            loaded: Record | None = draft.record_change.loaded.record
            return loaded
        found: Record | None = None if draft.created else draft.reads.answer(RecordKey())
        return found

    def found(self, name: str, text: str) -> list[Record]:
        """Records of other runs that have this attribute, oldest run first, at most 2,000; as they are in the store."""
        return [] if self.draft.created else list(self.draft.reads.answer(FoundKey(name, text)))

    def counts(self) -> dict[str, int]:
        """How many children there are of each kind that they are counted as; "": those announced and not started yet."""
        return {name[1:]: value for name, value in self.variables().items() if name.startswith("#") and value > 0}

    @property
    def meta(self) -> StartMeta:
        """What the caller said about the run when starting it."""
        start = self.draft.newest(START)
        return meta_of(start)

    @property
    def input(self) -> Any:
        """The run's input."""
        start = self.draft.newest(START)
        return start.output if start is not None else None

    def newest(self, slot: str, it: int | None = None) -> OpenStep | Step | None:
        """The nearest step of a slot: the newest one in the own thread and iteration, else further out (see `nearest`); of
        iteration `it` when given."""
        if it is None:
            return nearest(self.draft, slot, self.at, self.iteration)
        return nearest_of_iteration(self.draft, slot, it, self.at, self.iteration)

    def just_ended(self, *slots: str) -> Step | None:
        """The step of these slots that ended in this draft: of several tokens that pass there, the one that is moving on."""
        found = [step for step in self.draft.ended.values() if step.slot in slots]
        at = self.at
        if at is not None and len(found) > 1:
            mine = [step for step in found if step.thread == at.thread]
            found = [step for step in mine if (step.scope, step.it) == (at.scope, at.it)] or mine or found
        return max(found, key=lambda step: step.n, default=None)

    def var(self, name: str) -> Any:
        found = self.draft.var(self.thread, name)
        return found[0] if found else None

    def variables(self) -> dict[str, Any]:
        """All variables of the root thread."""
        known: dict[str, Any] = {} if self.draft.created else dict(self.draft.reads.answer(VarsKey(0)))
        for (no, name), value in self.draft.variables.items():
            if no == 0:
                known[name] = value
        return {name: value for name, value in known.items() if value is not UNSET}

    def loop(self, slot: str) -> int:
        """The current iteration of the nearest scope of that name; 0 before the first."""
        return loop_around(self.draft, slot, self.at, self.iteration)[1]

    def item(self, slot: str) -> Any:
        """The item of that iteration; None when it has none."""
        row, k = loop_around(self.draft, slot, self.at, self.iteration)
        if not isinstance(row, OpenStep) or not isinstance(row.waits, list) or not 0 < k <= len(row.waits):
            return None
        return row.waits[k - 1]

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self.draft.reads.evaluated(question)


def meta_of(start: OpenStep | Step | None) -> StartMeta:
    return convert(start.input, StartMeta) if start is not None and start.input else StartMeta()


def mix(run: int, n: int, attempt: int) -> int:
    """A number that looks random and is the same for the same step."""
    x = (run * 0x9E3779B97F4A7C15 + n * 0xBF58476D1CE4E5B9 + attempt * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    x ^= x >> 31
    x = (x * 0xD6E8FEB86659FD93) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 32)) & MASK


def evaluate(expression: Expression, scene: Scene) -> Any:
    """The value. Raises StepFailure for an error of its author, Missing for what is to be read: all that it may read, at once."""
    try:
        return expression.evaluate(scene)
    except Unanswered as question:
        keys: list[Any] = [EvaluationKey(question.question)]
    except ExpressionError as error:
        kind = "timed out" if error.timed_out else "technical"
        raise StepFailure(Failure("expression", kind, error.message, None, error.retriable)) from None
    except Missing as first:
        keys = [*first.keys, *others(expression, scene)]
    if scene.draft.thrifty:
        raise too_much(scene.draft)
    raise Missing(*dict.fromkeys(keys))


def too_much(draft: Draft) -> StepFailure:
    """The failure of a step whose expression reads more than one signal may."""
    spent = draft.reads.spent
    what = spent.what if spent is not None else "more reads than there may be"
    return StepFailure(Failure("too large", "technical", f"an expression needs {what}; let it read less", None, False))


def others(expression: Expression, scene: Scene) -> list[Any]:
    keys: list[Any] = []
    for read in expression.reads:
        try:
            if read.kind == "slot":
                scene.newest(read.name)
            else:
                scene.var(read.name)
        except Missing as missing:
            keys += missing.keys
    return keys
