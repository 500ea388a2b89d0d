"""What the things that filters look at are made of, so that a path that can never lead anywhere is refused where it is written.

Such a path reads as nothing, and under `not` nothing passes: a guard with a misspelt word in it would let everybody through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pelton.kernel.expressions.base import Invalid
from pelton.languages.lusid.filters.grammar import All, Comparison, Either, MemberPath, Name, Negated, Node, Quantified

MAX_SHOWN = 40  # characters of a name in a message


class Value(NamedTuple):
    """A text, a number, a date, true or false: nothing is below it."""


class Anything(NamedTuple):
    """What is below is not known beforehand."""


class Members(NamedTuple):
    of: Mapping[str, Shape]


class Items(NamedTuple):
    each: Shape


class Named(NamedTuple):
    """Values by names that are not known beforehand, of small letters and digits."""


Shape = Value | Anything | Members | Items | Named
VALUE, ANYTHING = Value(), Anything()


def values(*names: str) -> dict[str, Shape]:
    return dict.fromkeys(names, VALUE)


def check_shape(node: Node | None, shape: Shape, names: Shape = ANYTHING) -> None:
    """`shape`: of what the filter looks at. `names`: of what names on the right-hand side stand for. Raises Invalid."""
    if isinstance(node, (All, Either)):
        for part in node.parts:
            check_shape(part, shape, names)
    elif isinstance(node, Negated):
        check_shape(node.part, shape, names)
    elif node is not None:
        found = follow(node.path, shape)
        if isinstance(node, Quantified):
            if not isinstance(found, Items | Anything):
                what = _written(node.path.steps) or "the element"
                raise Invalid(f"at {node.position}: {what} is no list, so {node.quantifier} has nothing to go by", node.position)
            check_shape(node.inner, found.each if isinstance(found, Items) else ANYTHING, names)
        elif isinstance(node, Comparison):
            for operand in node.operands:
                if isinstance(operand, Name):
                    follow(operand, names)


def follow(path: MemberPath | Name, shape: Shape) -> Shape:
    """What a path leads to. Raises Invalid when that can never be anything."""
    for place, step in enumerate(path.steps):
        above = _written(path.steps[:place])
        if isinstance(shape, Anything):
            return shape
        if isinstance(shape, Value):
            raise Invalid(f"at {path.position}: {above} has no members", path.position)
        if isinstance(shape, Named):
            if not (step.isascii() and step.isalnum()):
                raise Invalid(f"at {path.position}: names in {above} have letters and digits only", path.position)
            shape = VALUE
            continue
        if isinstance(shape, Items):
            if not is_index(step):
                raise Invalid(
                    f"at {path.position}: {above} is a list; ask with any, all or none, or for one of it as {above}[0]",
                    path.position,
                )
            shape = shape.each
            continue
        found = next((below for name, below in shape.of.items() if name.casefold() == step.casefold()), None)
        if found is None:
            where = f" in {above}" if above else ""
            raise Invalid(
                f"at {path.position}: there is no '{step[:MAX_SHOWN]}'{where}; known are {', '.join(sorted(shape.of))}",
                path.position,
            )
        shape = found
    if not path.steps and isinstance(shape, Members):
        raise Invalid(f"at {path.position}: there is no ~ outside of any, all and none; known are {', '.join(sorted(shape.of))}",
                      path.position)  # fmt: skip
    return shape


def is_index(step: str) -> bool:
    """Whether a step stands for a place in a list, where there is one."""
    return step.isascii() and step.isdigit() and len(step) <= 9


def _written(steps: tuple[str, ...]) -> str:
    return ".".join(step[:MAX_SHOWN] for step in steps)
