"""`python -m tests.fuzz [--inputs 40000] [--seed N]`: odd input to every route of a server, and what it came to."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
import tempfile

import structlog
from tests.fuzz.session import fuzz

from pelton.store.sqlite.store import from_url


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Odd input to every route of a server.")
    parser.add_argument("--inputs", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=None, help="makes the inputs of an earlier session again")
    given = parser.parse_args()
    seed = secrets.randbits(32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="pelton-fuzz-") as directory:
        report = asyncio.run(fuzz(given.inputs, seed, from_url(directory, "relaxed")))
    print(report.text())
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
