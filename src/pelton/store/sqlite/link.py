"""The store's connection to its writer, which outlives a writer process.

Each batch has a number, and the writer stores the number of its last batch in the file, in the batch's own transaction (with the
lost groups, if any). If the writer process dies, the link waits for its lock, starts a new writer and
reads the file: batches up to that number are in it, and their callers are answered; the others are sent again in order.
Sending again is harmless, since every group states the revisions that it was decided on. Callers notice a pause.

It gives up for good, with a reason, if the writer reports a disk failure (after a failed sync a second read may show
what is not on disk), if the writer dies `DEATHS` times without progress, or if no new one can be started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import structlog

from pelton.store.port import StoreBusy, StoreFailed
from pelton.store.sqlite.locks import Locks
from pelton.store.sqlite.ops import BatchOps
from pelton.store.sqlite.pipe import WriterPipe

DEATHS = 3
PAUSE = 0.1  # seconds before a second try, doubled for each further one

log = structlog.get_logger("pelton.store")


class Sent(NamedTuple):
    body: bytes
    size: int  # how many groups
    answer: asyncio.Future[list[Any]]
    at: float  # by the loop's time


class WriterLink:
    """`look()` reads from the file: the number of its last batch, and the lost groups of recent ones by number."""

    def __init__(
        self, path: str, durability: str, locks: Locks, wait: float, look: Callable[[], tuple[int, dict[int, list[str]]]]
    ) -> None:
        self.failure = ""
        self.restarts = 0
        self.settings: dict[str, Any] = {}
        self.lost = asyncio.Event()  # set when it was given up
        self._path = path
        self._durability = durability
        self._locks = locks
        self._wait = wait
        self._look = look
        self._pipe = WriterPipe()
        self._number = 0
        self._under_way: dict[int, Sent] = {}  # in the order of sending
        self._recovery: asyncio.Task[None] | None = None
        self._fatal = ""  # what the writer said of the disk before it ended
        self._closing = False
        self._reached = 0  # the last batch that was answered
        self._deaths = 0  # since then
        self._life = ""

    @property
    def pid(self) -> int:
        return self._pipe.pid

    @property
    def waiting(self) -> float:
        """How many seconds the oldest batch has been under way; 0 = there is none."""
        for sent in self._under_way.values():
            return asyncio.get_running_loop().time() - sent.at
        return 0.0

    async def give_up(self, reason: str) -> None:
        """Nothing more is written, and what is under way has failed. The caller knows why."""
        if not self.failure:
            self._give_up(reason)
            await self._pipe.end()

    async def start(self, number: int, life: str) -> None:
        """`number`: of the last batch in the file. `life`: the one that has begun. The writer's lock must have been taken. Raises
        StoreFailed."""
        self._number = self._reached = number
        self._life = life
        self.settings = await self._pipe.start(self._path, self._durability, self._locks.writer)
        self._locks.hand_over(self._pipe.pid, life)

    def send(self, entangled: bool, now: int, count: int, ops: BatchOps) -> asyncio.Future[list[Any]]:
        """`count`: number of groups. Returns a future of [number, lost texts or None, error, ...]. Raises StoreFailed if the
        link has given up or is closed, and what the encoder raises for rows that cannot be sent; then nothing was sent."""
        if self.failure or self._closing:
            raise StoreFailed(self.failure or "the store is closed")
        if not self.settings:
            raise StoreFailed("the store is not open")
        body = self._pipe.encode(self._number + 1, entangled, now, count, ops)
        self._number += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()
        self._under_way[self._number] = Sent(body, count, answer, loop.time())
        if self._recovery is None:
            self._pass_on(self._number)
        return answer

    async def close(self) -> None:
        """Waits for batches in progress, then stops the writer."""
        if self._recovery is not None:
            await asyncio.wait([self._recovery])
        self._closing = True
        await self._pipe.close()
        self._fail_all(self.failure or "the store is closed")

    # ---- one writer

    def _pass_on(self, number: int) -> None:
        sent, pipe = self._under_way[number], self._pipe
        try:
            given = pipe.send(sent.body)
        except StoreFailed:
            self._broken(pipe)
        else:
            given.add_done_callback(partial(self._answered, pipe, number))

    def _answered(self, pipe: WriterPipe, number: int, given: asyncio.Future[list[Any]]) -> None:
        if given.cancelled() or given.exception() is not None:
            self._broken(pipe)
            return
        answer = given.result()
        if len(answer) > 3 and answer[3]:
            self._fatal = answer[2]
        self._settle(number, answer)
        if self._fatal:
            self._broken(pipe)  # the writer ends now: nobody else may come to notice

    def _settle(self, number: int, answer: list[Any]) -> None:
        self._reached, self._deaths = number, 0
        sent = self._under_way.pop(number, None)
        if sent is not None and not sent.answer.done():
            sent.answer.set_result(answer)

    # ---- the next one

    def _broken(self, pipe: WriterPipe) -> None:
        if pipe is not self._pipe or self._recovery is not None or self.failure or self._closing:
            return
        self._recovery = asyncio.get_running_loop().create_task(self._recover(), name="a new writer for the store")

    async def _recover(self) -> None:
        reason = self._pipe.failure
        while not self.failure:
            try:
                await self._replace(reason)
                break
            except (StoreFailed, StoreBusy, OSError) as error:
                reason = str(error)
            except Exception as error:  # whatever it is, no caller may be left waiting
                self._give_up(f"no new writer could be started: {type(error).__name__}: {error}")
                await self._pipe.end()
        self._recovery = None
        if self.failure:
            return
        for number in sorted(self._under_way):
            if number in self._under_way:
                self._pass_on(number)

    async def _replace(self, reason: str) -> None:
        self._deaths += 1
        await self._pipe.end()
        if self._fatal:
            self._give_up(f"the writer process ended after the disk failed: {self._fatal}")
            return
        if self._deaths > DEATHS:
            self._give_up(f"the writer process died {self._deaths} times without writing anything in between: {reason}")
            return
        if self._deaths > 1:
            await asyncio.sleep(PAUSE * 2 ** (self._deaths - 2))
        log.warning("the store's writer process died; starting a new one", reason=reason, under_way=len(self._under_way))
        await self._locks.take_writer(self._wait)
        pipe = self._pipe = WriterPipe()
        self.settings = await pipe.start(self._path, self._durability, self._locks.writer)
        self._locks.hand_over(pipe.pid, self._life)
        self.restarts += 1
        reached, losses = self._look()
        for number in sorted(number for number in self._under_way if number <= reached):
            lost = losses.get(number) or [""] * self._under_way[number].size
            self._settle(number, [number, lost, ""])

    def _give_up(self, reason: str) -> None:
        self.failure = (
            f"{reason}; nothing more can be written to {self._path}: stop this server, resolve the cause, and start it again"
        )
        log.critical("the store has failed", reason=self.failure)
        self._fail_all(self.failure)
        self.lost.set()

    def _fail_all(self, reason: str) -> None:
        for sent in self._under_way.values():
            if not sent.answer.done():
                sent.answer.set_exception(StoreFailed(reason))
        self._under_way.clear()
