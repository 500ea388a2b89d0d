"""Pausing and resuming a process: the change, and the durable job that tells its runs, in one commit.

The job says no more than "look at your process": whichever of several jobs reaches a run, and in which order, the run goes by
what is true then. A job whose change has been followed by another ends early, since that one's job reaches all live runs too.
"""

from __future__ import annotations

from collections.abc import Callable

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import FollowProcess
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.requests import CommitRequest
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.runtime.commit.workspace import Workspace
from pelton.runtime.events.fan_out import FanOut, durable_job
from pelton.store.rows import PauseRow


class PauseRequest(CommitRequest):
    """`paused`: what the process is to be. Pausing what is paused changes nothing, unless it says otherwise about new runs."""

    __slots__ = ("_refuses", "_workspace", "by", "done", "error", "name", "paused", "row", "why")

    def __init__(
        self,
        name: tuple[str, str],
        paused: bool,
        *,
        by: str,
        why: str,
        refuses: bool,
        done: Callable[[PauseRequest], None],
    ) -> None:
        super().__init__()
        self.name = name
        self.paused = paused
        self.by = by
        self.why = why
        self._refuses = refuses
        self.done = done
        self.row: PauseRow | None = None
        self.error: PeltonError | None = None
        self._workspace: Workspace | None = None

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        workspace = self._workspace = unit.workspace
        pauses, name = workspace.pauses, self.name
        known = pauses.get(name)
        if known is None:
            raise Suspend(fetch=lambda: pauses.read(name))
        if pauses.is_undecided(name):
            raise Suspend(fetch=workspace.settled)
        self.error = None
        if known.paused == self.paused and (not self.paused or known.refuses == self._refuses):
            if not self.paused:
                self.error = PeltonError(Code.NOT_PAUSED, f"process {name[1]!r} is not paused", "process")
            self.row = known
            if workspace.shared:
                unit.rests.pauses[name] = known.epoch
            return None
        row = self.row = PauseRow(*name, known.epoch + 1, self.paused, unit.now, self.by, self.why, self.paused and self._refuses)
        builder = workspace.open_batch.new()
        builder.change_pause(row)
        job = FanOut(name[0], FollowProcess(), process=name[1], epoch=row.epoch)
        builder.enqueue(durable_job(workspace.keys(), job, unit.now))
        builder.requests.append(self)
        pauses.decide(row)
        return builder

    def settled(self) -> None:
        if self.committed is not None and self.committed.ok and self.row is not None and self._workspace is not None:
            self._workspace.pauses.settle(self.row)
        self.done(self)

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self._forget()

    def failed(self, error: PeltonError) -> None:
        self._forget()
        self.error = error
        self.done(self)

    def _forget(self) -> None:
        if self._workspace is not None:
            self._workspace.pauses.forget(self.name)
