"""What matching an event costs with 10, 1,000 and 100,000 handlers of its type, of which two match.

uv run python bench/match.py
"""

from __future__ import annotations

import time

from pelton.kernel.expressions.conditions import compile_condition
from pelton.kernel.handlers import Handler, HandlerIndex, match

PAYLOAD = {
    "customer": 7,
    "region": "eu",
    "order": {"id": "A-1", "total": 250, "items": [{"sku": f"S{n}", "count": n} for n in range(10)]},
    "note": "as discussed",
}
EVENTS = 20_000


def handlers(count: int) -> list[Handler]:
    made = [
        Handler(
            id=number,
            ns="bench",
            name=f"h{number}",
            types=("order",),
            filter=compile_condition(f"$.region == 'eu' && $.customer == {number} && $.order.total > 100"),
        )
        for number in range(count - 1)
    ]
    return [*made, Handler(id=count, ns="bench", name="all", types=("ord*",), filter=compile_condition("$.order.total > 100"))]


def main() -> None:
    print(f"{'handlers':>9} {'index, us each':>15} {'match, us':>10} {'add one, us':>12}  verdicts")
    for count in (10, 1_000, 100_000):
        made = handlers(count)
        started = time.perf_counter()
        index = HandlerIndex(made)
        built = (time.perf_counter() - started) / count
        decisions = match(index, "order", PAYLOAD)
        started = time.perf_counter()
        for _ in range(EVENTS):
            match(index, "order", PAYLOAD)
        each = (time.perf_counter() - started) / EVENTS
        started = time.perf_counter()
        for handler in made[:10]:
            index.add(handler)
        added = (time.perf_counter() - started) / 10
        verdicts = " ".join(decision.verdict for decision in decisions)
        print(f"{count:>9,} {built * 1e6:>15.2f} {each * 1e6:>10.2f} {added * 1e6:>12.2f}  {verdicts}")


if __name__ == "__main__":
    main()
