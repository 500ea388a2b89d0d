"""Dollar templates: JSON values whose strings refer to other values, `${step.output.items[0]}`.

| Text | Value |
|---|---|
| one `${path}` and nothing else | the value itself, its type kept |
| text around it, or several | spliced: null as `null`, objects and lists as JSON text |
| a path to nothing | None, never an error |
| `${}`, `${ }` | the empty string |
| `$${x}` | the text `${x}` |
| `${a.output.k.${b.output.i}}` | the inner one first, its text spliced into the path |
| an opened `${` that is never closed | itself |

A template is compiled once per definition version. Each distinct reference is evaluated once per evaluation, however
often it occurs; sub-trees without references are shared by all results, so results must not be changed in place.

Invariants: keys are never templated; the result of a value without references is that value. A result is bounded: the
text of one string, and the JSON text of the whole (`RenderLimits`), so that references to a large value cannot multiply it.

Cost: about 0.3 us a plain reference, plus what its source costs. A reference whose path contains another is parsed again
for each new path (the 4,096 latest are remembered).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from pelton.kernel.expressions import path as paths
from pelton.kernel.expressions.base import JSON, Constant, Expression, ExpressionError, Invalid, Looks, Read, Resolver

Getter = Callable[[Any], JSON]
Builder = Callable[[list[JSON]], JSON]


class RenderLimits(NamedTuple):
    """How large the result of one template may be."""

    text: int = 1_000_000  # characters of one spliced string
    total: int = 16_000_000  # bytes of JSON text of all that references bring in
    nodes: int = 100_000  # values in the template
    depth: int = 200  # of lists and maps in the template
    references: int = 2_000
    nesting: int = 16  # of references in references


DEFAULT = RenderLimits()
FEW = 16  # uses of references that are weighed exactly only if they may be too much
ROUGH = 2  # what is mostly text is about as large as JSON; quotes, commas and escapes are not counted, nor digits


class Reference(NamedTuple):
    """One `${...}` in a template. `name` is None when it depends on an inner reference, "" when the path begins at the
    whole root; `members` are the plain members after the name as far as they are known."""

    location: str
    name: str | None
    text: str
    members: tuple[str | int, ...]


class Problem(NamedTuple):
    """Something that a careful author would not have written. `location` is like `a.b[0]`; "" is the value itself."""

    location: str
    text: str
    problem: str


class _Ref(NamedTuple):
    text: str  # with its braces
    parts: tuple[str | _Ref, ...]  # what is between them
    closed: bool = True


_Parts = tuple["str | _Ref", ...]


class Template:
    """A compiled template. `dynamic` says that `reads` may be incomplete, since a name is only known at evaluation."""

    __slots__ = ("_budget", "_build", "_few", "_getters", "_limits", "_uses", "dynamic", "reads")

    def __init__(self, build: Builder, compiler: _Compiler) -> None:
        self._build = build
        self._budget = compiler.budget
        self._getters = compiler.getters
        self._uses = compiler.uses
        self._few = sum(compiler.uses) <= FEW
        self._limits = compiler.limits
        self.reads = frozenset(compiler.reads)
        self.dynamic = compiler.dynamic

    def evaluate(self, context: Any) -> JSON:
        self._budget.begin()
        values = [get(context) for get in self._getters]
        if len(values) > 1 or self._uses[0] > 1:
            self._weigh(values)
        return self._build(values)

    def _weigh(self, values: list[JSON]) -> None:
        """Refuses a result in which references multiply a large value. A few references are looked at roughly first, which costs
        little and is right about what is small."""
        most, total = self._limits.total, 0
        if self._few:
            for value, uses in zip(values, self._uses, strict=True):
                kind = type(value)
                total += (len(value) if kind is str else roughly(value, most) if kind is dict or kind is list else 1) * uses
            if total * ROUGH <= most:
                return
        total = 0
        for value, uses in zip(values, self._uses, strict=True):
            if isinstance(value, str):
                total += len(value) * uses
            elif isinstance(value, (list, dict)):
                total += len(msgspec.json.encode(value)) * uses
        if total > self._limits.total:
            raise ExpressionError(f"the template yields {total} bytes; the limit is {self._limits.total}")


def roughly(value: JSON, most: int) -> int:
    """At least a `ROUGH`th of the size of a value as JSON text, and no more than that. Ends early beyond `most`."""
    if not isinstance(value, (str, list, dict)):
        return 1
    size, stack = 0, [value]
    while stack and size <= most:
        node = stack.pop()
        if isinstance(node, str):
            size += len(node)
        elif isinstance(node, dict):
            size += sum(map(len, node))
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
        size += 1
    return size


class _Whole:
    """A template that is one reference and nothing else: the commonest, so without the machinery of the others."""

    __slots__ = ("dynamic", "evaluate", "reads")

    def __init__(self, get: Getter, compiler: _Compiler) -> None:
        budget = compiler.budget

        def within_budget(context: Any) -> JSON:
            budget.begin()
            return get(context)

        self.evaluate: Getter = within_budget if compiler.searches else get
        self.reads = frozenset(compiler.reads)
        self.dynamic = compiler.dynamic


def compile_template(value: JSON, resolver: Resolver, *, limits: RenderLimits = DEFAULT) -> Expression:
    """Compiles a JSON value with references in it. Raises Invalid when it exceeds a limit; a path that is not one is
    compiled to None, and `lint` tells of it."""
    compiler = _Compiler(resolver, limits)
    build = compiler.node(value, 0)
    if not compiler.getters:
        return Constant(build([]))
    if isinstance(value, str) and len(parts := _parse(value, limits)) == 1 and isinstance(parts[0], _Ref):
        return _Whole(compiler.getters[0], compiler)
    return Template(build, compiler)


class _Compiler:
    def __init__(self, resolver: Resolver, limits: RenderLimits) -> None:
        self.resolver = resolver
        self.limits = limits
        self.getters: list[Getter] = []
        self.uses: list[int] = []
        self.reads: set[Read] = set()
        self.dynamic = False
        self.budget = Looks()  # of everything that one evaluation searches
        self.searches = False
        self._known: dict[str, int] = {}
        self._nodes = 0
        self._references = 0

    def node(self, value: JSON, depth: int) -> Builder:
        self._nodes += 1
        if self._nodes > self.limits.nodes:
            raise Invalid(f"the template has more than {self.limits.nodes} values")
        if depth > self.limits.depth:
            raise Invalid(f"the template is nested deeper than {self.limits.depth}")
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return self._map(value, depth)
        if isinstance(value, list):
            return self._list(value, depth)
        return _constant(value)

    def _map(self, value: dict[str, JSON], depth: int) -> Builder:
        before = len(self.getters), self._references
        built = [(key, self.node(item, depth + 1)) for key, item in value.items()]
        base = {key: build.value if isinstance(build, _Fixed) else None for key, build in built}
        if (len(self.getters), self._references) == before:
            return _constant(value if base == value and all(base[key] is value[key] for key in value) else base)
        moving = [(key, build) for key, build in built if not isinstance(build, _Fixed)]

        def build_map(values: list[JSON]) -> JSON:
            result = base.copy()
            for key, build in moving:
                result[key] = build(values)
            return result

        return build_map

    def _list(self, value: list[JSON], depth: int) -> Builder:
        before = len(self.getters), self._references
        built = [self.node(item, depth + 1) for item in value]
        if (len(self.getters), self._references) == before:
            items = [build.value for build in built if isinstance(build, _Fixed)]
            return _constant(value if all(a is b for a, b in zip(items, value, strict=True)) else items)
        return lambda values: [build(values) for build in built]

    def _text(self, text: str) -> Builder:
        if "${" not in text:
            return _constant(text)
        parts = _parse(text, self.limits)
        if len(parts) == 1 and isinstance(parts[0], _Ref):
            slot = self._slot(parts[0])
            return lambda values: values[slot]
        if all(isinstance(part, str) for part in parts):
            return _constant("".join(part for part in parts if isinstance(part, str)))
        pieces: list[str | int] = [part if isinstance(part, str) else self._slot(part) for part in parts]
        limit = self.limits.text

        def splice(values: list[JSON]) -> JSON:
            return _join([piece if isinstance(piece, str) else to_text(values[piece]) for piece in pieces], limit)

        return splice

    def _slot(self, reference: _Ref) -> int:
        self._references += 1
        if self._references > self.limits.references:
            raise Invalid(f"the template has more than {self.limits.references} references")
        known = self._known.get(reference.text)
        if known is not None:
            self.uses[known] += 1
            return known
        getter = self._getter(reference)
        self.getters.append(getter)
        self.uses.append(1)
        self._known[reference.text] = len(self.getters) - 1
        return len(self.getters) - 1

    def _getter(self, reference: _Ref) -> Getter:
        if all(isinstance(part, str) for part in reference.parts):
            getter, reads, searches = _fixed_getter("".join(map(str, reference.parts)), self.resolver, self.budget)
            self.reads |= reads
            self.searches |= searches
            return getter
        return self._dynamic_getter(reference)

    def _dynamic_getter(self, reference: _Ref) -> Getter:
        pieces: list[str | Getter] = []
        for part in reference.parts:
            if isinstance(part, str):
                pieces.append(part)
                continue
            self._references += 1
            if self._references > self.limits.references:
                raise Invalid(f"the template has more than {self.limits.references} references")
            pieces.append(self._getter(part))
        known = paths.prefix(pieces[0]) if isinstance(pieces[0], str) else ()
        if known and isinstance(known[0], str):
            self.reads |= self.resolver(known[0], known[1:]).reads
        else:
            self.dynamic = True
        resolver, budget = self.resolver, self.budget
        self.searches = True  # it may

        def dynamic(context: Any) -> JSON:
            inner = [piece if isinstance(piece, str) else to_text(piece(context)) for piece in pieces]
            getter, _, _ = _fixed_getter(_join(inner, paths.MAX_PATH), resolver, budget)
            return getter(context)

        return dynamic


class _Fixed:
    """A builder of a value that has no references in it."""

    __slots__ = ("value",)

    def __init__(self, value: JSON) -> None:
        self.value = value

    def __call__(self, values: list[JSON]) -> JSON:
        return self.value


def _constant(value: JSON) -> Builder:
    return _Fixed(value)


def _empty(context: Any) -> JSON:
    return ""


def _nothing(context: Any) -> JSON:
    return None


def _fixed_getter(text: str, resolver: Resolver, budget: Looks) -> tuple[Getter, frozenset[Read], bool]:
    """What a path gets, what it reads, and whether it searches."""
    text = text.strip()
    if not text:
        return _empty, frozenset(), False
    try:
        path = paths.parse(text)
    except Invalid:
        return _nothing, frozenset(), False
    bound = resolver(path.name, path.members)
    get = bound.get
    if bound.used >= len(path.members) and path.rest is None and path.function is None:
        return get, bound.reads, False
    walk = paths.after(path, bound.used, budget)
    return lambda context: walk(get(context)), bound.reads, path.rest is not None


def to_text(value: JSON) -> str:
    """A value as it appears inside a text."""
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    return msgspec.json.encode(value).decode()


def _join(pieces: list[str], limit: int) -> str:
    length = sum(map(len, pieces))
    if length > limit:
        raise ExpressionError(f"a text of the template has {length} characters; the limit is {limit}")
    return "".join(pieces)


def _parse(text: str, limits: RenderLimits) -> _Parts:
    """Splits a string into text and references; literal text comes without its escapes."""
    return _scan(text, 0, 0, limits)[0]


def _scan(text: str, at: int, nesting: int, limits: RenderLimits) -> tuple[_Parts, int]:
    """The parts from `at` to the brace that closes them (to the end at nesting 0), and where they end: at that brace, or
    -1 when it is missing. Inside brackets, quoted braces are text."""
    if nesting > limits.nesting:
        raise Invalid(f"references are nested deeper than {limits.nesting}", at)
    parts: list[str | _Ref] = []
    plain, brackets, quote, end = at, 0, "", len(text)

    def flush(to: int) -> None:
        if to > plain:
            parts.append(text[plain:to])

    while at < end:
        char = text[at]
        if char == "$" and text.startswith("$${", at) and not nesting:
            flush(at)
            plain = at + 1  # the second dollar begins the literal text
            at += 3
        elif char == "$" and text.startswith("${", at):
            inner, close = _scan(text, at + 2, nesting + 1, limits)
            if close < 0:
                if nesting:
                    return (), -1
                # Never closed, so it is text. What follows is read again, at most `limits.nesting` times in all, since
                # that many unclosed ones are too deep.
                at += 2
                continue
            flush(at)
            parts.append(_Ref(text[at : close + 1], inner))
            plain = at = close + 1
        elif not nesting:
            at = _next_dollar(text, at + 1)
        elif quote:
            quote = "" if char == quote else quote
            at += 2 if char == "\\" else 1
        elif char == "}":
            flush(at)
            return tuple(_merged(parts)), at
        else:
            if char in "[]":
                brackets += 1 if char == "[" else -1
            elif brackets > 0 and char in "'\"":
                quote = char
            at += 1
    if nesting:
        return (), -1
    flush(end)
    return tuple(_merged(parts)), end


def _next_dollar(text: str, at: int) -> int:
    found = text.find("$", at)
    return len(text) if found < 0 else found


def _merged(parts: list[str | _Ref]) -> Iterator[str | _Ref]:
    pending = ""
    for part in parts:
        if isinstance(part, str):
            pending += part
            continue
        if pending:
            yield pending
            pending = ""
        yield part
    if pending:
        yield pending


def references(value: JSON, *, limits: RenderLimits = DEFAULT) -> list[Reference]:
    """Every reference in a value, inner ones after the one they are in. Raises Invalid above a limit."""
    found: list[Reference] = []
    for location, text in strings(value, limits):
        for part in _parse(text, limits):
            if isinstance(part, _Ref):
                _collect(location, part, found)
                if len(found) > limits.references:
                    raise Invalid(f"the template has more than {limits.references} references")
    return found


def _collect(location: str, reference: _Ref, found: list[Reference]) -> None:
    first = reference.parts[0] if reference.parts else ""
    plain = len(reference.parts) <= 1 and isinstance(first, str)
    name: str | None = None
    members: paths.Members = ()
    if plain:
        try:
            path = paths.parse(str(first).strip())
            name, members = path.name, path.members
        except Invalid:
            name = ""
    elif isinstance(first, str):
        known = paths.prefix(first)
        if known and isinstance(known[0], str):
            name, members = known[0], known[1:]
    found.append(Reference(location, name, reference.text, members))
    for part in reference.parts:
        if isinstance(part, _Ref):
            _collect(location, part, found)


def lint(value: JSON, *, limits: RenderLimits = DEFAULT) -> list[Problem]:
    """What is wrong with the references of a value, without evaluating it. A limit that is exceeded is a problem too."""
    found: list[Problem] = []
    try:
        for location, text in strings(value, limits):
            parts = _parse(text, limits)
            for part in parts:
                if isinstance(part, _Ref):
                    _lint_reference(location, part, found)
            if _unclosed(text, parts):
                found.append(Problem(location, text, "a '${' is never closed; write '$${' for the text '${'"))
    except Invalid as error:
        found.append(Problem("", "", error.message))
    return found


def _unclosed(text: str, parts: _Parts) -> bool:
    opened = text.replace("$${", "").count("${")
    return opened > sum(_count(part) for part in parts if isinstance(part, _Ref))


def _count(reference: _Ref) -> int:
    return 1 + sum(_count(part) for part in reference.parts if isinstance(part, _Ref))


def _lint_reference(location: str, reference: _Ref, found: list[Problem]) -> None:
    for part in reference.parts:
        if isinstance(part, _Ref):
            _lint_reference(location, part, found)
    first = reference.parts[0] if reference.parts else ""
    last = reference.parts[-1] if reference.parts else ""
    plain = len(reference.parts) <= 1 and isinstance(first, str)
    problem = ""
    if plain and not str(first).strip():
        problem = "there is nothing between the braces"
    elif (isinstance(first, str) and first[:1].isspace()) or (isinstance(last, str) and last[-1:].isspace()):
        problem = "there is a blank inside the braces"
    elif isinstance(first, str) and first.startswith("."):
        problem = "the path begins with a dot, so it searches the whole document and yields a list"
    elif plain:
        try:
            paths.parse(str(first))
        except Invalid as error:
            problem = error.message
    if problem:
        found.append(Problem(location, reference.text, problem))


def strings(value: JSON, limits: RenderLimits = DEFAULT) -> Iterator[tuple[str, str]]:
    """The strings of a value that may hold references, each with its location. Raises Invalid above a limit."""
    stack: list[tuple[str, JSON, int]] = [("", value, 0)]
    nodes = 0
    while stack:
        location, item, depth = stack.pop()
        nodes += 1
        if nodes > limits.nodes:
            raise Invalid(f"the template has more than {limits.nodes} values")
        if depth > limits.depth:
            raise Invalid(f"the template is nested deeper than {limits.depth}")
        if isinstance(item, str):
            if "${" in item:
                yield location, item
        elif isinstance(item, dict):
            children = [(f"{location}.{key}" if location else str(key), child, depth + 1) for key, child in item.items()]
            stack.extend(reversed(children))
        elif isinstance(item, list):
            stack.extend(reversed([(f"{location}[{index}]", child, depth + 1) for index, child in enumerate(item)]))
