"""A user who does ordinary things all the time, while others misbehave, and notes how it goes.

Whether others are in the way is not judged by the clock, since the machine may be busy: it is the processor time that the server
spends on its one event loop while four calls are answered, and how many rounds of calls were answered meanwhile.
"""

from __future__ import annotations

import threading

from tests.acceptance.official import Plain, step, unique
from tests.patience import PATIENCE, worked

from pelton.cli.process import ServerProcess

MOST = 4.0  # seconds of work that may come between four ordinary calls, which take milliseconds on a quiet machine


class Pulse:
    """`check` fails when a beat since the last check had to wait for much of other work or went wrong, and waits for at least one
    new beat."""

    def __init__(self, server: ServerProcess, every: float = 0.05) -> None:
        self._plain = Plain(server.address)
        self._pid = server.pid
        self._every = every
        self._name = unique("pulse")
        self._longest = 0.0
        self._trouble = ""
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self.beats = 0
        source = "(function () { return $.n + 1; })();"  # as people write them; it runs beside the scripts of others
        script = {"evaluatorType": "javascript", "expression": source, "n": "${workflow.input.n}"}
        self._tasks = [step("INLINE", "i", inputParameters=script)]
        self._start()

    def _start(self) -> None:
        # In the definition of each run, so that what others see of definitions does not change.
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._plain.close()

    def _go_on(self) -> None:
        while not self._stopping.wait(self._every):
            before = worked(self._pid)
            try:
                self._beat(self.beats)
                trouble = ""
            except Exception as error:  # whatever it is, it is told by `check`
                trouble = f"{type(error).__name__}: {error}"
            work = worked(self._pid) - before
            with self._changed:
                self._longest = max(self._longest, work)
                self._trouble = self._trouble or trouble
                self.beats += 1
                self._changed.notify_all()

    def _beat(self, number: int) -> None:
        definition = {"name": self._name, "version": 1, "tasks": self._tasks}
        run = self._plain.ok("POST", "/api/workflow", {"name": self._name, "workflowDef": definition, "input": {"n": number}})
        found = self._plain.ok("GET", f"/api/workflow/{run}")
        assert found["status"] == "COMPLETED", found
        assert found["output"] == {"result": number + 1}, found
        assert self._plain.ok("GET", "/health")["healthy"] is True
        self._plain.ok("DELETE", f"/api/workflow/{run}/remove")

    def check(self) -> None:
        with self._changed:
            seen = self.beats
            assert self._changed.wait_for(lambda: self.beats > seen, PATIENCE), f"no answer for {PATIENCE:g} s"
            longest, self._longest = self._longest, 0.0
            trouble, self._trouble = self._trouble, ""
        assert not trouble, trouble
        assert longest < MOST, f"four calls had to wait for {longest:.2f} s of work"
