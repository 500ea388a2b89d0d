"""`python -m tests.crash [--kills 200] [--seed N]`: a long campaign, on a directory of its own, each kill told as it happens."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import secrets
import sys
import tempfile
from pathlib import Path

import structlog
from tests.crash.burst import Burst
from tests.crash.campaign import QUICK_SQS, Campaign
from tests.sqs_server import SqsServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kills a server under load, again and again.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices of an earlier campaign")
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="use this directory, and leave it behind")
    parser.add_argument(
        "--files", type=int, default=0, metavar="COUNT", help="instead: as many files and posted events, each a task"
    )
    given = parser.parse_args()
    seed = secrets.randbits(32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # the workers' own complaints
    with tempfile.TemporaryDirectory(prefix="pelton-crash-") as made:
        directory: Path = given.keep or Path(made)
        directory.mkdir(parents=True, exist_ok=True)
        if given.files:
            burst = Burst(directory, given.files, given.files, given.kills, random.Random(seed)).run()
            print(burst.text())
            return 1 if burst.faults else 0
        sqs = SqsServer(directory, app=QUICK_SQS)
        sqs.start()
        try:
            report = asyncio.run(Campaign(directory, sqs.url, given.kills, seed, told=True).run())
        finally:
            sqs.stop()
    print(report.text())
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
