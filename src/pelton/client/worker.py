"""A worker: takes work items from its queues, runs a function for each, and reports the outcomes.

Invariants:
* Every item taken is reported, even if its function fails or its output cannot be sent, unless it was taken away (`Stop`). A
  report is repeated until the server has responded to it; since it includes the item's attempt, a repeat changes nothing.
* At most `concurrency` items are in progress, including those that an open long poll may still return.

Traffic: reports are sent together, as many as have accumulated during the last exchange, and the response brings new
items. Only an idle worker has a long poll open. Cost: about 25 us per item in addition to the function itself.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

import structlog
from msgspec import DecodeError, Raw, Struct, msgpack

from pelton.client.calls import ApiCall, checkpoint_call, put_checkpoint_call, read_answer, refusal
from pelton.client.errors import RequestRefused, Unreachable
from pelton.client.http import Http
from pelton.client.tracing import in_trace
from pelton.errors import RETRYABLE
from pelton.models import CheckpointIn

PATH = "/v1/work"
MSGPACK = "application/msgpack"
MAX_BATCH = 1_000  # reports of one exchange
MAX_LOG = 10_000  # characters
MAX_PAUSE = 5.0  # seconds between tries while the server cannot be reached

T = TypeVar("T")

_log = structlog.get_logger("pelton.worker")


class Item(Struct, dict=True):
    """A work item. `previous`: what an earlier hand-out of this attempt reported. `lease`: milliseconds without a sign of life
    after which the server gives it to somebody else, 0 = never; the worker gives that sign by itself. `checkpoints`: how
    many earlier attempts, and earlier hand-outs, have put.

    What the function asks of a Pelton server by a client belongs to the item's trace by itself."""

    id: str
    queue: str
    run: str
    process: str
    slot: str
    attempt: int
    input: Any = None
    previous: Any = None
    polls: int = 0
    lease: int = 0
    checkpoints: int = 0
    traceparent: str = ""  # as W3C has it, "" = the work belongs to no trace
    tracestate: str = ""

    @overload
    async def checkpoint(self, function: Callable[[], Awaitable[T]]) -> T: ...
    @overload
    async def checkpoint(self, function: Callable[[], T]) -> T: ...
    async def checkpoint(self, function: Callable[[], Any]) -> Any:
        """Runs the function and stores what it returns, which must be JSON, before it goes on; where an earlier attempt has done
        that, returns what was stored and does not run it. So a function is the same for every attempt, and a part of the work is
        done once that its attempts have got past.

        The item's checkpoints count from 0 in the order of these calls. Raises Stop when the item is no longer this worker's: let
        it pass."""
        steps: Checkpoints | None = self.__dict__.get("steps")
        if steps is None:
            raise RuntimeError("only an item that a Worker has taken has checkpoints")
        return await steps.next(function)

    def log(self, text: str) -> None:
        """Adds a line to the log of this attempt, which is sent with its outcome; it keeps the last 10,000 characters."""
        before = self.__dict__.get("lines", "")
        vars(self)["lines"] = (f"{before}\n{text}" if before else text)[-MAX_LOG:]

    @property
    def logged(self) -> str:
        found: str = self.__dict__.get("lines", "")
        return found


class Fail(Exception):
    """Raise this in a function to report how it failed. `retriable` False: no further attempt."""

    def __init__(
        self, message: str, *, name: str = "failed", retriable: bool = True, content: Any = None, kind: str = "technical"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.retriable = retriable
        self.content = content
        self.kind = kind


class Stop(Exception):
    """The item is no longer this worker's: its attempt has timed out, or its run has ended. Nothing that the function does counts
    any more, and nothing is reported."""


class Later(Exception):
    """Raise this to return the item: it is offered again after that many seconds, with `output` as its `previous`."""

    def __init__(self, seconds: float, output: Any = None) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.milliseconds = max(1, round(seconds * 1000))
        self.output = output


class _Link(Protocol):
    """The way of an item to its server."""

    async def send(self, call: ApiCall[T]) -> T: ...


class Checkpoints:
    """The checkpoints of one item in one attempt: those that are there, and those that it adds."""

    def __init__(self, item: Item, worker: str, link: _Link) -> None:
        self._item = item
        self._worker = worker
        self._link = link
        self._next = 0
        self._stored = item.checkpoints
        self._one_at_a_time = asyncio.Lock()

    async def next(self, function: Callable[[], Any]) -> Any:
        item = self._item
        async with self._one_at_a_time:
            number = self._next
            if number < self._stored:
                value = (await self._link.send(checkpoint_call(item.id, number))).value
                self._next += 1
                return value
            result = function()
            value = await result if inspect.isawaitable(result) else result
            put = await self._link.send(put_checkpoint_call(item.id, number, CheckpointIn(item.attempt, value, "", self._worker)))
            if not put.accepted:
                raise Stop(put.reason)
            self._next += 1
            return value


Function = Callable[[Item], Any | Awaitable[Any]]
"""Returns the output. A plain function runs in the event loop, so it must be quick; a coroutine function may wait."""


class _Failure(Struct):
    name: str
    kind: str
    message: str
    content: Raw
    retriable: bool


class _Report(Struct, omit_defaults=True):
    id: str
    attempt: int
    status: str = "COMPLETED"
    output: Raw = Raw(b"\xc0")
    reason: str = ""
    failure: _Failure | None = None
    again_after: int = 0
    log: str = ""


class _Claim(Struct):
    queues: list[str]
    count: int
    wait: int


class _Exchange(Struct, omit_defaults=True):
    worker: str
    reports: list[_Report]
    claim: _Claim | None
    version: str = ""


class _Result(Struct):
    ok: bool
    code: str = ""
    detail: str = ""


class _Answer(Struct):
    results: list[_Result]
    items: list[Item]


class Counts(Struct):
    """Counts since the worker was created."""

    taken: int = 0
    reported: int = 0
    refused: int = 0
    exchanges: int = 0
    lost_connections: int = 0
    stopped: int = 0  # items that were no longer this worker's when they put a checkpoint


class Worker:
    """`functions`: by queue. `run` returns after `stop`, once all items in progress are reported (at most `grace` seconds
    later)."""

    def __init__(
        self,
        url: str,
        functions: Mapping[str, Function],
        *,
        concurrency: int = 64,
        key: str = "",
        name: str = "",
        version: str = "",
        wait: int = 2_000,
        grace: float = 30.0,
    ) -> None:
        if not functions or len(functions) > 100:
            raise ValueError("a worker needs functions for 1 to 100 queues")
        if not 1 <= concurrency <= 1_000:
            raise ValueError(f"concurrency is {concurrency}: it must be between 1 and 1000")
        if not 0 < wait <= 60_000:
            raise ValueError(f"wait is {wait}: it must be between 1 and 60000 milliseconds")
        self.counts = Counts()
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.version = version
        self._functions = dict(functions)
        self._concurrency = concurrency
        self._wait = wait
        self._grace = grace
        self._http = Http(url, key=key)
        self._encoder = msgpack.Encoder()
        self._decoder = msgpack.Decoder(_Answer)
        self._reports: list[_Report] = []
        self._in_hand = 0  # items that are running or not reported yet
        self._reserved = 0  # room kept for the open long poll
        self._traces: dict[str, tuple[str, str]] = {}  # of items in hand
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Stops taking items. An open long poll is completed, so that no item it returns is lost."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Runs until `stop`. Raises RequestRefused if the server refuses this worker altogether (a wrong key, for example)."""
        poll: asyncio.Task[None] | None = None
        deadline = 0.0
        try:
            while True:
                self._wake.clear()
                if poll is not None and poll.done():
                    poll.result()
                    poll = None
                if self._reports:
                    await self._exchange_reports()
                    continue
                free = self._concurrency - self._in_hand - self._reserved
                if self._stopping:
                    deadline = deadline or time.monotonic() + self._grace
                    if (self._in_hand == 0 and poll is None) or time.monotonic() >= deadline:
                        return
                elif free > 0 and poll is None:
                    self._reserved = free
                    poll = asyncio.create_task(self._long_poll(free))
                await self._sleep(deadline)
        finally:
            for task in [*self._running, *([poll] if poll is not None else [])]:
                task.cancel()
            await asyncio.gather(*self._running, *([poll] if poll is not None else []), return_exceptions=True)
            await self._http.close()

    async def _sleep(self, deadline: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic()) if deadline else None):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _exchange_reports(self) -> None:
        """Sends the accumulated reports, and asks for as many new items as there is room for."""
        batch = self._reports[:MAX_BATCH]
        del self._reports[:MAX_BATCH]
        ending = sum(1 for report in batch if report.status != "WORKING" or report.again_after)
        room = self._concurrency - self._in_hand - self._reserved + ending
        claim = None if self._stopping or room <= 0 else _Claim(list(self._functions), room, 0)
        with in_trace(*self._trace_of(batch)):
            answer = await self._exchange(batch, claim)
        self._in_hand -= ending
        for report, result in zip(batch, answer.results, strict=True):
            if result.code not in RETRYABLE and (report.status != "WORKING" or report.again_after):
                self._traces.pop(report.id, None)
            if result.ok:
                self.counts.reported += 1
            elif result.code in RETRYABLE:
                if report.status != "WORKING" or report.again_after:
                    self._in_hand += 1
                self._reports.append(report)
            else:
                self.counts.refused += 1
                _log.warning("report refused", id=report.id, code=result.code, detail=result.detail)
        self._take(answer.items)

    def _trace_of(self, reports: list[_Report]) -> tuple[str, str]:
        """That of all the reports; a request belongs to one trace or to none."""
        traces = {self._traces.get(report.id, ("", "")) for report in reports}
        return traces.pop() if len(traces) == 1 else ("", "")

    async def _long_poll(self, count: int) -> None:
        try:
            answer = await self._exchange([], _Claim(list(self._functions), count, self._wait))
        finally:
            self._reserved = 0
            self._wake.set()
        self._take(answer.items)

    async def _exchange(self, reports: list[_Report], claim: _Claim | None) -> _Answer:
        """Retries until there is a response; a stopping worker with nothing to report gives up immediately."""
        body = self._encoder.encode(_Exchange(self.name, reports, claim, self.version))
        pause = 0.05
        while True:
            if self._stopping and claim is not None:
                if not reports:
                    return _Answer([], [])
                claim = None
                body = self._encoder.encode(_Exchange(self.name, reports, None, self.version))
            try:
                self.counts.exchanges += 1
                wait = claim.wait / 1000 if claim else 0.0
                answer = await self._http.request("POST", PATH, body, MSGPACK, wait + 30.0)
                if answer.status == 200:
                    return self._decoder.decode(answer.body)
                if answer.status < 300:
                    raise Unreachable(f"the answer has status {answer.status}, which no Pelton server sends")
                raise refusal(answer.status, answer.content_type, answer.body)
            except RequestRefused as error:
                if not error.retryable:
                    raise
                why: Exception = error
            except (Unreachable, DecodeError) as error:
                self.counts.lost_connections += 1
                why = error
            _log.warning("no exchange with the server", error=str(why), again_in=round(pause, 2))
            await asyncio.sleep(pause * (0.5 + random.random() / 2))
            pause = min(pause * 2, MAX_PAUSE)

    def _take(self, items: list[Item]) -> None:
        self._in_hand += len(items)
        self.counts.taken += len(items)
        for item in items:
            vars(item)["steps"] = Checkpoints(item, self.name, self)
            if item.traceparent:
                self._traces[item.id] = item.traceparent, item.tracestate
            with in_trace(item.traceparent, item.tracestate):
                self._begin(item)
        if items:
            self._wake.set()

    def _begin(self, item: Item) -> None:
        try:
            result = self._functions[item.queue](item)
        except Exception as error:
            self._failed(item, error)
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(self._await(item, result))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            self._ended(item, result)

    async def _await(self, item: Item, working: Awaitable[Any]) -> None:
        beat = asyncio.create_task(self._beat(item)) if item.lease else None
        try:
            output = await working
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._failed(item, error)
        else:
            self._ended(item, output)
        finally:
            if beat is not None:
                beat.cancel()

    async def _beat(self, item: Item) -> None:
        """Heartbeats, three per lease period."""
        while True:
            await asyncio.sleep(item.lease / 3000)
            self._add(_Report(item.id, item.attempt, "WORKING"))

    async def send(self, call: ApiCall[T]) -> T:
        """A request about an item; repeated until there is an answer. Raises RequestRefused."""
        pause = 0.05
        while True:
            try:
                answer = await self._http.request(call.method, call.path, call.body, call.content_type, 30.0)
                return read_answer(call, answer.status, answer.content_type, answer.body)
            except RequestRefused as error:
                if not error.retryable:
                    raise
                why: Exception = error
            except Unreachable as error:
                self.counts.lost_connections += 1
                why = error
            _log.warning("no answer from the server", error=str(why), again_in=round(pause, 2))
            await asyncio.sleep(pause * (0.5 + random.random() / 2))
            pause = min(pause * 2, MAX_PAUSE)

    def _ended(self, item: Item, output: Any) -> None:
        try:
            raw = Raw(self._encoder.encode(output))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            self._add(_Report(item.id, item.attempt, "FAILED_FOR_GOOD", reason=f"the output cannot be sent: {error}"))
            return
        self._add(_Report(item.id, item.attempt, output=raw, log=item.logged))

    def _failed(self, item: Item, error: Exception) -> None:
        nothing = Raw(b"\xc0")
        if isinstance(error, Stop):
            _log.warning("work taken away", id=item.id, queue=item.queue, reason=str(error))
            self.counts.stopped += 1
            self._in_hand -= 1
            self._wake.set()
            return
        try:
            if isinstance(error, Later):
                raw = Raw(self._encoder.encode(error.output))
                self._add(_Report(item.id, item.attempt, "WORKING", output=raw, again_after=error.milliseconds, log=item.logged))
                return
            if isinstance(error, Fail):
                raw = Raw(self._encoder.encode(error.content))
                failure = _Failure(error.name, error.kind, error.message[:10_000], raw, error.retriable)
                status = "FAILED" if error.retriable else "FAILED_FOR_GOOD"
                self._add(_Report(item.id, item.attempt, status, reason=error.message[:10_000], failure=failure, log=item.logged))
                return
        except (TypeError, ValueError, OverflowError, RecursionError) as unsent:
            error = unsent
        text = f"{type(error).__name__}: {error}"[:10_000]
        _log.warning("work failed", id=item.id, queue=item.queue, exc_info=error)
        failure = _Failure(type(error).__name__[:500], "technical", text, nothing, True)
        self._add(_Report(item.id, item.attempt, "FAILED", reason=text, failure=failure, log=item.logged))

    def _add(self, report: _Report) -> None:
        self._reports.append(report)
        self._wake.set()
