"""A server killed at random moments under load loses nothing that it acknowledged, and does nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.burst import Burst
from tests.crash.campaign import QUICK_SQS, Campaign
from tests.patience import PATIENCE
from tests.sqs_server import SqsServer, start_sqs

KILLS = int(os.environ.get("PELTON_TEST_KILLS", "6"))


@pytest.fixture(scope="module")
def quick_sqs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqsServer]:
    server = start_sqs(tmp_path_factory.mktemp("sqs"), QUICK_SQS)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(180 + 20 * KILLS)
async def test_nothing_is_lost_or_done_twice_when_the_server_is_killed(
    tmp_path: Path, quick_sqs: SqsServer, rng: random.Random
) -> None:
    report = await Campaign(tmp_path, quick_sqs.url, KILLS, rng.getrandbits(32)).run()

    print(report.text())
    assert not report.faults, report.text()
    assert len(report.kills) == KILLS
    assert min(report.counts["starts acknowledged"], report.counts["events acknowledged"], report.counts["messages left"]) > 10


@pytest.mark.slow
async def test_a_server_that_loses_its_writer_recovers_or_ends_with_an_error(
    tmp_path: Path, quick_sqs: SqsServer, rng: random.Random
) -> None:
    campaign = Campaign(tmp_path, quick_sqs.url, 0, rng.getrandbits(32))
    try:
        await campaign.victim.spawn()
        await campaign.victim.wait_ready()
        async with asyncio.timeout(PATIENCE):
            said = await campaign.without_writer()
        if said != "recovered":
            log = "\n".join(campaign.victim.log)
            assert "writer" in log, "the log says why"
            await campaign.victim.spawn()
            await campaign.victim.wait_ready()
        await campaign.victim.stop()
    finally:
        await campaign.victim.abandon()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_file_and_each_event_of_a_burst_has_one_task_when_the_server_is_killed(tmp_path: Path, rng: random.Random) -> None:
    report = Burst(tmp_path, 1_000, 1_000, 4, rng).run()

    print(report.text())
    assert not report.faults, report.text()
    assert report.counts["tasks"] == 2_000
