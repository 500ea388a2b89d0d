"""A step for people over HTTP: asked, claimed, answered, and everything that goes another way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, expression, out
from tests.runtime.harness import Shapes, handles

from pelton.client import AsyncClient, RequestRefused
from pelton.kernel.model.process import Edge, Process, Retry
from pelton.kernel.model.signals import Rewind, Terminate
from pelton.models import UserTaskView
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER
from pelton.runtime.people.process import person_call
from pelton.testing import MemoryStore, VirtualClock, running_server, settle

KEY, ANN, BOB = "an-access-key-of-it", "token-of-ann-000001", "token-of-bob-000002"
SPAN = 2_000  # milliseconds
FORM = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "minimum": 1}, "why": {"type": "string"}},
    "required": ["amount"],
    "additionalProperties": False,
}


def asking(**more: Any) -> Callable[[], Process]:
    """asks → noted, whose output is the answer."""

    def build() -> Process:
        graph = Graph("asking")
        asked = expression(lambda scene: {"title": "Approve", "form": FORM, **(scene.input or {})})
        graph.add(person_call("ask", asked, next=(Edge("noted"),), **more))
        return graph.assign("noted", output=out("ask")).build()

    return build


class Office:
    """A server with the process, clients of ann and bob, and one with the key."""

    def __init__(self, url: str, engine: Any, service: AsyncClient, clock: VirtualClock) -> None:
        self.engine, self.service, self.clock = engine, service, clock
        self.ann, self.bob = AsyncClient(url, key=ANN), AsyncClient(url, key=BOB)

    async def ask(self, **task: Any) -> tuple[int, UserTaskView]:
        run = await self.engine.start(SERVER, StartCommand(process="asking", input=task))
        [asked] = (await self.service.user_tasks(run=self.engine.codec.run_id(run.key))).tasks
        return run.key, asked

    async def run(self, key: int) -> Any:
        return await self.service.run(self.engine.codec.run_id(key))

    async def told(self) -> list[str]:
        """The types of the tasks' events, in order."""
        await settle()
        events = (await self.service.events(after="0")).events
        return [event.type for event in events if event.type.startswith("task.")]


@asynccontextmanager
async def office(**more: Any) -> AsyncIterator[Office]:
    clock = VirtualClock()
    users = (f"ann={ANN}", f"bob={BOB}")
    async with running_server(store=MemoryStore(clock=clock), clock=clock, languages=[], api_keys=(KEY,), users=users) as server:
        shapes = Shapes()
        server.engine.add_language(shapes)
        shapes.processes["asking"] = asking(**more)
        await server.engine.define(SERVER, "process", "shapes", "asking", 1, json.encode("asking"))
        made = Office(server.url, server.engine, server.client, clock)
        for word in ("opened", "claimed", "answered", "reminder", "late", "canceled", "expired"):
            shapes.handlers[word] = handles(f"task.{word}")
            await server.engine.define(SERVER, "handler", "shapes", word, 1, json.encode(word))
        async with made.ann, made.bob:
            yield made


async def refused(work: Any) -> tuple[int, str, str]:
    with pytest.raises(RequestRefused) as caught:
        await work
    return caught.value.status, caught.value.code, caught.value.field


async def test_a_person_is_asked_and_the_run_goes_on_with_the_answer() -> None:
    async with office() as at:
        run, task = await at.ask(users=["ann", "carl"], priority=7, data={"order": 7})
        assert (task.state, task.title, task.process, task.slot, task.form) == ("open", "Approve", "asking", "ask", FORM)
        assert (task.users, task.priority, task.data) == (["ann", "carl"], 7, {"order": 7})
        claimed = await at.ann.claim_user_task(task.id)
        assert (claimed.state, claimed.claimed_by, claimed.number) == ("claimed", "ann", 2)
        assert await refused(at.ann.answer_user_task(task.id, {"amount": 0})) == (400, "invalid", "answer.amount")
        assert await refused(at.ann.answer_user_task(task.id, {"why": "x"})) == (400, "invalid", "answer.amount")
        assert await refused(at.ann.answer_user_task(task.id, {"amount": 1, "y": 1})) == (400, "invalid", "answer.y")
        assert await refused(at.bob.answer_user_task(task.id, {"amount": 5})) == (403, "forbidden", "user")
        assert (await at.run(run)).run.status == "RUNNING"
        assert (await at.ann.user_task(task.id)).number == 2  # what is refused changes nothing
        await at.ann.save_user_task(task.id, {"why": "later"})
        assert await refused(at.ann.save_user_task(task.id, {"why": 1})) == (400, "invalid", "answer.why")
        await at.ann.note_user_task(task.id, "asked the shop")
        answered = await at.ann.answer_user_task(task.id, {"amount": 5})
        assert (answered.state, answered.answer, answered.answered_by) == ("answered", {"amount": 5}, "ann")
        ended = await at.run(run)
        assert (ended.run.status, ended.output) == ("COMPLETED", {"amount": 5})
        past = (await at.service.user_task_past(task.id)).values
        assert [(each.did, each.by) for each in past] == [
            ("open", ""), ("claim", "ann"), ("save", "ann"), ("note", "ann"), ("answer", "ann"),
        ]  # fmt: skip
        assert past[2].saved == {"why": "later"}
        assert past[3].notes[0].text == "asked the shop"
        assert await at.told() == ["task.opened", "task.claimed", "task.answered"]


async def test_of_two_who_answer_at_once_one_is_told() -> None:
    async with office() as at:
        run, task = await at.ask()
        found = await asyncio.gather(
            at.ann.answer_user_task(task.id, {"amount": 1}),
            at.bob.answer_user_task(task.id, {"amount": 2}),
            return_exceptions=True,
        )
        [won] = [each for each in found if isinstance(each, UserTaskView)]
        [lost] = [each for each in found if isinstance(each, RequestRefused)]
        assert (lost.status, lost.code, lost.field) == (409, "conflict", "state")
        assert won.answered_by in str(lost)
        assert (await at.run(run)).output == won.answer
        assert await refused(at.ann.claim_user_task(task.id)) == (409, "conflict", "state")


async def test_tasks_are_found_by_state_user_group_process_and_run() -> None:
    async with office() as at:
        _, one = await at.ask(users=["ann"])
        _, two = await at.ask(groups=["sales"])
        _, three = await at.ask(users=["ann"])
        await at.ann.claim_user_task(three.id)

        async def ids(**asked: Any) -> list[str]:
            return [task.id for task in (await at.service.user_tasks(**asked)).tasks]

        assert await ids() == await ids(process="asking") == [one.id, two.id, three.id]
        assert await ids(user="ann") == [one.id, three.id]
        assert await ids(user="ann", state="claimed") == [three.id]
        assert await ids(group="sales") == [two.id]
        assert await ids(process="other") == []
        assert await ids(run=two.run) == [two.id]
        page = await at.service.user_tasks(limit=2)
        assert await ids(after=page.after) == [three.id]
        assert await refused(at.service.user_tasks(state="done")) == (400, "invalid", "state")
        assert (await refused(at.service.user_task(one.run)))[:2] == (404, "not found")


async def test_a_task_is_released_and_handed_over_and_groups_are_vouched_for_by_the_service() -> None:
    async with office() as at:
        run, task = await at.ask(groups=["sales"])
        assert await refused(at.ann.claim_user_task(task.id)) == (403, "forbidden", "user")
        assert await refused(at.ann.claim_user_task(task.id, groups=["sales"])) == (403, "forbidden", "groups")
        assert await refused(at.ann.claim_user_task(task.id, user="bob")) == (403, "forbidden", "user")
        assert await refused(at.service.claim_user_task(task.id)) == (400, "invalid", "user")
        claimed = await at.service.claim_user_task(task.id, user="dora", groups=["sales"])
        assert claimed.claimed_by == "dora"
        assert await refused(at.service.claim_user_task(task.id, user="emil", groups=["sales"])) == (403, "forbidden", "user")
        assert (await at.service.release_user_task(task.id, user="dora")).state == "open"
        assert await refused(at.service.release_user_task(task.id)) == (409, "conflict", "state")
        handed = await at.service.hand_over_user_task(task.id, "ann")
        assert (handed.users, handed.groups, handed.claimed_by) == (["ann"], [], "ann")
        handed = await at.ann.hand_over_user_task(task.id, to_groups=["board"])
        assert (handed.users, handed.groups, handed.state) == ([], ["board"], "open")
        assert await refused(at.ann.answer_user_task(task.id, {"amount": 1})) == (403, "forbidden", "user")
        assert await refused(at.service.hand_over_user_task(task.id)) == (400, "invalid", "to_user")
        await at.service.answer_user_task(task.id, {"amount": 1}, user="fred", groups=["board"])
        assert (await at.run(run)).output == {"amount": 1}


async def test_reminders_come_again_until_there_have_been_enough() -> None:
    async with office() as at:
        _, task = await at.ask(reminders={"after": SPAN, "every": 2 * SPAN, "most": 3})
        for spans, count in ((1, 1), (1, 1), (1, 2), (2, 3), (10, 3)):
            await at.clock.advance(spans * SPAN)
            assert (await at.service.user_task(task.id)).reminded == count
        assert await at.told() == ["task.opened", *["task.reminder"] * 3]
        await at.ann.answer_user_task(task.id, {"amount": 1})


async def test_a_task_that_is_not_answered_in_time_fails_the_step() -> None:
    async with office() as at:
        run, task = await at.ask(due_after=SPAN)
        await at.clock.advance(SPAN)
        assert (await at.service.user_task(task.id)).state == "expired"
        ended = await at.run(run)
        assert (ended.run.status, ended.failure.kind) == ("TIMED_OUT", "timed out")
        assert await refused(at.ann.answer_user_task(task.id, {"amount": 1})) == (409, "conflict", "state")
        assert await at.told() == ["task.opened", "task.expired"]


async def test_a_task_that_is_late_may_be_given_to_others() -> None:
    async with office() as at:
        _, task = await at.ask(users=["ann"], due_after=SPAN, when_due="reassign", then_users=["bob"])
        await at.ann.claim_user_task(task.id)
        await at.clock.advance(SPAN)
        late = await at.service.user_task(task.id)
        assert (late.state, late.users, late.claimed_by, late.late) == ("open", ["bob"], "", True)
        assert await refused(at.ann.answer_user_task(task.id, {"amount": 1})) == (403, "forbidden", "user")
        await at.bob.answer_user_task(task.id, {"amount": 1})


async def test_a_late_task_may_only_be_announced() -> None:
    async with office() as at:
        _, task = await at.ask(due_after=SPAN, when_due="announce")
        await at.clock.advance(3 * SPAN)
        assert (await at.service.user_task(task.id)).state == "open"
        assert await at.told() == ["task.opened", "task.late"]


async def test_a_task_that_is_canceled_fails_the_step_and_one_whose_run_is_terminated_is_canceled() -> None:
    async with office() as at:
        run, task = await at.ask()
        assert (await at.ann.cancel_user_task(task.id, "no longer wanted")).state == "canceled"
        ended = await at.run(run)
        assert (ended.run.status, ended.failure.kind, ended.reason) == ("TERMINATED", "cancelled", "no longer wanted")
        run, task = await at.ask()
        await at.engine.signal(SERVER, run, Terminate(reason="stop"))
        gone = await at.service.user_task(task.id)
        assert (gone.state, gone.reason) == ("canceled", "stop")
        assert await refused(at.ann.answer_user_task(task.id, {"amount": 1})) == (409, "conflict", "state")


async def test_a_retry_opens_a_new_task() -> None:
    async with office(retry=Retry(count=1)) as at:
        run, task = await at.ask(due_after=SPAN)
        await at.clock.advance(SPAN)
        [old, new] = (await at.service.user_tasks(run=task.run)).tasks
        assert (old.id, old.state, new.state) == (task.id, "expired", "open")
        await at.ann.answer_user_task(new.id, {"amount": 3})
        assert (await at.run(run)).output == {"amount": 3}


async def test_a_task_whose_run_is_taken_back_is_open_again() -> None:
    async with office() as at:
        run, task = await at.ask(users=["ann"])
        await at.engine.signal(SERVER, run, Terminate(reason="stop"))
        key = at.engine.codec.parse_run_id(task.id)
        await at.engine.signal(SERVER, key, Rewind(to="failed"))
        again = await at.service.user_task(task.id)
        assert (again.state, again.reason) == ("open", "")
        await at.ann.answer_user_task(task.id, {"amount": 3})
        assert (await at.run(run)).output == {"amount": 3}


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"form": {"type": "thing"}}, "form.type"),
        ({"form": {"pattern": "(a*)*"}}, "form.pattern"),
        ({"form": {"properties": {"a": {"$ref": "#"}}}}, "form.properties.a.$ref"),
        ({"priority": 100}, "task.priority"),
        ({"colour": "red"}, "colour"),
        ({"when_due": "reassign"}, "task.then_users"),
    ],
)
async def test_what_cannot_be_asked_fails_the_step_and_says_why(task: dict[str, Any], says: str) -> None:
    async with office() as at:
        run = await at.engine.start(SERVER, StartCommand(process="asking", input=task))
        ended = await at.run(run.key)
        assert ended.run.status == "FAILED"
        assert says in ended.reason


async def test_the_process_is_in_every_namespace_and_nobody_can_define_another() -> None:
    async with office() as at:
        with pytest.raises(Exception, match="server's own"):
            await at.engine.define(SERVER, "process", "shapes", "@person", 1, b'"asking"')
