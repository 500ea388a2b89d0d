"""A server's settings: one table of options, read from the command line, the environment and `pelton.toml`, in that order.

The table is the only place that describes an option: the command line, the reference page and the checks are generated from it.
An unknown or invalid setting is an error that says where it was set; nothing is ignored silently.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from pelton.connectors.files.ignoring import MOST_PATTERNS, problem
from pelton.store.retention import KINDS, Keep, Kind, parse_keep

FILE = "pelton.toml"
PREFIX = "PELTON_"
SQLITE = "sqlite:"
MEGABYTE = 1024 * 1024
MOST_PREFIX = 200  # characters


class ConfigError(Exception):
    """A setting cannot be used. The text names the setting, where it was set, and the remedy."""


class Option(NamedTuple):
    """`kind`: text | path | port | number | flag | list | choice | keep. A list is comma-separated in the environment."""

    name: str
    kind: str
    default: Any
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    secret: bool = False  # never printed
    flag: str = ""  # the option on the command line, if it is not `--` and the name

    @property
    def switch(self) -> str:
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


KEEP_FORMS = "an age such as 30d, a number such as 1000000, both as 30d,1000000, 0 for not at all, or forever"

OPTIONS: tuple[Option, ...] = (
    Option(
        "host", "text", "127.0.0.1", "Address to listen on. Any address other than loopback requires access control.", "ADDRESS"
    ),
    Option("port", "port", 8080, "Port for HTTP; 0 picks a free port.", "PORT", low=0, high=65_535),
    Option(
        "tls_cert",
        "text",
        "",
        "File with the certificate (PEM, its chain included): the server then speaks HTTPS. SIGHUP reads it and its key again.",
        "FILE",
    ),
    Option("tls_key", "text", "", "File with the certificate's private key (PEM, without a password).", "FILE"),
    Option("grpc_port", "port", 2023, "Reserved for gRPC; nothing listens on it in this version.", "PORT", low=1, high=65_535),
    Option("data", "path", "./pelton-data", "Directory for all durable data.", "DIR"),
    Option(
        "store",
        "text",
        "",
        "URL of the store, instead of --data: sqlite:DIR, or memory: (for trials; all data is lost when the server stops).",
        "URL",
    ),
    Option(
        "watch",
        "list",
        (),
        "Watch a directory: its files become events, as /PREFIX/NAME. May be repeated.",
        "DIR=/PREFIX",
    ),
    Option(
        "watch_settle",
        "number",
        500,
        "How long a file in a watched directory must be unchanged before it is reported.",
        "MILLISECONDS",
        low=10,
        high=600_000,
    ),
    Option(
        "watch_ignore",
        "list",
        (),
        "Leave out files and directories of this name in watched directories, besides the usual temporary names; "
        "`!GLOB` takes a name back. May be repeated.",
        "GLOB",
    ),
    Option(
        "watch_user",
        "text",
        "",
        "The user of the events of watched files, for handlers that take theirs from the event. Default: the service user, "
        "if there is exactly one.",
        "USER",
    ),
    Option(
        "durability",
        "choice",
        "full",
        "full: acknowledged data survives a power cut. relaxed: it survives a crash of the process only.",
        choices=("full", "relaxed"),
    ),
    Option(
        "sqs_endpoint",
        "text",
        "",
        "URL of an SQS service other than Amazon's. Credentials are looked up as AWS tools do.",
        "URL",
    ),
    Option("sqs_region", "text", "", "Region of the SQS service. Default: AWS_REGION or AWS_DEFAULT_REGION.", "REGION"),
    Option(
        "connections",
        "list",
        (),
        "A named connection to another system, which addresses refer to as SCHEME://NAME/...; may be repeated. "
        "In pelton.toml, a table [connections.NAME] with url and options.",
        "NAME=URL",
        secret=True,
        flag="--connection",
    ),
    Option(
        "api_keys",
        "list",
        (),
        "An access key, which callers send as `Authorization: Bearer KEY` or `X-Authorization: KEY`. May be repeated.",
        "KEY",
        secret=True,
        flag="--api-key",
    ),
    Option(
        "users",
        "list",
        (),
        "A user and their token, which callers send as `Authorization: Bearer TOKEN`; their actions are recorded under "
        "that name. May be repeated; may be a table in pelton.toml.",
        "USER=TOKEN",
        secret=True,
        flag="--user",
    ),
    Option(
        "service_users",
        "list",
        (),
        "A service account: handlers may run as this user, but it cannot authenticate. May be repeated. If any is set, "
        "definitions may name only service accounts and users with a token; otherwise they may name any user.",
        "USER",
        flag="--service-user",
    ),
    Option(
        "namespace_keys",
        "list",
        (),
        "A namespace, and the access key or user's token whose calls belong to it. Namespaces are isolated from each other. "
        "May be repeated; may be a table in pelton.toml. All other calls belong to the namespace default.",
        "NAMESPACE=KEY",
        secret=True,
        flag="--namespace-key",
    ),
    Option(
        "forwarders",
        "list",
        (),
        "An access key or user's token that may post events of others: its callers may set the attribute userid, by which "
        "handlers know whose call caused the event. Without access control every caller may. May be repeated.",
        "KEY",
        secret=True,
        flag="--forwarder",
    ),
    Option(
        "secrets_key_file",
        "text",
        "",
        "File with the key that secrets are encrypted with: 32 random bytes in Base64. Without it the key is taken from the "
        "environment variable PELTON_SECRETS_KEY; with neither no secret with a value can be set or read.",
        "FILE",
    ),
    Option("secrets_dir", "text", "", "Directory below which secrets may be read from files, as file:PATH.", "DIR"),
    Option(
        "allow_outgoing",
        "list",
        (),
        "A private host, HOST:PORT, address or network that outgoing HTTP requests may reach. May be repeated.",
        "HOST",
    ),
    Option(
        "allow_anonymous", "flag", False, "Listen beyond loopback without keys: anyone who can reach the port has full access."
    ),
    Option(
        "max_body",
        "number",
        4 * MEGABYTE,
        "Largest request body in bytes.",
        "BYTES",
        low=1_024,
        high=64 * MEGABYTE,
    ),
    Option(
        "max_requests",
        "number",
        2_000,
        "Maximum number of concurrent requests and long polls; further ones get 503 and may be retried.",
        "COUNT",
        low=8,
        high=100_000,
    ),
    Option(
        "most_descendants",
        "number",
        10_000,
        "Maximum number of events and runs that may go back to one event or run within a day; further ones fail, since "
        "they are most likely a loop.",
        "COUNT",
        low=10,
        high=10_000_000,
    ),
    Option(
        "log_format",
        "choice",
        "auto",
        "auto: text on a terminal, otherwise JSON, one object per line.",
        choices=("auto", "console", "json"),
    ),
    Option(
        "log_level",
        "choice",
        "info",
        "Minimum level to log, on standard error; debug logs every request.",
        choices=("debug", "info", "warning", "error"),
    ),
)

OPTIONS += tuple(
    Option(f"keep_{kind}", "keep", default, f"How long {what} are kept: {KEEP_FORMS}.", "AGE,NUMBER")
    for kind, default, what in (
        ("events", "30d,1000000", "events, with what was decided about them,"),
        ("ids", "30d,2000000", "the ids of events that are no longer kept, by which a repeat is recognised,"),
        ("runs", "90d,1000000", "runs that have ended, with their steps, logs and records,"),
        ("dead_letters", "90d,100000", "dead letters"),
        ("results", "7d,1000000", "the results of signals to many runs"),
        ("logs", "90d,1000000", "lines that workers logged, also about runs that have not ended,"),
        ("bookmarks", "90d", "the positions of sources that are no longer in use, such as a directory that was watched,"),
    )
)

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BY_NAME = {option.name: option for option in OPTIONS}


class Config(Struct, frozen=True, kw_only=True):
    """One member per option; see `OPTIONS` for the meaning of each."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: str = ""
    tls_key: str = ""
    grpc_port: int = 2023
    data: Path = Path("./pelton-data")
    store: str = ""
    watch: tuple[str, ...] = ()
    watch_settle: int = 500
    watch_ignore: tuple[str, ...] = ()
    watch_user: str = ""
    durability: Literal["full", "relaxed"] = "full"
    sqs_endpoint: str = ""
    sqs_region: str = ""
    connections: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    service_users: tuple[str, ...] = ()
    namespace_keys: tuple[str, ...] = ()
    forwarders: tuple[str, ...] = ()
    secrets_key_file: str = ""
    secrets_dir: str = ""
    allow_outgoing: tuple[str, ...] = ()
    allow_anonymous: bool = False
    max_body: int = 4 * MEGABYTE
    max_requests: int = 2_000
    most_descendants: int = 10_000
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    keep_events: str = "30d,1000000"
    keep_ids: str = "30d,2000000"
    keep_runs: str = "90d,1000000"
    keep_dead_letters: str = "90d,100000"
    keep_results: str = "7d,1000000"
    keep_logs: str = "90d,1000000"
    keep_bookmarks: str = "90d"

    @property
    def store_url(self) -> str:
        return self.store or f"{SQLITE}{self.data}"

    @property
    def directory(self) -> Path | None:
        """The directory that the store writes to, if it has one."""
        url = self.store_url
        return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None

    @property
    def file_user(self) -> str:
        """The user of the events of watched files, "" = none."""
        return self.watch_user or (self.service_users[0] if len(self.service_users) == 1 else "")

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A host name other than localhost may resolve to anything, so it counts as
    open."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load(given: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Config:
    """`given`: values from the command line, by option name; None = not given. `file`: a settings file that must exist; by
    default `pelton.toml` in the working directory is read if it exists. Raises ConfigError."""
    values: dict[str, Any] = {}
    values.update(_from_file(file))
    values.update(_from_environment(environment))
    for name, value in given.items():
        if value is not None and value != () and not (value is False and _BY_NAME[name].kind == "flag"):
            values[name] = _checked(_BY_NAME[name], value, _BY_NAME[name].switch)
    config = Config(**values)
    check(config)
    return config


def check(config: Config) -> None:
    """Checks rules that span several settings. Raises ConfigError."""
    check_watched(config)
    kept(config)
    if bool(config.tls_cert) != bool(config.tls_key):
        given, missing = ("--tls-cert", "--tls-key") if config.tls_cert else ("--tls-key", "--tls-cert")
        raise ConfigError(f"{given} is set and {missing} is not: HTTPS needs both files")
    if (
        not config.loopback
        and not config.api_keys
        and not config.users
        and not config.namespace_keys
        and not config.forwarders
        and not config.allow_anonymous
    ):
        raise ConfigError(
            f"--host {config.host} can be reached from other machines and no access control is configured: "
            "set --api-key or --user (or PELTON_API_KEYS, PELTON_USERS), "
            "or pass --allow-anonymous if anyone who can reach the port may have full access"
        )
    for key in config.api_keys:
        if not _is_secret(key):
            raise ConfigError("--api-key: a key must be at least 16 printable ASCII characters without spaces; use a longer one")
    _check_users(config)
    _check_watch_user(config)
    _check_namespaces(config)
    for key in config.forwarders:
        if not _is_secret(key):
            raise ConfigError(
                "--forwarder: a key must be at least 16 printable ASCII characters without spaces; use a longer one"
            )
    if config.sqs_endpoint:
        parts = urlsplit(config.sqs_endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"--sqs-endpoint {config.sqs_endpoint!r} is not a valid URL: use http://HOST:PORT or https://HOST")


def watched(config: Config) -> dict[str, str]:
    """Directories by prefix, as given. Raises ConfigError for anything not of the form DIR=/PREFIX."""
    found: dict[str, str] = {}
    for given in config.watch:
        folder, sign, rest = given.rpartition("=/")
        parts = rest.rstrip("/").split("/") if rest.rstrip("/") else []
        prefix = "/" + "/".join(parts)
        if not sign or not folder:
            raise ConfigError(f"--watch {given}: use the form DIR=/PREFIX, as in --watch ./incoming=/incoming")
        if len(prefix) > MOST_PREFIX or not prefix.isprintable() or not {"", ".", ".."}.isdisjoint(parts):
            raise ConfigError(
                f"--watch {given}: {prefix!r} is not a valid prefix; it must start with /, have no empty, . or .. segment, "
                f"and at most {MOST_PREFIX} printable characters"
            )
        if prefix in found:
            raise ConfigError(
                f"--watch {given}: {found[prefix]!r} is already watched as {prefix}; give each directory a different prefix"
            )
        found[prefix] = folder
    return found


def kept(config: Config) -> dict[Kind, Keep]:
    """How long finished data is kept, by kind. Raises ConfigError."""
    return {kind: _keep(getattr(config, f"keep_{kind}"), _BY_NAME[f"keep_{kind}"].switch) for kind in KINDS}


def _keep(text: str, where: str) -> Keep:
    try:
        return parse_keep(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {text!r} cannot be used: {error}; use {KEEP_FORMS}") from None


def check_watched(config: Config) -> None:
    """Each directory must exist, and must not contain the server's own data. Raises ConfigError."""
    _check_ignored(config.watch_ignore)
    for prefix, folder in watched(config).items():
        path = Path(folder)
        where = f"--watch {folder}={prefix}"
        if not path.is_dir():
            what = "is not a directory" if path.exists() else "does not exist"
            raise ConfigError(f"{where}: {folder!r} {what}; create the directory first, or correct the option")
        if not os.access(path, os.R_OK | os.X_OK):
            raise ConfigError(f"{where}: {folder!r} is not readable; grant this user read permission, or watch another directory")
        if config.directory is not None and config.directory.resolve().is_relative_to(path.resolve()):
            raise ConfigError(
                f"{where}: contains the data directory {str(config.directory)!r}, which changes with every event; "
                "set --data to a directory elsewhere"
            )


def _check_ignored(patterns: tuple[str, ...]) -> None:
    if len(patterns) > MOST_PATTERNS:
        raise ConfigError(f"--watch-ignore: {len(patterns)} patterns are given; give at most {MOST_PATTERNS}")
    for pattern in patterns:
        if (why := problem(pattern)) is not None:
            raise ConfigError(f"--watch-ignore {pattern[:50]!r}: {why}; write it as in '*.lock', 'archive/**' or '!*.download'")


def _from_file(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if file is None:
            return {}
        raise ConfigError(f"--config {path}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    values = {}
    for written, value in found.items():
        option = _BY_NAME.get(written.replace("-", "_"))
        if option is None:
            raise ConfigError(f"{path}: unknown setting {written!r}{_nearest(written)}")
        values[option.name] = _checked(option, value, f"{path}: {written}")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in OPTIONS:
        text = environment.get(option.variable, "")
        if text == "":  # set but empty is the usual way to unset a variable for one command
            continue
        value: Any = [part.strip() for part in text.split(",") if part.strip()] if option.kind == "list" else text
        values[option.name] = _checked(option, value, option.variable)
    return values


def _checked(option: Option, value: Any, where: str) -> Any:
    """The value as `Config` has it. Raises ConfigError naming `where`."""
    if option.kind == "flag":
        return _flag(value, where)
    if option.kind in {"port", "number"}:
        return _number(option, value, where)
    if option.kind == "list":
        if option.name in {"users", "namespace_keys"} and isinstance(value, Mapping):
            value = [f"{user}={token}" for user, token in value.items()]
        if option.name == "connections" and isinstance(value, Mapping):
            value = [_connection(name, table, where) for name, table in value.items()]
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(each, str) and each for each in value):
            raise ConfigError(f'{where}: must be a list of strings, as in ["a", "b"]')
        return tuple(value)
    if option.kind == "keep" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(f"{where}: must be a non-empty string, not {_written(value)}")
    if option.kind == "keep":
        _keep(str(value), where)
    if option.kind == "choice" and value not in option.choices:
        raise ConfigError(f"{where}: must be one of {', '.join(option.choices)}, not {value!r}")
    return Path(value) if option.kind == "path" else str(value)


def _connection(name: str, table: Any, where: str) -> str:
    """A table from the settings file as NAME=URL, with its other members as options of the URL."""
    if not isinstance(table, Mapping) or not isinstance(table.get("url"), str):
        raise ConfigError(f'{where}.{name}: must be a table with a url, as in url = "sqs://eu-central-1"')
    options = {option: value for option, value in table.items() if option != "url"}
    for option, value in options.items():
        if not isinstance(value, str | int | bool):
            raise ConfigError(f"{where}.{name}.{option}: must be a string, a number, true or false")
    texts = {option: str(value).lower() if isinstance(value, bool) else str(value) for option, value in options.items()}
    url: str = table["url"]
    return f"{name}={url}{('&' if '?' in url else '?') + urlencode(texts) if texts else ''}"


def split_user(text: str) -> tuple[str, str]:
    """User and token of `USER=TOKEN`; a token may contain further equals signs."""
    user, _, token = text.partition("=")
    return user, token


def _check_users(config: Config) -> None:
    owners: dict[str, str] = {}
    for user, token in map(split_user, config.users):
        if not _is_user(user) or not _is_secret(token):
            raise ConfigError(
                f"--user {user[:50] if token else '...'}: use the form USER=TOKEN, where USER has no spaces or = "
                "and TOKEN is at least 16 printable ASCII characters without spaces"
            )
        if owners.setdefault(token, user) != user:
            raise ConfigError(f"--user {user[:50]}: {owners[token][:50]} has the same token; give each user a different one")
    for user in config.service_users:
        if not _is_user(user):
            raise ConfigError(
                f"--service-user {user[:50]!r}: a user name may not contain spaces or =, and has at most 1024 characters"
            )


def _check_watch_user(config: Config) -> None:
    user = config.watch_user
    if not user:
        return
    if not _is_user(user):
        raise ConfigError(f"--watch-user {user[:50]!r}: a user name may not contain spaces or =, and has at most 1024 characters")
    known = {name for name, _ in map(split_user, config.users)} | set(config.service_users)
    if config.service_users and user not in known:
        raise ConfigError(f"--watch-user {user[:50]}: no such user is configured; add --service-user {user[:50]}")


def _check_namespaces(config: Config) -> None:
    owners: dict[str, str] = {}
    for namespace, key in map(split_user, config.namespace_keys):
        if not _NAMESPACE.fullmatch(namespace) or not _is_secret(key):
            raise ConfigError(
                f"--namespace-key {namespace[:50] if key else '...'}: use the form NAMESPACE=KEY, where NAMESPACE is at most 64 "
                "letters, digits, dots, dashes and underscores, and KEY is at least 16 printable ASCII characters without spaces"
            )
        if owners.setdefault(key, namespace) != namespace:
            raise ConfigError(
                f"--namespace-key {namespace[:50]}: {owners[key]} has the same key; give each namespace its own keys"
            )


def _is_user(text: str) -> bool:
    return 0 < len(text) <= 1024 and text.isprintable() and not any(each.isspace() or each == "=" for each in text)


def _is_secret(text: str) -> bool:
    return len(text) >= 16 and text.isascii() and text.isprintable() and " " not in text


def _flag(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ConfigError(f"{where}: must be true or false, not {_written(value)}")


def _number(option: Option, value: Any, where: str) -> int:
    try:
        number = value if isinstance(value, int) and not isinstance(value, bool) else int(str(value), 10)
    except ValueError:
        raise ConfigError(f"{where}: must be a whole number, not {_written(value)}") from None
    if not option.low <= number <= option.high:
        raise ConfigError(f"{where}: must be between {option.low} and {option.high}, not {number}")
    return number


def _written(value: Any) -> str:
    """As it stands in a file: TOML has no True."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _nearest(written: str) -> str:
    near = difflib.get_close_matches(written.replace("-", "_"), _BY_NAME, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; valid settings are {', '.join(_BY_NAME)}"


def printable(config: Config) -> Iterator[tuple[str, str]]:
    """Name and value of every setting, secrets hidden."""
    for option in OPTIONS:
        value = getattr(config, option.name)
        if option.secret:
            yield option.name, f"{len(value)} set" if value else "none"
        elif isinstance(value, tuple):
            yield option.name, ", ".join(value) or "none"
        else:
            yield option.name, str(value).lower() if isinstance(value, bool) else str(value)
