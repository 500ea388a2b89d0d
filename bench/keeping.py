"""W6: a server through many events and runs, of which it keeps only the newest.

What is over goes while new ones come: after the first pass (as many events as are kept) its file and its memory should stay as
they are, and its rate as at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bench import definitions
from bench.processes import memory
from bench.table import Row
from bench.workloads import Plan, row, run_load, server, single

BATCH, CALLERS = 100, 4


def w6(plan: Plan) -> Iterator[Row]:
    handlers = [definitions.starts("bench-start", definitions.START, "bench_at_once")]
    kept = plan.kept
    options = [text for kind in ("events", "ids", "runs") for text in (f"--keep-{kind}", str(kept))]
    with server(definitions.at_once(), handlers=handlers, options=options) as pelton:
        job = {"job": "posts", "url": pelton.url, "pids": [pelton.pid], "callers": CALLERS, "batch": BATCH}
        done, slices = 0, []
        sizes: list[tuple[int, int, float]] = []  # events so far, bytes, megabytes
        while done < plan.events:
            found = run_load({**job, "seconds": plan.seconds}, plan.seconds)
            if "error" in found:
                yield Row("W6", f"after {done:,} events", "Pelton", error=found["error"])
                return
            done += found["units"]
            slices.append(found)
            sizes.append((done, pelton.size(), memory(pelton.pid)[1]))
        first, last = slices[0], slices[-1]
        yield row("W6", "the first events", first, "event")
        yield row("W6", f"the last of {done:,} events", last, "event")
        yield single("W6", "last against first, CPU", cost(last) / cost(first), f"{cost(last) / cost(first):.2f}x", 1.5)
        yield single("W6", "last against first, time", first["rate"] / last["rate"], f"{first['rate'] / last['rate']:.2f}x", 1.1)
        _, bytes_then, memory_then = next((each for each in sizes if each[0] >= 2 * kept), sizes[-1])
        _, bytes_now, memory_now = sizes[-1]
        shown = f"{bytes_now / bytes_then:.2f}x of {bytes_then / 1e6:,.0f} MB"
        yield single("W6", f"file, at the end against after {2 * kept:,}", bytes_now / bytes_then, shown, 1.1)
        shown = f"{memory_now / memory_then:.2f}x of {memory_then:,.0f} MB"
        yield single("W6", "memory, the same", memory_now / memory_then, shown, 1.1)


def cost(found: dict[str, Any]) -> float:
    return float(sum(found["cpu"]))


ALL: dict[str, Callable[[Plan], Iterator[Row]]] = {"W6": w6}
