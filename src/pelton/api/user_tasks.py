"""/v1/user-tasks: tasks for people, and what they do with them. A task's id is that of its run."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, structs

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
from pelton.transport.pages import fill_page, shown_row

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
        )

        async def read(after: int, count: int) -> list[Record]:
            return await self._engine.tasks(request.caller, structs.replace(query, after=after, limit=count))

        start = self._key(texts["after"]) if texts["after"] else 0
        page = await fill_page(read, start, LIMIT.number(request), lambda record: record.run, self._shown)
        return answer(UserTaskPage(page.shown, self._engine.codec.run_id(page.place) if page.more and page.shown else ""))

    async def get(self, request: Request) -> Response:
        return answer(self.view(await self._engine.task(request.caller, self._key(request.path["id"]))))

    async def past(self, request: Request) -> Response:
        key = self._key(request.path["id"])
        limit, after = LIMIT.number(request), SINCE.number(request)
        current = await self._engine.task(request.caller, key)

        async def read(since: int, count: int) -> list[tuple[Record, int]]:
            """The past ones, and behind them the current one."""
            rows = await self._engine.past(request.caller, key, since, count)
            return [*rows, (current, 0)] if len(rows) < count and current.since > since else rows

        page = await fill_page(read, after, limit, lambda row: row[0].since, lambda row: self._shown(*row))
        return answer(UserTaskPast(page.shown, page.place if page.more and page.place != current.since else 0))

    def _shown(self, record: Record, until: int = 0) -> Raw:
        return shown_row(
            record, lambda record: self.view(record, until), lambda record, reason: self._bare(record, until, reason)
        )

    def _bare(self, record: Record, until: int, reason: str) -> UserTaskView:
        """What can be shown of a task that cannot be shown whole."""
        body = record.body if isinstance(record.body, dict) else {}
        return UserTaskView(
            id=self._engine.codec.run_id(record.run),
            state=str(body.get("state", "")),
            title=str(body.get("title", "")),
            process=str(body.get("process", "")),
            run="",
            slot=str(body.get("slot", "")),
            opened=0,
            since=record.since,
            until=until,
            number=record.number,
            reason=str(body.get("unreadable", reason)),
        )

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
