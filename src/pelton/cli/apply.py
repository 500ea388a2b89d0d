"""`pelton apply`: sends definitions and handlers from JSON and YAML files to a running server.

Each document is passed to each language's detector; the one that recognises it says what it is and where to send it. All files
are read and recognised before the first is sent, so that a mistake in the last one changes nothing.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import DecodeError, json

from pelton.cli.applying import ABSENT, Document, DocumentComparison, difference, in_any_order, send
from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import FAILED, MISUSED, clean, colours, fail, fail_client, print_json, progress
from pelton.client.client import Client
from pelton.client.errors import ClientError, RequestRefused
from pelton.models import AppliedDocument

if TYPE_CHECKING:
    from pelton.languages.plugin import Plugin

MAX_BYTES = 16 * 1024 * 1024
MAX_DOCUMENTS = 1_000
STDIN = Path("-")


class NotUnderstood(Exception):
    """A file, or a document in it, was not recognised. The text names it."""


@click.command()
@remote
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Validate each document and show how it would be applied, without applying it.")
@click.option("--diff", "differ", is_flag=True, help="Show what would change on the server, without changing it.")
@click.option("--set", "owner", default="", metavar="NAME", help="Note what is applied under this name.")
@click.option("--prune", is_flag=True, help="Remove what was applied under the name of --set before and is not in the files.")
@click.option("--yes", is_flag=True, help="Do not ask before removing.")
def apply(
    server: str,
    key: str,
    as_json: bool,
    files: tuple[Path, ...],
    dry_run: bool,
    differ: bool,
    owner: str,
    prune: bool,
    yes: bool,
) -> None:
    """Register definitions and handlers from JSON or YAML files; a file may hold several documents, and - is standard input.

    Their order does not matter, and what the server has already is left as it is.
    """
    if prune and not owner:
        raise click.UsageError("--prune needs --set, the name under which was noted what is to be compared")
    if prune and as_json and not (yes or differ or dry_run):
        raise click.UsageError("with --json nothing is asked: add --yes, or --diff")
    try:
        found = [document for file in files for document in read(file)]
    except NotUnderstood as error:
        fail(str(error), MISUSED)
    with connect(server, key) as client:
        try:
            run = Applying(client, found, as_json)
            if dry_run and not differ:
                run.show()
            elif differ:
                run.show_differences(owner if prune else "")
            else:
                run.carry_out(owner, prune, yes)
        except ClientError as error:
            fail_client(error)


class Applying:
    def __init__(self, client: Client, documents: list[Document], as_json: bool) -> None:
        self._client = client
        self._documents = documents
        self._as_json = as_json
        self._server = DocumentComparison(client)

    def show(self) -> None:
        """What each document is taken for; the server is not asked."""
        for each in self._documents:
            self._report(each, "", f"is {_named(each)}", False)

    def show_differences(self, owner: str) -> None:
        """`owner`: a set whose former documents would be removed."""
        changed = 0
        for each in self._documents:
            before = self._server.has(each)
            change = "new" if before is None else "same" if before == each.normal else "changed"
            changed += change != "same"
            lines = list(difference(each, before)) if change != "same" else []
            if self._as_json:
                print_json({**_described(each), "applied": False, "change": change, "diff": lines})
            for line in [] if self._as_json else lines:
                click.echo(_painted(_printable(line)))
        gone = self._gone(owner) if owner else []
        for old in gone:
            self._report_removed(old, f"would be removed: {_identified(old)}", False)
        if not self._as_json:
            removed = f", {len(gone)} be removed" if owner else ""
            click.echo(f"{changed} of {len(self._documents)} documents would change{removed}")

    def carry_out(self, owner: str, prune: bool, yes: bool) -> None:
        gone = self._gone(owner) if prune else []
        if gone and not yes:
            for old in gone:
                click.echo(f"to be removed: {_identified(old)}")
            try:
                click.confirm(f"remove {len(gone)} of what was applied under {owner}?", abort=True, err=True)
            except click.Abort:
                fail("nothing was done; add --yes to do it without being asked")
        changes = [self._server.change(each) for each in self._documents]
        done = self._send_all(changes)
        for place in sorted(done):
            document, change = self._documents[place], changes[place]
            self._report(document, change, f"{'unchanged' if change == 'same' else 'applied'}: {_named(document)}", True)
        refused = len(done) < len(changes)
        left = gone if refused else self._remove(gone)
        if owner:
            noted = [self._documents[place].noted for place in sorted(done)]
            before = left if prune and not refused else self._client.applied(owner).documents
            self._client.note_applied(owner, list(dict.fromkeys([*before, *noted])))
        if refused or left:
            sys.exit(FAILED)

    def _send_all(self, changes: list[str]) -> set[int]:
        """The places of the documents that were not refused."""
        done: set[int] = set()
        with progress("applying", len(changes), self._as_json) as bar:
            for place, error in in_any_order(range(len(changes)), lambda place: self._send(place, changes[place])):
                bar.update(1)
                if error is None:
                    done.add(place)
                    continue
                document = self._documents[place]
                said = " ".join(str(error).split())
                click.echo(f"pelton: {document.where}: {document.kind} {clean(document.name)}: {said}", err=True)
        return done

    def _send(self, place: int, change: str) -> None:
        if change != "same":
            send(self._client, self._documents[place])

    def _gone(self, owner: str) -> list[AppliedDocument]:
        """What was noted under a name and is not among the documents."""
        there = {each.noted for each in self._documents}
        return [each for each in self._client.applied(owner).documents if each not in there]

    def _remove(self, gone: list[AppliedDocument]) -> list[AppliedDocument]:
        """Returns what could not be removed."""
        requests = {each: removal(each) for each in gone}
        left = [each for each, request in requests.items() if request is None]
        for each in left:
            click.echo(f"pelton: {_identified(each)} cannot be removed: its language is not installed here", err=True)

        def remove(document: AppliedDocument) -> None:
            request = requests[document]
            assert request is not None
            try:
                self._client.request(*request)
            except RequestRefused as error:
                if error.status != ABSENT:
                    raise

        for each, error in in_any_order([each for each in gone if requests[each] is not None], remove):
            if error is not None:
                left.append(each)
                click.echo(f"pelton: {_identified(each)} cannot be removed: {' '.join(str(error).split())}", err=True)
            else:
                self._report_removed(each, f"removed: {_identified(each)}", True)
        return left

    def _report(self, document: Document, change: str, text: str, applied: bool) -> None:
        if self._as_json:
            print_json({**_described(document), "applied": applied, **({"change": change} if change else {})})
        else:
            click.echo(f"{document.where}: {text}")

    def _report_removed(self, document: AppliedDocument, text: str, removed: bool) -> None:
        if self._as_json:
            named = {"language": document.language, "kind": document.kind, "identity": document.identity}
            print_json({**named, "removed": removed})
        else:
            click.echo(text)


def _described(document: Document) -> dict[str, Any]:
    return {"file": document.where, "language": document.language, "kind": document.kind, "name": document.name}


def _named(document: Document) -> str:
    return f"{document.language} {document.kind} {clean(document.name)}"


def _identified(document: AppliedDocument) -> str:
    return f"{clean(document.language)} {clean(document.kind)} {clean(document.identity)}"


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else "\ufffd" for each in line)


def _painted(line: str) -> str:
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    if colour is None or not colours():
        return line
    return click.style(line, fg=colour)


def read(file: Path) -> list[Document]:
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


def detect(document: Any, where: str) -> Document:
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
        return Document(where, language, *known)
    keys = ", ".join(list(document)[:8]) if isinstance(document, dict) else type(document).__name__
    raise NotUnderstood(f"{where}: not a document of any supported language (it has {clean(keys)}); check its members")


def removal(document: AppliedDocument) -> tuple[str, str] | None:
    """The request that removes what was applied; None if its language is not installed here, or has none."""
    from pelton.languages import plugin  # noqa: PLC0415 - loads the languages

    try:
        known = {each.name: each for each in languages()}
    except plugin.PluginFailed as error:
        fail(str(error), MISUSED)
    language = known.get(document.language)
    return language.removal(document.kind, document.identity) if language is not None else None


def example(language: str, name: str) -> Any:
    """An example definition that ships with a language."""
    [found] = [each.document for known in languages() if known.name == language for each in known.examples() if each.name == name]
    return found


def _documents(file: Path) -> Iterator[Any]:
    """The documents in a file; the items of a top-level array count as documents."""
    data = _content(file)
    whole_json = file.suffix.lower() == ".json" or (file == STDIN and _is_json(data))
    parsed = [_json(file, data)] if whole_json else list(_yaml(file, data))
    for document in parsed:
        yield from document if isinstance(document, list) else [document]


def _content(file: Path) -> bytes:
    """In UTF-8, without byte-order marks, of which there is one at each file's begin where several were put together."""
    try:
        if file != STDIN and file.stat().st_size > MAX_BYTES:
            raise NotUnderstood(f"{file}: more than {MAX_BYTES} bytes; split the file")
        data = sys.stdin.buffer.read(MAX_BYTES + 1) if file == STDIN else file.read_bytes()
    except OSError as error:
        raise NotUnderstood(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise NotUnderstood(f"{file}: more than {MAX_BYTES} bytes; split it")
    if data[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError as error:
            raise NotUnderstood(f"{file}: is not UTF-16, as its byte-order mark says: {error}") from None
    mark = codecs.BOM_UTF8
    return data.removeprefix(mark).replace(b"\n" + mark, b"\n")


def _is_json(data: bytes) -> bool:
    try:
        json.decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


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
