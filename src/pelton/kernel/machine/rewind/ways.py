"""The ways of tokens, as far as they can be told from what was left: where a step's token may have gone, and whether it did.

A token that was in transit when its run ended has left no row, and so has one whose next step is taken back. Both are found by
looking for steps whose way on leads to nothing that is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pelton.kernel.machine.draft import Draft
from pelton.kernel.machine.legality import UNSUCCESSFUL
from pelton.kernel.machine.tokens.branches import LOST, losing
from pelton.kernel.machine.tokens.flow import awaited, needed, passage
from pelton.kernel.model.process import Assign, Choice, End, Fork, Join, Limit, Node, Raise, Rule, Scope, Wait, targets
from pelton.kernel.model.state import Bit, Failure, State, Step, StepStatus

KINDS = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}  # of a failure, by how its step ended
SILENT = (Choice, Assign, Fork)


def rule_of(node: Node, step: Step) -> Rule | None:
    """The rule that decided what followed a failed step."""
    failure = Failure(step.failure or "failed", KINDS.get(StepStatus(step.status), "technical"))
    return next((rule for rule in node.on_failure if rule.matches(failure)), None)


def is_put_off(draft: Draft, step: Step) -> bool:
    """Whether a step has failed, its token has moved on, and the failure counts at the end of its owner."""
    if step.bits & Bit.PUT_OFF:
        return True
    if step.status not in UNSUCCESSFUL or step.status == StepStatus.CANCELED or step.bits & (Bit.HANDLED | Bit.DROPPED):
        return False
    node = draft.node(step.slot)
    limits = (node.limits.queue, node.limits.idle, node.limits.attempt, node.limits.total)
    if step.failure == "timeout" and any(limit is not None and limit.action == "fail run" for limit in limits):
        return False
    rule = rule_of(node, step)  # of rows that were written before there was a bit for it
    return rule is not None and rule.action == "defer"


def is_unfinished(draft: Draft, step: Step) -> bool:
    """Whether a step failed or was cut off, and nothing was made of that."""
    dealt_with = Bit.HANDLED | Bit.RETRIED | Bit.DROPPED
    return step.status in UNSUCCESSFUL and not step.bits & dealt_with and step.reason != LOST and not is_put_off(draft, step)


def is_dropped(step: Step) -> bool:
    """Whether a join had no more use for the step."""
    return bool(step.bits & Bit.DROPPED) or (step.status == StepStatus.CANCELED and step.reason == LOST)


def edge_limits(node: Node) -> list[Limit]:
    limits = (node.limits.queue, node.limits.idle, node.limits.attempt, node.limits.total)
    return [limit for limit in limits if limit is not None and limit.action == "edge"]


def limit_edge(node: Node, step: Step) -> str | None:
    """The edge by which a time limit led on from a step, None when none did."""
    limits = edge_limits(node) if step.status == StepStatus.TIMED_OUT and step.failure == "timeout" else []
    passed = [limit for limit in limits if step.ended - step.first >= limit.after]
    return max(passed or limits, key=lambda limit: limit.after).to if limits else None


def exits(node: Node, step: Step) -> list[str]:
    """The nodes at which the token of an ended step may have arrived."""
    if isinstance(node, End | Raise) and not step.bits & Bit.HANDLED:
        return []
    if step.bits & Bit.HANDLED:
        edge = limit_edge(node, step)
        rule = rule_of(node, step)
        if edge is not None:
            return [edge]
        if rule is not None and rule.action == "edge":
            return [rule.to]
    found = [edge.to for edge in node.next if edge.to]
    if isinstance(node, Choice):
        found += [name for name in (*node.cases.values(), node.default) if name]
    elif isinstance(node, Fork):
        found += node.branches
    elif isinstance(node, Wait):
        left_by = node.arms[-1 - step.k].to if -len(node.arms) <= step.k < 0 else ""
        found = [left_by] if left_by else found + [arm.to for arm in node.arms if arm.to and not arm.stays]
    return found


def first_steps(draft: Draft, name: str) -> set[str]:
    """The nodes that may have a step next, once a token is at `name`: silent ones have one only when they fail."""
    found: set[str] = set()
    pending = [name]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        node = draft.node(name)
        found.add(name)
        if not node.trace and isinstance(node, SILENT):
            pending += targets(node)
    return found


def arrived(draft: Draft, name: str, after: int, places: Mapping[str, int]) -> bool:
    return any(places.get(slot, -1) > after for slot in first_steps(draft, name))


def leads_on(draft: Draft, node: Node, step: Step, places: Mapping[str, int]) -> bool:
    """Whether the way on from a step leads to a step that is there. `places`: number of the newest step of each slot."""
    names = exits(node, step)
    after = 0 if step.bits & Bit.GONE_ON else step.n  # what followed it has a lower number then
    ends = [name for name in names if isinstance(draft.node(name), End) and not draft.node(name).trace]
    return not names or bool(ends) or any(arrived(draft, name, after, places) for name in names)


def silent_branches(draft: Draft, names: Iterable[str]) -> tuple[str, ...]:
    """The branches of the silent forks that a token may come to through silent nodes."""
    found: list[str] = []
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        node = draft.node(name)
        if name in seen or node.trace:
            continue
        seen.add(name)
        if isinstance(node, Fork):
            found += node.branches
            pending += node.branches
        elif isinstance(node, Assign):
            pending += targets(node)
    return tuple(found)


def body_slots(draft: Draft, entry: str) -> tuple[str, ...]:
    """The nodes that tokens of one owner may come to from `entry`; bodies of scopes and of threads are owners of their own."""
    seen: dict[str, None] = {}
    pending = [entry]
    while pending:
        name = pending.pop(0)
        if not name or name in seen:
            continue
        node = draft.process.nodes.get(name) or draft.node(name)
        seen[name] = None
        pending += [edge.to for edge in node.next]
        pending += [rule.to for rule in node.on_failure if rule.action == "edge"]
        pending += [limit.to for limit in edge_limits(node)]
        if isinstance(node, Choice):
            pending += [*node.cases.values(), node.default]
        elif isinstance(node, Fork):
            pending += branches_of(draft, node)
        elif isinstance(node, Wait):
            pending += [arm.to for arm in node.arms]
    return tuple(seen)


def branches_of(draft: Draft, node: Fork) -> tuple[str, ...]:
    fragments = {} if node.branches else draft.all_fragments()
    return node.branches or (fragments[node.name].branches if node.name in fragments else ())


def lacks_ends(draft: Draft, node: Join, step: Step) -> bool:
    """Whether a finished join no longer has enough ends, after what was taken back."""
    if node.threads is not None:
        return False
    slots = awaited(draft, node)
    ended = [other for other in passage(draft, step, slots) if isinstance(other, Step) and not other.bits & Bit.RETRIED]
    return needed(node, len(slots), sum(not is_dropped(other) for other in ended)) > 0


def dropped_nodes(draft: Draft, steps: Mapping[str, Step]) -> set[str]:
    """The nodes of branches that the finished joins among these steps have no more use for."""
    found: set[str] = set()
    for step in steps.values():
        node = draft.node(step.slot) if step.state == State.JOIN else None
        if not isinstance(node, Join) or node.losers != "halt" or node.rule == "all" or node.threads is not None:
            continue
        if not is_unfinished(draft, step) and not lacks_ends(draft, node, step):
            slots = awaited(draft, node)
            ends = zip(slots, passage(draft, step, slots), strict=True)
            found |= losing(draft, node, step, {slot for slot, end in ends if isinstance(end, Step) and not is_dropped(end)})
    return found


def scope_body(draft: Draft, step: Step) -> Scope | None:
    """The node of a scope whose tokens it owns itself; None for one whose body runs in threads."""
    node = draft.node(step.slot)
    return node if isinstance(node, Scope) and not (node.parallel or node.thread) else None
