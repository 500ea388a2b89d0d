"""`pelton apply`: sends definitions and handlers from JSON and YAML files to a running server.

Each document is passed to each language's detector; the one that recognises it says what it is and where to send it. All files
are read and recognised before the first is sent, so that a mistake in the last one changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from msgspec import DecodeError, json

from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import MISUSED, clean, fail, fail_client, print_json
from pelton.client.client import Client
from pelton.client.errors import ClientError, RequestRefused

if TYPE_CHECKING:
    from pelton.languages.plugin import Plugin

MAX_BYTES = 16 * 1024 * 1024
MAX_DOCUMENTS = 1_000


class Definition(NamedTuple):
    """`requests`: (method, path, body) in order; when one gets 409, the next is tried."""

    where: str
    language: str
    kind: str
    name: str
    requests: tuple[tuple[str, str, Any], ...]


class NotUnderstood(Exception):
    """A file, or a document in it, was not recognised. The text names it."""


@click.command()
@remote
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Validate each document and show how it would be applied, without applying it.")
def apply(server: str, key: str, as_json: bool, files: tuple[Path, ...], dry_run: bool) -> None:
    """Register definitions and handlers from JSON or YAML files; a file may hold several documents."""
    try:
        found = [definition for file in files for definition in read(file)]
    except NotUnderstood as error:
        fail(str(error), MISUSED)
    with connect(server, key) as client:
        for definition in found:
            try:
                if not dry_run:
                    send(client, definition)
            except RequestRefused as error:
                fail(f"{definition.where}: {definition.kind} {clean(definition.name)}: {error}")
            except ClientError as error:
                fail_client(error)
            _report(definition, as_json, dry_run)


def _report(definition: Definition, as_json: bool, dry_run: bool) -> None:
    if as_json:
        described = {"file": definition.where, "language": definition.language, "kind": definition.kind, "name": definition.name}
        print_json({**described, "applied": not dry_run})
    else:
        done = "is" if dry_run else "applied:"
        click.echo(f"{definition.where}: {done} {definition.language} {definition.kind} {clean(definition.name)}")


def send(client: Client, definition: Definition) -> None:
    """Raises ClientError."""
    *others, last = definition.requests
    for method, path, body in others:
        try:
            client.request(method, path, json.encode(body))
        except RequestRefused as error:
            if error.status == 409:
                continue
            raise
        return
    method, path, body = last
    client.request(method, path, json.encode(body))


def read(file: Path) -> list[Definition]:
    """Raises NotUnderstood."""
    found = []
    for number, document in enumerate(_documents(file), start=1):
        if number > MAX_DOCUMENTS:
            raise NotUnderstood(f"{file}: more than {MAX_DOCUMENTS} documents; split the file")
        found.append(detect(document, f"{file}" if number == 1 else f"{file} (document {number})"))
    if not found:
        raise NotUnderstood(f"{file}: the file has no documents")
    return found


@cache
def languages() -> tuple[Plugin, ...]:
    """The installed languages, looked up once for all documents. Raises PluginFailed."""
    from pelton.languages import plugin  # noqa: PLC0415 - loads the languages

    return tuple(plugin.plugins())


def detect(document: Any, where: str) -> Definition:
    """Recognises a document. Raises NotUnderstood."""
    from pelton.errors import PeltonError  # noqa: PLC0415 - with the languages
    from pelton.languages import plugin  # noqa: PLC0415 - loads the languages

    try:
        found = plugin.detect(languages(), document)
    except PeltonError as error:
        named = "; ".join(f"{each.path}: {each.message}" for each in error.problems[:5])
        raise NotUnderstood(f"{where}: {named or error.message}") from None
    except plugin.PluginFailed as error:
        raise NotUnderstood(str(error)) from None
    if found is not None:
        language, known = found
        return Definition(where, language, known.kind, known.name, known.requests)
    keys = ", ".join(list(document)[:8]) if isinstance(document, dict) else type(document).__name__
    raise NotUnderstood(f"{where}: not a document of any supported language (it has {clean(keys)}); check its members")


def example(language: str, name: str) -> Any:
    """An example definition that ships with a language."""
    [found] = [each.document for known in languages() if known.name == language for each in known.examples() if each.name == name]
    return found


def _documents(file: Path) -> Iterator[Any]:
    """The documents in a file; the items of a top-level array count as documents."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise NotUnderstood(f"{file}: more than {MAX_BYTES} bytes; split the file")
        data = file.read_bytes()
    except OSError as error:
        raise NotUnderstood(f"{file}: cannot be read: {error.strerror or error}") from None
    parsed = [_json(file, data)] if file.suffix.lower() == ".json" else list(_yaml(file, data))
    for document in parsed:
        yield from document if isinstance(document, list) else [document]


def _json(file: Path, data: bytes) -> Any:
    try:
        return json.decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = re.search(r"byte (\d+)", str(error))
        line = data.count(b"\n", 0, int(place.group(1))) + 1 if place else 0
        raise NotUnderstood(f"{file}: is not valid JSON: {error}{f' (line {line})' if line else ''}") from None


def _yaml(file: Path, data: bytes) -> Iterator[Any]:
    import yaml  # noqa: PLC0415 - only for YAML files

    class Loader(yaml.SafeLoader):
        """JSON's types only: a date stays a string."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        for document in yaml.load_all(data, Loader):
            if document is not None:
                yield json.decode(json.encode(document))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise NotUnderstood(f"{file}: is not YAML that can be expressed as JSON: {error}") from None
