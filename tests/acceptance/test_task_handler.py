"""Workers of the official client's TaskHandler, in processes of their own, complete runs of three tasks."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.acceptance.official import Official, simple, unique
from tests.patience import eventually

from pelton.cli.process import ServerProcess

ROOT = Path(__file__).parents[2]
RUNS = 500
SECONDS = 100.0
KINDS = ("fetch_order", "price_order", "ship_order")


@pytest.fixture(scope="module")
def ledger(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The application at work; the file says which tasks its functions were called for."""
    directory = tmp_path_factory.mktemp("workers")
    file = directory / "ledger"
    file.touch()
    with (directory / "workers.log").open("wb") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.worker_program", f"{server.address}/api", str(file)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield file
        finally:
            program.send_signal(signal.SIGTERM)
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait(10)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_five_hundred_runs_of_three_tasks(official: Official, ledger: Path) -> None:
    name = official.register(
        unique("order"),
        [
            simple("fetch", KINDS[0], inputParameters={"number": "${workflow.input.number}"}),
            simple("price", KINDS[1], inputParameters={"items": "${fetch.output.items}"}),
            simple("ship", KINDS[2], inputParameters={"number": "${fetch.output.number}", "price": "${price.output.result}"}),
        ],
        outputParameters={"said": "${ship.output.result}"},
    )
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda number: official.start(name, {"number": number}), range(RUNS)))

    def left() -> list[str]:
        return list(official.workflows.workflowResourceApi.get_running_workflow(name))

    eventually(lambda: not left(), "no run is left", SECONDS)
    tasks: Counter[str] = Counter()
    for number, run in enumerate(runs):
        found = official.get(run)
        assert found.status == "COMPLETED"
        assert found.output == {"said": f"order {number} for {3 * number}"}
        assert [task.task_def_name for task in found.tasks] == list(KINDS)
        for task in found.tasks:
            assert (task.status, task.retry_count, task.poll_count, task.retried) == ("COMPLETED", 0, 1, False)
            tasks[f"{task.task_def_name} {task.task_id}"] += 1
    calls = Counter(line for line in ledger.read_text().splitlines() if line in tasks)
    assert calls == tasks
    assert len(calls) == 3 * RUNS
    assert {official.tasks.get_queue_size_for_task(kind) for kind in KINDS} == {0}
    assert official.metadata.get_task_def("ship_order").name == "ship_order"


@pytest.mark.slow
def test_a_worker_that_fails_is_tried_again(official: Official, ledger: Path) -> None:
    """The package reports a function that raises as FAILED, with what it raised as the reason."""
    retried, final = unique("order"), unique("order")
    official.register(retried, [simple("price", KINDS[1], retryCount=1, inputParameters={"items": "not a list"}, **policy(1))])
    official.register(final, [simple("price", KINDS[1], inputParameters={"items": [{"price": 1}]}, **policy(0))])
    run = official.start(retried)
    failed = official.ended(run, "FAILED", SECONDS)
    assert [(task.status, task.retry_count) for task in failed.tasks] == [("FAILED", 0), ("FAILED", 1)]
    assert failed.tasks[1].retried_task_id == failed.tasks[0].task_id
    assert failed.tasks[1].reason_for_incompletion
    assert official.tasks.get_task_logs(failed.tasks[1].task_id)
    assert official.ended(official.start(final), seconds=SECONDS).output == {"result": 1}


def policy(retries: int) -> dict[str, object]:
    return {"taskDefinition": {"retryCount": retries, "retryDelaySeconds": 0, "responseTimeoutSeconds": 60}}
