"""Names of runs in the test world: what a step finds, what it has decided on, and the way back when a run refuses that.

As a runtime does it: what was decided on comes first, and a refusal takes back all that the signal has led to, which is then
decided once more with the refusal as something that is read.
"""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from pelton.kernel.model.process import Find, Process
from pelton.kernel.model.reads import NamedKey, NamedRun, RefusalKey
from pelton.kernel.model.signals import Signal
from pelton.kernel.model.state import RunStatus
from pelton.kernel.model.transition import Refused, Transition

if TYPE_CHECKING:
    from tests.kernel.memory import Rows
    from tests.kernel.world import World

Name = tuple[str, str]  # process, text
ROOM = 16
MOST_TRIES = 200
LISTS = ("sent", "notes", "announced", "later", "costs", "told", "held", "attempts", "checkpoints")
NUMBERS = ("keys", "holds", "events", "now")


class Asked(NamedTuple):
    """What step `n` of a run has decided on. `name`: of the run that begins."""

    run: int
    signal: Signal
    sender: int
    n: int
    name: Name | None = None


class TakenBack(Exception):
    """A run has refused what was decided on for it."""


class Names:
    """`room`: how many runs one signal may lead to by name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.room = ROOM
        self.used = False
        self.runs: dict[Name, int] = {}
        self.expected: dict[Name, int] = {}  # keys of runs that are expected
        self.lasting: set[int] = set()  # runs that have their names after their end too
        self.asked: deque[Asked] = deque()
        self.count = 0  # of what was decided on in this unit
        self.refused: dict[tuple[int, int, int, int], tuple[str, str]] = {}
        self.taken_back = 0
        self._before: dict[int, Rows | None] = {}
        self._runs: dict[Name, int] = {}
        self._kept: dict[str, Any] = {}

    def look_at(self, process: Process) -> None:
        self.used = self.used or any(isinstance(node, Find) for node in process.nodes.values())

    # ---- what is read

    def find(self, asking: int, key: NamedKey) -> NamedRun | None:
        name = key.process, key.text
        if any(each.name == name for each in self.asked):
            return NamedRun(0, RunStatus.EXPECTED, busy=True)
        run = self.runs.get(name, 0)
        rows = self.world.runs.get(run)
        if rows is None and run == asking:
            return NamedRun(run, RunStatus.RUNNING)  # it is being started
        if rows is None or (RunStatus(rows.run.status).ended and run not in self.lasting):
            expected = self.expected.get(name, 0)
            return NamedRun(expected, RunStatus.EXPECTED) if expected and expected not in self.world.runs else None
        busy = any(each.run == run for each in self.asked)
        variables = {text: value for (no, text), value in rows.vars.items() if no == 0} if key.data else None
        record = rows.record.body if key.data and rows.record is not None else None
        return NamedRun(run, RunStatus(rows.run.status), busy, variables, record)

    def refusal(self, sender: int, key: RefusalKey) -> tuple[str, str] | None:
        return self.refused.get((sender, key.n, key.run, self.revision(key.run)))

    def revision(self, run: int) -> int:
        return self.world.head(run).rev if run in self.world.runs else -1

    def has_room(self, taken: int) -> bool:
        return taken + self.count < self.room

    # ---- what is decided on

    def ask(self, asked: Asked) -> None:
        assert asked.n, "who has decided on it?"
        assert asked.signal.strict or asked.name, f"{asked.signal!r} cannot be refused"
        self.asked.append(asked)
        self.count += 1
        assert self.count <= self.room

    def give(self, asked: Asked) -> None:
        """A run has its name before it begins."""
        if asked.name is not None:
            known = self.find(-1, NamedKey(*asked.name))
            assert known is None or known == NamedRun(asked.run, RunStatus.EXPECTED), f"{asked.name} is given twice"
            self.runs[asked.name] = asked.run

    def answered(self, asked: Asked, answer: Transition | Refused) -> None:
        if isinstance(answer, Refused):
            place = asked.sender, asked.n, asked.run, self.revision(asked.run)
            assert place not in self.refused, f"{asked} was refused already"
            self.refused[place] = str(answer.code), answer.detail
            raise TakenBack

    def send(self, run: int, signal: Signal) -> Transition | Refused:
        """A unit of work, until nothing is refused any more of what it has decided on."""
        self.refused = {}
        for _ in range(MOST_TRIES):
            self._begin()
            try:
                return self.world.unit(run, signal)
            except TakenBack:
                self._revert()
                self.taken_back += 1
            finally:
                self.asked.clear()
                self.count = 0
        raise AssertionError(f"{signal!r} is taken back without end")

    # ---- ways back

    def touch(self, run: int) -> None:
        """Before a run changes."""
        if run not in self._before:
            self._before[run] = deepcopy(self.world.runs.get(run))

    def _begin(self) -> None:
        world = self.world
        self._before = {}
        self._runs = dict(self.runs)
        self._kept = {name: getattr(world, name).copy() for name in LISTS}
        self._kept |= {name: getattr(world, name) for name in NUMBERS}
        self._kept |= {"kept": [list(each) for each in world.kept], "tallies": deepcopy(world.tallies)}

    def _revert(self) -> None:
        world = self.world
        for run, rows in self._before.items():
            if rows is None:
                world.runs.pop(run, None)
            else:
                world.runs[run] = rows
        for name, value in self._kept.items():
            setattr(world, name, value)
        self.runs = self._runs
