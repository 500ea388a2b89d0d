"""The worker process of W1 with the official client, as its users run it: `python -m bench.official_worker URL`.

Without postponed annotations: that client looks at the types of a function's parameters themselves.
"""

import sys

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.worker.worker import Worker

OFFICIAL = "bench_step"  # one name for all three steps: that worker has a process a name, and this is to be one process


def step(order: str = "", amount: float = 0.0, reference: str = "") -> dict:  # type: ignore[type-arg]
    """Found by its name in the process that it runs in; its parameters are the task's inputs."""
    return {"reference": order, "done": True}


def main() -> None:
    worker = Worker(OFFICIAL, step, poll_interval=1, thread_count=16)  # milliseconds; see README.md for the 16
    configuration = Configuration(server_api_url=f"{sys.argv[1]}/api")
    with TaskHandler([worker], configuration, scan_for_annotated_workers=False) as handler:
        handler.start_processes()
        handler.join_processes()


if __name__ == "__main__":
    main()
