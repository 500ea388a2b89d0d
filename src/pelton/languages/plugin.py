"""The contract between a language and the rest of Pelton. Languages are found through entry points in the group
`pelton.languages`.

A `Plugin` is small and quick to import; its `Offer` to a server is created when a server asks for it. Nothing else in Pelton
depends on a language: to add one, install a package with an entry point; to remove one, delete its folder and its entry point.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, json

from pelton.net.outgoing import HttpPort
from pelton.runtime.api import USUAL, Engine, LocalSink, Operation, OperationBounds
from pelton.runtime.caller import Caller, Users
from pelton.runtime.language import Language
from pelton.transport.grpc.service import Service
from pelton.transport.http.asgi import MAX_BODY
from pelton.transport.http.mounts import Mount

GROUP = "pelton.languages"


class PluginFailed(Exception):
    """A language cannot be used. The text names it, and says why."""


class Detected(NamedTuple):
    """What a document is, and the requests that register it: (method, path, body); the next one is for when that is answered
    409. A path is a language's own, below its mounts.

    `identity`: tells it from others of its kind, "" = its name does. `current`: the path at which a server shows it; "" = it
    cannot be compared. `normal`: the document as it is kept; `seen`: what the answer at `current` has of it, in the same form,
    None = it is not there."""

    kind: str
    name: str
    requests: tuple[tuple[str, str, Any], ...]
    identity: str = ""
    current: str = ""
    normal: Any = None
    seen: Callable[[Any], Any] | None = None


class Example(NamedTuple):
    """A definition to start from. `name`: of its file, without the ending."""

    name: str
    document: Any


class Host(Struct, frozen=True, kw_only=True):
    """What a server gives to a language.

    `http`: the guarded way out. `schemes`: of the sinks that connectors serve. `max_body`: bytes of a request. `users`:
    those that definitions may name. `valid_key`: says which keys are good; None when callers need none.
    """

    engine: Engine
    http: HttpPort
    schemes: frozenset[str] = frozenset()
    max_body: int = MAX_BODY
    users: Users = Users()
    valid_key: Callable[[str], bool] | None = None


class Offer(Struct, frozen=True, kw_only=True):
    """What a language brings to a server.

    `compilers`: of its definitions and handlers, by name; the first one is the language's own. `operations`: built-in work by the
    name of its queue, without the "@"; `bounds`: of those that need others than usual. `sinks`: schemes of sinks whose messages
    stay in this process. `mounts`: its routes over HTTP. `services`: its methods over gRPC. `open_paths`: raw paths that need no
    key, because they are where keys are shown. `switch`: switches a handler of its own on or off, by name; raises PeltonError.
    `opened`: what is to be done, beside everything else, once the engine is open.
    """

    compilers: tuple[Language, ...]
    operations: Mapping[str, Operation] = {}
    bounds: Mapping[str, OperationBounds] = {}
    sinks: Mapping[str, LocalSink] = {}
    mounts: tuple[Mount, ...] = ()
    services: tuple[Service, ...] = ()
    open_paths: tuple[str, ...] = ()
    opened: Callable[[], Awaitable[None]] | None = None
    switch: Callable[[Caller, str, bool], Awaitable[None]] | None = None


class Plugin(Protocol):
    """A language."""

    @property
    def name(self) -> str:
        """As stored definitions have it; the name of its entry point."""
        ...

    def detect(self, document: Any) -> Detected | None:
        """What a document is; None when it is not of this language. Raises PeltonError when it is, and is wrong."""
        ...

    def removal(self, kind: str, identity: str) -> tuple[str, str] | None:
        """The request, as (method, path), that removes what `detect` has recognised; None if nothing does."""
        ...

    def examples(self) -> Sequence[Example]: ...

    def offer(self, host: Host) -> Offer:
        """Called once by each server, before its engine is opened."""
        ...


def read_examples(package: str) -> list[Example]:
    """The JSON files in the folder `examples` of a package, by name."""
    from importlib.resources import files  # noqa: PLC0415 - only who looks at examples needs it

    found = [each for each in files(package).joinpath("examples").iterdir() if each.name.endswith(".json")]
    return [
        Example(each.name.removesuffix(".json"), json.decode(each.read_bytes()))
        for each in sorted(found, key=lambda each: each.name)
    ]


def plugins(names: Sequence[str] | None = None) -> list[Plugin]:
    """Those of these names, or all languages that are installed, by name. Raises PluginFailed."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - 10 ms that most commands need not

    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=GROUP)):
        if names is not None and entry.name not in names:
            continue
        if entry.name in found:
            raise PluginFailed(f"two packages register the language {entry.name!r}: remove one of them")
        try:
            found[entry.name] = entry.load()
        except Exception as error:
            raise PluginFailed(f"the language {entry.name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if names is not None and (absent := sorted(set(names) - set(found))):
        raise PluginFailed(f"unknown language {', '.join(absent)}: install the package that provides it")
    if not found and names is None:
        raise PluginFailed(f"nothing is registered as {GROUP}: install Pelton as a package, so that its entry points are known")
    return list(found.values())


def install(plugin: Plugin, host: Host, add_sink: Callable[[str, LocalSink], None]) -> Offer:
    """Puts a language into an engine that is not open yet. `add_sink`: where its sinks go. Returns what is left to be served."""
    offer = plugin.offer(host)
    for compiler in offer.compilers:
        host.engine.add_language(compiler)
    for name, operation in offer.operations.items():
        host.engine.add_operation(name, operation, offer.bounds.get(name, USUAL))
    for scheme, sink in offer.sinks.items():
        add_sink(scheme, sink)
    return offer


def detect(plugins: Iterable[Plugin], document: Any) -> tuple[str, Detected] | None:
    """The language that knows a document, and what it is; None when none does. Raises PeltonError for one that is wrong."""
    for plugin in plugins:
        found = plugin.detect(document)
        if found is not None:
            return plugin.name, found
    return None
