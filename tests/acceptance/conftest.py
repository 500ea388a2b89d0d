"""A server, the official client and plain HTTP, shared by the tests of a run that do it no harm.

The server is a process of its own with everything an operator would give it: a real SQS service, and leave to call this
machine's HTTP servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.official import Official, Plain
from tests.server.running import fresh
from tests.sqs_server import CREDENTIALS, SqsServer

from pelton.cli.process import ServerProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The package calls what it calls deprecated whenever it writes one of its own models."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"))


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Credentials that the test service takes, and nothing of the developer's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, sqs_server: SqsServer, aws: None) -> Iterator[ServerProcess]:
    process = fresh(
        tmp_path_factory.mktemp("acceptance") / "data", "--sqs-endpoint", sqs_server.url, "--allow-outgoing", "127.0.0.1"
    )
    yield process
    assert process.stop() == 0, "\n".join(process.log)


@pytest.fixture(scope="session")
def official(server: ServerProcess) -> Iterator[Official]:
    found = Official(server.address)
    yield found
    found.close()


@pytest.fixture(scope="session")
def plain(server: ServerProcess) -> Iterator[Plain]:
    found = Plain(server.address)
    yield found
    found.close()


@pytest.fixture(scope="session")
def sqs(sqs_server: SqsServer, aws: None) -> Iterator[Any]:
    """A client for looking at queues from outside."""
    from botocore.session import Session  # here: most runs of tests need no AWS library, and it takes time to import

    client = Session().create_client("sqs", region_name="us-east-1", endpoint_url=sqs_server.url)
    yield client
    client.close()
