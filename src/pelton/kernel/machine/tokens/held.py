"""Events and reports that came before anything could take them: which of them a step may claim, in which order.

They are read in pages, oldest first, and only those that the step's thread and number admit: however many are held for others,
the one for this step is found.
"""

from __future__ import annotations

from collections.abc import Iterator

from pelton.kernel.machine.draft import Draft
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.model.process import OnEvent, Wait
from pelton.kernel.model.reads import HELD_PAGE, Held, HeldKey
from pelton.kernel.model.signals import EventArrived
from pelton.kernel.model.state import Bit, OpenStep
from pelton.kernel.model.transition import Claim, TakeCopy

COPY = "copy:"  # before an event's name and key in `OpenStep.waits`: the sticky event of which the wait has got its copy


def held_for(draft: Draft, row: OpenStep, name: str, key: str = "", *, shared: bool = False) -> Iterator[Held]:
    """What is held under a name and is not claimed yet, of what this step may take, oldest first. With `key`: what was kept for
    the run under that key; `shared`: what is held under it for whoever waits."""
    if not shared and not draft.head.held:
        return
    after: tuple[int, int] | None = None
    while True:
        page = draft.reads.answer(HeldKey(name, key if shared else "", row.thread, row.n if key else place_of(row), after))
        for held in page:
            if (
                not is_claimed(draft, held)
                and not (held.sticky and has_copy(row, held, held.id))
                and (shared or held.key == key)
                and addressed_to(held, row)
            ):
                yield held
        if len(page) < HELD_PAGE:
            return
        after = (page[-1].posted, page[-1].id)


def place_of(row: OpenStep) -> int:
    """What events of the run call a step in its thread: its position, or its number where none was counted."""
    return row.position if row.position >= 0 else row.n


def addressed_to(event: Held | EventArrived, row: OpenStep) -> bool:
    """Whether an event may go to this step, by the thread and the place in it that it is addressed to. One with a key names the
    step by its number: it was found by the waits under that key."""
    position = event.position
    return (event.thread < 0 or event.thread == row.thread) and (
        position < 0 or position == (row.n if event.key else place_of(row))
    )


def is_claimed(draft: Draft, held: Held) -> bool:
    if held.sticky and not held.once:
        return False
    return any(isinstance(effect, Claim | TakeCopy) and effect.id == held.id for effect in draft.effects)


def has_copy(row: OpenStep, event: Held | EventArrived, sticky: int) -> bool:
    """Whether a wait has got its copy of a sticky event."""
    return bool(row.waits) and row.waits.get(copy_of(event)) == sticky


def copy_of(event: Held | EventArrived) -> str:
    return f"{COPY}{event.name}:{event.key}"


def take_copy(draft: Draft, row: OpenStep, event: Held | EventArrived, sticky: int) -> None:
    """`row`: an open one of this draft, whose wait gets its copy of a sticky event."""
    row.waits = {**(row.waits or {}), copy_of(event): sticky}
    draft.effects.append(TakeCopy(sticky, row.n, row.thread, row.position))


def claim(draft: Draft, held: Held, n: int, *, counted: bool) -> None:
    """`counted`: it is held for the run, which counts such rows."""
    draft.effects.append(Claim(held.id, n, held.keeps))
    if counted:
        draft.head.held -= 1


def key_of(draft: Draft, row: OpenStep, index: int, arm: OnEvent) -> str:
    """The key that an arm of an open wait waits for; "" = for events of the run."""
    return (
        ""
        if arm.key is None
        else str((row.waits or {}).get(str(index)) or evaluate(arm.key, Scene(draft, row, row.input, row.thread)))
    )


def events_for(draft: Draft, row: OpenStep, index: int, arm: OnEvent) -> Iterator[tuple[Held, bool]]:
    """The events held that an arm may take, and whether the run counts them: those for the run, or those kept for the step under
    its key, then those for whoever waits for the key."""
    key = key_of(draft, row, index, arm)
    for held in held_for(draft, row, arm.event, key):
        yield held, True
    if key:
        for held in held_for(draft, row, arm.event, key, shared=True):
            yield held, False


def is_one_there(draft: Draft, node: Wait, row: OpenStep) -> bool:
    """Whether an event is held that ends this wait when its thread resumes."""
    return any(
        isinstance(arm, OnEvent) and not arm.stays and next(events_for(draft, row, index, arm), None) is not None
        for index, arm in enumerate(node.arms)
    )


def let_go(draft: Draft, row: OpenStep) -> None:
    """Drops the events that were kept for this step alone, which does not wait any more."""
    node = draft.node_of(row) if row.bits & Bit.COPIED else None
    if isinstance(node, Wait):
        for index, arm in enumerate(node.arms):
            if isinstance(arm, OnEvent) and arm.key is not None:
                for held in list(held_for(draft, row, arm.event, key_of(draft, row, index, arm))):
                    claim(draft, held, row.n, counted=True)
