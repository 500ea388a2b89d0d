"""The ends of a server, chosen by URL: its store, and its connectors.

The choices are the entry points of the groups `pelton.stores` and `pelton.connectors`, from Pelton itself and from
every other installed package; an entry point's name is the scheme.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pelton.connectors import connection as connections
from pelton.connectors.builtin import SETTLE, USER
from pelton.connectors.connection import Connection, ConnectionRefused, ConnectorKind
from pelton.connectors.lazy import LazyConnector
from pelton.connectors.registry import Connectors
from pelton.net.lazy import LazyHttpPort
from pelton.server.config import Config, ConfigError, watched
from pelton.store.port import Durability, Store

STORES = "pelton.stores"
CONNECTORS = "pelton.connectors"

StoreMaker = Callable[[str, Durability], Store]
"""Creates an unopened store from the rest of its URL after the scheme and the durability setting. Raises ValueError."""


def available(group: str) -> dict[str, Any]:
    """Entry points by scheme, not loaded. Raises ConfigError if two packages have the same."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - 10 ms that the command line's other commands need not

    found: dict[str, Any] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigError(f"two packages register {entry.name} as {group} ({other.value}, {entry.value}): remove one of them")
    if not found:
        raise ConfigError(f"nothing is registered as {group}: install Pelton as a package, so that its entry points can be found")
    return found


def make_store(config: Config) -> Store:
    """Raises ConfigError; OSError if its directory cannot be created."""
    url = config.store_url
    scheme, _, rest = url.partition(":")
    known = available(STORES)
    entry = known.get(scheme)
    if entry is None:
        choices = ", ".join(f"{name}:" for name in sorted(known))
        raise ConfigError(f"--store {url!r}: unknown store {scheme!r}; use one of {choices}")
    make: StoreMaker = entry.load()
    try:
        return make(rest, config.durability)
    except ValueError as error:
        raise ConfigError(f"--store {url!r}: {error}") from None


def make_connectors(config: Config, http: LazyHttpPort, environment: Mapping[str, str] = os.environ) -> Connectors:
    """All connectors, each of which is loaded when one of its addresses is first used. Raises ConfigError."""
    kinds: dict[str, ConnectorKind] = {scheme: entry.load() for scheme, entry in available(CONNECTORS).items()}
    found = {(each.scheme, each.name): each for each in _unnamed(config, kinds)}
    for text in config.connections:
        try:
            made = connections.parse(text, environment)
            if made.scheme not in kinds:
                raise ConnectionRefused(
                    f"the connection {made.name}: unknown connector {made.scheme!r}; use one of {', '.join(sorted(kinds))}"
                )
            connections.check(text, made, kinds[made.scheme])
            if (made.scheme, made.name) in found:
                raise ConnectionRefused(f"the connection {made.name} is configured twice: remove one of them")
        except ConnectionRefused as refused:
            raise ConfigError(f"--connection: {refused}") from None
        found[made.scheme, made.name] = made
    connectors = Connectors()
    for (scheme, name), each in found.items():
        kind = kinds[scheme]
        make = partial(kind.make, each, http)
        connectors.add(LazyConnector(scheme, make, source=kind.source, makes_events=kind.makes_events), name)
    return connectors


def _unnamed(config: Config, kinds: Mapping[str, ConnectorKind]) -> list[Connection]:
    """The connections that need no configuration, and those configured by the server's own options."""
    found = {scheme: Connection(scheme=scheme) for scheme, kind in kinds.items() if kind.plain}
    if config.sqs_endpoint or config.sqs_region:
        found["sqs"] = Connection(scheme="sqs", location=config.sqs_region, options={"endpoint": config.sqs_endpoint})
    if config.watch:
        found["files"] = Connection(
            scheme="files", options={SETTLE: str(config.watch_settle), USER: config.file_user, **watched(config)}
        )
    return [each for scheme, each in found.items() if scheme in kinds]
