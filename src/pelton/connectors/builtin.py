"""The connectors that come with Pelton, as their entry points name them. Each library is imported when it is used first."""

from __future__ import annotations

from urllib.parse import urlsplit

from pelton.connectors.connection import Connection, ConnectorKind
from pelton.connectors.port import Connector
from pelton.net.lazy import LazyHttpPort

SETTLE, USER, IGNORE = (
    "settle",
    "user",
    "ignore",
)  # options of the one connection of `files`; the others are directories by prefix


def _sqs(connection: Connection, http: LazyHttpPort) -> Connector:
    from pelton.connectors.sqs import Credentials, SqsConnector  # noqa: PLC0415 - half a second and 20 MB

    options = connection.options
    credentials = None
    if "access_key_id" in options:
        credentials = Credentials(options["access_key_id"], options["secret_access_key"], options.get("session_token"))
    return SqsConnector(
        endpoint=options.get("endpoint") or None,
        region=connection.location or None,
        credentials=credentials,
        create_missing=options.get("create_missing", "true") == "true",
    )


def _check_sqs(connection: Connection) -> str | None:
    options = connection.options
    if ("access_key_id" in options) != ("secret_access_key" in options):
        return "access_key_id_env and secret_access_key_env belong together: give both, or neither"
    if "session_token" in options and "access_key_id" not in options:
        return "session_token_env needs access_key_id_env and secret_access_key_env beside it"
    if options.get("create_missing", "true") not in {"true", "false"}:
        return "create_missing must be true or false"
    if endpoint := options.get("endpoint", ""):
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            return "endpoint is not a URL: write http://HOST:PORT or https://HOST"
    if not connection.location.replace("-", "").isalnum() and connection.location:
        return "its location is no region: write sqs://REGION, as in sqs://eu-central-1"
    return None


def _webhook(connection: Connection, http: LazyHttpPort) -> Connector:
    from pelton.connectors.webhook import WebhookConnector  # noqa: PLC0415 - an HTTP client that few need

    return WebhookConnector(http.port())


def _files(connection: Connection, http: LazyHttpPort) -> Connector:
    from pelton.connectors.files.connector import FilesConnector  # noqa: PLC0415 - for those who watch directories

    folders = {prefix: folder for prefix, folder in connection.options.items() if prefix.startswith("/")}
    ignore = connection.options.get(IGNORE, "").split("\n")
    return FilesConnector(
        folders,
        int(connection.options[SETTLE]),
        user=connection.options.get(USER, ""),
        ignore=[pattern for pattern in ignore if pattern],
    )


SQS = ConnectorKind(
    make=_sqs,
    options=frozenset({"endpoint", "create_missing"}),
    secrets=frozenset({"access_key_id", "secret_access_key", "session_token"}),
    check=_check_sqs,
)
WEBHOOK = ConnectorKind(make=_webhook, named=False, source=False)
FILES = ConnectorKind(make=_files, plain=False, named=False, makes_events=True)
