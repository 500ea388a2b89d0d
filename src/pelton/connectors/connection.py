"""A connection: which system a connector talks to, and as whom. It is a URL, `SCHEME://LOCATION?OPTION=VALUE&...`.

The scheme chooses the connector, which says what its location and its options are; both may be percent-encoded, as a comma has
to be where connections are separated by commas. An option `NAME_env` gives the name of an environment variable instead of the
value, and a credential `secret:NAME` is a secret of the server. Credentials are taken from these only, so that no settings file,
command line or log has them. A connection has a name, which addresses use (`sqs://orders/incoming`: the queue `incoming` on the
connection `orders`), or is the one without a name, of addresses like `sqs:incoming`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

from pelton.connectors.port import Connector
from pelton.net.lazy import LazyHttpPort

FROM_ENVIRONMENT = "_env"
REFERENCE = "secret:"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", re.ASCII)


class ConnectionRefused(ValueError):
    """The connection cannot be used. The text says which, and the remedy, and has no value of an option."""


class Connection(Struct, frozen=True, kw_only=True):
    """`options` may hold credentials: they are in no text that this makes."""

    scheme: str
    name: str = ""
    location: str = ""
    options: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Connection({self.name!r}, {self.scheme}:{self.location}, options {sorted(self.options)})"


class ConnectorKind(Struct, frozen=True, kw_only=True):
    """What an entry point of the group `pelton.connectors` gives: how connectors of a scheme are made. Its module must be quick
    to import; `make` imports the libraries behind it when the first address is used.

    `options`: what connections may set, `secrets`: those of them that are credentials. `plain`: whether there is a connection
    without a name, though none was configured. `named`: whether there may be others. `source`, `makes_events`: see `Connector`.
    `check`: why a connection cannot be used, None when it can; without I/O.
    """

    make: Callable[[Connection, LazyHttpPort], Connector]
    options: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    plain: bool = True
    named: bool = True
    source: bool = True
    makes_events: bool = False
    check: Callable[[Connection], str | None] = lambda connection: None


def parse(text: str, environment: Mapping[str, str]) -> Connection:
    """Of `NAME=URL`. Raises ConnectionRefused."""
    name, sign, url = text.partition("=")
    scheme, colon, rest = url.partition(":")
    if not sign or not _NAME.fullmatch(name):
        raise ConnectionRefused(
            f"a connection is written as NAME=URL, as in orders=sqs://eu-central-1, where NAME has letters, digits, '.', '_' and "
            f"'-', at most 100; {name[:50]!r} is no such name"
        )
    if not colon or not scheme:
        raise ConnectionRefused(f"the connection {name} has no URL: write SCHEME://LOCATION, as in sqs://eu-central-1")
    location, _, query = rest.partition("?")
    location = unquote(location.removeprefix("//"))
    if "@" in location:
        raise ConnectionRefused(
            f"the connection {name} has a user or password in its URL: give them as options that name environment variables"
        )
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ConnectionRefused(f"the options of the connection {name} are not written as OPTION=VALUE&OPTION=VALUE") from None
    options: dict[str, str] = {}
    for option, value in pairs:
        plain, found = option, value
        if option.endswith(FROM_ENVIRONMENT):
            plain = option.removesuffix(FROM_ENVIRONMENT)
            if not (found := environment.get(value, "")):
                raise ConnectionRefused(
                    f"the connection {name} takes its {plain} from the environment variable {value[:100]}: set it"
                )
        if plain in options:
            raise ConnectionRefused(f"the connection {name} has the option {plain} twice: leave one of them out")
        options[plain] = found
    return Connection(scheme=scheme, name=name, location=location, options=options)


def check(text: str, connection: Connection, kind: ConnectorKind) -> None:
    """Whether the connector takes such a connection. `text`: as it was written. Raises ConnectionRefused."""
    name = connection.name
    if not kind.named:
        raise ConnectionRefused(f"the connection {name}: there is one connection of {connection.scheme} only, which has no name")
    for option in connection.options:
        if option not in kind.options | kind.secrets:
            near = difflib.get_close_matches(option, kind.options | kind.secrets, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(kind.options | kind.secrets)) or 'none'}"
            raise ConnectionRefused(f"the connection {name}: {connection.scheme} has no option {option!r}; {hint}")
    pairs = parse_qsl(text.partition("?")[2], keep_blank_values=True)
    written = {option for option, value in pairs if not value.startswith(REFERENCE)}
    if literal := sorted(written & kind.secrets):
        raise ConnectionRefused(
            f"the connection {name} has its {literal[0]} written down: put it into an environment variable, and give the "
            f"name of the variable as {literal[0]}{FROM_ENVIRONMENT}, or set a secret, and give {literal[0]}={REFERENCE}NAME"
        )
    if (reason := kind.check(connection)) is not None:
        raise ConnectionRefused(f"the connection {name}: {reason}")


def secrets_of(text: str, connection: Connection, kind: ConnectorKind) -> dict[str, str]:
    """The secrets that its credentials are, by option. `text`: as it was written; what a variable has is no reference."""
    written = dict(parse_qsl(text.partition("?")[2], keep_blank_values=True))
    return {
        option: written[option].removeprefix(REFERENCE)
        for option in connection.options
        if option in kind.secrets and written.get(option, "").startswith(REFERENCE)
    }
