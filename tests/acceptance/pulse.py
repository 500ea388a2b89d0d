"""A user who does ordinary things all the time, and notes how long they take, while others misbehave."""

from __future__ import annotations

import threading
import time

from tests.acceptance.official import Plain, step, unique

QUICK = 1.0  # seconds that an ordinary call may take on a busy machine with two cores; on a quiet one it takes milliseconds


class Pulse:
    """`check` fails when a beat since the last check was slow or went wrong, and waits for at least one new beat."""

    def __init__(self, address: str, every: float = 0.05) -> None:
        self._plain = Plain(address)
        self._every = every
        self._name = unique("pulse")
        self._slowest = 0.0
        self._beats = 0
        self._trouble = ""
        self._changed = threading.Condition()
        self._stopping = threading.Event()
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
            began = time.monotonic()
            try:
                self._beat(self._beats)
                trouble = ""
            except Exception as error:  # whatever it is, it is told by `check`
                trouble = f"{type(error).__name__}: {error}"
            took = time.monotonic() - began
            with self._changed:
                self._slowest = max(self._slowest, took)
                self._trouble = self._trouble or trouble
                self._beats += 1
                self._changed.notify_all()

    def _beat(self, number: int) -> None:
        definition = {"name": self._name, "version": 1, "tasks": self._tasks}
        run = self._plain.ok("POST", "/api/workflow", {"name": self._name, "workflowDef": definition, "input": {"n": number}})
        found = self._plain.ok("GET", f"/api/workflow/{run}")
        assert found["status"] == "COMPLETED", found
        assert found["output"] == {"result": number + 1}, found
        assert self._plain.ok("GET", "/health")["healthy"] is True
        self._plain.ok("DELETE", f"/api/workflow/{run}/remove")

    def check(self, quick: float = QUICK) -> None:
        with self._changed:
            seen = self._beats
            assert self._changed.wait_for(lambda: self._beats > seen, 20), "no answer for 20 s"
            slowest, self._slowest = self._slowest, 0.0
            trouble, self._trouble = self._trouble, ""
        assert not trouble, trouble
        assert slowest < 4 * quick, f"four calls took {slowest:.2f} s"
