"""JavaScript expressions: a script over one argument, `$`, whose answer is the value of its last statement.

Where a script runs does not change its result: on the loop when it is tame (see `bounded.py`) and done within its
budget, else wherever the runtime runs what `Unanswered` asks for, by `run`. Time stands still at `now`, random numbers
follow from `seed`, and `$` is a fresh copy.

| Script's value | Answer |
|---|---|
| whole number, `1.0` | int |
| undefined, a function, a symbol | None |
| NaN, Infinity | their names, as text |
| Date | an empty map |
| BigInt | int, or text above 2^53 |

Invariants: a script sees no host object and no other script's leavings: tame scripts share a context whose intrinsics are
frozen and which is thrown away after any limit error and whenever a script left something that cannot be removed; every
other script has its own context for each evaluation.

Cost: about 12 us for a short tame script over 1 kB; about 1 ms for a fresh context, which `run` makes for each question.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Literal, NamedTuple

import msgspec
import quickjs

from pelton.kernel.expressions.base import JSON, Evaluation, Expression, ExpressionError, Invalid, Outcome, Read, Unanswered
from pelton.kernel.expressions.javascript import bootstrap
from pelton.kernel.expressions.javascript.bounded import Uses, assigns, is_tame, member_uses

__all__ = ["MAX_SOURCE", "Script", "Uses", "check", "member_uses", "run", "truthy"]

Wrapper = Literal["statements", "function body"]

MAX_SOURCE = 100_000  # characters
CHECKERS = 4  # contexts kept for syntax checks
MAX_ARGUMENT_HERE = 64_000  # characters of JSON text that are parsed on the loop
MAX_SCRIPTS = 512  # compiled scripts that are kept on the loop
MEMORY = 32 << 20  # bytes a script may use
MEMORY_HERE = 8 << 20  # the same on the loop, for all compiled scripts and the one that runs
STACK = 256 << 10
DEFAULT_LIMIT_MS = 4000
DEFAULT_BUDGET_MS = 5

_INTERRUPTED = "InternalError: interrupted"
_OUT_OF_MEMORY = "InternalError: out of memory"
_FRAME = re.compile(r"\(<[a-zA-Z]+>:(\d+):\d+\)")
_BARE_FRAME = re.compile(r"at <[a-zA-Z]+>:(\d+):\d+")


class _Limit(NamedTuple):
    """A run that was stopped: by its time, or by its memory."""

    interrupted: bool


class Sandbox:
    """One JavaScript context, prepared: for one script, or `shared` by tame ones. To be used by one thread at a time."""

    def __init__(self, memory: int = MEMORY, *, shared: bool = False) -> None:
        self._context = quickjs.Context()
        self._context.set_max_stack_size(STACK)
        self._context.set_memory_limit(memory)
        made = self._context.eval(bootstrap.SOURCE)(shared)
        self._run = made(0)
        self._tidy = made(1)

    def compile(self, source: str) -> Any:
        """The function that evaluates a source. Nothing of the source is looked at yet."""
        # A direct evaluation inside a function: its value is that of the last statement, and its variables are local.
        return self._context.eval(f"($) => eval({msgspec.json.encode(source).decode()})")

    def call(self, main: Any, question: Evaluation, milliseconds: float) -> Outcome | _Limit:
        self._context.set_time_limit(milliseconds / 1000)
        seed = (question.seed ^ (question.seed >> 32)) & 0x7FFFFFFF
        try:
            answer = self._run(main, question.argument, float(question.now), seed)
        except quickjs.JSException as error:
            text = str(error)
            if text.startswith(_INTERRUPTED):
                return _Limit(interrupted=True)
            if text.startswith(_OUT_OF_MEMORY):
                return _Limit(interrupted=False)
            return Outcome(None, text.split("\n", 1)[0][:1000], failed=True)
        except MemoryError:
            return _Limit(interrupted=False)
        return _outcome(answer, question.source)

    def clean(self) -> bool:
        """Removes what the last script left behind; False when that is not possible."""
        self._context.set_time_limit(1)
        try:
            return bool(self._tidy()) and not self._context.execute_pending_job()
        except quickjs.JSException:
            return False


def _outcome(answer: JSON, source: str) -> Outcome | _Limit:
    if answer is None or isinstance(answer, (bool, int)):
        return Outcome(answer)
    if isinstance(answer, float):
        return Outcome(int(answer) if answer.is_integer() and abs(answer) < 1e21 else answer)
    if answer[:1] == "!":
        message, stack = msgspec.json.decode(answer[1:])
        if message.startswith(_OUT_OF_MEMORY):
            return _Limit(interrupted=False)
        return Outcome(None, _located(message, stack, source), failed=True)
    try:
        return Outcome(msgspec.json.decode(answer))
    except RecursionError:
        return Outcome(None, "RangeError: the result is nested too deeply", failed=True)
    except msgspec.DecodeError:
        return Outcome(None, "RangeError: the result is not JSON (half of a surrogate pair in a name?)", failed=True)


def _located(message: str, stack: str, source: str) -> str:
    """The message with the line of the source that it is about, as far as the stack tells."""
    lines = source.count("\n") + 1
    frames = stack.strip().split("\n")
    # A source that does not parse has a first frame of its own kind; so has a text that `JSON.parse` refuses.
    bare = _BARE_FRAME.search(frames[0])
    if bare and not any("(native)" in frame for frame in frames[1:2]):
        return f"{message} at line {min(int(bare[1]), lines)}"
    for line in _FRAME.findall(stack):
        if int(line) <= lines:
            return f"{message} at line {line}"
    return message


class _Here:
    """The context on the loop, with the compiled tame scripts in it. They can share it because nothing that a tame script
    can say changes an object; a global that one makes by assigning is removed before the next."""

    def __init__(self) -> None:
        self._sandbox: Sandbox | None = None
        self._scripts: OrderedDict[str, tuple[Any, bool]] = OrderedDict()

    def run(self, question: Evaluation, milliseconds: float) -> Outcome | None:
        """None when a limit was reached: the question is then for the runtime."""
        sandbox = self._sandbox
        if sandbox is None:
            sandbox = self._sandbox = Sandbox(MEMORY_HERE, shared=True)
        found = self._scripts.get(question.source)
        if found is None:
            found = self._add(sandbox, question.source)
            if found is None:
                return None
        else:
            self._scripts.move_to_end(question.source)
        main, leaves_globals = found
        outcome = sandbox.call(main, question, milliseconds)
        if isinstance(outcome, _Limit):
            self.drop()
            return None
        if leaves_globals and not sandbox.clean():
            self.drop()
        return outcome

    def _add(self, sandbox: Sandbox, source: str) -> tuple[Any, bool] | None:
        try:
            entry = (sandbox.compile(source), assigns(source))
        except quickjs.JSException:
            self.drop()  # no memory left for one more
            return None
        self._scripts[source] = entry
        if len(self._scripts) > MAX_SCRIPTS:
            self._scripts.popitem(last=False)
        return entry

    def drop(self) -> None:
        self._scripts.clear()
        self._sandbox = None


_here = _Here()


class Script:
    """A compiled script. Evaluating it raises ExpressionError when it fails or is stopped, Unanswered when the runtime must
    run it. `engine` is the language's own name for the engine, and changes nothing."""

    __slots__ = ("_argument", "_budget", "_limit", "_tame", "reads", "source")

    def __init__(
        self,
        source: str,
        argument: Expression,
        *,
        engine: str = "javascript",
        limit_ms: int = DEFAULT_LIMIT_MS,
        in_kernel_ms: float = DEFAULT_BUDGET_MS,
        wrapper: Wrapper = "statements",
    ) -> None:
        """Raises Invalid for an unknown engine or a source that is too long; `check` also looks at its syntax."""
        if engine not in ("javascript", "graaljs"):
            raise Invalid(f"no JavaScript engine is called {engine!r}; write 'javascript'")
        _check_length(source)
        self.source = wrap(source, wrapper)
        self.reads: frozenset[Read] = argument.reads
        self._argument = argument
        self._limit = limit_ms
        self._budget = in_kernel_ms
        self._tame = in_kernel_ms > 0 and is_tame(self.source)

    def evaluate(self, context: Any) -> JSON:
        text = msgspec.json.encode(self._argument.evaluate(context)).decode()
        question = Evaluation("javascript", self.source, text, context.now, context.seed, self._limit)
        outcome: Outcome | None = context.evaluated(question)
        if outcome is None and self._tame and len(text) <= MAX_ARGUMENT_HERE:
            outcome = _here.run(question, self._budget)
        if outcome is None:
            raise Unanswered(question)
        if outcome.failed:
            raise ExpressionError(outcome.error, outcome.timed_out)
        return outcome.value


def wrap(source: str, wrapper: Wrapper) -> str:
    """The form in which a source is evaluated: statements. A function's body is called where it stands, on the line on
    which it begins, so that line numbers stay true."""
    return source if wrapper == "statements" else f"(function ($) {{{source}\n}})($)"


def _check_length(source: str) -> None:
    if len(source) > MAX_SOURCE:
        raise Invalid(f"the script has {len(source)} characters; the limit is {MAX_SOURCE}", MAX_SOURCE)


_checkers: list[Sandbox] = []  # contexts that have only parsed, for the next check: making one costs a thousand times more


def check(source: str, wrapper: Wrapper = "statements") -> None:
    """Raises Invalid when a script is not JavaScript, with the position of the error. The script is not run."""
    _check_length(source)
    if not source.strip():
        raise Invalid("the script is empty", 0)
    start = "throw 0;" if wrapper == "statements" else "throw 0;(function ($) {"
    end = "" if wrapper == "statements" else "\n})"
    try:
        sandbox = _checkers.pop()  # whoever has it has it alone, in whatever thread
    except IndexError:
        sandbox = Sandbox()
    # What stands before the source, on its first line, keeps it from running; its declarations are only instantiated, inside
    # a separate function, so that nothing of it is left for the next.
    outcome = sandbox.call(sandbox.compile(start + source + end), Evaluation("javascript", source, "{}", 0, 0, 1000), 1000)
    if isinstance(outcome, _Limit):
        raise Invalid("the script is too large to be checked")
    if len(_checkers) < CHECKERS and sandbox.clean():
        _checkers.append(sandbox)
    if outcome.error.startswith(("SyntaxError", "RangeError")):
        raise Invalid(outcome.error, _position(outcome.error, source))


def _position(error: str, source: str) -> int:
    found = re.search(r" at line (\d+)$", error)
    return sum(map(len, source.splitlines(keepends=True)[: int(found[1]) - 1])) if found else -1


def run(question: Evaluation, sandbox: Sandbox | None = None) -> Outcome:
    """Runs a script with all the time that its question allows, in a fresh context (or one that the caller has just made).
    It can hold the engine for much longer than that, so the caller must be able to end the process it runs in."""
    sandbox = sandbox or Sandbox()
    outcome = sandbox.call(sandbox.compile(question.source), question, question.limit)
    if not isinstance(outcome, _Limit):
        return outcome
    if outcome.interrupted:
        return Outcome(None, f"the script was stopped after {question.limit} ms", failed=True, timed_out=True)
    return Outcome(None, f"the script needs more than {MEMORY >> 20} MB of memory", failed=True)


def truthy(value: JSON) -> bool:
    """How a script's answer counts as a condition: true itself, or a number above 0; nothing else, not even "true"."""
    if isinstance(value, bool):
        return value
    return isinstance(value, (int, float)) and value > 0
