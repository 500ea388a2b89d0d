"""What reads too much fails with a reason; the worker whose report led there is not refused."""

from __future__ import annotations

from tests.languages.conductor.api import Api, simple, step, task


def deep() -> dict[str, object]:
    """Three loops inside one another: their output takes three rounds of reads."""
    body = step("INLINE", "i", inputParameters={"expression": "1"})
    for name in "nml":
        body = step("DO_WHILE", name, loopCondition=f"$.{name}.iteration < 2", loopOver=[body])
    return body


async def test_a_task_whose_input_reads_too_much_fails_and_the_report_before_it_is_kept(api: Api) -> None:
    run = await api.run([deep(), simple("a"), simple("b", inputParameters={"x": "${l.output}"})])
    api.engine.committer.rounds = 1
    assert (await api.update(await api.one("a"), output={"i": 1})).status == 200
    found = await api.ended(run, "FAILED")
    assert task(found, "a")["outputData"] == {"i": 1}
    assert "more than 1 rounds of reads" in task(found, "b")["reasonForIncompletion"]
    assert "more than 1 rounds of reads" in found["reasonForIncompletion"]
    api.engine.committer.rounds = 200
    await api.ok("POST", f"/workflow/{run}/retry")
    assert (await api.one("b"))["inputData"]["x"]["2"]["m"]["iteration"] == 2


async def test_a_workflow_whose_output_reads_too_much_fails(api: Api) -> None:
    run = await api.run([deep(), simple("a")], outputParameters={"x": "${l.output}"})
    api.engine.committer.rounds = 1
    assert (await api.update(await api.one("a"))).status == 200
    assert "rounds of reads" in (await api.ended(run, "FAILED"))["reasonForIncompletion"]


async def test_many_tasks_that_read_a_little_each_all_complete(api: Api) -> None:
    script = "(function () { var s = 1; for (var i = 0; i < 2; i++) { s += $.n; } return s; })()"  # one for the pool
    body = step("INLINE", "q", inputParameters={"expression": script, "n": "${l.output.iteration}"})
    loop = step("DO_WHILE", "l", loopCondition="$.l.iteration < 30", loopOver=[body])
    api.engine.committer.rounds = 3
    run = await api.run([loop], outputParameters={"n": "${q.output.result}"})
    assert (await api.ended(run))["output"] == {"n": 61}
