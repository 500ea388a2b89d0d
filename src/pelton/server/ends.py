"""The ends of a server, chosen by URL: its store, and its connectors.

The choices are the entry points of the groups `pelton.stores` and `pelton.connectors`, from Pelton itself and from
every other installed package; an entry point's name is the scheme.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from pelton.connectors import connection as connections
from pelton.connectors.builtin import IGNORE, SETTLE, USER
from pelton.connectors.connection import Connection, ConnectionRefused, ConnectorKind
from pelton.connectors.lazy import LazyConnector
from pelton.connectors.port import Connector
from pelton.connectors.registry import Connectors
from pelton.errors import PeltonError
from pelton.net.lazy import LazyHttpPort
from pelton.runtime.caller import NAMESPACE
from pelton.runtime.secrets.cipher import BadKey, Cipher, cipher_from
from pelton.runtime.secrets.sources import SecretSources
from pelton.runtime.secrets.vault import Vault
from pelton.server.config import Config, ConfigError, watched
from pelton.store.port import Durability, Store

STORES = "pelton.stores"
CONNECTORS = "pelton.connectors"

log = structlog.get_logger("pelton.server")
MOST_KEY = 1_000  # characters of a file with a key that are read

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


def make_vault(config: Config, store: Store, environment: Mapping[str, str] = os.environ) -> Vault:
    """Raises ConfigError, without anything of the key."""
    directory = Path(config.secrets_dir) if config.secrets_dir else None
    if directory is not None and not directory.is_dir():
        raise ConfigError(f"--secrets-dir {config.secrets_dir!r} is not a directory: create it first, or correct the option")
    return Vault(store, secrets_cipher(config.secrets_key_file, environment), SecretSources(environment, directory))


def secrets_cipher(file: str, environment: Mapping[str, str]) -> Cipher | None:
    """From the file if one is given, else from the environment; None if there is no key. Raises ConfigError."""
    where, text = "PELTON_SECRETS_KEY", environment.get("PELTON_SECRETS_KEY", "")
    if file:
        where = f"--secrets-key-file {file}"
        try:
            with Path(file).open(encoding="ascii") as opened:
                text = opened.read(MOST_KEY)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
            raise ConfigError(f"{where}: cannot be read: {reason}") from None
    elif not text:
        return None
    try:
        return cipher_from(text)
    except BadKey as error:
        raise ConfigError(f"{where}: {error}") from None


class ConnectionSecrets:
    """The secrets, of the default namespace, that are credentials of connections. They are read when the server starts, and when
    they are set; a connection takes them when it is first used."""

    def __init__(self) -> None:
        self._values: dict[str, str | PeltonError | None] = {}
        self._vault: Vault | None = None

    def need(self, names: Iterable[str]) -> None:
        self._values.update(dict.fromkeys(names))

    async def follow(self, vault: Vault) -> None:
        self._vault = vault
        vault.changed = self._changed
        for name in self._values:
            await self._changed(NAMESPACE, name)

    async def _changed(self, ns: str, name: str) -> None:
        if ns != NAMESPACE or name not in self._values or self._vault is None:
            return
        try:
            self._values[name] = await self._vault.value(ns, name)
        except PeltonError as error:
            log.warning("a connection lacks a secret", reason=error.message)
            self._values[name] = error

    def value(self, connection: str, name: str) -> str:
        """Raises ConnectionRefused."""
        found = self._values[name]
        if isinstance(found, str):
            return found
        raise ConnectionRefused(
            f"the connection {connection}: {found.message if found is not None else 'its secrets are not read yet'}"
        )


def make_connectors(
    config: Config, http: LazyHttpPort, environment: Mapping[str, str] = os.environ, secrets: ConnectionSecrets | None = None
) -> Connectors:
    """All connectors, each of which is loaded when one of its addresses is first used. Raises ConfigError."""
    secrets = secrets or ConnectionSecrets()
    named: dict[tuple[str, str], dict[str, str]] = {}
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
        named[made.scheme, made.name] = connections.secrets_of(text, made, kinds[made.scheme])
        secrets.need(named[made.scheme, made.name].values())
    connectors = Connectors()
    for (scheme, name), each in found.items():
        kind = kinds[scheme]
        make = partial(_make, kind, each, http, named.get((scheme, name), {}), secrets)
        connectors.add(LazyConnector(scheme, make, source=kind.source, makes_events=kind.makes_events), name)
    return connectors


def _make(
    kind: ConnectorKind, connection: Connection, http: LazyHttpPort, named: Mapping[str, str], secrets: ConnectionSecrets
) -> Connector:
    """`named`: the secrets that are options of the connection. Raises ConnectionRefused."""
    values = {option: secrets.value(connection.name, name) for option, name in named.items()}
    return kind.make(replace(connection, options={**connection.options, **values}), http)


def _unnamed(config: Config, kinds: Mapping[str, ConnectorKind]) -> list[Connection]:
    """The connections that need no configuration, and those configured by the server's own options."""
    found = {scheme: Connection(scheme=scheme) for scheme, kind in kinds.items() if kind.plain}
    if config.sqs_endpoint or config.sqs_region:
        found["sqs"] = Connection(scheme="sqs", location=config.sqs_region, options={"endpoint": config.sqs_endpoint})
    if config.watch:
        found["files"] = Connection(
            scheme="files",
            options={
                SETTLE: str(config.watch_settle),
                USER: config.file_user,
                IGNORE: "\n".join(config.watch_ignore),
                **watched(config),
            },
        )
    return [each for scheme, each in found.items() if scheme in kinds]
