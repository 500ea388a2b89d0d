"""The pool that evaluates the kernel's scripts (`Evaluation`), in processes that can be killed.

Both engines run in child processes (`process.py`). A JavaScript engine on a thread would work until a script calls
one of the engine's built-in functions on an array of four billion holes, which cannot be interrupted.

Invariants: a question has one answer, an `Outcome`, whatever its script does; a script that harms its process harms no
other question; every wait is bounded (the script's limit, the start of a child, the queue). A child killed from
outside is replaced and its question asked once more, so an answer never depends on that. A script that does not end delays the
quick ones only briefly: each script first gets `FIRST_MS`, and one that needs longer is restarted from the beginning
(it is pure, so that changes nothing) in a separate line that never takes the last child. Scripts take turns, however many
questions one of them has; one that did not end several times in a row is not run for a while, and its questions are answered with
that at once (`shares.py`).

Cost: a round trip of about 0.2 ms to an idle child; a child is started when first needed (0.2 s, 30 MB).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from pelton.kernel.expressions.base import Evaluation, Outcome
from pelton.runtime.scripting.shares import ScriptShares, Share

DEFAULT_SIZE = 2
FIRST_MS = 300  # of a script's own time, before it has to make room for others
DEFAULT_MEMORY = 256 << 20  # bytes of a child beyond what it starts with
MAX_WAITING = 10_000  # questions that wait for a child
MAX_ANSWER = 16 << 20
START_SECONDS = 30.0
CLOSE_SECONDS = 5.0
SLACK_SECONDS = 0.2  # for the way there and back


class ScriptsBusy(Exception):
    """More questions are waiting than the pool accepts; retry later."""


class ScriptsClosed(Exception):
    """The pool was closed before the question was answered."""


class _Ended(Exception):
    """The child has exited; says how."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ScriptPool:
    """Answers questions in up to `size` child processes. For one event loop."""

    def __init__(self, size: int = DEFAULT_SIZE, *, memory: int = DEFAULT_MEMORY, max_waiting: int = MAX_WAITING) -> None:
        self._size = size
        self._memory = memory
        self._max_waiting = max_waiting
        self._shares = ScriptShares(size)
        self._long = asyncio.Semaphore(max(1, size - 1))  # of them, for those that take long
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._waiting = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Number of questions not answered yet."""
        return self._waiting

    @property
    def processes(self) -> list[int]:
        """The process ids of the children, for diagnosis and tests."""
        return [child.pid for child in self._children]

    async def answer(self, questions: Sequence[Evaluation]) -> list[Outcome]:
        """The outcomes, in the order of the questions. Raises ScriptsBusy and ScriptsClosed; a script's failure is an
        outcome."""
        distinct = list(dict.fromkeys(questions))
        self._refuse_when_closed()
        if self._waiting + len(distinct) > self._max_waiting:
            raise ScriptsBusy(f"{self._waiting} scripts are already waiting; the limit is {self._max_waiting}")
        for question in distinct:
            waiting = self._shares.waiting(question.source)
            if waiting and waiting + len(distinct) > self._max_waiting // 2:
                raise ScriptsBusy(f"{waiting} evaluations of this script are already waiting; one may have half of the queue")
        self._waiting += len(distinct)
        try:
            if len(distinct) == 1:
                return [await self._one(distinct[0])] * len(questions)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(question)) for question in distinct]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            self._waiting -= len(distinct)
        answers = dict(zip(distinct, (task.result() for task in tasks), strict=True))
        return [answers[question] for question in questions]

    async def _one(self, question: Evaluation) -> Outcome:
        share = self._shares.share(question.source)
        share.waiting += 1
        try:
            if question.limit <= FIRST_MS:
                return await self._ask(share, question, last=True)
            outcome = await self._ask(share, question._replace(limit=FIRST_MS), last=False)
            if not outcome.timed_out:
                return outcome
            refusal = share.refusal()
            if refusal is not None:
                return _not_run(refusal)
            async with self._long:
                return await self._ask(share, question, last=True)
        finally:
            share.waiting -= 1
            self._shares.forget(share)

    async def _ask(self, share: Share, question: Evaluation, *, last: bool) -> Outcome:
        """`last`: the script has no more time after this. Such a run goes first, since it decides about the others."""
        async with self._shares.permit(share, ahead=last):
            refusal = share.refusal()
            if refusal is not None:
                return _not_run(refusal)
            loop = asyncio.get_running_loop()
            began = loop.time()
            outcome = await self._run(question)
            outcome = outcome._replace(took=round(1000 * (loop.time() - began)))
            if outcome.timed_out:
                share.overran(question.limit, last)
            else:
                share.ended(quick=question.limit <= FIRST_MS)
            return outcome

    async def _run(self, question: Evaluation) -> Outcome:
        for attempt in (1, 2):
            child = await self._child()
            try:
                outcome = await child.ask(question)
            except _Ended as ended:
                self._children.discard(child)
                # Killed by someone else: not the script's doing the first time.
                if ended.code == -signal.SIGKILL and attempt == 1 and not self._closed:
                    continue
                return _ended(ended.code, question)
            except TimeoutError:
                await self._end(child)
                return Outcome(None, f"the script was stopped after {question.limit} ms", failed=True, timed_out=True)
            except BaseException:
                await self._end(child)  # cancelled in the middle: what it will answer is nobody's any more
                raise
            self._idle.append(child)
            return outcome
        raise AssertionError("every path above returns or raises")

    async def _child(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            self._children.discard(child)
        self._refuse_when_closed()
        child = await _Child.start(self._memory)
        try:
            self._refuse_when_closed()
        except ScriptsClosed:
            await child.end()
            raise
        self._children.add(child)
        return child

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ScriptsClosed

    async def _end(self, child: _Child) -> None:
        self._children.discard(child)
        await child.end()

    async def close(self) -> None:
        """Kills all children. Questions still waiting raise ScriptsClosed, or fail as scripts whose process ended."""
        self._closed = True
        self._idle.clear()
        children, self._children = list(self._children), set()
        await asyncio.gather(*(child.end() for child in children))


def _not_run(why: str) -> Outcome:
    return Outcome(None, why, failed=True, timed_out=True)


def _ended(code: int, question: Evaluation) -> Outcome:
    if code in (-signal.SIGALRM, -signal.SIGXCPU):
        return Outcome(None, f"the script was stopped after {question.limit} ms", failed=True, timed_out=True)
    how = f"signal {-code}" if code < 0 else f"status {code}"
    return Outcome(None, f"the script ended its process ({how}): it recursed too deeply or used too much memory", failed=True)


class _Child:
    def __init__(self, process: asyncio.subprocess.Process, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._process = process
        self._source = source
        self._sink = sink

    @classmethod
    async def start(cls, memory: int) -> _Child:
        # The path is given as it is here, because the child sees no environment that could say it.
        code = f"import sys; sys.path[:] = {sys.path!r}; from pelton.runtime.scripting.process import main; main({memory})"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-c",
            code,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"TZ": "UTC"},
            start_new_session=True,
        )
        if process.stdout is None or process.stdin is None:
            raise AssertionError("both pipes were asked for")
        child = cls(process, process.stdout, process.stdin)
        try:
            await asyncio.wait_for(child._read(), START_SECONDS)
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, question: Evaluation) -> Outcome:
        """Raises _Ended if the child dies, TimeoutError if it must be killed."""
        seconds = question.limit / 1000
        # JavaScript stops itself by its own processor time, so the clock on the wall is only for what does not stop.
        wall = 2 * seconds if question.engine == "javascript" else seconds
        body = msgspec.json.encode(question)
        try:
            async with asyncio.timeout(wall + SLACK_SECONDS):
                if self._sink.is_closing():  # the loop has seen the child's end before its status: a write would raise anything
                    raise ConnectionResetError
                self._sink.write(len(body).to_bytes(4, "big") + body)
                await self._sink.drain()
                return Outcome(*await self._read())
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _Ended(await self.end()) from None

    async def _read(self) -> list[Any]:
        head = await self._source.readexactly(4)
        length = int.from_bytes(head, "big")
        if length > MAX_ANSWER:
            raise ConnectionError("the answer is longer than an answer can be")
        answer: list[Any] = msgspec.json.decode(await self._source.readexactly(length))
        return answer

    async def end(self) -> int:
        """Kills the child if it is alive; returns its exit status."""
        self._sink.close()
        try:
            # A child whose output has just ended is dead or about to be: its own status says how it ended.
            if self._source.at_eof():
                async with asyncio.timeout(0.5):
                    return await self._process.wait()
        except TimeoutError:
            pass
        if self._process.returncode is None:
            self._process.kill()
        async with asyncio.timeout(CLOSE_SECONDS):
            return await self._process.wait()
