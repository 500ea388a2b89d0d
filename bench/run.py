"""Measures Pelton, and a peer in the same run: `uv run python bench/run.py [--quick] [--only W1,W3] [--seconds 10] [--no-peers]`.

Prints a table; see README.md beside this file for what the rows mean. Nothing else should be at work on the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # `bench` is imported by that name, here and in the processes that are started

from bench import keeping, tasks, workloads  # noqa: E402
from bench.table import Row, printed  # noqa: E402
from bench.workloads import Plan  # noqa: E402

ALL = {**workloads.ALL, **keeping.ALL, **tasks.ALL}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures Pelton, and a peer in the same run.")
    parser.add_argument("--quick", action="store_true", help="loads of 3 s, fewer handlers and rounds: to see that it works")
    parser.add_argument("--only", default=",".join(ALL), metavar="W1,W2", help="these workloads only")
    parser.add_argument("--seconds", type=float, default=0.0, help="of each load (10; 3 with --quick)")
    parser.add_argument("--no-peers", action="store_true", help="Pelton alone")
    given = parser.parse_args()
    names = given.only.upper().split(",")
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f"--only: there is no {unknown[0]}; there are {', '.join(ALL)}")
    quick = Plan(
        seconds=3.0,
        handlers=(10, 1_000, 10_000),
        loop=2_000,
        window=200,
        tasks=3_000,
        children=(20, 60, 100),
        events=60_000,
        kept=10_000,
    )
    plan = (quick if given.quick else Plan())._replace(peers=not given.no_peers)
    plan = plan._replace(seconds=given.seconds or plan.seconds)
    rows: list[Row] = []
    began = time.monotonic()
    for name in names:
        try:
            for row in ALL[name](plan):
                rows.append(row)
                told = "  ".join(cell for cell in row.cells() if cell)
                print(f"[{time.monotonic() - began:5.0f} s] {told}", file=sys.stderr, flush=True)
        except (OSError, RuntimeError) as error:
            rows.append(Row(name, "", "Pelton", error=str(error)))
            print(f"{name}: {error}", file=sys.stderr)
    print(f"\n{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {plan.seconds:g} s a load\n")
    print(printed(rows))
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
