"""`Client` and `AsyncClient`: Pelton's own API, /v1, for Python programs.

`Client` blocks; `AsyncClient` has the same methods as coroutines. Every method returns structs from `pelton.models`, and raises
RequestRefused if the server refuses the request, and Unreachable if there is no response. Times are epoch milliseconds; ids and
keys are strings.
"""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from msgspec import UNSET

from pelton.client.calls import (
    STRUCTURED,
    ApiCall,
    act_on_run_call,
    act_on_runs_call,
    applied_call,
    attempts_call,
    checkpoint_call,
    dead_letters_call,
    decision_call,
    event_call,
    event_page_call,
    events_call,
    explain_call,
    explain_run_call,
    handlers_call,
    health_call,
    held_call,
    hook_call,
    job_results_call,
    node_steps_call,
    note_applied_call,
    one_event_call,
    pause_process_call,
    plain_call,
    process_call,
    processes_call,
    put_checkpoint_call,
    queues_call,
    read_answer,
    redeliver_call,
    remove_secret_call,
    resume_process_call,
    retention_call,
    run_call,
    runs_call,
    secrets_call,
    set_secret_call,
    signal_run_call,
    start_run_call,
    steps_call,
    switch_handler_call,
    user_task_act_call,
    user_task_call,
    user_task_past_call,
    user_tasks_call,
    work_call,
)
from pelton.client.errors import Unreachable
from pelton.client.http import Http
from pelton.client.tracing import trace_headers
from pelton.models import (
    Accepted,
    AppliedDocument,
    AppliedSet,
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
    HeldView,
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
    RunFilterIn,
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
    WorkOut,
)

URL_VARIABLE = "PELTON_SERVER"  # as for the command line
DEFAULT_URL = "http://127.0.0.1:8080"

T = TypeVar("T")


def server_url(given: str) -> str:
    """The given URL, or the one from the environment, or the default."""
    return given or os.environ.get(URL_VARIABLE, "") or DEFAULT_URL


class Client:
    """A connection to one server. Use it as a context manager, or close it.

    Not thread-safe: use one per thread. A connection lost between two calls is reopened."""

    def __init__(self, url: str = "", *, key: str = "", seconds: float = 30.0) -> None:
        """`url`: http://HOST:PORT or https://HOST, with a path if the server is behind one; "" = the environment variable
        PELTON_SERVER, or http://127.0.0.1:8080. `key`: an access key or a user's token. `seconds`: how long to wait for a
        response. Raises ValueError if the URL is not a valid server URL."""
        url = server_url(url)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not a valid server URL: use http://HOST:PORT")
        self.url = url
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. A later call reopens it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(self, call: ApiCall[T]) -> T:
        headers = {**self._headers, **trace_headers(), **({"Content-Type": call.content_type} if call.body else {})}
        fresh = self._connection is None
        try:
            if self._connection is None:
                self._connection = self._open()
            self._connection.timeout = self._seconds + call.seconds
            if self._connection.sock is not None:
                self._connection.sock.settimeout(self._connection.timeout)
            self._connection.request(call.method, self._prefix + call.path, call.body or None, headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (http.client.HTTPException, OSError) as error:
            self.close()
            if not fresh and call.repeatable and isinstance(error, ConnectionResetError | BrokenPipeError):
                return self._call(call)  # most often an idle connection that the server has closed
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"{self.url} did not respond: {why}") from None
        return read_answer(call, answer.status, answer.headers.get("content-type", ""), body)

    def _open(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._seconds, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = STRUCTURED, seconds: float = 0.0) -> Any:
        """Sends any request, also outside /v1: `client.request("GET", "/api/metadata/workflow")`. `path`: encoded, with its
        query. `body`: bytes are sent unchanged, anything else as JSON. `seconds`: how long the server may wait deliberately.
        Returns JSON, or other content as text."""
        return self._call(plain_call(method, path, body, content_type, seconds))

    def health(self) -> HealthOut:
        """The health of the server and its parts. An unhealthy server responds too (`healthy` is False)."""
        return self._call(health_call())

    def post_event(
        self, type: str, source: str, data: Any = None, *, id: str = "", subject: str = "", attributes: Mapping[str, Any] = {}
    ) -> Accepted:
        """Posts one event, and returns after the commit of the event and its effects.

        `type`, `source`, `subject`: as in CloudEvents. `data`: any JSON value. `id`: if given, the same event sent
        again is recognised and changes nothing (outcome "duplicate"); by default a random id is generated. `attributes`:
        extension attributes; lower-case names with strings, numbers or booleans.

        Raises RequestRefused with code "conflict" if an event with that source and id but different content is already recorded.
        """
        return self._call(event_call(type, source, data, id, subject, attributes))

    def post_events(self, batch: Sequence[Mapping[str, Any]]) -> list[Accepted]:
        """Posts CloudEvents as mappings, at most 1,000, and returns one result for each, in order. `id` and `specversion` are
        filled in if absent. A conflict is a result here, not an error."""
        return self._call(events_call(batch)).events

    def post_hook(
        self,
        name: str,
        data: Any,
        *,
        type: str = "",
        source: str = "",
        subject: str = "",
        id: str = "",
        content_type: str = STRUCTURED,
    ) -> Accepted:
        """Posts what is no CloudEvent as an event of the hook `name`, as a webhook's sender would.

        `data`: bytes are sent unchanged as `content_type`; anything else as JSON. `type`, `source`: by default the name and
        /v1/hooks/NAME. `id`: as in `post_event`.
        """
        return self._call(hook_call(name, data, type, source, subject, id, content_type))

    def events(
        self, *, type: str = "", state: str = "", after: str = "", before: str = "", limit: int = 100, wait: int = 0
    ) -> EventPage:
        """A page of events, newest first; with `after` oldest first.

        `state`: matched, unmatched, held or failed. `after`, `before`: keys; "0" is before all events. `limit`: 1 to 1,000.
        `wait`: with `after`, how many milliseconds (at most 60,000) the server may wait for the first event.
        """
        return self._call(event_page_call(type, state, after, before, limit, wait))

    def event(self, key: str, source: str = "") -> EventView:
        """One event by its key, or by its id together with its `source`. Raises RequestRefused (404) if there is none."""
        return self._call(one_event_call(key, source))

    def explain(self, key: str, *, source: str = "") -> EventView:
        """An event with every handler's decision, including handlers ruled out by the index and those added later."""
        return self._call(explain_call(key, source))

    def decision(self, key: str, handler: str, *, source: str = "") -> DecisionView:
        """One handler's decision on an event: each part of its condition, with the value that it was evaluated against."""
        return self._call(decision_call(key, handler, source))

    def held(self, limit: int = 100) -> list[HeldView]:
        """Events that arrived before a step was ready for them; they are held until then, or until they expire."""
        return self.held_page(limit=limit).held

    def held_page(self, after: str = "", limit: int = 100) -> HeldPage:
        """The same in pages: `after` of the previous page."""
        return self._call(held_call(limit, after))

    def dead_letters(self, after: int = 0, limit: int = 100) -> DeadLetterPage:
        """Deliveries that were given up and messages that could not be received, with numbers above `after`."""
        return self._call(dead_letters_call(after, limit))

    def redeliver(self, number: int) -> Redelivered:
        """Puts a failed delivery back at the end of its lane. Raises RequestRefused (404, or 409 if it is not a
        delivery)."""
        return self._call(redeliver_call(number))

    def runs(
        self,
        *,
        process: str = "",
        live: bool | None = None,
        status: str = "",
        variables: Mapping[str, Any] | None = None,
        before: str = "",
        limit: int = 100,
        key: str = "",
        since: int = 0,
        until: int = 0,
        text: str = "",
    ) -> RunPage:
        """A page of runs, newest first. `live`: True for runs that have not ended, False for those that have. `status`: as in a
        run, such as FAILED. `variables`: values that some thread of the run must have, among the variables that its process
        makes searchable."""
        return self._call(runs_call(process, live, status, variables or {}, before, limit, key, since, until, text))

    def run(self, id: str) -> RunDetail:
        """A run: its status, input, output and variables. Raises RequestRefused (404) if there is none."""
        return self._call(run_call(id))

    def start_run(
        self,
        process: str,
        input: Any = None,
        *,
        version: int = 0,
        key: str = "",
        correlation: str = "",
        priority: int = 0,
    ) -> RunHead:
        """Starts a run of a process. `version` 0: the latest. `key`: at most one run of the process has it; one that has it
        already is returned. Raises RequestRefused (404) if there is no such process."""
        return self._call(start_run_call(RunStartIn(process, version, input, key, correlation, priority)))

    def signal_run(self, id: str, name: str, data: Any = None, *, hold: bool = False) -> RunSignalOut:
        """Gives a run what it waits for: a trigger, an event or the report of a step, by its name. `hold`: kept for a step to
        come when nothing waits for it yet; else that is refused (409)."""
        return self._call(signal_run_call(id, RunSignalIn(name, data, hold)))

    def act_on_run(self, id: str, act: RunAct, *, reason: str = "", step: int = 0, input: Any = None) -> RunHead:
        """Retries, pauses, resumes, terminates or reruns a run. `reason`: of a termination. `step`: the number of the step from
        which it is run again; 0 = from its start. `input`: a new one, of the run or of that step. Raises RequestRefused (409)
        when its status does not allow it."""
        return self._call(act_on_run_call(id, act, RunActIn(reason, step, input)))

    def act_on_runs(
        self,
        act: RunAct,
        runs: Sequence[str] = (),
        where: RunFilterIn | None = None,
        *,
        reason: str = "",
        preview: bool = False,
        newest: str = "",
    ) -> RunJobOut:
        """The same with many runs, by their ids or by a filter, at most 10,000, in a durable job; see `job_results` for its
        outcomes. `preview`: only look which runs. `newest`: no later runs than this one, as a preview has it."""
        return self._call(act_on_runs_call(RunJobIn(act, list(runs), where, reason, preview, newest)))

    def explain_run(self, id: str) -> RunExplanation:
        """Why a run stands where it stands: what its open steps wait for, and the events that it has got and sent."""
        return self._call(explain_run_call(id))

    def steps(self, id: str, after: int = -1, limit: int = 1_000) -> StepPage:
        """A page of a run's steps, open and ended, by number; only those with numbers above `after`."""
        return self._call(steps_call(id, after, limit))

    def attempts(self, id: str, n: int) -> AttemptPage:
        """The attempts of a run's step, by the step's number: the newest 100, oldest first."""
        return self._call(attempts_call(id, n))

    def processes(self, after: str = "", limit: int = 100) -> ProcessPage:
        """A page of processes by name, with their versions, how many runs are live, and whether they are paused."""
        return self._call(processes_call(after, limit))

    def process(self, name: str) -> ProcessView:
        """A process. Raises RequestRefused (404) if there is none."""
        return self._call(process_call(name))

    def pause_process(self, name: str, why: str = "", new_runs: Literal["stand", "refuse"] = "stand") -> ProcessView:
        """Pauses a process: its live runs stand, soon. `new_runs`: whether runs that are started meanwhile are accepted and stand
        before their first step, or are refused. One that is paused already stays as it is, unless `new_runs` is another."""
        return self._call(pause_process_call(name, PauseIn(why, new_runs)))

    def resume_process(self, name: str, why: str = "") -> ProcessView:
        """Resumes a process: its runs go on, soon, except those that are paused themselves. Raises RequestRefused (409) if it is
        not paused."""
        return self._call(resume_process_call(name, ResumeIn(why)))

    def handlers(self, after: str = "", limit: int = 100, events: int = 1_000) -> HandlerPage:
        """A page of the handlers of all languages by name, with their decisions on the newest `events` events."""
        return self._call(handlers_call(after, limit, events))

    def switch_handler(self, name: str, active: bool) -> HandlerView:
        """Switches a handler on or off. Raises RequestRefused (404) if there is none."""
        return self._call(switch_handler_call(name, active))

    def queues(self) -> QueuePage:
        """The queues of work: how much is ready and held, and which workers ask for it."""
        return self._call(queues_call())

    def retention(self, keep: Mapping[str, str] | None = None) -> RetentionView:
        """What would be removed now for its age, by kind. `keep`: suppose that these kinds were kept so, as in {"runs": "7d"}."""
        return self._call(retention_call(keep or {}))

    def applied(self, name: str) -> AppliedSet:
        """What was applied under a name; nothing if it is not known."""
        return self._call(applied_call(name))

    def note_applied(self, name: str, documents: Sequence[AppliedDocument]) -> AppliedSet:
        """Notes what is applied under a name, instead of what was. Nothing else changes."""
        return self._call(note_applied_call(name, documents))

    def secrets(self, after: str = "", limit: int = 100) -> SecretPage:
        """A page of secrets by name: when each was set and by whom, never its value."""
        return self._call(secrets_call(after, limit))

    def set_secret(self, name: str, value: str = "", source: str = "") -> SecretView:
        """Sets a secret: to a value, or to what a source has whenever it is needed (`env:NAME`, `file:PATH`). Work that is handed
        out from then on gets it."""
        return self._call(set_secret_call(name, SecretIn(value, source)))

    def remove_secret(self, name: str) -> SecretView:
        """Removes a secret. Raises RequestRefused (404) if there is none."""
        return self._call(remove_secret_call(name))

    def node_steps(self, process: str, node: str, after: str = "", limit: int = 100) -> NodeStepPage:
        """A page of what stands at a node, over all runs of the process, the oldest run first."""
        return self._call(node_steps_call(process, node, after, limit))

    def job_results(self, job: str, after: str = "", limit: int = 1_000) -> JobResultPage:
        """The results so far of a signal to many runs. `job`: its number, from the event's effect."""
        return self._call(job_results_call(job, after, limit))

    def checkpoint(self, item: str, number: int) -> CheckpointView:
        """What an attempt of a work item stored, by the checkpoint's number."""
        return self._call(checkpoint_call(item, number))

    def put_checkpoint(self, item: str, number: int, checkpoint: CheckpointIn) -> CheckpointOut:
        """Stores what the attempt has done, unless the answer says to stop; see `Item.checkpoint`, which does it for a `Worker`.
        Numbers count from 0 over all attempts. The same attempt may put the same checkpoint again."""
        return self._call(put_checkpoint_call(item, number, checkpoint))

    def work(self, worker: str = "", reports: Sequence[ReportIn] = (), claim: ClaimIn | None = None) -> WorkOut:
        """Reports finished work and asks for more, in one commit; see `Worker`, which does it well. At most 1,000 reports; with
        an item's `attempt` in it, a report that is sent again changes nothing."""
        return self._call(work_call(worker, reports, claim))

    def user_tasks(
        self,
        *,
        state: str = "",
        user: str = "",
        group: str = "",
        process: str = "",
        run: str = "",
        after: str = "",
        limit: int = 100,
    ) -> UserTaskPage:
        """Tasks for people, oldest first. `state`: open, claimed, answered, canceled or expired. `user`: that this user may
        answer by name, or has claimed. `group`: that this group may answer. `process`, `run`: asked by these. `after`: that
        of the page before."""
        return self._call(user_tasks_call(state, user, group, process, run, after, limit))

    def user_task(self, id: str) -> UserTaskView:
        """A task. Raises RequestRefused (404) if there is none."""
        return self._call(user_task_call(id))

    def user_task_past(self, id: str, after: int = 0, limit: int = 1_000) -> UserTaskPast:
        """The values that a task has had, oldest first: who did what with it, and when. `after`: of the page before."""
        return self._call(user_task_past_call(id, after, limit))

    def claim_user_task(self, id: str, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """Claims a task: nobody else may answer it then. `user`, `groups`, here and below: for whom, and the groups that they
        are in; only with an access key. With a user's token, calls are that user's. Raises RequestRefused (403, 409)."""
        return self._call(user_task_act_call(id, "claim", user, groups))

    def release_user_task(self, id: str, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """Gives up a claim."""
        return self._call(user_task_act_call(id, "release", user, groups))

    def hand_over_user_task(
        self, id: str, to_user: str = "", to_groups: Sequence[str] = (), *, user: str = "", groups: Sequence[str] = ()
    ) -> UserTaskView:
        """Hands a task over: to a user, who has it claimed then, or to groups."""
        return self._call(user_task_act_call(id, "hand-over", user, groups, to_user=to_user, to_groups=list(to_groups)))

    def save_user_task(self, id: str, answer: Any, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """Saves an unfinished answer; what is required may still be missing. Raises RequestRefused (400) naming the field."""
        return self._call(user_task_act_call(id, "save", user, groups, answer=answer))

    def note_user_task(self, id: str, text: str, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """Adds a note."""
        return self._call(user_task_act_call(id, "note", user, groups, text=text))

    def answer_user_task(self, id: str, answer: Any = UNSET, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """Answers a task; by default with what was saved. The run that asks goes on with the answer. Raises RequestRefused: 400
        naming the field that is wrong, 403 for a task of others, 409 for one that is over."""
        return self._call(user_task_act_call(id, "answer", user, groups, answer=answer))

    def cancel_user_task(self, id: str, reason: str = "", *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """Cancels a task; the step that asks fails with kind "cancelled"."""
        return self._call(user_task_act_call(id, "cancel", user, groups, reason=reason))


class AsyncClient:
    """A client for one event loop; calls may overlap. Its methods are those of `Client`, as coroutines."""

    def __init__(self, url: str = "", *, key: str = "", seconds: float = 30.0) -> None:
        """As `Client`."""
        self.url = server_url(url)
        self._http = Http(self.url, key=key)
        self._seconds = seconds

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes idle connections."""
        await self._http.close()

    async def _call(self, call: ApiCall[T]) -> T:
        answer = await self._http.request(call.method, call.path, call.body, call.content_type, self._seconds + call.seconds)
        return read_answer(call, answer.status, answer.content_type, answer.body)

    async def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = STRUCTURED, seconds: float = 0.0
    ) -> Any:
        """As `Client.request`."""
        return await self._call(plain_call(method, path, body, content_type, seconds))

    async def health(self) -> HealthOut:
        """As `Client.health`."""
        return await self._call(health_call())

    async def post_event(
        self, type: str, source: str, data: Any = None, *, id: str = "", subject: str = "", attributes: Mapping[str, Any] = {}
    ) -> Accepted:
        """As `Client.post_event`."""
        return await self._call(event_call(type, source, data, id, subject, attributes))

    async def post_events(self, batch: Sequence[Mapping[str, Any]]) -> list[Accepted]:
        """As `Client.post_events`."""
        return (await self._call(events_call(batch))).events

    async def post_hook(
        self,
        name: str,
        data: Any,
        *,
        type: str = "",
        source: str = "",
        subject: str = "",
        id: str = "",
        content_type: str = STRUCTURED,
    ) -> Accepted:
        """As `Client.post_hook`."""
        return await self._call(hook_call(name, data, type, source, subject, id, content_type))

    async def events(
        self, *, type: str = "", state: str = "", after: str = "", before: str = "", limit: int = 100, wait: int = 0
    ) -> EventPage:
        """As `Client.events`."""
        return await self._call(event_page_call(type, state, after, before, limit, wait))

    async def event(self, key: str, source: str = "") -> EventView:
        """As `Client.event`."""
        return await self._call(one_event_call(key, source))

    async def explain(self, key: str, *, source: str = "") -> EventView:
        """As `Client.explain`."""
        return await self._call(explain_call(key, source))

    async def decision(self, key: str, handler: str, *, source: str = "") -> DecisionView:
        """As `Client.decision`."""
        return await self._call(decision_call(key, handler, source))

    async def held(self, limit: int = 100) -> list[HeldView]:
        """As `Client.held`."""
        return (await self.held_page(limit=limit)).held

    async def held_page(self, after: str = "", limit: int = 100) -> HeldPage:
        """As `Client.held_page`."""
        return await self._call(held_call(limit, after))

    async def dead_letters(self, after: int = 0, limit: int = 100) -> DeadLetterPage:
        """As `Client.dead_letters`."""
        return await self._call(dead_letters_call(after, limit))

    async def redeliver(self, number: int) -> Redelivered:
        """As `Client.redeliver`."""
        return await self._call(redeliver_call(number))

    async def runs(
        self,
        *,
        process: str = "",
        live: bool | None = None,
        status: str = "",
        variables: Mapping[str, Any] | None = None,
        before: str = "",
        limit: int = 100,
        key: str = "",
        since: int = 0,
        until: int = 0,
        text: str = "",
    ) -> RunPage:
        """As `Client.runs`."""
        return await self._call(runs_call(process, live, status, variables or {}, before, limit, key, since, until, text))

    async def run(self, id: str) -> RunDetail:
        """As `Client.run`."""
        return await self._call(run_call(id))

    async def start_run(
        self,
        process: str,
        input: Any = None,
        *,
        version: int = 0,
        key: str = "",
        correlation: str = "",
        priority: int = 0,
    ) -> RunHead:
        """As `Client.start_run`."""
        return await self._call(start_run_call(RunStartIn(process, version, input, key, correlation, priority)))

    async def signal_run(self, id: str, name: str, data: Any = None, *, hold: bool = False) -> RunSignalOut:
        """As `Client.signal_run`."""
        return await self._call(signal_run_call(id, RunSignalIn(name, data, hold)))

    async def act_on_run(self, id: str, act: RunAct, *, reason: str = "", step: int = 0, input: Any = None) -> RunHead:
        """As `Client.act_on_run`."""
        return await self._call(act_on_run_call(id, act, RunActIn(reason, step, input)))

    async def act_on_runs(
        self,
        act: RunAct,
        runs: Sequence[str] = (),
        where: RunFilterIn | None = None,
        *,
        reason: str = "",
        preview: bool = False,
        newest: str = "",
    ) -> RunJobOut:
        """As `Client.act_on_runs`."""
        return await self._call(act_on_runs_call(RunJobIn(act, list(runs), where, reason, preview, newest)))

    async def explain_run(self, id: str) -> RunExplanation:
        """As `Client.explain_run`."""
        return await self._call(explain_run_call(id))

    async def steps(self, id: str, after: int = -1, limit: int = 1_000) -> StepPage:
        """As `Client.steps`."""
        return await self._call(steps_call(id, after, limit))

    async def attempts(self, id: str, n: int) -> AttemptPage:
        """As `Client.attempts`."""
        return await self._call(attempts_call(id, n))

    async def processes(self, after: str = "", limit: int = 100) -> ProcessPage:
        """As `Client.processes`."""
        return await self._call(processes_call(after, limit))

    async def process(self, name: str) -> ProcessView:
        """As `Client.process`."""
        return await self._call(process_call(name))

    async def pause_process(self, name: str, why: str = "", new_runs: Literal["stand", "refuse"] = "stand") -> ProcessView:
        """As `Client.pause_process`."""
        return await self._call(pause_process_call(name, PauseIn(why, new_runs)))

    async def resume_process(self, name: str, why: str = "") -> ProcessView:
        """As `Client.resume_process`."""
        return await self._call(resume_process_call(name, ResumeIn(why)))

    async def handlers(self, after: str = "", limit: int = 100, events: int = 1_000) -> HandlerPage:
        """As `Client.handlers`."""
        return await self._call(handlers_call(after, limit, events))

    async def switch_handler(self, name: str, active: bool) -> HandlerView:
        """As `Client.switch_handler`."""
        return await self._call(switch_handler_call(name, active))

    async def queues(self) -> QueuePage:
        """As `Client.queues`."""
        return await self._call(queues_call())

    async def retention(self, keep: Mapping[str, str] | None = None) -> RetentionView:
        """As `Client.retention`."""
        return await self._call(retention_call(keep or {}))

    async def applied(self, name: str) -> AppliedSet:
        """As `Client.applied`."""
        return await self._call(applied_call(name))

    async def note_applied(self, name: str, documents: Sequence[AppliedDocument]) -> AppliedSet:
        """As `Client.note_applied`."""
        return await self._call(note_applied_call(name, documents))

    async def secrets(self, after: str = "", limit: int = 100) -> SecretPage:
        """As `Client.secrets`."""
        return await self._call(secrets_call(after, limit))

    async def set_secret(self, name: str, value: str = "", source: str = "") -> SecretView:
        """As `Client.set_secret`."""
        return await self._call(set_secret_call(name, SecretIn(value, source)))

    async def remove_secret(self, name: str) -> SecretView:
        """As `Client.remove_secret`."""
        return await self._call(remove_secret_call(name))

    async def node_steps(self, process: str, node: str, after: str = "", limit: int = 100) -> NodeStepPage:
        """As `Client.node_steps`."""
        return await self._call(node_steps_call(process, node, after, limit))

    async def job_results(self, job: str, after: str = "", limit: int = 1_000) -> JobResultPage:
        """As `Client.job_results`."""
        return await self._call(job_results_call(job, after, limit))

    async def checkpoint(self, item: str, number: int) -> CheckpointView:
        """As `Client.checkpoint`."""
        return await self._call(checkpoint_call(item, number))

    async def put_checkpoint(self, item: str, number: int, checkpoint: CheckpointIn) -> CheckpointOut:
        """As `Client.put_checkpoint`."""
        return await self._call(put_checkpoint_call(item, number, checkpoint))

    async def work(self, worker: str = "", reports: Sequence[ReportIn] = (), claim: ClaimIn | None = None) -> WorkOut:
        """As `Client.work`."""
        return await self._call(work_call(worker, reports, claim))

    async def user_tasks(
        self,
        *,
        state: str = "",
        user: str = "",
        group: str = "",
        process: str = "",
        run: str = "",
        after: str = "",
        limit: int = 100,
    ) -> UserTaskPage:
        """As `Client.user_tasks`."""
        return await self._call(user_tasks_call(state, user, group, process, run, after, limit))

    async def user_task(self, id: str) -> UserTaskView:
        """As `Client.user_task`."""
        return await self._call(user_task_call(id))

    async def user_task_past(self, id: str, after: int = 0, limit: int = 1_000) -> UserTaskPast:
        """As `Client.user_task_past`."""
        return await self._call(user_task_past_call(id, after, limit))

    async def claim_user_task(self, id: str, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """As `Client.claim_user_task`."""
        return await self._call(user_task_act_call(id, "claim", user, groups))

    async def release_user_task(self, id: str, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """As `Client.release_user_task`."""
        return await self._call(user_task_act_call(id, "release", user, groups))

    async def hand_over_user_task(
        self, id: str, to_user: str = "", to_groups: Sequence[str] = (), *, user: str = "", groups: Sequence[str] = ()
    ) -> UserTaskView:
        """As `Client.hand_over_user_task`."""
        return await self._call(user_task_act_call(id, "hand-over", user, groups, to_user=to_user, to_groups=list(to_groups)))

    async def save_user_task(self, id: str, answer: Any, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """As `Client.save_user_task`."""
        return await self._call(user_task_act_call(id, "save", user, groups, answer=answer))

    async def note_user_task(self, id: str, text: str, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """As `Client.note_user_task`."""
        return await self._call(user_task_act_call(id, "note", user, groups, text=text))

    async def answer_user_task(self, id: str, answer: Any = UNSET, *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """As `Client.answer_user_task`."""
        return await self._call(user_task_act_call(id, "answer", user, groups, answer=answer))

    async def cancel_user_task(self, id: str, reason: str = "", *, user: str = "", groups: Sequence[str] = ()) -> UserTaskView:
        """As `Client.cancel_user_task`."""
        return await self._call(user_task_act_call(id, "cancel", user, groups, reason=reason))
