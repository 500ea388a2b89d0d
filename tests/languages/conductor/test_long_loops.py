"""Loops of many iterations, as the last task of a workflow or read by others."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple, step, task
from tests.languages.conductor.test_long_runs import LONGEST, Stalls, stalling
from tests.patience import PATIENCE, unsearched

from pelton.kernel.model.state import RunStatus

LONG = 250
VERY_LONG = 12_000  # more than the output of a loop has


def loop(times: int, *body: Any, name: str = "l") -> dict[str, Any]:
    return step("DO_WHILE", name, loopCondition=f"$.{name}.iteration < {times}", loopOver=list(body))


async def work_off(api: Api, kind: str, times: int) -> None:
    for it in range(1, times + 1):
        assert (await api.update(await api.one(kind), output={"i": it})).status == 200


OUTPUTS: dict[str, Any] = {
    "none": None,
    "all of it": "${l.output}",
    "a value of one iteration": "${l.output.7.t.i}",
    "a task of one iteration": "${l.output.7.t}",
    "one iteration": "${l.output.7}",
    "how many": "${l.output.iteration}",
    "an iteration that was not": "${l.output.900.t.i}",
    "a task by its number": "${t__7.output.i}",
}


@pytest.mark.parametrize("name", OUTPUTS)
async def test_a_loop_of_many_iterations_is_the_last_task(api: Api, name: str) -> None:
    wanted = OUTPUTS[name]
    more = {} if wanted is None else {"outputParameters": {"found": wanted}}
    run = await api.run([loop(LONG, simple("t"))], **more)
    await work_off(api, "t", LONG)
    found = await api.ended(run)
    whole = {"iteration": LONG, **{str(it): {"t": {"i": it}} for it in range(1, LONG + 1)}}
    values = {
        "none": whole,
        "all of it": {"found": whole},
        "a task of one iteration": {"found": {"i": 7}},
        "one iteration": {"found": {"t": {"i": 7}}},
        "how many": {"found": LONG},
        "an iteration that was not": {"found": None},
    }
    assert found["output"] == values.get(name, {"found": 7})
    assert task(found, "l")["outputData"] == whole


async def test_a_loop_that_fails_late_fails_its_workflow(api: Api) -> None:
    run = await api.run([loop(2 * LONG, simple("t", retryCount=0))])
    await work_off(api, "t", LONG)
    answer = await api.update(await api.one("t"), "FAILED", reasonForIncompletion="no paper")
    assert answer.status == 200
    assert "no paper" in (await api.ended(run, "FAILED"))["reasonForIncompletion"]


async def test_long_loops_side_by_side_and_inside_one_another(api: Api) -> None:
    inline = step("INLINE", "i", inputParameters={"expression": "1"})
    inner = loop(20, step("INLINE", "x", inputParameters={"expression": "2"}), name="n")
    fork = step("FORK_JOIN", "f", forkTasks=[[loop(LONG, inline)], [loop(30, inner, name="o")]])
    outputs = {"one": "${o.output.30.n.20.x.result}", "all": "${j.output}", "part": "${j.output.l.250.i.result}"}
    run = await api.run([fork, step("JOIN", "j", joinOn=["l", "o"])], outputParameters=outputs)
    found = (await api.ended(run))["output"]
    assert (found["one"], found["part"]) == (2, 1)
    assert len(found["all"]["l"]) == LONG + 1
    assert len(found["all"]["o"]) == 31
    assert found["all"]["o"]["30"]["n"]["20"] == {"x": {"result": 2}}


async def ended(api: Api, run: str) -> None:
    """Returns when the run has ended, without a look at what it did: that would take as long as the run."""
    key = api.engine.codec.parse_run_id(run)
    assert key is not None
    with api.engine.watch(api.caller, key) as watch:
        while True:
            view = await api.engine.view(api.caller, key)
            if view is not None and RunStatus(view.run.status).ended:
                return
            await watch.changed(PATIENCE)


async def test_a_very_long_loop_ends_with_its_newest_iterations_and_holds_nobody_up(api: Api) -> None:
    body = step("INLINE", "i", inputParameters={"expression": "1"})
    stalls = Stalls()
    with unsearched():
        async with stalling(stalls):
            run = await api.run([loop(VERY_LONG, body)], outputParameters={"all": "${l.output}", "one": "${l.output.7.i.result}"})
            await ended(api, run)
    found = await api.ok("GET", f"/workflow/{run}", includeTasks="false")
    assert found["output"]["one"] == 1
    whole = found["output"]["all"]
    assert whole.pop("iteration") == VERY_LONG
    assert next(iter(whole)) == str(VERY_LONG - 10_000)
    assert list(whole)[-1] == str(VERY_LONG)
    assert stalls.longest < LONGEST
