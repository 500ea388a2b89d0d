"""What cannot be a handler is refused with the place and what was expected there; what is large is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.acceptance.lusid.world import DEFINITIONS, HANDLERS, TASKS, WORK, World, creates, decision_of, letters, merged, updates
from tests.acceptance.official import unique

BAD = [
    # (filter, position that the message names, words that it has)
    ("body.path", 9, ["operator"]),
    ("body.path eq", 12, ["expected"]),
    ("body.path eq 'open", 13, ["quote"]),
    ("body.path = 'x'", 10, ["operator"]),
    ("body.path == 'x'", 10, ["operator"]),
    ("body.path eq \"x\"", 13, ["single"]),
    ("body.path eq \u2018x\u2019", 13, ["single"]),
    ("body.path eq 'x' and", 20, ["expected"]),
    ("body.path eq 'x' body.y eq 1", 17, ["and"]),
    ("(body.path eq 'x'", 17, [")"]),
    ("body.path eq 'x')", 16, []),
    ("body.path in", 12, ["expected"]),
    ("body.path in ()", 14, ["expected"]),
    ("body.path in ('a',)", 18, ["expected"]),
    ("body.path like 'x'", 10, ["like"]),
    ("path eq 'x'", 0, ["header", "body"]),
    ("body.path eq 1e", 13, []),
    ("body.path eq 2026-13-01", 13, []),
    ("body.list any ~ eq 1", 14, ["("]),
    ("body.path any (~ eq 'x'", 23, [")"]),
    ("body..path eq 'x'", 5, []),
    ("body[ eq 'x'", 9, ["]"]),
    ("body.path eq fields['x']", 13, []),
    ("body.path eq CurrentUser", 13, []),
    ("exists", 6, ["operator"]),
    ("not", 3, ["expected"]),
    ("and", 0, []),
    ("\x00", 0, []),
    ("body.path eq '\\", 13, []),
    ("SELECT * FROM run; --", 7, ["operator"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "position", "words"), BAD)
def test_a_filter_that_does_not_parse_is_refused_with_its_place(world: World, text: str, position: int, words: list[str]) -> None:
    definition = world.definition()
    sent = world.handler_of(definition, letters(), creates(), text)
    said = world.refused("POST", HANDLERS, sent)
    assert said["name"] == "InvalidFilter"
    [message] = said["errors"]["eventMatchingPattern.filter"]
    assert f"at {position}: " in message, message
    for word in words:
        assert word in message, message
    world.refused("GET", f"{HANDLERS}/acme/{sent['id']['code']}", status=404)
    on_tasks = world.refused("POST", HANDLERS, world.handler_of(definition, letters(), updates("check", text)))
    assert "taskActivity.filter" in on_tasks["errors"]
    for path in (HANDLERS, TASKS, DEFINITIONS):  # that lists have other members makes no difference here
        answer = world.http.get(path, params={"filter": text})
        assert (answer.status_code, answer.json()["name"]) == (400, "InvalidFilter"), (path, answer.text)


GOOD = [
    ("body.path eq 'it''s'", {"path": "it's"}),
    ("body.path eq 'it\\'s'", {"path": "IT'S"}),
    ("body.path eq 'Straße 🙂'", {"path": "STRASSE 🙂"}),
    ("body.größe gt 3", {"Größe": 4}),
    ("body['with space'] eq 'x'", {"with space": "X"}),
    ("body[with space] exists", {"with space": 0}),
    ("body['a.b'].c eq 1", {"a.b": {"c": 1}}),
    ("body.list any (~ eq 2)", {"list": [1, 2]}),
    ("body.list all (~ gt 0) and body.list none (~ eq 9)", {"list": [1, 2]}),
    ("body.rows any (price gt 100 and ccy eq 'USD')", {"rows": [{"price": 1}, {"price": 101, "ccy": "usd"}]}),
    ("body.when gte 2026-01-15T10:00:00+02:00", {"when": "2026-01-15T08:00:00Z"}),
    ("body.n eq 9007199254740993", {"n": 9007199254740993}),
    ("body.n eq -0.1", {"n": -0.1}),
    ("NOT body.x EXISTS AND body.y NOT EQ ''", {"y": "z"}),
    ("header.eventType startswith 'A' or header.eventType not startswith 'a'", {}),
    ("header.timestamp gt 2020-01-01 and header.requestId not exists", {}),
    ("((((((((((body.x eq true))))))))))", {"x": True}),
    (f"body.path in {', '.join(repr(str(n)) for n in range(1000))}", {"path": "777"}),
    ("not " * 4_000 + "body.x eq 1", {"x": 1}),
    ("body" + ".x" * 8_000 + " not exists", {"x": {"x": 1}}),
    (" or ".join(f"body.path eq 'a{n}'" for n in range(400)), {"path": "A399"}),
    ("body.path eq '" + "ä" * 16_000 + "'", {"path": "Ä" * 16_000}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "body"), GOOD)
def test_a_filter_that_looks_odd_is_a_good_one(world: World, text: str, body: Any) -> None:
    definition, kind = world.definition(), letters()
    handler = world.handler_of(definition, kind, creates(), text)
    name = world.made(handler)
    assert world.ask("GET", f"{HANDLERS}/{name}")["eventMatchingPattern"]["filter"] == text
    assert decision_of(world.post(kind, body), name)["verdict"] == "fired"
    other = world.post(kind, {"nothing": 1}) if body else None
    if other is not None:
        assert world.explain(other["key"], name)["verdict"] in ("false", "fired")


@pytest.mark.parametrize(
    "text",
    [
        "body.path eq '" + "x" * 16_384 + "'",
        "(" * 8_000 + "body.x eq 1" + ")" * 8_000,
        "body.l any (" * 1_300 + "~ eq 1" + ")" * 1_300,
        "body.x eq 1 and " * 5_000,
        "body.x in " + ",".join(["1"] * 9_000),
    ],
    ids=["long", "deep", "quantified", "many", "list"],
)
def test_what_is_too_much_for_a_filter_is_refused(world: World, text: str) -> None:
    definition, kind = world.definition(), letters()
    said = world.refused("POST", HANDLERS, world.handler_of(definition, kind, creates(), text))
    assert said["name"] in ("InvalidFilter", "ValidationError")
    assert "eventMatchingPattern.filter" in said["errors"]


def test_events_of_any_shape_meet_any_filter(world: World) -> None:
    """Whatever members are, a test on them is true or false."""
    definition, kind = world.definition(), letters()
    wheres = [
        "body.a.b eq 'x'",
        "body.a gt 3",
        "body.a any (b eq 1)",
        "body.a startswith 'x'",
        "body.a in 'x', 1",
        "body.a not exists",
    ]
    names = [world.handler(definition, kind, creates(), where) for where in wheres]
    deep: Any = "x"
    for _ in range(150):
        deep = [deep]
    bodies: list[Any] = [
        None,
        1,
        "x",
        [],
        {},
        True,
        {"a": None},
        {"a": []},
        {"a": {}},
        {"a": "x"},
        {"a": 1e308},
        {"a": 2**63 - 1},
        {"a": deep},
        {"a": ""},
    ]
    for body in [
        *bodies,
        {"A": {"B": "X"}},
        {"a": {"b": 1}, "A": 4},
        {"a": [{"b": 1}]},
        {"a": [None, 1, "x", [1]]},
        {"": {"": ""}},
    ]:
        posted = world.post(kind, body)
        for name in names:
            assert world.explain(posted["key"], name)["verdict"] in ("fired", "false")


# ---- bodies


def nested(depth: int) -> bytes:
    return b'{"id":' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize("path", [HANDLERS, DEFINITIONS, TASKS, "/workflow/api/workers", "/notification/api/manualevent"])
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"\xff\xfe{}", 400),
        (b'{"id": "\xed\xa0\x80"}', 400),
        (b'{"id": NaN}', 400),
        (b'{"id": ' + b"9" * 100_000 + b"}", 400),
        (nested(150), 400),
        (nested(201), 400),
        (nested(100_000), 400),
        (b'{"displayName":"' + b"x" * (5 << 20) + b'"}', 413),
    ],
    ids=["empty", "cut", "null", "list", "text", "utf16", "surrogate", "nan", "number", "deep", "deeper", "deepest", "large"],
)  # fmt: skip
def test_bodies_that_are_none(world: World, path: str, content: bytes, status: int) -> None:
    world.refused("POST", path, content=content, status=status)


def test_a_body_of_fifty_megabytes_is_refused_and_the_server_goes_on(world: World) -> None:
    answer = world.http.post(
        HANDLERS, content=b'{"description":"' + b"x" * (50 << 20) + b'"}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["name"] == "TooLarge"
    assert world.http.get("/health").json()["healthy"]


@pytest.mark.parametrize("status", ["active", "ACTIVE", "", "Paused", None, True])
def test_the_status_is_one_of_two(world: World, status: Any) -> None:
    said = world.refused("POST", HANDLERS, world.handler_of(world.definition(), letters(), creates(), status=status))
    assert "status" in said["errors"]


def test_both_patterns_or_none_are_refused(world: World) -> None:
    handler = world.handler_of(world.definition(), letters(), creates())
    neither = world.refused("POST", HANDLERS, merged(handler, eventMatchingPattern=None))
    assert "exactly one" in neither["detail"]
    schedule: Any = {"context": {}, "recurrencePattern": {}}
    both = world.refused("POST", HANDLERS, merged(handler, scheduleMatchingPattern=schedule))
    assert "both" in json.dumps(both)


def test_what_the_definition_does_not_have_is_refused(world: World) -> None:
    definition = world.definition()
    for activity, path, name in (
        (creates({"nope": 1}), "taskActivity.taskFields[nope]", "FieldNotInSchema"),
        (creates({"rows": "many"}), "taskActivity.taskFields[rows].setTo", "FieldTypeMismatch"),
        (creates({"desk": "equity"}), "taskActivity.taskFields[desk].setTo", "FieldValueNotAcceptable"),
        (creates({"path": "$other.path"}), "taskActivity.taskFields[path].mapFrom", "ValidationError"),
        (creates({"path": "$header.nope"}), "taskActivity.taskFields[path].mapFrom", "ValidationError"),
        (creates({}, "nope"), "taskActivity.initialTrigger", "UnknownTrigger"),
        (updates("nope"), "taskActivity.trigger", "UnknownTrigger"),
        ({"type": "UpdateMatchingTasks"}, "taskActivity.trigger", "ValidationError"),
        ({"type": "DeleteMatchingTasks"}, "taskActivity.type", "ValidationError"),
        ({}, "taskActivity.type", "ValidationError"),
    ):
        said = world.refused("POST", HANDLERS, world.handler_of(definition, letters(), activity))
        assert path in said["errors"], (activity, said)
        assert said["name"] == name
    missing = {"scope": "acme", "code": unique("absent")}
    said = world.refused("POST", HANDLERS, world.handler_of(missing, letters(), creates()))
    assert "taskDefinitionId" in said["errors"]


def test_a_second_handler_of_the_same_id_changes_nothing(world: World) -> None:
    handler = world.handler_of(world.definition(), letters(), creates())
    name = world.made(handler)
    before = world.ask("GET", f"{HANDLERS}/{name}")
    said = world.refused("POST", HANDLERS, merged(handler, displayName="Another"), status=409)
    assert said["name"] == "EventHandlerAlreadyExists"
    world.refused("PUT", f"{HANDLERS}/{name}", merged(handler, id=..., status="x"))
    world.refused("PUT", f"{HANDLERS}/acme/{unique('absent')}", merged(handler, id=...), status=404)
    world.refused("DELETE", f"{HANDLERS}/acme/{unique('absent')}", status=404)
    assert world.ask("GET", f"{HANDLERS}/{name}") == before
    assert WORK["displayName"] == "Work"
