"""A worker for the client's own loop. Without postponed annotations, since the client calls isinstance with them."""

from conductor.client.worker.worker_task import worker_task


@worker_task(task_definition_name="greet")  # type: ignore[untyped-decorator]
def greet(name: str) -> str:
    return f"Hi {name}"
