"""The ways of tokens, as far as they can be told from what was left: where a step's token may have gone, and whether it did.

A token that was in transit when its run ended has left no row, and so has one whose next step is taken back. Both are found by
looking for steps whose way on leads to nothing that is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pelton.kernel.machine.draft import UNMARKED, Draft, token_at
from pelton.kernel.machine.legality import UNSUCCESSFUL
from pelton.kernel.machine.tokens.branches import LOST, losing, stands_at
from pelton.kernel.machine.tokens.flow import awaited, branches_of, needed, passage
from pelton.kernel.model.process import Assign, Choice, End, Fork, Join, Limit, Node, Process, Rule, Scope, Wait, targets
from pelton.kernel.model.reads import Missing
from pelton.kernel.model.state import FRAGMENTED, Bit, Failure, State, Step, StepStatus

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
    node = draft.node_of(step)
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
    passed = [limit for limit in limits if step.ended - step.first >= limit.stated]
    return max(passed or limits, key=lambda limit: limit.stated).to if limits else None


def exits(node: Node, step: Step) -> list[str]:
    """The nodes at which the token of an ended step may have arrived."""
    if isinstance(node, End) and not step.bits & Bit.HANDLED:
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


def first_steps(draft: Draft, name: str, fragment: int) -> set[str]:
    """The nodes that may have a step next, once a token is at `name`, a name in `fragment`: silent ones have one only when they
    fail."""
    found: set[str] = set()
    pending = [name]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        node, _ = draft.find_node(name, fragment)
        found.add(name)
        if not node.trace and isinstance(node, SILENT):
            pending += targets(node)
    return found


def arrived(draft: Draft, name: str, fragment: int, after: int, places: Mapping[str, int]) -> bool:
    return any(places.get(slot, -1) > after for slot in first_steps(draft, name, fragment))


def leads_on(draft: Draft, node: Node, step: Step, places: Mapping[str, int]) -> bool:
    """Whether the way on from a step leads to a step that is there. `places`: number of the newest step of each slot."""
    names = exits(node, step)
    after = 0 if step.bits & Bit.GONE_ON else step.n  # what followed it has a lower number then
    ways = [draft.find_node(name, step.fragment)[0] for name in names]
    ends = [node for node in ways if isinstance(node, End) and not node.trace]
    return not names or bool(ends) or any(arrived(draft, name, step.fragment, after, places) for name in names)


def silent_branches(draft: Draft, names: Iterable[str], fragment: int) -> tuple[str, ...]:
    """The branches of the silent forks that a token may come to through silent nodes."""
    found: list[str] = []
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        node, _ = draft.find_node(name, fragment)
        if name in seen or node.trace:
            continue
        seen.add(name)
        if isinstance(node, Fork):
            found += node.branches
            pending += node.branches
        elif isinstance(node, Assign):
            pending += targets(node)
    return tuple(found)


def body_slots(draft: Draft, entry: str, fragment: int, owner: int, it: int) -> tuple[str, ...]:
    """The nodes that tokens of one owner may come to from `entry`, a name in `fragment`; bodies of scopes and of threads are
    owners of their own. What dynamic forks made is found by their newest steps in iteration `it` of the owner."""
    seen: dict[tuple[str, int], None] = {}
    pending = [(entry, fragment)]
    missing: list[Any] = []
    while pending:
        name, inside = pending.pop(0)
        if not name:
            continue
        node, inside = draft.find_node(name, inside)
        if (name, inside) in seen:
            continue
        seen[name, inside] = None
        pending += [(name, inside) for name in ways_on(node)]
        if isinstance(node, Fork) and node.dynamic is not None:
            try:
                step = draft.at(name, owner, it)
                branches, made = branches_of_step(draft, node, step) if isinstance(step, Step) else ((), 0)
            except Missing as more:
                missing += more.keys
            else:
                pending += [(name, made) for name in branches]
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return tuple(dict.fromkeys(name for name, _ in seen))


def is_dynamic(draft: Draft) -> bool:
    """Whether what tokens may come to depends on the steps of forks."""
    return bool(draft.head.flags & (FRAGMENTED | UNMARKED))


def ways_on(node: Node) -> list[str]:
    found = [edge.to for edge in node.next]
    found += [rule.to for rule in node.on_failure if rule.action == "edge"]
    found += [limit.to for limit in edge_limits(node)]
    if isinstance(node, Choice):
        found += [*node.cases.values(), node.default]
    elif isinstance(node, Fork):
        found += node.branches
    elif isinstance(node, Wait):
        found += [arm.to for arm in node.arms]
    return found


def merges_of(process: Process) -> frozenset[str]:
    """The nodes at which two tokens of one owner may be at the same time: several ways lead there, in a process that forks."""
    nodes = process.nodes.values()
    if not any(isinstance(node, Fork) for node in nodes):
        return frozenset()
    ways = Counter(name for node in nodes for name in set(ways_on(node)))
    return frozenset(name for name, count in ways.items() if count > 1)


def branches_of_step(draft: Draft, node: Fork, step: Step) -> tuple[tuple[str, ...], int]:
    """The branches that a step of a fork has opened, and the fragment that they are named in."""
    return branches_of(draft, node, token_at(step, step.slot)._replace(origin=step.n))


def lacks_ends(draft: Draft, node: Join, step: Step) -> bool:
    """Whether a finished join no longer has enough ends, after what was taken back."""
    if node.threads is not None:
        return False
    slots = awaited(draft, node, step)
    ended = [other for other in passage(draft, step, slots) if isinstance(other, Step) and not other.bits & Bit.RETRIED]
    return needed(node, len(slots), sum(not is_dropped(other) for other in ended)) > 0


def dropped_nodes(draft: Draft, steps: Mapping[str, Step]) -> set[str]:
    """The nodes of branches that the finished joins among these steps have no more use for."""
    found: set[str] = set()
    for step in steps.values():
        node = draft.node_of(step) if step.state == State.JOIN else None
        if not isinstance(node, Join) or node.losers != "halt" or node.rule == "all" or node.threads is not None:
            continue
        if not is_unfinished(draft, step) and not lacks_ends(draft, node, step):
            slots = awaited(draft, node, step)
            ends = zip(slots, passage(draft, step, slots), strict=True)
            ended = {slot for slot, end in ends if isinstance(end, Step) and not is_dropped(end)}
            lost, fragment = losing(draft, node, step, ended)
            found |= {slot for slot, other in steps.items() if stands_at(draft, other, slot, fragment) in lost}
    return found


def scope_body(draft: Draft, step: Step) -> Scope | None:
    """The node of a scope whose tokens it owns itself; None for one whose body runs in threads."""
    node = draft.node_of(step)
    return node if isinstance(node, Scope) and not (node.parallel or node.thread) else None
