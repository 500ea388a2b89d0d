from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.languages.lusid.api import Api, serving
from tests.languages.lusid.machines import Desk, move
from tests.languages.lusid.official import Official, scope
from tests.server.running import fresh


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One for many tests, which must not look beyond their own scope."""
    async with serving(tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.fixture
def desk(shared: Api) -> Desk:
    move(scope())
    return Desk(shared)


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Official]:
    """The official client, on a server in a process of its own."""
    process = fresh(tmp_path_factory.mktemp("official") / "data", "--allow-outgoing", "127.0.0.1")
    found = Official(process.address)
    yield found
    found.close()
    assert process.stop() == 0, "\n".join(process.log)
