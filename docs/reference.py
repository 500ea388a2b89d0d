"""Writes the pages that are made from the program: docs/cli.md and docs/states.md, and parts of architecture.md,
glossary.md, operations.md, observability.md and client.md.

    uv run python docs/reference.py

`--check` changes nothing, and fails when a page is stale; the tests do that.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import click
import msgspec

import pelton
from pelton import models
from pelton.cli.main import main
from pelton.kernel.machine import legality
from pelton.kernel.model.state import RunStatus, State, StepStatus
from pelton.runtime.delivery.states import DELIVERY_CHANGES, DeliveryState
from pelton.server.config import OPTIONS
from pelton.server.metrics.catalogue import CATALOGUE

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # for the tables of tests/test_rooms.py

from tests.source import PACKAGE  # noqa: E402
from tests.test_rooms import FACE, FACE_ONLY, LAYERS, ROOMS  # noqa: E402
from tests.test_words import REFUSED, REFUSED_NAMES  # noqa: E402

ORDERED = (
    "kernel",
    "kernel.model",
    "kernel.machine",
    "store",
    "connectors",
    "runtime",
    "runtime.cache",
    "runtime.commit",
    "runtime.events",
    "runtime.work",
)


def options_table() -> str:
    lines = ["| Option | Environment | Default | Meaning |", "|---|---|---|---|"]
    for option in OPTIONS:
        default = f"`{option.default}`" if option.default not in {"", (), False} else "off" if option.kind == "flag" else "none"
        meaning = option.help.replace("|", "\\|")
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        lines.append(f"| `{option.switch}` | `{option.variable}` | {default} | {meaning}{choices} |")
    return "\n".join(lines) + "\n"


def metrics_table() -> str:
    lines = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for name, each in CATALOGUE.items():
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{name}` | {each.kind} | {labels} | {each.help} |")
    return "\n".join(lines) + "\n"


def filled(page: Path, part: str, text: str) -> str:
    """The page with what stands between the marks of that part replaced."""
    begin, end = f"<!-- {part}: written by docs/reference.py -->\n", f"<!-- end of {part} -->\n"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, other, after = rest.partition(end)
    if not mark or not other:
        sys.exit(f"{page.name} lacks the marks of the part {part!r}")
    return f"{before}{begin}{text}{end}{after}"


def rooms() -> str:
    lines = ["| Room | May import |", "|---|---|"]
    there = [room for room in ROOMS if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()]
    for room in there:
        names = [f"`{each}`" for each in there if each in ROOMS[room]]
        lines.append(f"| `{room}` | {', '.join(names) or 'no other room'} |")
    above, face = (", ".join(f"`{each}`" for each in sorted(names)) for names in (FACE_ONLY & set(there), FACE))
    text = [
        f"Every room may import `errors`. Of `runtime`, {above} see only {face}.",
        "Inside a room the same holds: each part may import those before it.",
    ]
    order = [f"* `{room}`: {', '.join(f'`{each}`' for each in LAYERS[room])}" for room in ORDERED]
    return "\n".join([*lines, "", *text, "", *order]) + "\n"


def refused() -> str:
    lines = [
        f"| `{name}` | {instead} |"
        for name, instead in sorted((REFUSED | REFUSED_NAMES).items(), key=lambda each: each[0].lower())
    ]
    return "\n".join(["| Given up | Write |", "|---|---|", *lines]) + "\n"


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """(full name, help text) of a command and all below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            inner = command.commands[name]
            yield from commands(
                inner, click.Context(inner, info_name=name, parent=context, max_content_width=110, terminal_width=110)
            )


def cli() -> str:
    root = click.Context(main, info_name="pelton", terminal_width=110, **main.context_settings)
    parts = ["# The command line\n\nWritten by `docs/reference.py` from the program itself.\n"]
    parts += [f"## {name}\n\n```text\n{text}\n```\n" for name, text in commands(main, root)]
    return "\n".join(parts)


CLASSES = (pelton.Client, pelton.Worker, pelton.Item)
ERRORS = (pelton.ClientError, pelton.RequestRefused, pelton.Unreachable, pelton.Fail, pelton.Later)


def client() -> str:
    parts = [text for cls in CLASSES for text in described(cls)]
    parts.append("### `pelton.AsyncClient`\n\n" + paragraphs(pelton.AsyncClient) + "\n")
    parts += [f"### `pelton.{error.__name__}`\n\n{signature(error)}{paragraphs(error)}\n" for error in ERRORS]
    parts.append("### `pelton.models`\n\n" + paragraphs(models) + "\n")
    parts += [struct(each) for each in vars(models).values() if is_struct(each)]
    return "\n".join(parts)


def described(cls: type) -> Iterator[str]:
    """A class, then its public methods in the order in which they stand."""
    yield f"### `pelton.{cls.__name__}`\n\n{signature(cls)}{paragraphs(cls)}\n"
    if issubclass(cls, msgspec.Struct):
        return
    if text := inspect.getdoc(cls.__init__):
        yield text + "\n"
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            yield f"#### `{cls.__name__}.{name}`\n\n```text\n{spelled(name, member)}\n```\n\n{paragraphs(member)}\n"


def signature(cls: type) -> str:
    return f"```text\n{spelled(cls.__name__, cls)}\n```\n\n" if "__init__" in vars(cls) or is_struct(cls) else ""


def spelled(name: str, what: Any) -> str:
    """A call as one would write it; parameters on lines of their own where one line is too short."""
    found = inspect.signature(what)
    parameters = [each for each in found.parameters.values() if each.name != "self"]
    gives = (
        ""
        if found.return_annotation in {inspect.Signature.empty, "None"} or inspect.isclass(what)
        else f" -> {found.return_annotation}"
    )
    texts: list[str] = []
    for each in parameters:
        if each.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in texts:
            texts.append("*")
        default = "" if each.default is inspect.Parameter.empty else f" = {each.default!r}".replace("'", '"')
        texts.append(f"{each.name}: {each.annotation}{default}")
    line = f"{name}({', '.join(texts)}){gives}"
    if len(line) <= 100:
        return line
    inner = "".join(f"    {text},\n" for text in texts)
    return f"{name}(\n{inner}){gives}"


def paragraphs(what: Any) -> str:
    return inspect.getdoc(what) or ""


def is_struct(what: Any) -> bool:
    return isinstance(what, type) and issubclass(what, msgspec.Struct)


def struct(cls: type[msgspec.Struct]) -> str:
    rows = []
    for field in msgspec.structs.fields(cls):
        default = "" if field.required else f"`{default_of(field)!r}`".replace("'", '"')
        rows.append(f"| `{field.name}` | {type_name(cls, field.name)} | {default} |")
    table = "\n".join(["| Field | Type | Default |", "|---|---|---|", *rows])
    return f"#### `models.{cls.__name__}`\n\n{paragraphs(cls)}\n\n{table}\n"


def default_of(field: Any) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def type_name(cls: type, name: str) -> str:
    """As it is written in the source, without the bounds."""
    written = str(cls.__annotations__[name])
    bare = written.replace("Annotated[", "").split(", Meta(")[0] if written.startswith("Annotated") else written
    return "`" + bare.replace("Name", "str").replace("|", "\\|") + "`"


STATES = """# States

Written by `docs/reference.py` from the tables that the program decides by: `kernel/machine/legality.py` and
`runtime/delivery/states.py`.

## Run

{run}
## Signals

What can happen to a run, and in which status. A signal that is not legal is refused with the code given, and changes nothing. One
that is legal may still be refused for what it finds: a step that has ended, a guard that is false, a deleted record.

{signals}
## Step

Reports are accepted by open steps that are in {reportable}; the others wait for other steps.

{step}
## Thread

A thread starts halted when its parent is halted, or when it is a handler that waits until its parent stands still.

{thread}
## Delivery

{delivery}"""


def states() -> str:
    started: dict[Enum | None, Mapping[Any, str]] = {
        None: {RunStatus.EXPECTED: "something arrives for it first", RunStatus.RUNNING: "Start"}
    }
    new_thread = {None: {legality.ThreadStatus.RUNNING: "it is started", legality.ThreadStatus.HALTED: "it is started halted"}}
    new_delivery = {None: {DeliveryState.WAITING: "a step, a handler or the API emits it"}}
    return STATES.format(
        run=diagram({**started, **legality.RUN_CHANGES}),
        signals=signals(),
        reportable=" ".join(f"`{state.name}`" for state in legality.REPORTABLE),
        step=steps(),
        thread=diagram({**new_thread, **legality.THREAD_CHANGES}),
        delivery=diagram({**new_delivery, **DELIVERY_CHANGES}),
    )


def diagram(changes: Mapping[Any, Mapping[Any, str]]) -> str:
    return drawn(
        f"{before.name if before is not None else '[*]'} --> {state.name}: {why}"
        for before, following in changes.items()
        for state, why in following.items()
    )


def drawn(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```", ""])


def steps() -> str:
    inner = [f"    {state.name}" for state in State]
    ends = [f"OPEN --> {status.name}: {why}" for status, why in legality.STEP_ENDS.items()]
    retried = [f"{status.name} --> OPEN: another attempt" for status in legality.UNSUCCESSFUL if status not in legality.FINAL]
    back = [f"{status.name} --> OPEN: Rewind" for status in StepStatus]
    return drawn(["state OPEN {", *inner, "}", "[*] --> OPEN: a token enters its node", *ends, *retried, *back])


def signals() -> str:
    columns = {
        "expected": RunStatus.EXPECTED,
        "running": RunStatus.RUNNING,
        "paused": RunStatus.PAUSED,
        "ended": RunStatus.COMPLETED,
    }
    lines = ["| Signal | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for signal, rule in legality.SIGNALS.items():
        codes = [legality.code_for(rule, status) for status in columns.values()]
        cells = [f"refused: {code.value}" if code is not None else "legal" for code in codes]
        lines.append(f"| `{signal.__name__}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    return {
        DOCS / "states.md": states(),
        DOCS / "architecture.md": filled(DOCS / "architecture.md", "rooms", rooms()),
        DOCS / "glossary.md": filled(DOCS / "glossary.md", "refused", refused()),
        DOCS / "operations.md": filled(DOCS / "operations.md", "options", options_table()),
        DOCS / "observability.md": filled(DOCS / "observability.md", "metrics", metrics_table()),
        DOCS / "cli.md": cli(),
        DOCS / "client.md": filled(DOCS / "client.md", "reference", client()),
    }


if __name__ == "__main__":
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        sys.exit(f"stale: {', '.join(path.name for path in stale)}; run docs/reference.py" if stale else 0)
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
