"""What every expression of Pelton has in common.

An expression is a value compiled once per definition version. It reads nothing but the context given to it, says
beforehand what it will read (`reads`), and is bounded in time and memory. Languages supply `Resolver`s, which say what a
name in their expressions stands for; the expression engines themselves know no language's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import json

MAX_LOOKS = 200_000  # values that one evaluation looks at, each at most some 0.5 us
MAX_LOOKS_TOGETHER = 1_000_000  # and all evaluations of one transition
MAX_INT = (1 << 63) - 1

JSON = Any  # None | bool | int | float | str | list[JSON] | dict[str, JSON], as msgspec decodes it


def in_words(value: JSON, most: int = 100) -> str:
    """A value in a text for people, as JSON has it; cut to so many characters."""
    text = json.encode(value, enc_hook=str).decode(errors="replace")
    return text if len(text) <= most else text[: most - 1] + "…"


class Read(NamedTuple):
    """One thing that an expression may look at: the newest step of a slot, or a variable."""

    kind: Literal["slot", "var"]
    name: str


class Evaluation(NamedTuple):
    """A script whose answer is asked of the runtime: too slow for the loop, or in an engine that must be killable.

    `argument` is JSON text, so that the key is content-addressed: the same question is the same key.
    """

    engine: Literal["javascript", "jq"]
    source: str
    argument: str
    now: int  # milliseconds; what the script sees as the current time
    seed: int  # what its random numbers start from
    limit: int  # milliseconds after which the runtime stops it


class Outcome(NamedTuple):
    """The result of a script: a JSON value, or an error text, depending on `failed`."""

    value: JSON
    error: str = ""
    failed: bool = False
    timed_out: bool = False
    took: int = 0  # milliseconds of its own time

    def __eq__(self, other: object) -> bool:
        """The same answer is the same, however long it took."""
        return isinstance(other, Outcome) and self[:4] == other[:4]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[1:4])


class Context(Protocol):
    """What an evaluation is given. Sources (see `Bound`) may ask a richer object for more."""

    @property
    def now(self) -> int: ...
    @property
    def seed(self) -> int: ...
    def evaluated(self, question: Evaluation) -> Outcome | None:
        """The answer that the runtime fetched for a question of an earlier round, if any."""
        ...


class Unanswered(Exception):
    """Raised by an expression whose script must be run by the runtime: it becomes a `Need`. `questions` are all that are
    open, so that many can be answered in one go; `question` is the first."""

    def __init__(self, question: Evaluation, *others: Evaluation) -> None:
        super().__init__(question.engine)
        self.question = question
        self.questions = (question, *others)


class ExpressionError(Exception):
    """An evaluation failed for a reason that the author of the expression can fix. `retriable`: it may be tried again."""

    def __init__(self, message: str, timed_out: bool = False, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.timed_out = timed_out
        self.retriable = retriable or timed_out


class LookedEnough(ExpressionError):
    """An evaluation has looked at as many values as one may; or `together` with others as many as they may."""

    def __init__(self, together: bool = False) -> None:
        what = "one evaluation may" if not together else "all expressions of one signal may together"
        most = MAX_LOOKS_TOGETHER if together else MAX_LOOKS
        super().__init__(
            f"it has to look at more values than {what} ({most}); ask for less of the value, or let a script or "
            "a worker search it"
        )
        self.together = together


class LooksTogether:
    """How many values the evaluations of one transition may still look at. What is not part of a transition has its own bounds
    only: a handler that looks at much must not take from others."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_INT

    def begin(self) -> None:
        self.left = MAX_LOOKS_TOGETHER

    def end(self) -> None:
        self.left = MAX_INT


TOGETHER = LooksTogether()
"""Of the transition that is being decided: there is one at a time."""


class Looks:
    """How many values an evaluation may still look at: what runs on the loop must end. Whoever shares one among expressions
    begins it anew for each evaluation."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_LOOKS

    def begin(self) -> None:
        self.left = MAX_LOOKS

    def spend(self, looks: int) -> None:
        """Raises LookedEnough."""
        self.left -= looks
        TOGETHER.left -= looks
        if self.left < 0:
            raise LookedEnough
        if TOGETHER.left < 0:
            raise LookedEnough(together=True)


class Invalid(Exception):
    """An expression does not compile. `position` is the offset of the first bad character, -1 when unknown."""

    def __init__(self, message: str, position: int = -1) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class Bound(NamedTuple):
    """What a name in an expression stands for.

    `get(context)` yields the value; `used` says how many plain members of the path, after the name, it has consumed
    already (`${task.output.a}` with a source that yields the task's output: used = 1, and `.a` is left to the engine).
    """

    get: Callable[[Any], JSON]
    used: int
    reads: frozenset[Read]


class Resolver(Protocol):
    def __call__(self, name: str, members: tuple[str | int, ...]) -> Bound:
        """What `name` stands for. `members` are the plain members that follow it (names and list indexes), as far as they
        are plain; an unknown name is bound to a source of None, never an error, unless the language says otherwise."""
        ...


class Expression(Protocol):
    @property
    def reads(self) -> frozenset[Read]: ...
    def evaluate(self, context: Any) -> JSON:
        """Raises ExpressionError, Unanswered, or the context's own exception for what is not loaded yet."""
        ...


class Constant:
    """An expression that is its own value."""

    __slots__ = ("value",)
    reads: frozenset[Read] = frozenset()

    def __init__(self, value: JSON) -> None:
        self.value = value

    def evaluate(self, context: Any) -> JSON:
        return self.value


class BoundValue:
    """An expression that is one bound value, for example the input of the step at hand."""

    __slots__ = ("_get", "reads")

    def __init__(self, get: Callable[[Any], JSON], reads: frozenset[Read] = frozenset()) -> None:
        self._get = get
        self.reads = reads

    def evaluate(self, context: Any) -> JSON:
        return self._get(context)
