"""The branches that a join no longer waits for: everything between the fork that opened it and the slots that it awaits.

What is there is found by the graph, and whose it is by the mark of the fork (see `flow.open_branches`). Cost: the nodes of the
fork's branches, and the open rows of the join's thread; only for joins that end their losers.
"""

from __future__ import annotations

from collections.abc import Iterator

from pelton.kernel.machine.draft import Draft, RowDropped, Token
from pelton.kernel.machine.tokens.flow import awaited, is_beside, passage, retire_token
from pelton.kernel.model.process import Fork, Join, Node, following, targets
from pelton.kernel.model.state import Bit, OpenStep, Step

LOST = "lost to another branch"


def drop_losers(draft: Draft, n: int) -> None:
    """Ends what is left of the branches that did not get to join `n` in time: tokens on their way, parked ones, and steps with
    all that is inside them. Branches that the join does not await stay, and so does what has gone beyond an awaited slot."""
    join = draft.step(n)
    node = draft.node_of(join) if join is not None else None
    if join is None or not isinstance(node, Join):
        return
    slots = awaited(draft, node, join)
    found = dict(zip(slots, passage(draft, join, slots), strict=True))
    lost, fragment = losing(draft, node, join, {slot for slot, step in found.items() if isinstance(step, Step)})

    def of_loser(row: OpenStep | Token, name: str) -> bool:
        if (row.thread, row.scope, row.it) != (join.thread, join.scope, join.it):
            return False
        return stands_at(draft, row, name, fragment) in lost and belongs(draft, join, row)

    rows = [row for row in draft.rows_of(join.thread) if row.n != n and of_loser(row, row.slot)]
    tokens = [item for item in draft.worklist if isinstance(item, Token) and of_loser(item, item.node)]
    draft.forget(lambda token: token in tokens)
    for token in tokens:
        retire_token(draft, token.scope)
    # Before anything else on the worklist: what lost does nothing any more.
    draft.worklist.extendleft(RowDropped(row.n, LOST) for row in reversed(rows))


def stands_at(draft: Draft, row: OpenStep | Step | Token, name: str, fragment: int) -> str:
    """Where a row is in terms of a fragment: what a fork in there has made is all at the fork."""
    inner = row.fragment
    while inner > fragment:
        fork = draft.step(inner)
        if fork is None:
            break
        name, inner = fork.slot, fork.fragment
    return name


def belongs(draft: Draft, join: OpenStep | Step, row: OpenStep | Token) -> bool:
    """Whether a row is in a branch of the join's own passage through the fork."""
    if isinstance(row, OpenStep) and row.n > 0:
        return is_beside(draft, join, row)
    if join.k == 0 or row.fork <= join.k:
        return join.k in (row.fork, 0)
    above = draft.step(row.fork)
    return above is None or is_beside(draft, join, above)


def losing(draft: Draft, node: Join, join: OpenStep | Step, ended: set[str]) -> tuple[set[str], int]:
    """The nodes at which tokens of losing branches may be, and the fragment that they are named in. `ended`: the awaited slots
    that have."""
    slots = set(awaited(draft, node, join))
    heads, fragment = heads_of(draft, node, join)
    if not heads:
        return slots - ended, fragment
    won: set[str] = set()
    lost: set[str] = set()
    partly: set[str] = set()
    for head in heads:
        region = reach(draft, head, fragment, join, slots)
        mine = slots & set(region)
        if not mine & ended:
            (lost if mine else won).update(region)
        else:
            won.update(region)
            partly |= leading_to(region, mine - ended)
    return (lost - won) | partly, fragment


def heads_of(draft: Draft, node: Join, join: OpenStep | Step) -> tuple[list[str], int]:
    """The first nodes of the other branches of the fork that opened a join, and the fragment that they are named in."""
    if join.bits & Bit.DYNAMIC:
        acquired = draft.fragment(join.k)
        return [name for name in acquired.fragment.branches if name != node.name] if acquired is not None else [], join.k
    opener = draft.step(join.k) if join.k > 0 else None
    if opener is not None:
        forks: list[Node] = [draft.node_of(opener)]
    else:
        forks = [other for other in draft.process.nodes.values() if isinstance(other, Fork) and node.name in other.branches]
    heads = [name for fork in forks if isinstance(fork, Fork) for name in fork.branches if name != node.name]
    return heads, opener.fragment if opener is not None else 0


def reach(draft: Draft, head: str, fragment: int, join: OpenStep | Step, slots: set[str]) -> dict[str, list[str]]:
    """The nodes that a token at `head` may come to in the same place without passing the join or a slot that it awaits, each
    with those that lead on from it. What a fork among them makes is left out: see `stands_at`."""
    found: dict[str, list[str]] = {}
    pending = [head]
    while pending:
        name = pending.pop()
        if name in found or name == join.slot:
            continue
        found[name] = [] if name in slots else list(ways_on(draft, *draft.find_node(name, fragment), join))
        pending += found[name]
    return found


def ways_on(draft: Draft, node: Node, fragment: int, join: OpenStep | Step) -> Iterator[str]:
    """Where a node may lead in the same scope and thread; a step that a join awaits leads to the join."""
    yield from following(node)
    if isinstance(node, Fork) and node.dynamic is not None:
        yield from opened_by(draft, node, fragment, join)
    yield from joins_at(draft, node.name, fragment)


def leading_to(region: dict[str, list[str]], slots: set[str]) -> set[str]:
    """The nodes of a region from which one of the slots can be reached, and those slots."""
    found = set(slots)
    while True:
        more = {name for name, ways in region.items() if name not in found and not found.isdisjoint(ways)}
        if not more:
            return found
        found |= more


def joins_at(draft: Draft, slot: str, fragment: int) -> tuple[str, ...]:
    """The names of the joins that await a slot of a fragment."""
    acquired = draft.fragment(fragment) if fragment else None
    return acquired.fragment.joins_of.get(slot, ()) if acquired is not None else draft.process.joins_of.get(slot, ())


def opened_by(draft: Draft, fork: Fork, fragment: int, join: OpenStep | Step) -> list[str]:
    """The joins that a dynamic fork beside this join has opened; of one that has not been reached, all that it may open."""
    step = draft.at(fork.name, join.scope, join.it)
    made = draft.fragment(step.n) if step is not None else None
    if made is not None:
        return [name for name in made.fragment.branches if name not in made.fragment.nodes]
    acquired = draft.fragment(fragment) if fragment else None
    nodes = acquired.fragment.nodes if acquired is not None else draft.process.nodes
    known = {name for node in nodes.values() if node is not fork for name in targets(node)}
    return [name for name, node in nodes.items() if isinstance(node, Join) and name not in known]
