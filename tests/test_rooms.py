"""The rooms of the source tree: who may import whom, in which order, and without circles. Imports for type hints count.

Each check is a function from source text to complaints, so that the checks themselves are tested with sources that break them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

import pytest
from tests.source import PACKAGE, imported_names, modules, report

# A room and the rooms of Pelton that it may import, besides itself. `errors` is a module that every room may import; `models` has
# the types of /v1, which its server and its clients share.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "models": set(),
    "telemetry": set(),
    "kernel": set(),
    "store": {"kernel"},
    "net": {"telemetry"},
    "connectors": {"telemetry", "kernel", "net"},
    "runtime": {"telemetry", "kernel", "store", "net", "connectors"},
    "transport": {"telemetry", "kernel", "runtime"},
    "api": {"models", "telemetry", "kernel", "runtime", "transport"},
    "languages": {"telemetry", "kernel", "net", "runtime", "transport"},
    "notifications": {"kernel", "net", "connectors", "runtime"},
    "server": {
        "telemetry",
        "kernel",
        "store",
        "net",
        "connectors",
        "runtime",
        "transport",
        "api",
        "languages",
        "notifications",
        "dashboard",
    },
    "dashboard": {"kernel", "runtime", "transport"},
    "client": {"models", "telemetry"},
    "cli": {
        "models",
        "telemetry",
        "kernel",
        "store",
        "net",
        "connectors",
        "runtime",
        "transport",
        "api",
        "languages",
        "server",
        "client",
    },
    "testing": {
        "models",
        "telemetry",
        "kernel",
        "store",
        "net",
        "connectors",
        "runtime",
        "transport",
        "api",
        "languages",
        "server",
        "client",
    },
}

# What rooms above the runtime may see of it; only the server puts its parts together.
FACE = {"api", "caller", "event_feed", "ids", "language", "names", "operations", "people", "rows", "services"}
FACE_ONLY = {"transport", "api", "languages", "notifications", "dashboard"}

# What stands directly in a room, in order: each may import those before it, and never one after it.
LAYERS: dict[str, tuple[str, ...]] = {
    "kernel": ("expressions", "schedules", "model", "machine", "matching"),
    "kernel.schedules": ("calendars", "recurrence", "instants", "occurrences", "cron"),
    "kernel.expressions": ("base", "cache", "searches", "path", "template", "javascript", "jq"),
    "kernel.expressions.javascript": ("bootstrap", "lexer", "equality", "bounded", "script"),
    "kernel.model": ("state", "signals", "reads", "process", "transition"),
    "kernel.machine": (
        "many",
        "draft",
        "nearest",
        "legality",
        "scene",
        "records",
        "searching",
        "tokens",
        "tallies",
        "checkpoints",
        "reports",
        "nodes",
        "rewind",
        "pauses",
        "operator",
        "arrivals",
        "timers",
        "advance",
    ),
    "kernel.machine.rewind": ("ways", "threads", "frames", "reopening", "rewinds", "rescue"),
    "kernel.machine.tokens": (
        "flow",
        "branches",
        "times",
        "limits",
        "attempts",
        "held",
        "outputs",
        "queues",
        "waits",
        "threads",
        "halts",
        "stops",
        "parking",
        "thread_ends",
        "handlers",
        "thread_joins",
        "lifecycle",
        "names",
        "scopes",
        "failures",
    ),
    "kernel.matching": ("filters", "conditions", "index", "handlers"),
    "store": (
        "clock",
        "rows",
        "group",
        "retention",
        "row_locks",
        "prefetched",
        "run_query",
        "port",
        "packing",
        "salvage",
        "portions",
        "voids",
        "memory",
        "sqlite",
    ),
    "store.memory": ("table", "tables", "shared", "writes", "sweeps", "records", "runs", "store"),
    "net": ("faults", "outgoing", "http", "lazy"),
    "connectors": ("port", "health", "connection", "files", "sqs", "webhook", "builtin", "lazy", "registry"),
    "runtime": (
        "ids",
        "caller",
        "names",
        "rows",
        "language",
        "api",
        "supervision",
        "services",
        "event_feed",
        "watches",
        "nodes",
        "operations",
        "scripting",
        "definitions",
        "cache",
        "secrets",
        "commit",
        "derived",
        "await_reply",
        "events",
        "timing",
        "work",
        "delivery",
        "people",
        "retention",
        "engine_reads",
        "engine_processes",
        "engine",
    ),
    "runtime.secrets": ("cipher", "sources", "redaction", "vault"),
    "runtime.cache": (
        "shared",
        "wide",
        "runs",
        "record_log",
        "search_lanes",
        "correlations",
        "lookups",
        "pauses",
        "descendants",
        "reads",
        "search",
        "run_search",
        "pages",
        "prefetch",
    ),
    "runtime.commit": (
        "durable",
        "group_builder",
        "rests",
        "batch",
        "workspace",
        "spans",
        "second_tries",
        "suspend",
        "descents",
        "names",
        "queues",
        "unit_of_work",
        "confirm",
        "requests",
        "agent",
        "loader",
        "pending_signals",
        "committer",
    ),
    "runtime.definitions": ("fragments", "handler_sets", "definitions"),
    "runtime.events": (
        "matching",
        "fan_out",
        "pauses",
        "correlation",
        "placeholders",
        "arrival",
        "searches",
        "actions",
        "ingest",
    ),
    "runtime.work": ("limits", "ready_window", "poller", "queue", "replies", "exchange", "attempts", "runner"),
    "runtime.people": ("forms", "record", "process", "desk"),
    "runtime.timing": ("due_queue", "timers"),
    "runtime.delivery": ("states", "lanes", "outbox", "sources", "listening"),
    "transport": (
        "caller",
        "event_users",
        "event_header",
        "zones",
        "validation",
        "documents",
        "decode",
        "pages",
        "paging",
        "listing",
        "named",
        "bulk",
        "waiting",
        "http",
        "grpc",
    ),
    "languages.conductor": (
        "model",
        "status_names",
        "decode",
        "expressions",
        "tasks",
        "definitions",
        "runs",
        "search",
        "schedules",
        "catalogue",
        "handlers",
        "http",
        "detect",
        "language",
        "plugin",
    ),
    "languages.conductor.schedules": ("forms", "process", "following", "executions"),
    "languages.conductor.search": ("grammar", "summaries", "workflows", "tasks"),
    "languages.conductor.expressions": ("times", "loops", "secrets", "references", "scripts"),
    "languages.conductor.tasks": ("kinds", "queues", "computations", "exclusive", "starts", "kafka", "makers", "checks"),
    "languages.conductor.definitions": (
        "definition_tree",
        "sinks",
        "policies",
        "annotations",
        "follow_up",
        "problems",
        "validate",
        "compile_tasks",
        "compile",
    ),
    "languages.conductor.runs": ("identifiers", "reports", "blocking", "view", "starting", "http_task"),
    "languages.conductor.handlers": ("validate", "payloads", "compile"),
    "languages.conductor.http": (
        "errors",
        "reserved",
        "api_context",
        "waiting",
        "metadata",
        "events",
        "runs",
        "bulk",
        "tasks",
        "run_changes",
        "searches",
        "catalogue",
        "service",
    ),
    "languages.lusid": (
        "names",
        "times",
        "errors",
        "decode",
        "entity",
        "forms",
        "member_names",
        "member_paths",
        "filters",
        "checks",
        "schedules",
        "definitions",
        "workers",
        "handlers",
        "tasks",
        "http",
        "detect",
        "language",
        "plugin",
    ),
    "languages.lusid.filters": ("grammar", "shapes", "values", "condition"),
    "languages.lusid.schedules": ("conversion", "calendars", "recurrence", "schedule", "scheduling"),
    "languages.lusid.definitions": ("field_types", "record", "guards", "actions", "checks", "versions", "compile"),
    "languages.lusid.workers": ("configurations", "operation", "lone_run"),
    "languages.lusid.handlers": ("activities", "checks", "compile"),
    "languages.lusid.tasks": ("stacks", "forms", "view"),
    "languages.lusid.http": (
        "errors",
        "api_context",
        "entities",
        "paging",
        "listing",
        "task_list",
        "event_types",
        "notifications",
        "definitions",
        "handlers",
        "workers",
        "calendars",
        "tasks",
        "runs",
        "metadata",
    ),
}

# Circles and doubled class names that are left. An entry goes when its cause goes; none is added.
KNOWN_CIRCLES: list[list[str]] = []
KNOWN_DOUBLES: set[str] = set()

# The language plug-ins may not import one another.
PLUGINS = "languages"

# HTTP, and who may know it of a language or of what languages share: the room `http`, and the module that registers a language.
# What compiles, decodes and checks raises PeltonError, and serves every transport alike.
HTTP = ["pelton", "transport", "http"]
KNOWS_HTTP = {"http", "language", "plugin"}


def crossing_complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports that go against the arrows: between rooms, between the layers of a room, and between languages."""
    own = module.split(".")
    room = own[1] if len(own) > 1 else ""
    if room not in ROOMS:  # pelton/__init__.py
        return []
    found = []
    for line, name in imported_names(ast.parse(source), module, is_package):
        target = name.split(".")
        if target[0] != "pelton":
            continue
        other = target[1] if len(target) > 1 else ""
        if room == "kernel" and other not in {"kernel", "errors"}:
            found.append(f"{module}:{line}: the kernel imports {name}; it may import no other part of pelton")
        elif other in ROOMS and other not in {room, "errors"} and other not in ROOMS[room]:
            found.append(f"{module}:{line}: {room} imports {name}; it may import {sorted(ROOMS[room]) or 'no other room'}")
        elif room in FACE_ONLY and other == "runtime" and len(target) > 2 and target[2] not in FACE:
            found.append(f"{module}:{line}: {room} imports {name}; of the runtime it may import only {sorted(FACE)}")
        elif target[:3] == HTTP and not (KNOWS_HTTP & set(own[2:4])) and room in {"transport", PLUGINS}:
            found.append(f"{module}:{line}: imports {name}; only {sorted(KNOWS_HTTP)} of a language may know HTTP")
        elif room == other:
            found += [f"{module}:{line}: {text}" for text in inner_complaints(own, target)]
    return found


def inner_complaints(own: list[str], target: list[str]) -> list[str]:
    """Imports inside one top room, judged by the folder in which the two paths part."""
    depth = 2
    while len(own) > depth and len(target) > depth and own[depth] == target[depth]:
        depth += 1
    if len(own) <= depth or len(target) <= depth:
        return []
    folder, here, there = ".".join(own[1:depth]), own[depth], target[depth]
    if folder == PLUGINS and (PACKAGE / PLUGINS / there).is_dir() and (PACKAGE / PLUGINS / here).is_dir():
        return [f"language {here} imports {'.'.join(target)}; each must work without the others"]
    order = LAYERS.get(folder, ())
    if here in order and there in order and order.index(there) > order.index(here):
        return [f"{folder}/{here} imports {'.'.join(target)}; {there} stands after {here} in {folder}"]
    return []


def import_graph(sources: Iterable[tuple[str, bool, str]]) -> dict[str, set[str]]:
    """Which module imports which, by dotted name. A name out of a package counts as the module that it is, if it is one."""
    listed = list(sources)
    names = {name for name, _, _ in listed}
    graph: dict[str, set[str]] = {}
    for name, is_package, source in listed:
        found = set()
        for _, target in imported_names(ast.parse(source), name, is_package):
            known = target if target in names else target.rpartition(".")[0]
            if known in names and known != name:
                found.add(known)
        graph[name] = found
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another, each sorted."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = graph[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in graph if name in reach[name]}
    return [list(group) for group in sorted(groups)]


def double_names(sources: Iterable[tuple[str, bool, str]]) -> dict[str, list[str]]:
    """Public classes that are defined in more than one module, and where."""
    found: dict[str, list[str]] = {}
    for name, _, source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(name)
    return {each: places for each, places in sorted(found.items()) if len(set(places)) > 1}


def layer_complaints() -> list[str]:
    """Folders and modules that stand in a room with layers and are in none of them, and layers that are not there."""
    found = []
    for folder, order in LAYERS.items():
        path = PACKAGE / folder.replace(".", "/")
        coded = [each for each in path.iterdir() if each.suffix == ".py" or any(each.glob("*.py"))]
        there = {each.stem if each.suffix == ".py" else each.name for each in coded if not each.name.startswith("__")}
        found += [f"{folder}: {name} has no place in LAYERS" for name in sorted(there - set(order))]
        found += [f"{folder}: LAYERS names {name}, which is not there" for name in sorted(set(order) - there)]
    return found


def test_rooms_import_downwards_only() -> None:
    report([line for name, is_package, source in modules() for line in crossing_complaints(source, name, is_package)])


def test_every_folder_is_a_known_room() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE}
    assert folders <= set(ROOMS), f"add {sorted(folders - set(ROOMS))} to ROOMS, and say what each may import"
    report(layer_complaints())


def test_no_modules_import_one_another() -> None:
    found = [[name.rpartition(".")[2] for name in group] for group in circles(import_graph(modules()))]
    report([" <-> ".join(group) for group in found if group not in KNOWN_CIRCLES])
    assert found == KNOWN_CIRCLES, "a circle is gone: take it out of KNOWN_CIRCLES"


def test_no_class_name_is_defined_twice() -> None:
    found = double_names(modules())
    report([f"{name}: {', '.join(places)}" for name, places in found.items() if name not in KNOWN_DOUBLES])
    assert set(found) == KNOWN_DOUBLES, f"no longer doubled, take them out of KNOWN_DOUBLES: {sorted(KNOWN_DOUBLES - set(found))}"


def test_every_folder_of_code_says_what_it_is() -> None:
    report(
        [
            f"{path.parent.relative_to(PACKAGE)}: its __init__.py has no docstring"
            for path in PACKAGE.rglob("__init__.py")
            if path.parent != PACKAGE and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
        ]
        + [
            f"{path.relative_to(PACKAGE)}: it has modules and no __init__.py"
            for path in PACKAGE.rglob("*")
            if path.is_dir() and any(path.glob("*.py")) and not (path / "__init__.py").exists()
        ]
    )


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pelton.kernel.machine.advance", "import pelton.store"),
        ("pelton.kernel.machine.advance", "from pelton import store"),
        ("pelton.kernel.machine.advance", "from pelton import __version__"),
        ("pelton.kernel.machine.advance", "from ... import runtime"),
        ("pelton.kernel.machine.advance", "from ...runtime import commit"),
        ("pelton.kernel.machine.advance", "def f():\n    from ...store.sqlite import Store"),
        ("pelton.store.sqlite", "from pelton.runtime.commit.committer import Committer"),
        ("pelton.store.sqlite", "import importlib\nimportlib.import_module('pelton.runtime')"),
        ("pelton.connectors.sqs", "from pelton.store import base"),
        ("pelton.runtime.events.ingest", "from pelton.transport import limits"),
        ("pelton.transport.http.errors", "from pelton.languages.conductor import view"),
        ("pelton.client.worker", "from pelton.server import app"),
        ("pelton.languages.conductor.view", "from pelton.runtime.commit.committer import Committer"),
        ("pelton.api.runs", "from pelton.runtime import engine"),
        ("pelton.transport.http.errors", "from pelton.runtime.watches import Watches"),
    ],
)
def test_an_import_upwards_is_found(module: str, source: str) -> None:
    assert len(crossing_complaints(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "pelton.kernel.machine.advance",
            "from . import rows\nfrom .rows import Head\nfrom pelton.kernel.model.state import Head",
        ),
        ("pelton.store.sqlite", "from ..kernel import rows"),
        ("pelton.api.runs", "from pelton.runtime.api import Engine\nfrom pelton.runtime import rows"),
        ("pelton.server.assembly", "from pelton.runtime.engine import Engine"),
        ("pelton.cli.main", "from pelton import __version__\nfrom pelton.server import app"),
        (
            "pelton.languages.conductor.runs.view",
            "from .. import model\nfrom ... import registry\nfrom pelton.transport import errors",
        ),
    ],
)
def test_an_import_downwards_is_not(module: str, source: str) -> None:
    assert crossing_complaints(source, module) == []


def test_a_relative_import_in_a_package_starts_at_the_package() -> None:
    assert crossing_complaints("from . import rows", "pelton.kernel", is_package=True) == []
    assert len(crossing_complaints("from .. import store", "pelton.kernel", is_package=True)) == 1


def test_a_layer_may_not_import_a_later_one() -> None:
    assert len(crossing_complaints("from pelton.runtime.events import ingest", "pelton.runtime.commit.committer")) == 1
    assert len(crossing_complaints("from pelton.runtime.engine import Engine", "pelton.runtime.work.queue")) == 1
    assert crossing_complaints("from pelton.runtime.commit.committer import Committer", "pelton.runtime.events.ingest") == []
    assert crossing_complaints("from pelton.runtime.commit.batch import Batch", "pelton.runtime.commit.committer") == []


def test_a_language_may_not_import_another() -> None:
    assert len(crossing_complaints("from pelton.languages.lusid import model", "pelton.languages.conductor.runs.view")) == 1


@pytest.mark.parametrize(
    "module", ["definitions.compile", "definitions.validate", "filters.grammar", "decode", "checks", "runs.starting"]
)
def test_what_compiles_or_checks_may_not_know_http(module: str) -> None:
    source = "from pelton.transport.http.errors import WebError"
    assert len(crossing_complaints(source, f"pelton.languages.any.{module}")) == 1
    assert len(crossing_complaints(source, "pelton.transport.decode")) == 1
    assert crossing_complaints(source, "pelton.languages.any.http.runs") == []
    assert crossing_complaints(source, "pelton.languages.any.language") == []
    assert crossing_complaints("from pelton.errors import PeltonError", f"pelton.languages.any.{module}") == []


def test_a_circle_is_found_through_type_hints_too() -> None:
    hinted = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pelton.b import B\n"
    sources = [("pelton.a", False, hinted), ("pelton.b", False, "from pelton import a"), ("pelton.c", False, "import pelton.a")]
    assert circles(import_graph(sources)) == [["pelton.a", "pelton.b"]]


def test_a_doubled_class_name_is_found() -> None:
    sources = [
        ("pelton.a", False, "class Job: ..."),
        ("pelton.b", False, "class Job: ...\nclass _Own: ..."),
        ("pelton.c", False, "class _Own: ..."),
    ]
    assert double_names(sources) == {"Job": ["pelton.a", "pelton.b"]}
