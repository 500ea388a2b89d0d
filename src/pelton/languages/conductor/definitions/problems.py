"""Validation problems of definitions and handlers, and the checks that both need."""

from __future__ import annotations

import re
from typing import Any

from pelton.kernel.expressions import template
from pelton.kernel.expressions.base import Invalid
from pelton.languages.conductor import decode
from pelton.languages.conductor.expressions import scripts, secrets
from pelton.transport.validation import Problems

MAX_NAME = 500  # characters

# Line breaks and tabs, blanks of any kind, joiners and direction marks are part of names: many scripts, and emoji, need them.
_UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


class DefinitionProblems(Problems):
    """`operation`: how paths begin in the answer."""

    def __init__(self, operation: str) -> None:
        super().__init__(operation, most=decode.MAX_PROBLEMS)

    def summary(self) -> str:
        return "Validation failed, check below errors for detail."


def check_name(name: str, path: str, message: str, problems: Problems) -> None:
    if not name.strip():
        problems.add(path, message, name)
    elif len(name) > MAX_NAME:
        problems.add(path, f"the name has {len(name)} characters; the limit is {MAX_NAME}")
    elif _UNUSABLE.search(name):
        problems.add(path, "the name has control characters; remove them", name)


def check_template(value: Any, path: str, problems: Problems) -> None:
    try:
        template.references(value)
    except Invalid as error:
        problems.add(path, error.message)


def check_secrets(value: Any, path: str, problems: Problems, allowed: bool = False) -> None:
    """Secrets, and what the environment has, are named only where they are not kept."""
    try:
        found = template.references(value)
    except Invalid:
        return  # reported as a template already
    for each in found:
        if problem := secrets.problem_of(each, allowed):
            problems.add(f"{path}.{each.location}" if each.location else path, problem, each.text)


def check_script(path: str, source: str, problems: Problems) -> None:
    error = scripts.syntax_error(source)
    if error is not None:
        problems.add(path, f"Expression is not well formatted: {error}", source)
