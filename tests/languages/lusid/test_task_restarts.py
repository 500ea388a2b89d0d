"""Tasks over restarts: what was under way goes on, what was is still readable."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.languages.lusid.api import serving
from tests.languages.lusid.machines import Desk, action, child, identity, machine, move, steady, values

from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import StepStatus
from pelton.runtime.api import ClaimRequest
from pelton.runtime.caller import SERVER


@pytest.fixture(autouse=True)
def _here() -> None:
    move("acme")


async def test_a_worker_and_a_row_of_children(tmp_path: Path) -> None:
    leaf = {**child("leaf", "go"), "childTaskFields": {"name": {"mapFrom": "name"}}}
    run = action(
        "run",
        "RunWorker",
        "robot",
        workerId=identity("queue"),
        workerStatusTriggers={"completedWithResults": "some"},
        childTaskConfigurations=[leaf],
        ordering="Series",
    )
    along = action("along", "TriggerNextTask", defaultTrigger="go", fallbackActions={"endOfSequence": "up"})
    up = action("up", "TriggerParentTask", trigger="end")
    async with serving(tmp_path) as api:
        desk = Desk(api)
        await desk.worker("queue", "Queue", queue="rows")
        await desk.define(
            machine("leaf", "New go Doing, Doing finish Done !along", fields={"name": "String"}, actions=[along, up]),
            machine("root", "New go Running !run, Running some Open, Open end Closed", fields={"name": "String"}, actions=[run]),
        )
        root = await desk.create("root", "go", given={"name": "r"})
        gone = await desk.create("root", "go")
        await api.ok("DELETE", f"/workflow/api/tasks/{gone['id']}")
    async with serving(tmp_path) as api:
        desk = Desk(api)
        assert steady(await desk.get(root)) == steady(root)
        assert (await desk.get(gone, gone["version"]["asAtModified"]))["state"] == "Running"
        [item] = await api.engine.claim(SERVER, ClaimRequest(queues=["rows"], count=5, wait=10_000))
        rows = [{"name": "a"}, {"name": "b"}]
        report = Report(n=item.step.n, attempt=item.step.attempt, status=int(StepStatus.COMPLETED), output=rows)
        await api.engine.report(SERVER, [(item.run.key, report)])
        await desk.becomes(root, "Open")
        one, two = await desk.children(root, 2)
        await desk.fire(one, "finish")
    async with serving(tmp_path) as api:
        desk = Desk(api)
        await desk.becomes(two, "Doing")
        assert [values(each) for each in await desk.children(root, 2)] == [{"name": "a"}, {"name": "b"}]
        await desk.fire(two, "finish")
    async with serving(tmp_path) as api:
        desk = Desk(api)
        closed = await desk.becomes(root, "Closed")
        assert closed["version"]["asAtVersionNumber"] == 3
        assert [new for _, name, _, new in await desk.history(root) if name == "State"] == ["Open", "Closed"]
        assert (await desk.log(root["actionLogIdSubmitted"]))["runAsUserId"] == "robot"
