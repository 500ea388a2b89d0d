"""The requests of the /v1 API as values, shared by both clients so that they cannot differ.

An `ApiCall` specifies what is sent and the type of the response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlencode
from uuid import uuid4

from msgspec import UNSET, DecodeError, ValidationError, json

from pelton.client.errors import RequestRefused, Unreachable
from pelton.models import (
    Accepted,
    AcceptedBatch,
    AppliedDocument,
    AppliedSet,
    AppliedSetIn,
    AttemptPage,
    CheckpointIn,
    CheckpointOut,
    CheckpointView,
    ClaimIn,
    DeadLetterPage,
    DecisionView,
    EventPage,
    EventView,
    HandlerPage,
    HandlerView,
    HealthOut,
    HeldPage,
    JobResultPage,
    NodeStepPage,
    PauseIn,
    ProcessPage,
    ProcessView,
    QueuePage,
    Redelivered,
    ReportIn,
    ResumeIn,
    RetentionView,
    RunAct,
    RunActIn,
    RunDetail,
    RunExplanation,
    RunHead,
    RunJobIn,
    RunJobOut,
    RunPage,
    RunSignalIn,
    RunSignalOut,
    RunStartIn,
    SecretIn,
    SecretPage,
    SecretView,
    StepPage,
    UserTaskPage,
    UserTaskPast,
    UserTaskView,
    WorkIn,
    WorkOut,
)

STRUCTURED = "application/json"
BATCHED = "application/cloudevents-batch+json"

T = TypeVar("T")


class ApiCall(NamedTuple, Generic[T]):
    """One request. `gives`: the type of a successful response; `Any` returns plain JSON, and other content as text.

    `seconds`: how long the server may wait deliberately, in addition to the client's own timeout.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = STRUCTURED
    seconds: float = 0.0
    gives: Any = Any
    has_ids: bool = False  # what it creates carries ids, so a repeated one is recognised

    @property
    def repeatable(self) -> bool:
        """Whether the request is idempotent."""
        return self.has_ids or self.method not in {"POST", "PATCH"}


def segment(text: str) -> str:
    """One segment of a path, encoded."""
    return quote(text, safe="")


def _get(gives: type[T], path: str, *, seconds: float = 0.0, **query: Any) -> ApiCall[T]:
    given = {name: value for name, value in query.items() if value not in ("", None, [])}
    return ApiCall("GET", f"{path}?{urlencode(given, doseq=True)}" if given else path, seconds=seconds, gives=gives)


def plain_call(method: str, path: str, body: Any, content_type: str, seconds: float) -> ApiCall[Any]:
    """A request to any path. `body`: bytes are sent unchanged, None means no body, anything else is sent as JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.encode(body)
    return ApiCall(method, path, raw, content_type, seconds)


def health_call() -> ApiCall[HealthOut]:
    return _get(HealthOut, "/health")


def event_call(type: str, source: str, data: Any, id: str, subject: str, attributes: Mapping[str, Any]) -> ApiCall[Accepted]:
    found: dict[str, Any] = {**attributes, "specversion": "1.0", "type": type, "source": source, "data": data}
    found["id"] = id or uuid4().hex
    if subject:
        found["subject"] = subject
    return ApiCall("POST", "/v1/events", json.encode(found), gives=Accepted, has_ids=True)


def events_call(batch: Sequence[Mapping[str, Any]]) -> ApiCall[AcceptedBatch]:
    body = json.encode([{"specversion": "1.0", "id": uuid4().hex, **each} for each in batch])
    return ApiCall("POST", "/v1/events", body, BATCHED, gives=AcceptedBatch, has_ids=True)


def hook_call(name: str, data: Any, type: str, source: str, subject: str, id: str, content_type: str) -> ApiCall[Accepted]:
    body = data if isinstance(data, bytes) else json.encode(data)
    query = {"type": type, "source": source, "subject": subject, "id": id or uuid4().hex}
    given = urlencode({name: value for name, value in query.items() if value})
    return ApiCall("POST", f"/v1/hooks/{segment(name)}?{given}", body, content_type, gives=Accepted, has_ids=True)


def event_page_call(type: str, state: str, after: str, before: str, limit: int, wait: int) -> ApiCall[EventPage]:
    return _get(
        EventPage,
        "/v1/events",
        seconds=wait / 1000,
        type=type,
        state=state,
        after=after,
        before=before,
        limit=limit,
        wait=wait or None,
    )


def one_event_call(key: str, source: str) -> ApiCall[EventView]:
    return _get(EventView, f"/v1/events/{segment(key)}", source=source)


def explain_call(key: str, source: str) -> ApiCall[EventView]:
    return _get(EventView, f"/v1/events/{segment(key)}/explain", source=source)


def decision_call(key: str, handler: str, source: str) -> ApiCall[DecisionView]:
    return _get(DecisionView, f"/v1/events/{segment(key)}/explain", source=source, handler=handler)


def held_call(limit: int, after: str = "") -> ApiCall[HeldPage]:
    return _get(HeldPage, "/v1/held", after=after, limit=limit)


def dead_letters_call(after: int, limit: int) -> ApiCall[DeadLetterPage]:
    return _get(DeadLetterPage, "/v1/dead-letters", after=after or None, limit=limit)


def redeliver_call(number: int) -> ApiCall[Redelivered]:
    return ApiCall("POST", f"/v1/dead-letters/{number}/redeliver", gives=Redelivered)


def runs_call(
    process: str,
    live: bool | None,
    status: str,
    variables: Mapping[str, Any],
    before: str,
    limit: int,
    key: str = "",
    since: int = 0,
    until: int = 0,
    text: str = "",
) -> ApiCall[RunPage]:
    return _get(
        RunPage,
        "/v1/runs",
        process=process,
        live=None if live is None else str(live).lower(),
        status=status,
        variable=[f"{name}={json.encode(value).decode()}" for name, value in variables.items()],
        before=before,
        limit=limit,
        key=key,
        since=since or None,
        until=until or None,
        text=text,
    )


def start_run_call(given: RunStartIn) -> ApiCall[RunHead]:
    return ApiCall("POST", "/v1/runs", json.encode(given), gives=RunHead, has_ids=bool(given.key))


def signal_run_call(id: str, given: RunSignalIn) -> ApiCall[RunSignalOut]:
    return ApiCall("POST", f"/v1/runs/{segment(id)}/signal", json.encode(given), gives=RunSignalOut)


def act_on_run_call(id: str, act: RunAct, given: RunActIn) -> ApiCall[RunHead]:
    return ApiCall("POST", f"/v1/runs/{segment(id)}/{act}", json.encode(given), gives=RunHead)


def act_on_runs_call(given: RunJobIn) -> ApiCall[RunJobOut]:
    return ApiCall("POST", "/v1/jobs", json.encode(given), gives=RunJobOut)


def explain_run_call(id: str) -> ApiCall[RunExplanation]:
    return _get(RunExplanation, f"/v1/runs/{segment(id)}/explain")


def run_call(id: str) -> ApiCall[RunDetail]:
    return _get(RunDetail, f"/v1/runs/{segment(id)}")


def steps_call(id: str, after: int, limit: int) -> ApiCall[StepPage]:
    return _get(StepPage, f"/v1/runs/{segment(id)}/steps", after=after if after >= 0 else None, limit=limit)


def attempts_call(id: str, n: int) -> ApiCall[AttemptPage]:
    return _get(AttemptPage, f"/v1/runs/{segment(id)}/steps/{n}/attempts")


def checkpoint_call(id: str, number: int) -> ApiCall[CheckpointView]:
    return _get(CheckpointView, f"/v1/work/{segment(id)}/checkpoints/{number}")


def put_checkpoint_call(id: str, number: int, checkpoint: CheckpointIn) -> ApiCall[CheckpointOut]:
    """Repeatable: the same attempt may put the same checkpoint again."""
    return ApiCall("PUT", f"/v1/work/{segment(id)}/checkpoints/{number}", json.encode(checkpoint), gives=CheckpointOut)


def processes_call(after: str, limit: int) -> ApiCall[ProcessPage]:
    return _get(ProcessPage, "/v1/processes", after=after, limit=limit)


def process_call(name: str) -> ApiCall[ProcessView]:
    return _get(ProcessView, f"/v1/processes/{segment(name)}")


def pause_process_call(name: str, given: PauseIn) -> ApiCall[ProcessView]:
    return ApiCall("POST", f"/v1/processes/{segment(name)}/pause", json.encode(given), gives=ProcessView)


def resume_process_call(name: str, given: ResumeIn) -> ApiCall[ProcessView]:
    return ApiCall("POST", f"/v1/processes/{segment(name)}/resume", json.encode(given), gives=ProcessView)


def handlers_call(after: str, limit: int, events: int) -> ApiCall[HandlerPage]:
    return _get(HandlerPage, "/v1/handlers", after=after, limit=limit, events=events)


def switch_handler_call(name: str, active: bool) -> ApiCall[HandlerView]:
    return ApiCall("POST", f"/v1/handlers/{segment(name)}/{'on' if active else 'off'}", gives=HandlerView)


def queues_call() -> ApiCall[QueuePage]:
    return _get(QueuePage, "/v1/work")


def retention_call(keep: Mapping[str, str]) -> ApiCall[RetentionView]:
    return _get(RetentionView, "/v1/retention", keep=[f"{kind}={how}" for kind, how in keep.items()])


def applied_call(name: str) -> ApiCall[AppliedSet]:
    return _get(AppliedSet, f"/v1/sets/{segment(name)}")


def note_applied_call(name: str, documents: Sequence[AppliedDocument]) -> ApiCall[AppliedSet]:
    return ApiCall("PUT", f"/v1/sets/{segment(name)}", json.encode(AppliedSetIn(list(documents))), gives=AppliedSet)


def secrets_call(after: str, limit: int) -> ApiCall[SecretPage]:
    return _get(SecretPage, "/v1/secrets", after=after, limit=limit)


def set_secret_call(name: str, given: SecretIn) -> ApiCall[SecretView]:
    return ApiCall("PUT", f"/v1/secrets/{segment(name)}", json.encode(given), gives=SecretView)


def remove_secret_call(name: str) -> ApiCall[SecretView]:
    return ApiCall("DELETE", f"/v1/secrets/{segment(name)}", gives=SecretView)


def node_steps_call(process: str, node: str, after: str, limit: int) -> ApiCall[NodeStepPage]:
    path = f"/v1/processes/{segment(process)}/nodes/{segment(node)}/steps"
    return _get(NodeStepPage, path, after=after, limit=limit)


def job_results_call(job: str, after: str, limit: int) -> ApiCall[JobResultPage]:
    return _get(JobResultPage, f"/v1/jobs/{segment(job)}/results", after=after, limit=limit)


def work_call(worker: str, reports: Sequence[ReportIn], claim: ClaimIn | None) -> ApiCall[WorkOut]:
    wait = claim.wait / 1000 if claim is not None else 0.0
    return ApiCall("POST", "/v1/work", json.encode(WorkIn(worker, list(reports), claim)), seconds=wait, gives=WorkOut)


def user_tasks_call(state: str, user: str, group: str, process: str, run: str, after: str, limit: int) -> ApiCall[UserTaskPage]:
    return _get(
        UserTaskPage, "/v1/user-tasks", state=state, user=user, group=group, process=process, run=run, after=after, limit=limit
    )


def user_task_call(id: str) -> ApiCall[UserTaskView]:
    return _get(UserTaskView, f"/v1/user-tasks/{segment(id)}")


def user_task_past_call(id: str, after: int, limit: int) -> ApiCall[UserTaskPast]:
    return _get(UserTaskPast, f"/v1/user-tasks/{segment(id)}/past", after=after or None, limit=limit)


def user_task_act_call(id: str, word: str, user: str, groups: Sequence[str], **details: Any) -> ApiCall[UserTaskView]:
    body = {name: value for name, value in details.items() if value is not UNSET}
    if user:
        body["user"] = user
    if groups:
        body["groups"] = list(groups)
    return ApiCall("POST", f"/v1/user-tasks/{segment(id)}/{word}", json.encode(body), gives=UserTaskView)


def read_answer(call: ApiCall[T], status: int, content_type: str, body: bytes) -> T:
    """The value of a successful response. Raises RequestRefused for any other, Unreachable if no Pelton server would send it."""
    good = status < 300 or (status == 503 and call.gives is HealthOut and b'"healthy"' in body)  # ill, and says so
    if not good:
        raise refusal(status, content_type, body)
    if "json" not in content_type:
        if call.gives is not Any:
            raise Unreachable(
                f"the response is {content_type or 'of no type'}, not JSON: check that this is the URL of a Pelton server"
            )
        return cast(T, body.decode(errors="replace") if body else None)
    try:
        return cast(T, json.decode(body, type=call.gives))
    except ValidationError as error:
        raise Unreachable(f"the response does not match this version's API: {error}") from None
    except (DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(f"the response is not valid JSON: {error}") from None


def refusal(status: int, content_type: str, body: bytes) -> RequestRefused:
    """The server's refusal as an exception."""
    problem: Any = body.decode(errors="replace")
    if "json" in content_type:
        with suppress(DecodeError, UnicodeDecodeError):  # a proxy between may send anything; the status is the answer
            problem = json.decode(body)
    return RequestRefused(status, problem)
