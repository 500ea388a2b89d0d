"""Connections by name and URL: how they are written, what is refused, and that no text has a credential."""

from __future__ import annotations

from typing import Any

import pytest

from pelton.connectors import builtin, connection
from pelton.connectors.connection import Connection
from pelton.connectors.registry import AddressError, Connectors
from pelton.connectors.sqs import SqsConnector
from pelton.server import ends
from pelton.server.config import Config, ConfigError, load, printable

SECRETS = {"ORDERS_ID": "AKIAEXAMPLE", "ORDERS_SECRET": "do-not-show-me"}
URL = "sqs://eu-central-1?endpoint=http%3A%2F%2F127.0.0.1%3A1&access_key_id_env=ORDERS_ID&secret_access_key_env=ORDERS_SECRET"


def test_a_connection_has_a_location_and_options_some_from_the_environment() -> None:
    found = connection.parse(f"orders={URL}", SECRETS)
    assert (found.scheme, found.name, found.location) == ("sqs", "orders", "eu-central-1")
    assert found.options == {
        "endpoint": "http://127.0.0.1:1", "access_key_id": "AKIAEXAMPLE", "secret_access_key": "do-not-show-me",
    }  # fmt: skip
    connection.check(f"orders={URL}", found, builtin.SQS)
    assert "do-not-show-me" not in repr(found) + str(found)
    assert connection.parse("many=sqs://a%2Cb?endpoint=x%26y", {}) == Connection(
        scheme="sqs", name="many", location="a,b", options={"endpoint": "x&y"}
    )
    assert connection.parse("plain=sqs:", {}) == Connection(scheme="sqs", name="plain")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sqs://eu-central-1", "written as NAME=URL"),
        ("a b=sqs:", "written as NAME=URL"),
        ("orders=", "has no URL: write SCHEME://LOCATION"),
        ("orders=sqs://user:password@host", "give them as options that name environment variables"),
        ("orders=sqs:?endpoint", "not written as OPTION=VALUE"),
        ("orders=sqs:?a=1&a=2", "has the option a twice"),
        ("orders=sqs:?access_key_id_env=MISSING", "takes its access_key_id from the environment variable MISSING: set it"),
        ("orders=sqs:?endpont=x", "sqs has no option 'endpont'; did you mean endpoint?"),
        ("orders=sqs:?secret_access_key=do-not-show-me", "give the name of the variable as secret_access_key_env"),
        ("orders=sqs:?access_key_id_env=ORDERS_ID", "belong together"),
        ("orders=sqs:?endpoint=nowhere", "endpoint is not a URL"),
        ("orders=sqs:?create_missing=perhaps", "must be true or false"),
        ("orders=sqs://a/b", "is no region"),
        ("orders=pigeon://loft", "unknown connector 'pigeon'; use one of files, sqs, webhook"),
        ("orders=webhook://host", "one connection of webhook only"),
    ],
)
def test_what_is_refused_says_the_remedy_and_no_secret(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        ends.make_connectors(Config(connections=(text,)), _no_http(), SECRETS)
    assert says in str(caught.value)
    assert "do-not-show-me" not in str(caught.value)


def _no_http() -> Any:
    return None


def test_the_settings_file_has_a_table_of_connections(tmp_path: Any) -> None:
    file = tmp_path / "pelton.toml"
    file.write_text(
        '[connections.orders]\nurl = "sqs://eu-central-1"\nendpoint = "http://127.0.0.1:1"\ncreate_missing = false\n'
        'access_key_id_env = "ORDERS_ID"\nsecret_access_key_env = "ORDERS_SECRET"\n[connections.backup]\nurl = "sqs:"\n'
    )
    config = load({}, {}, file)
    connectors = ends.make_connectors(config, _no_http(), SECRETS)
    connector, queue = connectors.find("sqs://orders/incoming.fifo")
    assert queue == "incoming.fifo"
    assert (connector.scheme, connectors.find("sqs://backup/x")[0] is connector) == ("sqs", False)
    assert dict(printable(config))["connections"] == "2 set"
    file.write_text("[connections]\norders = 5\n")
    with pytest.raises(ConfigError, match="must be a table with a url"):
        load({}, {}, file)


def test_an_address_names_its_connection() -> None:
    plain, orders = SqsConnector(), SqsConnector(region="eu-central-1")
    connectors = Connectors([plain])
    connectors.add(orders, "orders")
    assert connectors.find("sqs:incoming") == (plain, "incoming")
    assert connectors.find("sqs://orders/incoming") == (orders, "incoming")
    assert connectors.parse("sqs://orders/incoming") == ("sqs", "//orders/incoming")
    assert connectors.get("sqs") is plain
    for text, says in (
        ("sqs://other/incoming", "names the connection 'other', which is not there"),
        ("sqs://orders", "write it as sqs://CONNECTION/name"),
        ("sqs://orders/a b", "cannot be the name of an SQS queue"),
    ):
        with pytest.raises(AddressError) as caught:
            connectors.find(text)
        assert says in str(caught.value)
    with pytest.raises(ValueError, match="have the connection 'orders'"):
        connectors.add(SqsConnector(), "orders")
    orders._health.bad("incoming", "gone")
    assert list(connectors.health()) == ["sqs://orders/incoming"]


def test_a_scheme_may_have_named_connections_only() -> None:
    connectors = Connectors()
    connectors.add(SqsConnector(), "orders")
    with pytest.raises(AddressError, match="names no connection: write sqs://CONNECTION/name with one of orders"):
        connectors.find("sqs:incoming")
    assert connectors.get("sqs") is not None


def test_the_unnamed_connections_come_from_the_servers_own_options(tmp_path: Any) -> None:
    config = Config(sqs_endpoint="http://127.0.0.1:1", sqs_region="eu-west-1", watch=(f"{tmp_path}=/in",), watch_settle=70)
    connectors = ends.make_connectors(config, _no_http(), {})
    assert connectors.schemes == ("files", "sqs", "webhook")
    sqs: Any = connectors.get("sqs")
    assert (sqs._connector().endpoint, sqs._connector().region) == ("http://127.0.0.1:1", "eu-west-1")
    assert connectors.find("files:/in")[1] == "/in"
    assert ends.make_connectors(Config(), _no_http(), {}).schemes == ("sqs", "webhook")


def test_two_packages_cannot_have_one_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    def twice(group: str) -> list[EntryPoint]:
        return [EntryPoint("sqs", "a:B", group), EntryPoint("sqs", "c:D", group)]

    monkeypatch.setattr("importlib.metadata.entry_points", twice)
    with pytest.raises(ConfigError, match="two packages register sqs"):
        ends.available(ends.CONNECTORS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    with pytest.raises(ConfigError, match="install Pelton as a package"):
        ends.available(ends.CONNECTORS)
