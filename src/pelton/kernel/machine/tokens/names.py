"""Names: a step finds another run by its name, and knows in its own transition what comes of a start or a signal.

A decision is made as if nothing were refused. The signal reaches the run in the same commit; if that refuses it, the whole unit
of work is taken back and decided once more, with the refusal as something that is read (`RefusalKey`). So what a step was told is
what has happened, and nothing happens twice.

What this very transition has decided on for a run has not reached it yet. A token that comes to the same run meanwhile parks, as
if fuel had run out, and comes again in the next commit.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pelton.kernel.expressions.base import in_words
from pelton.kernel.machine.draft import SKIPPED, Draft, StepFailure, Token
from pelton.kernel.machine.records import COUNTER
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.lifecycle import find_definition, meta_from
from pelton.kernel.model.process import MOST_NAME, Find, is_name
from pelton.kernel.model.reads import NamedKey, NamedRun, NewRunKey, RefusalKey, RoomKey
from pelton.kernel.model.signals import Signal, Start
from pelton.kernel.model.state import Bit, Failure, OpenStep, RunStatus, StartMeta
from pelton.kernel.model.transition import SignalRun, StartRun

INNER = (COUNTER, SKIPPED)  # before the names of variables that are the kernel's own
NO_SUCH_RUN = "no such run"
NAME_TAKEN = "name taken"
NOT_ACCEPTED = "not accepted"


def comes_later(draft: Draft, token: Token, node: Find) -> bool:
    """Lets a token come again in the next commit: when this one has no room for a further run, or has decided on something for
    the run that has not reached it."""
    if draft.reads.answer(RoomKey(len(decided(draft)))):
        try:
            process, text = name_of(node, Scene(draft, None, None, token.thread, at=token))
        except StepFailure:
            return False  # it fails once it is a step
        if not is_busy(draft, draft.reads.answer(NamedKey(process, text)), text):
            return False
    draft.park(token, Bit.STRANDED)
    draft.ask_to_continue()
    return True


def find(draft: Draft, node: Find, scene: Scene, row: OpenStep) -> Any:
    """The output of a step that has just opened. Raises StepFailure."""
    process, text = name_of(node, scene)
    found: NamedRun | None = draft.reads.answer(NamedKey(process, text, node.does == "read"))
    own = found is not None and found.run == draft.head.key
    if found is not None and own:
        found = found._replace(status=RunStatus(draft.head.status))
    if is_busy(draft, found, text):  # its name depends on its own input, so that it was not seen before
        raise failure(NOT_ACCEPTED, f"the run {text!r} of {process!r} has not gone on yet", "busy")
    if node.does == "start":
        return start(draft, node, scene, row, process, text, found)
    if found is None or found.status == RunStatus.EXPECTED:
        raise failure(NO_SUCH_RUN, f"there is no run {text!r} of {process!r}")
    run = draft.reads.codec.run_id(found.run)
    if node.does == "read":
        variables, record = (scene.variables(), scene.record) if own else (found.variables or {}, found.record)
        shown = {name: value for name, value in variables.items() if not name.startswith(INNER)}
        output = {"run": run, "status": found.status.name, "variables": shown}
        return output if record is None else {**output, "record": record}
    if own:
        raise failure(NOT_ACCEPTED, "a run cannot signal itself by name", "invalid")
    signal = evaluate(node.signal, scene) if node.signal is not None else None
    if not isinstance(signal, Signal) or isinstance(signal, Start):
        raise failure(NOT_ACCEPTED, "the step yields no signal", "invalid")
    check_accepted(draft, found.run, row)
    draft.effects.append(SignalRun(found.run, replace(signal, strict=True), together=True, asked_by=row.n))
    return {"run": run}


def start(draft: Draft, node: Find, scene: Scene, row: OpenStep, process: str, text: str, found: NamedRun | None) -> Any:
    if found is not None and found.status != RunStatus.EXPECTED:
        run = draft.reads.codec.run_id(found.run)
        raise failure(NAME_TAKEN, f"the run {run} of {process!r} has the name {text!r}", "exists")
    definition = find_definition(draft, {"name": process})
    if isinstance(definition, str):
        raise failure(NOT_ACCEPTED, definition, "unknown definition")
    given = evaluate(node.given, scene) if node.given is not None else row.input
    meta = meta_from(evaluate(node.meta, scene)) if node.meta is not None else StartMeta()
    key: int = found.run if found is not None else draft.reads.answer(NewRunKey(row.n, row.attempt))
    check_accepted(draft, key, row)
    draft.effects.append(StartRun(key=key, definition=definition, input=given, meta=meta, n=0, name=text, named_by=row.n))
    return {"run": draft.reads.codec.run_id(key)}


def name_of(node: Find, scene: Scene) -> tuple[str, str]:
    process, text = evaluate(node.process, scene), evaluate(node.key, scene)
    for value in (process, text):
        if not is_name(value):
            raise failure(NOT_ACCEPTED, f"a name is a text of 1 to {MOST_NAME} characters, not {in_words(value)}", "invalid")
    return str(process), str(text)


def check_accepted(draft: Draft, run: int, row: OpenStep) -> None:
    refusal: tuple[str, str] | None = draft.reads.answer(RefusalKey(run, row.n))
    if refusal is not None:
        raise failure(NOT_ACCEPTED, refusal[1], refusal[0])


def decided(draft: Draft) -> list[SignalRun | StartRun]:
    """What this transition has decided on for other runs, and has not reached them."""
    return [
        effect
        for effect in draft.effects
        if (type(effect) is SignalRun and effect.together) or (type(effect) is StartRun and effect.name)
    ]


def is_busy(draft: Draft, found: NamedRun | None, text: str) -> bool:
    if found is not None and found.busy:
        return True
    mine = decided(draft)
    run = found.run if found is not None else 0
    return any(each.key == run or (type(each) is StartRun and each.name == text) for each in mine)


def failure(name: str, message: str, code: str = "not found") -> StepFailure:
    return StepFailure(Failure(name, "business", message, {"code": code, "message": message}, False))
