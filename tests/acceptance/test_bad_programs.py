"""Definitions that are well formed and mean harm: endless scripts, bombs in templates, workflows that call one another for ever.

Each harms its own run at most: the others are served as quickly as ever, which somebody checks all the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.official import ENDED, Plain, step, unique
from tests.acceptance.pulse import Pulse
from tests.patience import PATIENCE, eventually, worked
from tests.server.running import fresh

from pelton.cli.process import ServerProcess

MEMORY = 400_000_000  # bytes that the server and its helpers may have, whatever is sent


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = fresh(tmp_path_factory.mktemp("attacked") / "data")
    yield process
    assert process.stop() == 0, "\n".join(process.log)


@pytest.fixture(scope="module")
def bad(attacked: ServerProcess) -> Iterator[Plain]:
    found = Plain(attacked.address)
    yield found
    found.close()


@pytest.fixture(scope="module")
def pulse(bad: Plain, attacked: ServerProcess) -> Iterator[Pulse]:
    found = Pulse(attacked)
    yield found
    found.stop()


def start(plain: Plain, tasks: list[dict[str, Any]], value: Any = None, **more: Any) -> str:
    name = unique("bad")
    definition = {"name": name, "version": 1, "tasks": tasks, **more}
    found = plain.ok("POST", "/api/workflow", {"name": name, "workflowDef": definition, "input": value or {}})
    assert isinstance(found, str)
    return found


def ended(plain: Plain, run: str, seconds: float = PATIENCE) -> Any:
    return eventually(
        lambda: (found := plain.ok("GET", f"/api/workflow/{run}"))["status"] in ENDED and found, f"{run} ends", seconds
    )


def script(reference: str, source: str, **more: Any) -> dict[str, Any]:
    return step("INLINE", reference, inputParameters={"evaluatorType": "javascript", "expression": source, **more})


def memory_of(pid: int) -> int:
    """Resident bytes of a process and of those that it started."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(memory_of(int(child)) for child in children if Path(f"/proc/{child}/status").exists())


# ---- scripts

# Several at a time: the quick ones first, then those that take all the time they are given.
ENDLESS = {
    "quick": (
        "(function f() { return f(); })()",
        "let s = 'x'; while (true) { s += s; }",
        "new Array(100000000).join('xxxxxxxxxx').length",
        "let o = {}; o.o = o; JSON.stringify(o)",
        "function* g() { while (true) yield 1; } [...g()].length",
        "let v = 1; for (let i = 0; i < 1000000; i++) { v = [v]; } v",
        "'x'.repeat(50000000)",
    ),
    "slow": (
        "while (true) {}",
        "/^(a+)+$/.test('a'.repeat(64) + 'b')",
        "const a = []; a.length = 4294967295; a.sort(); 1",
        "while (true) { try { (function f() { f(); })(); } catch (e) {} }",
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_scripts_that_do_not_end_fail_their_task_and_delay_no_request(
    bad: Plain, attacked: ServerProcess, pulse: Pulse, kind: str
) -> None:
    pulse.check()
    beats = pulse.beats
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(start, bad, [script("i", source)]) for source in ENDLESS[kind]]
        while not all(each.done() for each in runs):
            pulse.check()
        found = [ended(bad, each.result()) for each in runs]
    if kind == "slow":  # they take turns, and nobody waits for one to end
        assert pulse.beats - beats > 2 * len(runs)
    pulse.check()
    for run in found:
        assert run["status"] == "FAILED"
        [task] = run["tasks"]
        assert task["status"].startswith("FAILED")
        assert task["reasonForIncompletion"]
    assert memory_of(attacked.pid) < MEMORY


def test_endless_scripts_elsewhere(bad: Plain, pulse: Pulse) -> None:
    """In the condition of a loop and of an event handler, at the same time."""
    loop = step("DO_WHILE", "d", loopCondition="while (true) {}", loopOver=[script("i", "1")])
    kind = unique("endless")
    action = {"action": "start_workflow", "start_workflow": {"name": kind}}
    bad.ok(
        "POST", "/api/event", {"name": kind, "event": kind, "actions": [action], "active": True, "condition": "while (true) {}"}
    )
    event = {"specversion": "1.0", "id": kind, "source": "/t", "type": kind, "data": {}}
    beats = pulse.beats
    with ThreadPoolExecutor(2) as pool:
        starting = pool.submit(start, bad, [loop])
        posting = pool.submit(bad.ok, "POST", "/v1/events", event)
        while not (starting.done() and posting.done()):
            pulse.check()
    assert pulse.beats - beats > 4
    assert ended(bad, starting.result())["status"] == "FAILED"
    [decision] = posting.result()["decisions"]
    assert decision["verdict"] == "failed"
    assert "stopped" in decision["detail"]
    bad.ok("DELETE", f"/api/event/{kind}")


def test_a_script_sees_nothing_of_the_host_and_nothing_of_other_scripts(bad: Plain) -> None:
    names = (
        "process", "require", "globalThis.process", "std", "os", "fetch", "XMLHttpRequest", "WebSocket", "Deno", "Java",
        "Packages", "load", "read", "print", "console", "setTimeout", "module", "__filename", "scriptArgs", "bjson", "Worker",
    )  # fmt: skip
    there = "n => { try { return eval('typeof ' + n) !== 'undefined'; } catch (e) { return false; } }"
    source = f"({{seen: {list(names)!r}.filter({there})}})"
    assert ended(bad, start(bad, [script("i", source)]))["output"]["result"]["seen"] == []
    first = "globalThis.leak = 5; Array.prototype.leak = 6; Object.prototype.leak = 7; String.prototype.leak = 8; leak"
    second = "[typeof leak, [].leak === undefined, ({}).leak === undefined, ''.leak === undefined, typeof globalThis.leak]"
    found = ended(bad, start(bad, [{**script("a", first), "optional": True}, script("b", second)]))
    assert found["tasks"][-1]["outputData"]["result"] == ["undefined", True, True, True, "undefined"]
    own = ended(bad, start(bad, [script("i", "import('fs')")]))
    assert own["status"] in {"FAILED", "COMPLETED"}
    assert own["output"].get("result") in (None, {})


# ---- templates


def test_a_bomb_in_templates_ends_at_the_limit_of_variables(bad: Plain, attacked: ServerProcess, pulse: Pulse) -> None:
    """Each round doubles what it has: a text, and a structure."""
    for doubled in ("${workflow.variables.v}${workflow.variables.v}", ["${workflow.variables.v}", "${workflow.variables.v}"]):
        body = [step("SET_VARIABLE", "s", inputParameters={"v": doubled})]
        loop = step("DO_WHILE", "d", loopCondition="$.d.iteration < 64", loopOver=body)
        found = ended(bad, start(bad, [loop], variables={"v": "boom"}))
        assert found["status"] == "FAILED"
        assert "256" in found["reasonForIncompletion"] or "limit" in found["reasonForIncompletion"]
        pulse.check()
    assert memory_of(attacked.pid) < MEMORY


def test_a_bomb_in_templates_without_variables(bad: Plain, attacked: ServerProcess, pulse: Pulse) -> None:
    """Each task's input holds the one before it twice, in a form that no single limit of variables sees."""
    tasks = [script("t0", "'x'.repeat(1000)")]
    for number in range(1, 40):
        before = f"${{t{number - 1}.output.result}}"
        tasks.append(script(f"t{number}", "$.both", both=before + before))
    found = ended(bad, start(bad, tasks))
    assert found["status"] == "FAILED"
    assert found["reasonForIncompletion"]
    assert len(found["tasks"]) < 30
    pulse.check()
    assert memory_of(attacked.pid) < MEMORY
    tasks = [script("t0", "['x'.repeat(1000)]")]
    for number in range(1, 40):
        before = f"${{t{number - 1}.output.result}}"
        tasks.append(script(f"t{number}", "$.both", both=[before, before]))
    found = ended(bad, start(bad, tasks))
    assert found["status"] == "FAILED"
    pulse.check()
    assert memory_of(attacked.pid) < MEMORY


@pytest.mark.parametrize(
    "template",
    [
        "${" * 50_000,
        "${" * 50_000 + "}" * 50_000,
        "${workflow.input" + ".a" * 50_000 + "}",
        "${workflow.input" + "[0]" * 50_000 + "}",
        "${workflow.input" + "..*" * 30 + "}",
        "${workflow.input..*[?(@..*)]..*[?(@..*)]}",
        "${workflow.input[?(@.a =~ /^(a+)+$/)]}",
        "${workflow.input[?match(@.a, '(a|a)*b')]}",
        "${workflow.input[" + "(" * 10_000 + ")" * 10_000 + "]}",
        "${workflow.input.list[0:1000000000:1]}",
        "$" * 100_000 + "{workflow}",
    ],
)
def test_templates_that_are_made_to_be_slow(bad: Plain, attacked: ServerProcess, pulse: Pulse, template: str) -> None:
    """Refused when they are registered, or harmless when they run."""
    wide: Any = {"a": "a" * 64, "list": [{"a": [1, 2, {"b": {}}]} for _ in range(20)]}
    for _ in range(3):
        wide = {"a": wide, "b": [wide, wide]}
    name = unique("slow")
    tasks = [step("SET_VARIABLE", "s", inputParameters={"v": template})]
    before = worked(attacked.pid)
    with ThreadPoolExecutor(1) as pool:
        body = {"name": name, "workflowDef": {"name": name, "version": 1, "tasks": tasks}, "input": wide}
        answering = pool.submit(bad.call, "POST", "/api/workflow", body)
        pulse.check()
        answer = answering.result(PATIENCE)
    assert answer.status in {200, 400}, answer.text[:500]
    assert len(answer.body) < 300_000
    if answer.status == 200:
        assert ended(bad, answer.text)["status"] in {"COMPLETED", "FAILED"}
    pulse.check()
    assert worked(attacked.pid) - before < 10
    assert memory_of(attacked.pid) < MEMORY


# ---- workflows


def test_workflows_that_call_one_another_for_ever_end(bad: Plain, pulse: Pulse) -> None:
    """Each by itself is a good definition, so that it is only seen when it runs."""
    one, two = unique("ping"), unique("pong")
    for name, other in ((one, two), (two, one)):
        tasks = [step("SUB_WORKFLOW", "call", subWorkflowParam={"name": other, "version": 1})]
        bad.ok("PUT", "/api/metadata/workflow", [{"name": name, "version": 1, "tasks": tasks}])
    run = bad.ok("POST", f"/api/workflow/{one}")
    found = ended(bad, run)
    assert found["status"] == "FAILED"
    assert found["reasonForIncompletion"]
    assert len(found["reasonForIncompletion"]) < 20_000
    for name in (one, two):
        assert bad.ok("GET", f"/api/workflow/running/{name}") == []
    pulse.check()


def test_events_that_cause_themselves_end(bad: Plain, pulse: Pulse) -> None:
    name = unique("echo")
    action = {"action": "start_workflow", "start_workflow": {"name": name, "version": 1}}
    bad.ok("POST", "/api/event", {"name": name, "event": f"conductor:{name}:e", "actions": [action], "active": True})
    bad.ok("PUT", "/api/metadata/workflow", [{"name": name, "version": 1, "tasks": [step("EVENT", "e", sink="conductor")]}])
    bad.ok("POST", f"/api/workflow/{name}")

    def settled() -> bool:
        events = bad.events(f"conductor:{name}:e")
        pulse.check()
        return len(bad.events(f"conductor:{name}:e")) == len(events) > 1

    eventually(settled, "no more events come")
    assert len(bad.events(f"conductor:{name}:e")) < 1_000
    bad.ok("DELETE", f"/api/event/{name}")


def test_a_loop_without_an_end_is_stopped_or_stands_in_nobodys_way(bad: Plain, pulse: Pulse) -> None:
    loop = step("DO_WHILE", "d", loopCondition="true", loopOver=[script("i", "1")], inputParameters={"keepLastN": 1})
    runs = [start(bad, [loop]) for _ in range(3)]
    for _ in range(20):
        pulse.check()
    for run in runs:
        bad.ok("DELETE", f"/api/workflow/{run}?reason=enough")
        assert bad.ok("GET", f"/api/workflow/{run}?includeTasks=false")["status"] in {"TERMINATED", "FAILED"}
    pulse.check()


def test_a_fork_of_thousands_of_branches(bad: Plain, attacked: ServerProcess, pulse: Pulse) -> None:
    count = 2_000
    branches = [[{**script(f"b{number}", str(number)), "name": "branch"}] for number in range(count)]
    tasks = [step("FORK_JOIN", "f", forkTasks=branches), step("JOIN", "j", joinOn=[f"b{number}" for number in range(count)])]
    before = worked(attacked.pid)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start, bad, tasks)
        pulse.check()
        run = starting.result(PATIENCE)
    assert ended(bad, run)["status"] == "COMPLETED"
    assert worked(attacked.pid) - before < 30
    pulse.check()
