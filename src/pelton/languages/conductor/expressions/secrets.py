"""Secrets in definitions: `${workflow.secrets.NAME}`, and `${workflow.secrets.NAME.member[0]}` of a secret that is JSON text.

A reference comes to itself when an input is evaluated, so that text is all that is kept and shown. The value takes its place when
the task is handed out, and only where the definition of the task has the reference: text that looks like one but comes from a
run's input, an event or a worker stays what it is, so that nobody gets a secret by writing its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions import template
from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.model.process import SecretUse

SECRETS, ENVIRONMENT = "secrets", "env"
TASKS = ("SIMPLE", "HTTP", "DYNAMIC")  # whose inputs may name secrets: they are handed out
_MEMBERS = r"((?:\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]{1,9}\])*)"
_REFERENCE = re.compile(r"\$\{workflow\.secrets\.([A-Za-z_][A-Za-z0-9_-]{0,99})" + _MEMBERS + r"\}", re.ASCII)
_MEMBER = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]")

Members = Sequence[str | int]


def text_of(members: Members) -> str:
    """A reference as it is kept, from the members after `workflow`."""
    return "${workflow" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in members) + "}"


def problem_of(reference: template.Reference, allowed: bool) -> str:
    """What is wrong with a reference, where secrets are allowed or not; "" if nothing is."""
    if reference.name != "workflow" or reference.members[:1] not in ((SECRETS,), (ENVIRONMENT,)):
        return ""
    if reference.members[0] == ENVIRONMENT:
        return (
            f"{reference.text} is not supported: a definition reads nothing of the server's environment; "
            "set a secret whose source is env:NAME, and name that"
        )
    if not allowed:
        return (
            f"{reference.text} is not supported here: secrets are named in the inputParameters of {' and '.join(TASKS)} tasks, "
            "which get the value when they are handed out; it would be kept and shown anywhere else"
        )
    if _REFERENCE.fullmatch(text_of(reference.members)) is None or "".join(reference.text.split()) != text_of(reference.members):
        return f"{reference.text} names no secret: write ${{workflow.secrets.NAME}}, or ${{workflow.secrets.NAME.member}}"
    return ""


def use_of(*inputs: Mapping[str, JSON]) -> SecretUse | None:
    """The secrets that these name, of which together one input is evaluated; None if there are none."""
    names: dict[str, None] = {}
    places: dict[Any, Any] = {}
    for value in inputs:
        _collect(value, places, names)
    return SecretUse(tuple(names), _Fill(places)) if names else None


def _collect(value: JSON, places: dict[Any, Any], names: dict[str, None]) -> None:
    """`places`: by member, those that are in it; under None, the secrets that are named in a text."""
    if isinstance(value, str):
        found = [each for each in _references(value) if _REFERENCE.fullmatch(each)]
        names.update(dict.fromkeys(_name(each) for each in found))
        if found:
            places.setdefault(None, set()).update(found)
        return
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for member, inner in members:
        below = places.get(member, {})
        _collect(inner, below, names)
        if below:
            places[member] = below


def _references(text: str) -> list[str]:
    if "${" not in text:
        return []
    try:
        found = template.references(text)
    except Invalid:
        return []
    return [text_of(each.members) for each in found if each.name == "workflow" and each.members[:1] == (SECRETS,)]


def _name(reference: str) -> str:
    match = _REFERENCE.fullmatch(reference)
    assert match is not None
    return match[1]


class _Fill:
    """Puts values where the definition names them. Raises PeltonError, which names the secret, for a member that is not there."""

    __slots__ = ("_places",)

    def __init__(self, places: Mapping[Any, Any]) -> None:
        self._places = places

    def __call__(self, value: JSON, values: Mapping[str, str]) -> JSON:
        return _filled(value, self._places, values)


def _filled(value: JSON, places: Mapping[Any, Any], values: Mapping[str, str]) -> JSON:
    if isinstance(value, str):
        return _in_text(value, places.get(None, frozenset()), values)
    if isinstance(value, dict):
        return {**value, **{name: _filled(value[name], below, values) for name, below in places.items() if name in value}}
    if isinstance(value, list):
        return [_filled(each, places[index], values) if index in places else each for index, each in enumerate(value)]
    return value


def _in_text(text: str, named: frozenset[str] | set[str], values: Mapping[str, str]) -> JSON:
    if text in named:
        return _value(text, values)
    return _REFERENCE.sub(lambda found: template.to_text(_value(found[0], values)) if found[0] in named else found[0], text)


def _value(reference: str, values: Mapping[str, str]) -> JSON:
    match = _REFERENCE.fullmatch(reference)
    assert match is not None
    name, rest = match[1], match[2]
    if not rest:
        return values[name]
    try:
        found: Any = msgspec.json.decode(values[name])
        for member in _MEMBER.finditer(rest):
            found = found[member[1] if member[1] is not None else int(member[2])]
    except (msgspec.DecodeError, LookupError, TypeError, RecursionError):
        raise PeltonError(Code.INVALID, f"the secret {name!r} is not JSON text with a member {rest.lstrip('.')}") from None
    return found
