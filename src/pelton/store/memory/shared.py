"""What servers that share a store agree on: conditions of their groups, their rows, and what each of them has claimed."""

from __future__ import annotations

from itertools import islice

from pelton.store.group import Group
from pelton.store.memory.table import LAST, PRIMARY
from pelton.store.memory.tables import ClaimBody, NodeBody, ReplyBody, Tables
from pelton.store.rows import DESCENDANTS_SPAN, ClaimRow, NodeRow, net_descendants

SHARED = frozenset({
    "fence", "defined", "pause_epochs", "pauses", "records", "handed", "lookups", "looked", "moved", "nodes", "marks", "outcomes",
})  # fmt: skip
OUTCOMES = 64  # batches of a server whose outcome is kept


REPLIES = frozenset({"old_requests", "requests", "replies", "replied"})
OLD = 50  # rows that have expired, and are removed at a time


class GroupLost(Exception):
    """A condition of the group did not hold; the text says which."""


def check(t: Tables, group: Group) -> None:
    """Raises GroupLost; writes what the servers' rows say."""
    for number, epoch in group.fence:
        _epoch(t, number, epoch)
    for ns, counter in group.defined:
        if (t.defined.get(ns) or 0) != counter:
            raise GroupLost(f"definitions {ns}")
    _pauses(t, group)
    for run, since in group.records:
        record = t.records.get(run)
        if (0 if record is None or record.body is None else record.since) != since:
            raise GroupLost(f"record of run {run}")
    for handed in group.handed:
        row = t.open.get((handed.run, handed.n))
        if row is None or (row.step.polls, row.step.lease) != (handed.polls, handed.lease):
            raise GroupLost(f"work {handed.run} {handed.n}")
    for lookup, revision in group.lookups:
        if (t.lookups.get(lookup) or 0) != revision:
            raise GroupLost(f"lookup {lookup.name} {lookup.text} of {lookup.ns}")
    for lookup in group.looked:
        if t.lookups.get(lookup) is None:
            t.lookups.put(lookup, 1)
    for lookup in group.moved:
        if (known := t.lookups.get(lookup)) is not None:
            t.lookups.put(lookup, known + 1)
    _nodes(t, group)


def _pauses(t: Tables, group: Group) -> None:
    for ns, process, epoch in (*group.pause_epochs, *((row.ns, row.process, row.epoch - 1) for row in group.pauses)):
        row = t.pauses.get((ns, process))
        if (0 if row is None else row.epoch) != epoch:
            raise GroupLost(f"pause {ns} {process}")
    for row in group.pauses:
        t.pauses.put((row.ns, row.process), row)


def secrets(t: Tables, group: Group) -> None:
    for name in group.secrets_gone:
        if not t.secrets.drop(name):
            raise GroupLost(f"secret {name[1]} of {name[0]}")
    for row in group.secrets:
        t.secrets.put((row.ns, row.name), row)


def _epoch(t: Tables, number: int, epoch: int) -> NodeBody | None:
    node = t.nodes.get(number)
    if (0 if node is None else node.epoch) != epoch:
        raise GroupLost(f"node {number}")
    return node


def _nodes(t: Tables, group: Group) -> None:
    for write in group.nodes:
        node = _epoch(t, write.number, write.expected)
        batch = node.batch if node is not None and node.epoch == write.epoch else 0
        t.nodes.put(write.number, NodeBody(write.epoch, write.seen, write.settled, batch))
    for mark in group.marks:
        node = _epoch(t, mark.number, mark.epoch)
        settled = max(mark.settled, node.settled if node is not None else 0)
        t.nodes.put(mark.number, NodeBody(mark.epoch, mark.seen, settled, mark.batch))
        kept = range(mark.batch - OUTCOMES + 1, mark.batch + 1)
        for key in [key for key in t.outcomes.under(PRIMARY, mark.number) if key[1] not in kept]:
            t.outcomes.drop(key)
    for number, batch in group.outcomes:
        t.outcomes.put((number, batch, group.number), True)


def claim(t: Tables, group: Group) -> list[int]:
    """Gives back, then claims; returns the places of the claims that were refused."""
    for given in group.unclaimed if group.has("unclaimed") else ():
        held = t.claims.get((given.kind, given.name))
        if held is not None and (held.node, held.epoch) == (given.node, given.epoch):
            t.claims.drop((given.kind, given.name))
    refused: list[int] = []
    for place, wanted in enumerate(group.claims if group.has("claims") else ()):
        held = t.claims.get((wanted.kind, wanted.name))
        if held is not None and (held.node, held.epoch) != (wanted.node, wanted.epoch) and _holds(t, held):
            refused.append(place)
        else:
            t.claims.put((wanted.kind, wanted.name), ClaimBody(wanted.node, wanted.epoch, wanted.at))
    return refused


def _holds(t: Tables, held: ClaimBody) -> bool:
    node = t.nodes.get(held.node)
    return node is not None and node.epoch == held.epoch


def nodes(t: Tables) -> list[NodeRow]:
    return [NodeRow(number, *t.nodes.rows[number]) for number in t.nodes.under("number")]


def outcome(t: Tables, number: int, epoch: int, batch: int) -> set[int] | None:
    node = t.nodes.get(number)
    if node is None or node.epoch != epoch or node.batch < batch:
        return None
    return {key[2] for key in t.outcomes.under(PRIMARY, number, batch)}


def claims(t: Tables, kind: str, limit: int, after: str) -> list[ClaimRow]:
    low = (kind, after + "\0") if after else (kind,)
    keys = (key for key in t.claims.keys(PRIMARY, low, (kind, LAST)) if _holds(t, t.claims.rows[key]))
    return [ClaimRow(*key, *t.claims.rows[key]) for key, _ in zip(keys, range(limit), strict=False)]


def descend(t: Tables, group: Group) -> None:
    """Counts of descendants."""
    rows = net_descendants(group.descendants)
    for over in {row.since - DESCENDANTS_SPAN for row in rows}:
        for key in list(islice(t.descendants.keys("since", (), (over + 1,)), OLD)):
            t.descendants.drop(key)
    for row in rows:
        count, since = t.descendants.get((row.ns, row.ancestor)) or (0, row.since)
        if since <= row.since - DESCENDANTS_SPAN:
            count, since = 0, row.since
        t.descendants.put((row.ns, row.ancestor), (count + row.count, since))


def reply(t: Tables, group: Group) -> None:
    """Requests of callers who wait, and their answers."""
    for at in group.old_requests:
        for key in list(islice(t.replies.keys("expires", (), (at + 1,)), OLD)):
            t.replies.drop(key)
    for row in group.requests:
        if t.replies.get((row.ns, row.request)) is not None:
            raise GroupLost(f"request {row.request} of {row.ns}")
        t.replies.put((row.ns, row.request), ReplyBody(row.body, row.expires))
    for ns, request, body, at in group.replies:
        known = t.replies.get((ns, request))
        if known is not None and not known.body and known.expires > at:
            t.replies.put((ns, request), ReplyBody(body, known.expires))
    for ns, request in group.replied:
        if not t.replies.drop((ns, request)):
            raise GroupLost(f"request {request} of {ns}")
