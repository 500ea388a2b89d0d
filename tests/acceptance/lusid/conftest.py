"""A server shared by the tests of a run that do it no harm: each has definitions and types of events of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.acceptance.lusid.world import World, serving


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("handlers")) as made:
        yield made
