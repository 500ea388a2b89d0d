"""Many events at once for the same tasks: they act in the order in which they came, and the last word is the last event's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.acceptance.lusid.world import TASKS, World, creates, updates
from tests.acceptance.official import unique

ORDER: dict[str, Any] = {
    "displayName": "An order",
    "states": [{"name": "New"}, {"name": "Paid"}, {"name": "Shipped"}],
    "fieldSchema": [{"name": "k", "type": "String"}, {"name": "last", "type": "Decimal"}],
    "initialState": {"name": "New", "requiredFields": []},
    "triggers": [{"name": name, "trigger": {"type": "External"}} for name in ("pay", "ship", "touch")],
    "transitions": [
        {"fromState": "New", "toState": "Paid", "trigger": "pay"},
        {"fromState": "Paid", "toState": "Shipped", "trigger": "ship"},
        {"fromState": "New", "toState": "New", "trigger": "touch"},
    ],
}
BATCH = {"content-type": "application/cloudevents-batch+json"}


def orders(world: World) -> tuple[dict[str, Any], str]:
    """A definition with its four handlers, and what the types of their events begin with."""
    definition, kind = world.definition(base=ORDER), unique("order")
    world.handler(definition, f"{kind}.new", creates({"k": "$body.k"}, trigger=None))
    for trigger in ("pay", "ship"):
        world.handler(definition, f"{kind}.{trigger}", updates(trigger, "fields['k'] eq body.k"))
    world.handler(definition, f"{kind}.touch", updates("touch", "fields['k'] eq body.k", {"last": "$body.n"}))
    return definition, kind


def posted(world: World, events: list[tuple[str, dict[str, Any]]]) -> Any:
    batch = [{"specversion": "1.0", "id": unique("id"), "source": "/t", "type": kind, "data": data} for kind, data in events]
    answer = world.http.post("/v1/events", json=batch, headers=BATCH)
    assert answer.status_code == 200, answer.text
    return answer.json()["events"]


def tasks_of(world: World, definition: dict[str, Any]) -> list[Any]:
    where = f"taskDefinitionId.code eq '{definition['code']}'"
    found: list[Any] = world.ask("GET", TASKS, filter=where, limit=500)["values"]
    return found


def test_orders_that_are_new_paid_and_shipped_in_one_batch_are_shipped(world: World) -> None:
    definition, kind = orders(world)
    batch = [(f"{kind}.{what}", {"k": f"k{key}"}) for key in range(100) for what in ("new", "pay", "ship")]
    posted(world, batch)
    assert [task["state"] for task in tasks_of(world, definition)] == ["Shipped"] * 100


def test_the_last_of_a_thousand_events_for_one_task_has_the_last_word(world: World) -> None:
    definition, kind = orders(world)
    posted(world, [(f"{kind}.new", {"k": "one"})])
    posted(world, [(f"{kind}.touch", {"k": "one", "n": n}) for n in range(1, 1001)])
    (task,) = tasks_of(world, definition)
    assert {field["name"]: field.get("value") for field in task["fields"]}["last"] == 1000
    history = world.ask("GET", f"{TASKS}/{task['id']}/history", limit=500)
    assert history["values"]


def test_each_of_four_senders_has_its_own_events_in_order(world: World) -> None:
    definition, kind = orders(world)

    def send(sender: int) -> None:
        events: list[tuple[str, dict[str, Any]]] = [(f"{kind}.new", {"k": f"s{sender}"})]
        events += [(f"{kind}.touch", {"k": f"s{sender}", "n": n}) for n in range(150)]
        for at in range(0, len(events), 50):
            posted(world, events[at : at + 50])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    lasts = [{field["name"]: field.get("value") for field in task["fields"]}["last"] for task in tasks_of(world, definition)]
    assert lasts == [149] * 4


def test_an_update_that_finds_no_task_says_what_it_looked_for_and_at(world: World) -> None:
    _, kind = orders(world)
    posted(world, [(f"{kind}.new", {"k": "2"}), (f"{kind}.new", {"k": "3"})])
    (event,) = posted(world, [(f"{kind}.pay", {"k": 2})])
    assert event["state"] == "unmatched"
    (effect,) = event["effects"]
    assert effect["outcome"] == "unmatched"
    assert "fields['k'] eq body.k, where body.k is 2" in effect["detail"]
    assert "looked at 2" in effect["detail"]
    nearest = effect["output"]["nearest"]
    assert {each["trace"][0][1][0] for each in nearest} == {"2", "3"}


def test_a_definition_without_tasks_is_said_to_have_none(world: World) -> None:
    _, kind = orders(world)
    (event,) = posted(world, [(f"{kind}.pay", {"k": "x"})])
    assert "there is none" in event["effects"][0]["detail"]
