"""Validation problems of definitions and handlers, and the checks that both need."""

from __future__ import annotations

from typing import Any

from pelton.kernel.expressions import template
from pelton.kernel.expressions.base import Invalid
from pelton.languages.conductor import decode
from pelton.languages.conductor.expressions import scripts, secrets
from pelton.transport.validation import Problems

MAX_NAME = 500  # characters


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
    elif not name.isprintable():
        problems.add(path, "the name has characters that cannot be printed; remove them", name)


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
