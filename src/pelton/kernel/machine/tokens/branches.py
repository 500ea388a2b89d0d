"""The branches that a join no longer waits for: everything between the fork that opened it and the slots that it awaits.

What is there is found by the graph, and whose it is by the mark of the fork (see `flow.open_branches`). Cost: the nodes of the
fork's branches, and the open rows of the join's thread; only for joins that end their losers.
"""

from __future__ import annotations

from collections.abc import Iterator

from pelton.kernel.machine.draft import Draft, RowDropped, Token
from pelton.kernel.machine.tokens.flow import awaited, counts, passage, retire_token
from pelton.kernel.model.process import Choice, Fork, Join, Node, Wait
from pelton.kernel.model.state import OpenStep, Step

LOST = "lost to another branch"


def drop_losers(draft: Draft, n: int) -> None:
    """Ends what is left of the branches that did not get to join `n` in time: tokens on their way, parked ones, and steps with
    all that is inside them. Branches that the join does not await stay, and so does what has gone beyond an awaited slot."""
    join = draft.step(n)
    node = draft.node(join.slot) if join is not None else None
    if join is None or not isinstance(node, Join):
        return
    slots = awaited(draft, node)
    found = dict(zip(slots, passage(draft, join, slots), strict=True))
    lost = losing(draft, node, join, {slot for slot, step in found.items() if isinstance(step, Step)})

    def of_loser(row: OpenStep | Token, name: str) -> bool:
        if name not in lost or (row.thread, row.scope, row.it) != (join.thread, join.scope, join.it):
            return False
        return belongs(draft, join, row)

    rows = [row for row in draft.rows_of(join.thread) if row.n != n and of_loser(row, row.slot)]
    tokens = [item for item in draft.worklist if isinstance(item, Token) and of_loser(item, item.node)]
    draft.forget(lambda token: token in tokens)
    for token in tokens:
        retire_token(draft, token.scope)
    # Before anything else on the worklist: what lost does nothing any more.
    draft.worklist.extendleft(RowDropped(row.n, LOST) for row in reversed(rows))


def belongs(draft: Draft, join: OpenStep | Step, row: OpenStep | Token) -> bool:
    if isinstance(row, OpenStep) and row.n > 0:
        return counts(draft, join, row)
    if join.k <= 0 or row.fork == join.k:
        return True
    above = draft.step(row.fork) if row.fork > join.k else None
    return above is not None and counts(draft, join, above)


def losing(draft: Draft, node: Join, join: OpenStep | Step, ended: set[str]) -> set[str]:
    """The nodes at which tokens of losing branches may be. `ended`: the awaited slots that have."""
    slots = set(awaited(draft, node))
    heads = heads_of(draft, node, join)
    if not heads:
        return slots - ended
    won: set[str] = set()
    lost: set[str] = set()
    partly: set[str] = set()
    for head in heads:
        region = reach(draft, head, node.name, slots)
        mine = slots & set(region)
        if not mine & ended:
            (lost if mine else won).update(region)
        else:
            won.update(region)
            partly |= leading_to(region, mine - ended)
    return (lost - won) | partly


def heads_of(draft: Draft, node: Join, join: OpenStep | Step) -> list[str]:
    """The first nodes of the other branches of the fork that opened a join."""
    opener = draft.step(join.k) if join.k > 0 else None
    if opener is not None:
        forks: list[Node] = [draft.node(opener.slot)]
    else:
        forks = [other for other in draft.process.nodes.values() if isinstance(other, Fork) and node.name in other.branches]
    return [name for fork in forks if isinstance(fork, Fork) for name in fork.branches if name != node.name]


def reach(draft: Draft, head: str, join: str, slots: set[str]) -> dict[str, list[str]]:
    """The nodes that a token at `head` may come to in the same place without passing the join or a slot that it awaits, each
    with those that lead on from it."""
    found: dict[str, list[str]] = {}
    pending = [head]
    while pending:
        name = pending.pop()
        if name in found or name == join:
            continue
        found[name] = [] if name in slots else list(ways_on(draft, draft.node(name)))
        pending += found[name]
    return found


def ways_on(draft: Draft, node: Node) -> Iterator[str]:
    """Where a node may lead in the same scope and thread; a step that a join awaits leads to the join."""
    yield from (edge.to for edge in node.next if edge.to)
    yield from (rule.to for rule in node.on_failure if rule.action == "edge")
    limits = node.limits
    yield from (limit.to for limit in (limits.queue, limits.idle, limits.attempt, limits.total) if limit is not None and limit.to)
    if isinstance(node, Choice):
        yield from (name for name in (*node.cases.values(), node.default) if name)
    elif isinstance(node, Fork):
        yield from node.branches
    elif isinstance(node, Wait):
        yield from (arm.to for arm in node.arms if arm.to)
    yield from draft.joins_of(node.name)


def leading_to(region: dict[str, list[str]], slots: set[str]) -> set[str]:
    """The nodes of a region from which one of the slots can be reached, and those slots."""
    found = set(slots)
    while True:
        more = {name for name, following in region.items() if name not in found and not found.isdisjoint(following)}
        if not more:
            return found
        found |= more
