"""What matching an event costs by the number of handlers of its type, of which one matches, and by what they test.

uv run python bench/match.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from pelton.kernel.expressions.base import JSON
from pelton.kernel.matching.conditions import compile_condition
from pelton.kernel.matching.filters import And, Compare, Filter, Matches
from pelton.kernel.matching.handlers import Handler, HandlerIndex, match
from pelton.languages.lusid.filters import parse_filter

COUNTS = (10, 1_000, 100_000)
EVENTS = 20_000
TARGET = 1.5  # times the cost with a thousand handlers, with a hundred thousand

ITEMS: list[JSON] = [{"sku": f"S{n}", "count": n} for n in range(10)]
HEADER = {"eventType": "FileCreated", "userId": "ann", "timestamp": "2024-01-15T10:00:00.0000000+00:00", "href": None}


def body(number: int) -> JSON:
    """What the handler of this number is for."""
    return {
        "customer": number,
        "code": f"P-{number}",
        "filePath": f"/acme/inbox/{number}/prices-2024-01-15.csv",
        "order": {"id": "A-1", "total": 250, "items": ITEMS},
        "note": "as discussed",
    }


def event(number: int) -> JSON:
    return {"header": HEADER, "body": body(number)}


# What the handler of a number tests, and the payload that it is for.
ROWS: dict[str, tuple[Callable[[int], Filter], Callable[[int], JSON]]] = {
    "JavaScript: eq, eq and gt": (
        lambda n: compile_condition(f"$.note == 'as discussed' && $.customer == {n} && $.order.total > 100"),
        body,
    ),
    "kernel: eq of a text": (lambda n: Compare(("code",), "=", f"P-{n}"), body),
    "kernel: startswith": (lambda n: Matches(("filePath",), f"/acme/inbox/{n}/*"), body),
    "kernel: eq and gt": (lambda n: And([Compare(("code",), "=", f"P-{n}"), Compare(("order", "total"), ">", 100)]), body),
    "LUSID: eq of a text": (lambda n: parse_filter(f"body.code eq 'p-{n}'"), event),
    "LUSID: startswith": (lambda n: parse_filter(f"body.filePath startswith '/Acme/inbox/{n}/'"), event),
    "LUSID: eq and gt": (lambda n: parse_filter(f"body.code eq 'P-{n}' and Body.Order.total gt 100.5"), event),
    "LUSID: in": (lambda n: parse_filter(f"body.code in 'P-{n}', 'Q-{n}'"), event),
    "LUSID: startswith and neq": (
        lambda n: parse_filter(f"body.filePath startswith '/acme/inbox/{n}/' and header.userId neq 'svc'"),
        event,
    ),
}


class Cost(NamedTuple):
    """Seconds of processor time: of making and adding a handler; of matching an event, always for the same handler, and each for
    another; of replacing a handler."""

    made: float
    same: float
    spread: float
    replaced: float
    verdicts: str


def measured(make: Callable[[int], Filter], payload_of: Callable[[int], JSON], count: int) -> Cost:
    started = time.process_time()
    handlers = [Handler(id=n, ns="bench", name=f"h{n}", types=("order",), filter=make(n)) for n in range(count)]
    index = HandlerIndex(handlers)
    made = (time.process_time() - started) / count
    payload = payload_of(7)
    decisions = match(index, "order", payload)
    same = min(_matching(index, [payload] * (EVENTS // 5)) for _ in range(5))
    spread = _matching(index, [payload_of(7919 * n % count) for n in range(EVENTS // 2)])
    started = time.process_time()
    for handler in handlers[:10]:
        index.add(handler)
    replaced = (time.process_time() - started) / 10
    return Cost(made, same, spread, replaced, " ".join(decision.verdict for decision in decisions))


def _matching(index: HandlerIndex, payloads: list[JSON]) -> float:
    started = time.process_time()
    for payload in payloads:
        match(index, "order", payload)
    return (time.process_time() - started) / len(payloads)


def main() -> None:
    print("us of processor time; a ratio is to the cost with a thousand handlers")
    print(f"{'':<28}{'handlers':>9}{'made':>9}{'match':>9}{'ratio':>7}{'spread':>9}{'replace':>9}  verdicts")
    for name, (make, payload_of) in ROWS.items():
        costs: dict[int, Cost] = {}
        for count in COUNTS:
            cost = costs[count] = measured(make, payload_of, count)
            ratio = f"{cost.same / costs[1_000].same:.2f}" if count > 1_000 else ""
            times = [f"{seconds * 1e6:>9.2f}" for seconds in (cost.made, cost.same, cost.spread, cost.replaced)]
            print(f"{name:<28}{count:>9,}{times[0]}{times[1]}{ratio:>7}{times[2]}{times[3]}  {cost.verdicts}", flush=True)
        if costs[100_000].same > TARGET * costs[1_000].same:
            print(f"  above {TARGET} times")


if __name__ == "__main__":
    main()
