"""/v1/user-tasks: tasks for people, and what they do with them. A task's id is that of its run."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from pelton.api.calls import Parameter, Route, answer, decoded
from pelton.api.ids import run_key
from pelton.api.problems import bad
from pelton.errors import Code, PeltonError
from pelton.kernel.model.state import Record
from pelton.models import (
    AnswerIn,
    CancelIn,
    HandOverIn,
    NoteIn,
    NoteView,
    UserTaskActIn,
    UserTaskPage,
    UserTaskPast,
    UserTaskView,
)
from pelton.runtime.api import Engine, TaskAct, TaskQuery
from pelton.transport.http.asgi import Request, Response

STATE = Parameter("state", "Only tasks in this state: open, claimed, answered, canceled or expired")
USER = Parameter("user", "Only tasks that this user may answer by name, or has claimed")
GROUP = Parameter("group", "Only tasks that this group may answer")
PROCESS = Parameter("process", "Only tasks asked by runs of this process")
RUN = Parameter("run", "Only tasks asked by this run")
AFTER = Parameter("after", "Only tasks opened later than this one: `after` of the previous page")
SINCE = Parameter("after", "Only values later than this one: `after` of the previous page", "integer")
LIMIT = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=1_000)
ID = Parameter("id", "The task's id")

Act = UserTaskActIn | HandOverIn | AnswerIn | NoteIn | CancelIn


class UserTaskRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/user-tasks", "listUserTasks", "List tasks for people, oldest first.", self.list,
                  parameters=(STATE, USER, GROUP, PROCESS, RUN, AFTER, LIMIT), takes=None,
                  gives=(UserTaskPage,), statuses=(400, 404)),
            Route("GET", "/v1/user-tasks/{id}", "getUserTask", "Get a task.", self.get,
                  parameters=(ID,), takes=None, gives=(UserTaskView,), statuses=(404,)),
            Route("GET", "/v1/user-tasks/{id}/past", "listUserTaskPast", "List the values that a task has had, oldest first: who "
                  "did what with it, and when.", self.past,
                  parameters=(ID, SINCE, LIMIT), takes=None, gives=(UserTaskPast,), statuses=(404,)),
            self._act("claim", "claimUserTask", "Claim a task: nobody else may answer it then.", UserTaskActIn),
            self._act("release", "releaseUserTask", "Give up a claim.", UserTaskActIn),
            self._act("hand-over", "handOverUserTask", "Hand a task over to a user or to groups.", HandOverIn),
            self._act("save", "saveUserTask", "Save an unfinished answer: what is required may still be missing.", AnswerIn),
            self._act("note", "noteUserTask", "Add a note.", NoteIn),
            self._act("answer", "answerUserTask", "Answer a task; the run that asks goes on with the answer.", AnswerIn),
            self._act("cancel", "cancelUserTask", "Cancel a task; the step that asks fails.", CancelIn),
        ]  # fmt: skip

    def _act(self, word: str, name: str, summary: str, takes: type[Act]) -> Route:
        async def act(request: Request) -> Response:
            given = await decoded(request, takes) if await request.body() else takes()
            key = self._key(request.path["id"])
            command = TaskAct(do=word.replace("-", " "), user=given.user, groups=given.groups, details=details(given))
            return answer(self.view(await self._engine.act_on_task(request.caller, key, command)))

        return Route(
            "POST", f"/v1/user-tasks/{{id}}/{word}", name, summary, act, parameters=(ID,), takes=takes, gives=(UserTaskView,),
            statuses=(400, 403, 404, 409, 413),
        )  # fmt: skip

    def _key(self, text: str) -> int:
        key = self._engine.codec.parse_run_id(text)
        if key is None:
            raise PeltonError(Code.NOT_FOUND, "no such task", "id", value=text, remedy="/v1/user-tasks lists them")
        return key

    async def list(self, request: Request) -> Response:
        texts = {each.name: request.query.text(each.name) for each in (STATE, USER, GROUP, PROCESS, RUN, AFTER)}
        for name, text in texts.items():
            if len(text) > 512:
                raise bad(name, "a name has at most 512 characters", "shorten it", text)
        query = TaskQuery(
            state=texts["state"],
            user=texts["user"],
            group=texts["group"],
            process=texts["process"],
            run=run_key(self._engine, texts["run"]) if texts["run"] else 0,
            after=self._key(texts["after"]) if texts["after"] else 0,
            limit=LIMIT.number(request),
        )
        records = await self._engine.tasks(request.caller, query)
        views = [self.view(record) for record in records]
        return answer(UserTaskPage(views, views[-1].id if len(views) == query.limit else ""))

    async def get(self, request: Request) -> Response:
        return answer(self.view(await self._engine.task(request.caller, self._key(request.path["id"]))))

    async def past(self, request: Request) -> Response:
        key = self._key(request.path["id"])
        limit, after = LIMIT.number(request), SINCE.number(request)
        current = await self._engine.task(request.caller, key)
        rows = await self._engine.past(request.caller, key, after, limit)
        views = [self.view(record, until) for record, until in rows]
        if len(rows) == limit:
            return answer(UserTaskPast(views, rows[-1][0].since))
        return answer(UserTaskPast([*views, self.view(current)] if current.since > after else views, 0))

    def view(self, record: Record, until: int = 0) -> UserTaskView:
        task: dict[str, Any] = record.body
        codec = self._engine.codec
        same = {name: task[name] for name in SAME}
        return UserTaskView(
            id=codec.run_id(record.run),
            run=codec.run_id(task["run"]) if task["run"] else "",
            number=record.number,
            since=record.since,
            until=until,
            notes=[NoteView(**each) for each in task["notes"]],
            **same,
        )


SAME = (
    "state", "title", "process", "slot", "opened", "users", "groups", "claimed_by", "priority", "due", "late", "reminded", "form",
    "data", "saved", "answer", "answered_by", "reason", "did", "by",
)  # fmt: skip


def details(given: Act) -> dict[str, Any]:
    """What belongs to the act alone. Raises PeltonError for a note without a text."""
    if isinstance(given, HandOverIn):
        return {"to_user": given.to_user, "to_groups": given.to_groups}
    if isinstance(given, AnswerIn):
        return {} if given.answer is UNSET else {"answer": given.answer}
    if isinstance(given, NoteIn):
        if not given.text.strip():
            raise bad("text", "a note needs a text", "say something", given.text)
        return {"text": given.text}
    return {"reason": given.reason} if isinstance(given, CancelIn) else {}
