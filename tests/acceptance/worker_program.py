# No `from __future__ import annotations` here: the package looks at the annotations of its workers as objects.
"""A worker application: three functions, run by the package's TaskHandler in processes of their own until SIGTERM.

Usage: python -m tests.acceptance.worker_program SERVER_API_URL LEDGER. Each call of a function adds a line to LEDGER.
"""

import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Any

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.context.task_context import get_task_context
from conductor.client.worker.worker_task import worker_task

LEDGER = "PELTON_TEST_LEDGER"


@dataclass
class Item:
    price: int


def note(word: str) -> None:
    """One write of a short line to a file opened for appending, so that lines of several processes do not mix."""
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(ledger, f"{word} {get_task_context().get_task_id()}\n".encode())
    finally:
        os.close(ledger)


@worker_task(task_definition_name="fetch_order", thread_count=20)  # type: ignore[untyped-decorator]
def fetch_order(number: int) -> dict[str, Any]:
    note("fetch_order")
    return {"number": number, "items": [{"price": number}, {"price": 2 * number}]}


@worker_task(task_definition_name="price_order", thread_count=20)  # type: ignore[untyped-decorator]
def price_order(items: list[Item]) -> int:
    note("price_order")
    return sum(item.price for item in items)


# The package runs a coroutine function by another loop of its own; and it registers the task's definition first.
@worker_task(task_definition_name="ship_order", thread_count=20, register_task_def=True)  # type: ignore[untyped-decorator]
async def ship_order(number: int, price: int) -> str:
    note("ship_order")
    return f"order {number} for {price}"


def main() -> None:
    address, os.environ[LEDGER] = sys.argv[1:]
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    with TaskHandler(configuration=Configuration(server_api_url=address), scan_for_annotated_workers=True) as handler:
        handler.start_processes()
        ending.wait()


if __name__ == "__main__":
    # Under its name, not as __main__: that is where the spawned processes look for the functions.
    from tests.acceptance import worker_program

    worker_program.main()
