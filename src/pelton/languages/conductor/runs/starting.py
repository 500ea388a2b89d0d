"""From a request to start a workflow to the engine's command."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET

from pelton.errors import Code, PeltonError
from pelton.kernel.model.state import Run, StartMeta
from pelton.languages.conductor.definitions import validate
from pelton.languages.conductor.definitions.problems import DefinitionProblems
from pelton.languages.conductor.model import LANGUAGE, StartWorkflowRequest
from pelton.runtime.api import Engine, StartCommand
from pelton.runtime.caller import Caller

CORRELATION = "correlation"  # kind of run key under which correlation ids are found
MAX_TEXT = 1_000  # characters of ids that callers choose

SAME_KEY: dict[str, Literal["fail", "return", "fail if live"]] = {
    "FAIL": "fail",
    "RETURN_EXISTING": "return",
    "FAIL_ON_RUNNING": "fail if live",
}


async def start(
    engine: Engine, caller: Caller, request: StartWorkflowRequest, operation: str = "startWorkflow", *, by_path: bool = False
) -> Run:
    """Starts what the request asks for. `by_path`: selects the error text for an unknown name. Raises PeltonError."""
    _check(request, operation)
    inline = request.workflow_def
    version = request.version or 0
    command = StartCommand(
        process=request.name,
        version=version,
        input=request.input,
        meta=meta_of(request),
        key=request.idempotency_key or "",
        on_same_key=SAME_KEY[request.idempotency_strategy],
        keys=keys_of(request.correlation_id),
    )
    if inline is not UNSET:
        validate.check_workflow(inline, f"{operation}.arg0.workflowDef", engine.check_sink)
        inline.create_time = inline.update_time = UNSET
        body = msgspec.json.encode(inline)
        process = await engine.bind_inline(caller, LANGUAGE, inline.name, inline.version, body)
        command.process, command.version, command.definition = inline.name, inline.version, process.definition
    try:
        return await engine.start(caller, command)
    except PeltonError as error:
        if error.code is Code.UNKNOWN_PROCESS:
            raise PeltonError(Code.UNKNOWN_PROCESS, unknown(request.name, version, by_path)) from None
        raise


def unknown(name: str, version: int, by_path: bool) -> str:
    if by_path:
        return f"No such workflow found by name: {name[:200]}, version: {version or 'null'}"
    return f"No such workflow defined. name={name[:200]}, version={version or 'null'}"


def keys_of(correlation: Any) -> list[tuple[str, str]]:
    return [(CORRELATION, correlation)] if isinstance(correlation, str) and correlation else []


def meta_of(request: StartWorkflowRequest) -> StartMeta:
    return StartMeta(
        correlation=request.correlation_id if request.correlation_id is not UNSET else None,
        priority=request.priority,
        actor=request.created_by if request.created_by is not UNSET else None,
        routes=request.task_to_domain,
        extra={"idempotencyKey": request.idempotency_key} if request.idempotency_key else {},
    )


def _check(request: StartWorkflowRequest, operation: str) -> None:
    problems = DefinitionProblems(f"{operation}.arg0.")
    if not request.name.strip() and request.workflow_def is UNSET:
        problems.add("name", "Workflow name cannot be null or empty", request.name)
    if request.version is not UNSET and not 0 <= request.version < 2**31:
        problems.add("version", "version must be from 0 to 2147483647; 0 means the latest", request.version)
    if not 0 <= request.priority <= 99:
        problems.add("priority", "priority must be from 0 to 99", request.priority)
    for name, value in (("correlationId", request.correlation_id), ("idempotencyKey", request.idempotency_key)):
        if value is not UNSET and len(value) > MAX_TEXT:
            problems.add(name, f"{name} has {len(value)} characters; the limit is {MAX_TEXT}")
    if problems.found:
        raise PeltonError(Code.INVALID, "Validation failed, check below errors for detail.", problems=problems.found)
