from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.languages.lusid.api import Api, serving
from tests.languages.lusid.official import Official
from tests.server.running import fresh


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Official]:
    """The official client, on a server in a process of its own."""
    process = fresh(tmp_path_factory.mktemp("official") / "data")
    found = Official(process.address)
    yield found
    found.close()
    assert process.stop() == 0, "\n".join(process.log)
