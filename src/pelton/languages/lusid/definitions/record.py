"""A task's document and the rules by which it changes: the record of a run whose process is a task definition.

Pure. A change is refused as a whole: no field of a refused change is stored. A refusal names the field, the value
and what would be valid; its trace has this API's name of the problem (`errors.NAMES`).

The document: `definition` (scope/code), `asAt` and `row` (the definition's version: microseconds, and its bound row), `state`,
`initial` (the name of the initial state), `fields` (name → value), `correlationIds`, `stackingKey`, `by` and `request` (of the
value), `creator`, `createdRequest`, `created` and `moved` (microseconds), `parent`, `root`, `previous` (run keys), `nextTrigger`,
and the action logs `logCreated`, `logModified`, `logSubmitted`. Members without a value are left out, but for the lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pelton.errors import Code
from pelton.kernel.machine.draft import Moment, Refusal
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Records
from pelton.languages.lusid.definitions.field_types import fitted
from pelton.languages.lusid.filters import index_value

CORRELATIONS, STACK = "correlationids", "stackingkey"
FIELDS = "fields."  # begins the names of the attributes that fields are
PARENT, PREVIOUS = "parent", "previous"
MAX_CORRELATIONS = 100
SEPARATOR = "\x1f"  # between definition and state, where children are counted


class Field(NamedTuple):
    name: str
    type: str
    read_only: frozenset[str] | None  # states in which it cannot be changed; None = in all
    acceptable: tuple[Any, ...] | None  # None = any


class TaskRules(NamedTuple):
    """What of a task definition's version the rules need."""

    name: str  # scope/code
    display: str
    as_at: int
    states: Mapping[str, str]  # name → display name, "" when it has none
    initial: str
    required: tuple[str, ...]
    fields: Mapping[str, Field]
    terminal: frozenset[str]
    row: int = 0  # of the bound version that runs follow


def read_definition(name: str, value: Mapping[str, Any], as_at: int, row: int = 0) -> TaskRules:
    """`value`: the definition as its author sent it, checked."""
    states = {each["name"]: each.get("displayName") or "" for each in value["states"]}
    initial = value["initialState"]
    leaving = {each["fromState"] for each in value.get("transitions") or ()}
    terminal = frozenset(states) - leaving
    fields = {each["name"]: _field(each, initial["name"], terminal) for each in value.get("fieldSchema") or ()}
    return TaskRules(
        name=name,
        display=value.get("displayName") or name,
        as_at=as_at,
        states=states,
        initial=initial["name"],
        required=tuple(initial.get("requiredFields") or ()),
        fields=fields,
        terminal=terminal,
        row=row,
    )


def _field(schema: Mapping[str, Any], initial: str, terminal: frozenset[str]) -> Field:
    read_only: frozenset[str] | None = frozenset()
    rule = schema.get("readOnlyStates")
    if rule:
        kind = rule["stateType"]
        if kind == "InitialState":
            read_only = frozenset([initial])
        elif kind == "TerminalState":
            read_only = terminal
        elif kind == "AllStates":
            read_only = None
        else:
            read_only = frozenset(rule.get("selectedStates") or ())
    limits = schema.get("valueConstraints")
    acceptable = None
    if limits and limits["constraintType"] == "Validated":
        acceptable = tuple(_as_kept(schema["type"], each) for each in limits["acceptableValues"])
    return Field(schema["name"], schema["type"], read_only, acceptable)


def _as_kept(kind: str, value: Any) -> Any:
    try:
        return fitted(kind, value)
    except ValueError:
        return value


# ---- values


def refusal(name: str, field: str, message: str) -> Refusal:
    return Refusal(Code.INVALID, message, [{"name": name, "field": field}])


def checked(definition: TaskRules, name: str, value: Any) -> Any:
    """The value as the field keeps it; None for no value. Raises Refusal."""
    field = definition.fields.get(name)
    if field is None:
        known = ", ".join(list(definition.fields)[:20]) or "none"
        message = f"field {name!r} is not in the schema of {definition.name}; its fields are: {known}"
        raise refusal("FieldNotInSchema", f"fields[{name}]", message)
    if value is None:
        return None
    try:
        kept = fitted(field.type, value)
    except ValueError as error:
        message = f"field {name!r} of type {field.type} must be {error}, not {_describe(value)}"
        raise refusal("FieldTypeMismatch", f"fields[{name}]", message) from None
    if field.acceptable is not None and kept not in field.acceptable:
        some = ", ".join(_describe(each) for each in field.acceptable[:20])
        message = f"field {name!r} must be one of {some}, not {_describe(value)}"
        raise refusal("FieldValueNotAcceptable", f"fields[{name}]", message)
    return kept


def _describe(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:99] + "…"


def _members(name: str, given: Any) -> Mapping[str, Any]:
    """What came in any way, as an object; nothing is an empty one. Raises Refusal."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise refusal("ValidationError", name, f"{name} must be an object with a member for each value, not {_describe(given)}")
    return given


def _correlations(given: Any) -> list[str]:
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise refusal("ValidationError", "correlationIds", f"correlation ids must be a list of texts, not {_describe(given)}")
    ids = list(dict.fromkeys(given))
    if len(ids) > MAX_CORRELATIONS:
        message = f"a task has at most {MAX_CORRELATIONS} correlation ids, not {len(ids)}"
        raise refusal("ValidationError", "correlationIds", message)
    return ids


# ---- the rules


def records(definition: TaskRules) -> Records:
    def change(document: dict[str, Any], changes: Mapping[str, Any], moment: Moment) -> dict[str, Any]:
        after = apply_changes(definition, document, changes)
        return document if after is document else {**after, "by": moment.actor, "request": moment.request}

    return Records(
        begin=lambda scene: first_document(definition, scene),
        change=change,
        live=lambda document: document["state"] not in definition.terminal,
        attributes=lambda document: attributes(definition, document),
        lasting=frozenset([PARENT, PREVIOUS, STACK]),
        basis=lambda document: basis(definition, document),
        counted=lambda document: f"{definition.name}{SEPARATOR}{document['state']}",
    )


def first_document(definition: TaskRules, scene: Scene) -> dict[str, Any]:
    """The first value, in the initial state. The start's input is what was asked for. Raises Refusal."""
    asked = _members("input", scene.input)
    given = ((name, checked(definition, name, value)) for name, value in _members("fields", asked.get("fields")).items())
    fields = {name: kept for name, kept in given if kept is not None}
    key = asked.get("stackingKey")
    if key is not None and not isinstance(key, str):
        raise refusal("ValidationError", "stackingKey", f"a stacking key must be a text, not {_describe(key)}")
    missing = [name for name in definition.required if name not in fields]
    if missing:
        names = ", ".join(map(repr, missing))
        message = f"a task of {definition.name} needs a value for {names}"
        raise refusal("RequiredFieldMissing", f"fields[{missing[0]}]", message)
    moment, run = scene.moment, scene.run
    document = {
        "definition": definition.name,
        "asAt": definition.as_at,
        "row": definition.row,
        "state": definition.initial,
        "initial": definition.initial,
        "fields": fields,
        "correlationIds": _correlations(asked.get("correlationIds") or ()),
        "by": moment.actor,
        "request": moment.request,
        "creator": moment.actor,
        "createdRequest": moment.request,
        "created": moment.stamp,
        "moved": moment.stamp,
        "root": run.root,
    }
    if run.parent:
        document["parent"] = run.parent
    document.update({name: asked[name] for name in ("stackingKey", "previous", "nextTrigger", "logCreated") if asked.get(name)})
    return document


def basis(definition: TaskRules, document: dict[str, Any]) -> tuple[Any, ...]:
    """What `attributes` depends on. A change of state leaves the maps and lists as they are."""
    fields = document["fields"] if document["state"] not in definition.terminal else None
    return document.get(PARENT), document.get(PREVIOUS), document["correlationIds"], document.get("stackingKey"), fields


def attributes(definition: TaskRules, document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """By what a task is found: by its links, correlation ids and stacking key always, by its fields while it is open."""
    found = [(name, str(document[name])) for name in (PARENT, PREVIOUS) if name in document]
    values: list[tuple[str, Any]] = [(CORRELATIONS, each) for each in document["correlationIds"]]
    values.append((STACK, document.get("stackingKey")))
    if document["state"] not in definition.terminal:
        values += [(FIELDS + name.casefold(), value) for name, value in document["fields"].items()]
    return (*found, *((name, text) for name, value in values if (text := index_value(value)) is not None))


def apply_changes(definition: TaskRules, document: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the changes: the same object when they change nothing. Raises Refusal.

    `changes`: `fields` (name → value, None clears), `correlationIds` (replace), `addCorrelationIds`, `stackingKey`,
    `logModified`, and `unlocked`: read-only rules do not apply."""
    fields = document["fields"]
    altered: dict[str, Any] = {}
    for name, value in _members("fields", changes.get("fields")).items():
        kept = checked(definition, name, value)
        if kept == fields.get(name) and type(kept) is type(fields.get(name)):
            continue
        field = definition.fields[name]
        locked = field.read_only is None or document["state"] in field.read_only
        if locked and not changes.get("unlocked"):
            message = f"field {name!r} is read-only in state {document['state']!r}"
            raise refusal("FieldReadOnly", f"fields[{name}]", message)
        if kept is None and name in definition.required:
            raise refusal("RequiredFieldMissing", f"fields[{name}]", f"field {name!r} is required and cannot be cleared")
        altered[name] = kept
    after = document
    if altered:
        merged = {name: value for name, value in {**fields, **altered}.items() if value is not None}
        after = {**after, "fields": merged}
    ids = changes.get("correlationIds")
    more = changes.get("addCorrelationIds")
    if ids is not None or more:
        wanted = _correlations([*(document["correlationIds"] if ids is None else _correlations(ids)), *_correlations(more or ())])
        if wanted != document["correlationIds"]:
            after = {**after, "correlationIds": wanted}
    key = changes.get("stackingKey")
    if key is not None and key != document.get("stackingKey", ""):
        after = {**after, "stackingKey": key}
        if not key:
            del after["stackingKey"]
    if changes.get("logModified"):
        after = {**after, "logModified": changes["logModified"]}
    return after
