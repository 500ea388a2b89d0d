"""Forms: the part of JSON Schema (2020-12) that says what an answer must be. Pure, and bounded for any schema and answer.

Annotations (`title`, `description`, `default`, `format` ...) are carried and not checked, as the standard has it. What would be
checked and is not known here is refused when the form is read, so that no rule is ever passed over in silence; references and
regular expressions are among that, since no bound can be given for what they cost.

Cost: one step for each pair of a subschema and the value that it is applied to, at most `MOST_STEPS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import json

from pelton.errors import Code
from pelton.kernel.machine.draft import Refusal

MOST_BYTES = 65_536  # of a form, and of an answer
MOST_SUBSCHEMAS = 2_000
MOST_DEPTH = 32
MOST_STEPS = 20_000
MOST_PROBLEMS = 20
BYTES_A_STEP = 64  # of values that are compared whole


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
ANNOTATIONS = frozenset(
    {
        "$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
        "format", "contentEncoding", "contentMediaType",
    }
)  # fmt: skip
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
LISTS = ("allOf", "anyOf", "oneOf")
KNOWN = ANNOTATIONS | {
    *COUNTS, *NUMBERS, *LISTS, "not", "type", "enum", "const", "properties", "required", "additionalProperties", "items",
    "uniqueItems",
}  # fmt: skip


class FormProblem(NamedTuple):
    """`field`: where, as in `answer.items[2].name`. `value`: what is there."""

    field: str
    value: Any
    message: str


def text_of(value: Any) -> str:
    """As JSON, cut to a length; of what has parts, only that it has."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, str) and len(value) > 100:
        value = value[:99] + "…"
    return json.encode(value).decode()


def refuse(problems: list[FormProblem], code: Code = Code.INVALID) -> Refusal:
    message = "; ".join(f"{each.field} {each.message}" for each in problems[:3])
    return Refusal(code, message, [{"field": each.field, "value": each.value, "problem": each.message} for each in problems])


# ---- reading a form


def check_form(form: Any, place: str = "form") -> None:
    """Raises Refusal, naming the place, for what is not a form."""
    if len(json.encode(form)) > MOST_BYTES:
        raise refuse([FormProblem(place, "", f"is larger than {MOST_BYTES} bytes")], Code.TOO_LARGE)
    check_subschema(form, place, 1, [0])


def check_subschema(schema: Any, place: str, depth: int, count: list[int]) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise wrong(place, schema, "must be an object, true or false")
    count[0] += 1
    if count[0] > MOST_SUBSCHEMAS or depth > MOST_DEPTH:
        limit = f"more than {MOST_SUBSCHEMAS} subschemas" if depth <= MOST_DEPTH else f"more than {MOST_DEPTH} levels"
        raise refuse([FormProblem(place, "", f"has {limit}")], Code.TOO_LARGE)
    for name, value in schema.items():
        check_keyword(name, value, f"{place}.{name}")
    for name, each in (schema.get("properties") or {}).items():
        check_subschema(each, f"{place}.properties.{name}", depth + 1, count)
    for name in ("additionalProperties", "items", "not"):
        if name in schema:
            check_subschema(schema[name], f"{place}.{name}", depth + 1, count)
    for name in LISTS:
        for index, each in enumerate(schema.get(name) or ()):
            check_subschema(each, f"{place}.{name}[{index}]", depth + 1, count)


def check_keyword(name: str, value: Any, place: str) -> None:
    if name not in KNOWN and not name.startswith("x-"):
        raise wrong(place, value, f"is not supported in forms; they have {', '.join(sorted(KNOWN - ANNOTATIONS))}")
    if name == "type":
        kinds = value if isinstance(value, list) and value else [value]
        if not all(isinstance(kind, str) and kind in TYPES for kind in kinds):
            raise wrong(place, value, f"must be one of {', '.join(TYPES)}, or a list of them")
    elif name in COUNTS and not (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        raise wrong(place, value, "must be a whole number, not below 0")
    elif name in NUMBERS and not is_number(value):
        raise wrong(place, value, "must be a number")
    elif name == "multipleOf" and value <= 0:
        raise wrong(place, value, "must be above 0")
    elif name == "enum" and not isinstance(value, list):
        raise wrong(place, value, "must be a list of values")
    elif name in LISTS and not (isinstance(value, list) and value):
        raise wrong(place, value, "must be a list of schemas")
    elif name == "properties" and not isinstance(value, dict):
        raise wrong(place, value, "must be an object of schemas")
    elif name == "required" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise wrong(place, value, "must be a list of names")
    elif name == "uniqueItems" and not isinstance(value, bool):
        raise wrong(place, value, "must be true or false")


def wrong(place: str, value: Any, message: str) -> Refusal:
    return refuse([FormProblem(place, value, message)])


# ---- checking an answer


def check_answer(form: Any, answer: Any, place: str = "answer", *, partial: bool = False) -> None:
    """Raises Refusal with all that is wrong, at most 20 problems. `partial`: what is required may still be missing."""
    if len(json.encode(answer)) > MOST_BYTES:
        raise refuse([FormProblem(place, "", f"is larger than {MOST_BYTES} bytes")], Code.TOO_LARGE)
    problems = Check(partial).problems(form, answer, place) if form is not None else []
    if problems:
        raise refuse(problems[:MOST_PROBLEMS])


class Check:
    """One check of one answer."""

    def __init__(self, partial: bool) -> None:
        self._partial = partial
        self._steps = 0

    def problems(self, schema: Any, value: Any, place: str) -> list[FormProblem]:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise refuse([FormProblem(place, "", f"takes more than {MOST_STEPS} steps to check")], Code.TOO_LARGE)
        if schema is True:
            return []
        if schema is False:
            return [FormProblem(place, value, "is not asked for")]
        kinds = schema.get("type")
        if kinds is not None:
            kinds = kinds if isinstance(kinds, list) else [kinds]
            if not any(TYPES[kind](value) for kind in kinds):
                return [FormProblem(place, value, f"must be of type {' or '.join(kinds)}, not {text_of(value)}")]
        if "enum" in schema or "const" in schema or schema.get("uniqueItems"):
            size = len(json.encode([schema.get("enum"), schema.get("const"), value]))
            self._steps += size // BYTES_A_STEP
        found = [FormProblem(place, value, text) for text in of_any(schema, value)]
        if isinstance(value, str):
            found += [FormProblem(place, value, text) for text in sized(schema, len(value), "Length", "characters")]
        elif isinstance(value, list):
            found += self._of_list(schema, value, place)
        elif isinstance(value, dict):
            found += self._of_object(schema, value, place)
        elif is_number(value):
            found += [FormProblem(place, value, text) for text in of_number(schema, value)]
        return found + self._of_others(schema, value, place)

    def _of_list(self, schema: Mapping[str, Any], value: list[Any], place: str) -> list[FormProblem]:
        found = [FormProblem(place, value, text) for text in sized(schema, len(value), "Items", "items")]
        if schema.get("uniqueItems") and len({canonical(each) for each in value}) < len(value):
            found.append(FormProblem(place, value, "must not have the same item twice"))
        if "items" in schema:
            for index, each in enumerate(value):
                found += self.problems(schema["items"], each, f"{place}[{index}]")
        return found

    def _of_object(self, schema: Mapping[str, Any], value: dict[str, Any], place: str) -> list[FormProblem]:
        found = [FormProblem(place, value, text) for text in sized(schema, len(value), "Properties", "members")]
        if not self._partial:
            missing = [name for name in schema.get("required") or () if name not in value]
            found += [FormProblem(f"{place}.{name}", None, "is required") for name in missing]
        known = schema.get("properties") or {}
        others = schema.get("additionalProperties", True)
        for name, each in value.items():
            found += self.problems(known.get(name, others), each, f"{place}.{name}")
        return found

    def _of_others(self, schema: Mapping[str, Any], value: Any, place: str) -> list[FormProblem]:
        found: list[FormProblem] = []
        for each in schema.get("allOf") or ():
            found += self.problems(each, value, place)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                tried = [self.problems(each, value, place) for each in schema[name]]
                fits = sum(not each for each in tried)
                if not fits:
                    found += sorted(tried, key=len)[0]
                elif fits > 1 and name == "oneOf":
                    found.append(FormProblem(place, value, f"fits {fits} of the forms that it may have, and must fit one"))
        if "not" in schema and not self.problems(schema["not"], value, place):
            found.append(FormProblem(place, value, f"must not be {text_of(value)}"))
        return found


def of_any(schema: Mapping[str, Any], value: Any) -> list[str]:
    found = []
    if "const" in schema and canonical(value) != canonical(schema["const"]):
        found.append(f"must be {text_of(schema['const'])}, not {text_of(value)}")
    if "enum" in schema and canonical(value) not in {canonical(each) for each in schema["enum"]}:
        some = ", ".join(text_of(each) for each in schema["enum"][:20])
        found.append(f"must be one of {some}, not {text_of(value)}")
    return found


def canonical(value: Any) -> bytes:
    """The same for equal values: 1 is 1.0, and is not true."""
    return json.encode(whole(value), order="sorted")


def whole(value: Any) -> Any:
    if isinstance(value, float) and abs(value) < 1 << 53 and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(each) for each in value]
    return {name: whole(each) for name, each in value.items()} if isinstance(value, dict) else value


def sized(schema: Mapping[str, Any], size: int, what: str, unit: str) -> list[str]:
    low, high = schema.get("min" + what, 0), schema.get("max" + what, math.inf)
    if size < low:
        return [f"must have at least {low} {unit}, not {size}"]
    return [f"must have at most {high} {unit}, not {size}"] if size > high else []


def of_number(schema: Mapping[str, Any], value: float) -> list[str]:
    found = []
    for name, fits, text in (
        ("minimum", lambda limit: value >= limit, "at least"),
        ("maximum", lambda limit: value <= limit, "at most"),
        ("exclusiveMinimum", lambda limit: value > limit, "above"),
        ("exclusiveMaximum", lambda limit: value < limit, "below"),
        ("multipleOf", lambda limit: is_multiple(value, limit), "a multiple of"),
    ):
        if name in schema and not fits(schema[name]):
            found.append(f"must be {text} {text_of(schema[name])}, not {text_of(value)}")
    return found


def is_multiple(value: float, of: float) -> bool:
    """As decimal numbers: 0.3 is a multiple of 0.1."""
    if isinstance(value, int) and isinstance(of, int):
        return value % of == 0
    ratio = value / of
    return math.isfinite(ratio) and abs(ratio - round(ratio)) < 1e-9 * max(1.0, abs(ratio))
