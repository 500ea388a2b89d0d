"""Values that programs seldom think of, documents of a schema, and documents with one thing wrong. Everything comes from the
random generator that is given, so that a seed says it all."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any

TEXTS: tuple[str, ...] = (
    "", " ", "a", "0", "-1", "null", "true", "NaN", "..", "../../etc/passwd", "a/b", "%00", "%2F", "\x00", "a\x00b",
    "\x1b[31m", "\x7f",
    "\u202e", "\u200d", "\ufeff", "\ufdd0", "\uffff", "\U0010ffff", "\ud800", "\U0001f469\u200d\U0001f4bb", "e\u0301", "ﬁ",
    "İ", "ß", "٣", "\r\n", "\n",
    "$", "${", "${}", "${workflow.input.a}", "${workflow.secrets.x}", "${a.b.c[0]}", "$.a", "$..*", "$[?(@.a==1)]", "body.a",
    "header.type",
    "fields['a'] eq 'b'", "not (state eq 'x')", "((((((((", "a eq", "'", '"', "\\", "`", "*", "?", "[", "{", "}", "=", "&",
    ";", ",",
    "1e999", "0x10", "1_000", "9" * 400, "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00+05:00",
    "PT1S",
    "P9999999Y", "0 0 31 2 *", "* * * * * *", "30d", "-5m", "10000000000y", "x" * 300, "x" * 5_000, "é" * 1_500, "a b", "A",
    "Aa" * 40,
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 255, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400, 0.0,
    -0.0, 0.1,
    1e-320, 1e308, 1.5, -1e16, 9007199254740993.0,
)  # fmt: skip
DEPTHS = (5, 50, 199, 201, 2_000)
LONG = (10, 101, 1_001)


def scalar(rng: random.Random) -> Any:
    chosen = rng.random()
    if chosen < 0.45:
        return text(rng)
    return rng.choice(NUMBERS) if chosen < 0.8 else rng.choice((None, True, False))


def text(rng: random.Random) -> str:
    if rng.random() < 0.8:
        return rng.choice(TEXTS)
    return "".join(
        chr(rng.choice((rng.randrange(32, 127), rng.randrange(0xD7FF), rng.randrange(0xE000, 0x110000)))) for _ in range(8)
    )


def nested(rng: random.Random, depth: int) -> Any:
    found: Any = scalar(rng)
    for _ in range(depth):
        found = [found] if rng.random() < 0.5 else {"a": found}
    return found


def anything(rng: random.Random, depth: int = 3) -> Any:
    chosen = rng.random()
    if depth <= 0 or chosen < 0.55:
        return scalar(rng)
    if chosen < 0.6:
        return nested(rng, rng.choice(DEPTHS[:3]))
    if chosen < 0.62:
        return [scalar(rng)] * rng.choice(LONG)
    if chosen < 0.8:
        return [anything(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {text(rng): anything(rng, depth - 1) for _ in range(rng.randrange(4))}


def of_schema(
    rng: random.Random, schema: Mapping[str, Any], schemas: Mapping[str, Any], known: Sequence[str], depth: int = 6
) -> Any:
    """A document that fits the schema, mostly. `known`: names of things that there are."""
    if (ref := schema.get("$ref")) is not None:
        schema = schemas[ref.rpartition("/")[2]]
    if (choices := schema.get("anyOf") or schema.get("oneOf")) is not None:
        return of_schema(rng, rng.choice(choices), schemas, known, depth)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if kind == "object" and depth > 0:
        members = schema.get("properties", {})
        needed = schema.get("required", ())
        chosen = [name for name in members if name in needed or rng.random() < 0.5]
        found = {name: of_schema(rng, members[name], schemas, known, depth - 1) for name in chosen}
        if not members:
            found = {rng.choice(("a", "k", "n")): scalar(rng) for _ in range(rng.randrange(3))}
        return found
    if kind == "array" and depth > 0:
        low = schema.get("minItems", 0)
        items = schema.get("items") or {}
        return [of_schema(rng, items, schemas, known, depth - 1) for _ in range(low + rng.randrange(3))]
    if kind == "string":
        return rng.choice(known) if known and rng.random() < 0.6 else text(rng)
    if kind in {"integer", "number"}:
        low, high = schema.get("minimum", 0), schema.get("maximum", 100)
        return rng.choice((low, high, rng.randrange(int(low), max(int(low) + 1, min(int(high), 1000)))))
    if kind == "boolean":
        return rng.random() < 0.5
    return anything(rng, 2) if depth > 0 else None


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every part of a document but the whole."""
    if isinstance(document, dict):
        inside = list(document.items())
    elif isinstance(document, list):
        inside = list(enumerate(document))
    else:
        return []
    return [way for key, value in inside for way in ((*path, key), *places(value, (*path, key)))]


def changed(rng: random.Random, document: Any, times: int = 1) -> Any:
    """The document with a part taken away, put twice, or made something else."""
    found = copy.deepcopy(document)
    for _ in range(times):
        ways = places(found)
        if not ways:
            return anything(rng)
        *to, last = rng.choice(ways)
        parent = found
        for key in to:
            parent = parent[key]
        act = rng.randrange(6)
        if act == 0:
            del parent[last]
        elif act == 1 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        elif act == 2 and isinstance(parent, dict):
            parent[text(rng)] = parent.pop(last)
        elif act == 3:
            parent[last] = nested(rng, rng.choice(DEPTHS[:3]))
        elif act == 4:
            parent[last] = anything(rng)
        else:
            parent[last] = scalar(rng)
    return found
