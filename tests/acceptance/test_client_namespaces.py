"""Teams that share a server: each has a key, and by it a namespace. They use the official client, and the same names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.acceptance.official import Official, Plain, refused, simple, step, wait
from tests.patience import eventually
from tests.server.running import fresh

from pelton import Client
from pelton.cli.process import ServerProcess
from pelton.models import ClaimIn

KEYS = {"default": "key-of-everyone-else", "acme": "key-of-acme-0000001", "zeta": "key-of-zeta-0000001"}


class Team(NamedTuple):
    name: str
    key: str
    official: Official

    def running(self, name: str) -> list[str]:
        found: list[str] = self.official.workflows.workflowResourceApi.get_running_workflow(name)
        return found

    def started(self, name: str, count: int) -> list[str]:
        found: list[str] = eventually(lambda: len(runs := self.running(name)) == count and runs, f"{count} runs of {name}")
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = [each for name in ("acme", "zeta") for each in ("--namespace-key", f"{name}={KEYS[name]}")]
    process = fresh(tmp_path_factory.mktemp("namespaces") / "data", "--api-key", KEYS["default"], *options)
    yield process
    assert process.stop() == 0, "\n".join(process.log)


@pytest.fixture(scope="module")
def teams(server: ServerProcess) -> Iterator[list[Team]]:
    found = [Team(name, key, Official(server.address, key)) for name, key in KEYS.items()]
    yield found
    for team in found:
        team.official.close()


def test_teams_see_nothing_of_one_another(teams: list[Team], server: ServerProcess) -> None:
    """Definitions, starts with the same keys, workers, an event from outside, and an event from one workflow to others."""
    runs = {}
    for team in teams:
        official = team.official
        official.task_def("pack", description=team.name, retryCount=0)
        official.register(
            "order", [simple("pack"), step("EVENT", "tell", sink="conductor:done"), wait("w")], description=team.name
        )
        official.register("after", [wait("w")])
        official.handler("on_done", "conductor:order:done", "start_workflow", {"name": "after", "input": {"by": team.name}})
        official.handler("on_paid", "shop:paid", "start_workflow", {"name": "after", "input": {"by": "${by}"}})
        runs[team.name] = official.start("order", {"of": team.name}, correlation_id="c", idempotency_key="k")
    assert len(set(runs.values())) == 3
    for team in teams:
        official = team.official
        assert official.metadata.get_workflow_def("order").description == team.name
        assert [each.description for each in official.metadata.get_all_task_defs()] == [team.name]
        assert team.running("order") == [runs[team.name]]
        for other in teams:
            if other is not team:
                assert refused(official.get, runs[other.name]).status == 404
                assert refused(official.workflows.terminate_workflow, runs[other.name]).status == 404
    for count, team in enumerate(teams, 1):
        official, run = team.official, runs[team.name]
        assert official.tasks.get_queue_size_for_task("pack") == 1
        assert official.work("pack").workflow_instance_id == run
        assert official.idle("pack")
        official.opened(run, "w")
        [after] = team.started("after", 1)
        assert official.get(after).input["by"] == team.name
        assert [len(each.running("after")) for each in teams] == [1] * count + [0] * (3 - count)
    with Client(server.address, key=KEYS["acme"]) as client:
        client.post_event("shop:paid", "/shop", {"by": "the shop"}, id="1")
        assert [event.type for event in client.events().events] == ["shop:paid", "conductor:order:done"]
    teams[1].started("after", 2)
    assert [len(each.running("after")) for each in teams] == [1, 2, 1]


def test_a_worker_of_any_protocol_knows_queues_by_their_names(teams: list[Team], server: ServerProcess) -> None:
    team = teams[1]
    run = team.official.run([simple("wrap")])
    with Client(server.address, key=team.key) as client:
        assert [step.queue for step in client.steps(run).steps if step.queue] == ["wrap"]
        [item] = client.work("w1", claim=ClaimIn(queues=["wrap"])).items
        assert (item.queue, item.run) == ("wrap", run)
    with Client(server.address, key=KEYS["zeta"]) as client:
        assert client.work("w1", claim=ClaimIn(queues=["wrap"])).items == []


def test_a_caller_without_a_key_is_refused(server: ServerProcess) -> None:
    plain = Plain(server.address)
    try:
        assert plain.call("GET", "/api/metadata/workflow").status == 401
        assert plain.call("GET", "/api/metadata/workflow", headers={"x-authorization": KEYS["acme"]}).status == 200
    finally:
        plain.close()
