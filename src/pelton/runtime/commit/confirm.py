"""What a group rests on beside its runs, when other servers write to the same store: what this one remembers may be old.

A server that has its store for itself needs none of this: its memory is the truth.

* A refusal, and that there is nothing to do, are decided on what is remembered. So they are answered when a group of looks alone
  has held: the revisions of the runs, and the lease of the step that the signal is for.
* Leases change without a revision of the run. A transition that ends or changes work rests on the lease that it knows of.
* When such a group is lost, the runs that it looked at are dropped from memory, and the request is performed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from pelton.runtime.cache.runs import RunEntry, work_row
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.runtime.commit.workspace import Workspace
from pelton.store.group import Committed, Group, HandedOut, NodeMark
from pelton.store.port import Store

log = structlog.get_logger("pelton.runtime")

LAST = -1  # number of the group that says that the batch was written
AGAIN = 0.05  # seconds between two looks for the outcome of a batch, doubled for each further one
LOOKS = 10


class NodeHooks(Protocol):
    """This server, among those that share the store."""

    @property
    def fence(self) -> tuple[int, int]: ...
    def mark(self, batch: int) -> NodeMark: ...
    def fall(self) -> None:
        """It was declared dead."""
        ...


def confirmed(unit: UnitOfWork, request: Any) -> GroupBuilder | None:
    """A group of looks alone that confirms what the request was decided on; None if it was decided on nothing remembered."""
    workspace, batch = unit.workspace, unit.workspace.open_batch
    run = getattr(request, "run", 0)
    reads = dict(unit.reader.reads)
    entry = workspace.cache.peek(run) if run else None
    if entry is not None and entry.head is not None:
        reads[run] = entry.head.rev
    if not reads and not unit.rests:
        return None
    builder: GroupBuilder | None = None
    for key in reads:
        known = workspace.cache.peek(key)
        if known is not None:
            builder = batch.joined(builder, known)
    builder = builder or batch.new()
    for key, revision in reads.items():
        builder.read(key, revision)
    unit.rests.fill(builder)
    if entry is not None:
        rest_on_lease(builder, entry, step_of(request))
    builder.requests.append(request)
    return builder


def step_of(request: Any) -> int:
    """The number of the step that a request's signal is for; 0 for none."""
    return int(getattr(getattr(request, "signal", None), "n", 0) or 0)


def rest_on_lease(builder: GroupBuilder, entry: RunEntry, n: int) -> None:
    """The group holds only as long as work is handed out as it is remembered."""
    row = entry.open.get(n) if n > 0 else None
    if row is not None and work_row(row) and entry.key not in builder.deltas:
        builder.group.handed.append(HandedOut(entry.key, n, row.polls, row.lease))


def forget_reads(workspace: Workspace, group: Group) -> None:
    """Called when a group was lost: what it looked at is read again."""
    runs = {run for run, _ in group.reads} if group.has("reads") else set()
    if group.has("handed"):
        runs.update(handed.run for handed in group.handed)
    if group.has("records"):
        runs.update(run for run, _ in group.records)
    for run in runs:
        workspace.forget(run)


def forget_untaken(workspace: Workspace, group: Group, result: Committed) -> None:
    """Leases that did not apply are not as they are remembered."""
    for place in result.untaken:
        workspace.forget(group.leases[place].run)


def fenced(groups: Sequence[Group], node: NodeHooks, batch: int) -> Group:
    """Lets the groups hold only as long as this server lives; returns the group that comes after them, and marks the batch."""
    for group in groups:
        group.fence.append(node.fence)
        group.outcomes.append((node.fence[0], batch))
    return Group(LAST, marks=[node.mark(batch)])


async def found_out(store: Store, node: NodeHooks, batch: int, groups: Sequence[Group]) -> list[Committed] | None:
    """What became of a batch that was not answered, by the store; None if it was not written. Leases and claims in it do not
    count, and the numbers of its deliveries are for the outbox to read."""
    delay = AGAIN
    for _ in range(LOOKS):
        try:
            written = await store.outcome(*node.fence, batch)
        except Exception as error:
            log.warning("the outcome of a commit could not be read", error=str(error))
            await asyncio.sleep(delay)
            delay *= 2
            continue
        if written is None:
            return None
        return [_outcome(group, group.number in written or group.number == LAST) for group in groups]
    return None


def _outcome(group: Group, ok: bool) -> Committed:
    done = Committed(group.number, ok, "" if ok else "run 0: it was lost, and the store did not say to what")
    if group.has("leases"):
        done.untaken = [place for place, lease in enumerate(group.leases) if lease.expected >= 0]
    if group.has("claims"):
        done.refused = list(range(len(group.claims)))
    if group.has("tallies"):
        done.crossed = None
    return done
