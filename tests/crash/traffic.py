"""The load: starts, events, queue messages, and two kinds of workers, all of which live through the kills.

Whoever asks without an answer asks again where that is harmless (events with ids, starts with a key, reports with an attempt),
and notes that it does not know where it is not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from msgspec import DecodeError, json
from tests.crash.ledger import Ledger, Told

from pelton.client import Item, Unreachable, Worker
from pelton.client.http import Http

OWN, POLLED = "crash_own", "crash_polled"
ORDER, PLAIN, WAITING = "crash_order", "crash_plain", "crash_waiting"
SOURCE = "crash"
PAUSE = 0.02  # seconds between the tasks of one caller: a steady load, not all that the machine can do
LEASE = 1  # seconds that a worker may be silent


def definitions(out: str) -> list[dict[str, Any]]:
    def task(name: str, reference: str, kind: str = "SIMPLE", **more: Any) -> dict[str, Any]:
        return {"name": name, "taskReferenceName": reference, "type": kind, **more}

    def workflow(name: str, *tasks: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "version": 1, "schemaVersion": 2, "timeoutSeconds": 0, "tasks": list(tasks)}

    own = task(OWN, "own", inputParameters={"n": "${workflow.input.n}"})
    polled = task(POLLED, "polled", inputParameters={"before": "${own.output.n}"})
    leave = task("leave", "leave", "EVENT", sink=f"sqs:{out}", inputParameters={"n": "${workflow.input.n}"})
    wait = task("wait", "wait", "WAIT")
    return [workflow(ORDER, own, polled, leave), workflow(PLAIN, own, polled), workflow(WAITING, wait, own)]


def task_definitions() -> list[dict[str, Any]]:
    """So many retries that no run fails for being killed often."""
    return [
        {"name": name, "retryCount": 10_000, "retryDelaySeconds": 0, "retryLogic": "FIXED", "responseTimeoutSeconds": LEASE}
        for name in (OWN, POLLED)
    ]


def handlers(incoming: str) -> list[dict[str, Any]]:
    def starting(name: str, event: str, workflow: str) -> dict[str, Any]:
        action = {"name": workflow, "version": 1, "correlationId": "${id}", "input": {"n": "${n}"}}
        return {"name": name, "event": event, "active": True, "actions": [{"action": "start_workflow", "start_workflow": action}]}

    complete = {"workflowId": "${run}", "taskRefName": "wait", "output": {"token": "${token}"}}
    return [
        starting("crash-start", "crash:start", PLAIN),
        starting("crash-wait", "crash:wait", WAITING),
        starting("crash-message", f"sqs:{incoming}", ORDER),
        {"name": "crash-paid", "event": "crash:paid", "active": True,
         "actions": [{"action": "complete_task", "complete_task": complete}]},
    ]  # fmt: skip


class Traffic:
    """`stop_asking` ends the making of new work; workers go on until `stop`. An error of any part is raised by `stop`."""

    def __init__(self, url: str, sqs: Any, incoming: str, out: str, rng: random.Random, ledger: Ledger) -> None:
        self._http = Http(url, connect_seconds=2.0)
        self._url = url
        self._sqs = sqs
        self._incoming, self._out = incoming, out
        self._rng = rng
        self._ledger = ledger
        self._asking = self._working = True
        self._asked: list[asyncio.Task[None]] = []
        self._served: list[asyncio.Task[None]] = []
        self._worker = Worker(url, {OWN: self._own}, concurrency=50, wait=500)

    # ---- life

    async def define(self) -> None:
        """On a server that runs: definitions first, then the handlers that name them."""
        for path, body in (
            ("/api/metadata/taskdefs", task_definitions()),
            *(("/api/metadata/workflow", each) for each in definitions(self._out)),
            *(("/api/event", each) for each in handlers(self._incoming)),
        ):
            answer = await self._http.request("POST", path, json.encode(body))
            if answer.status >= 300:
                raise RuntimeError(f"{path} was answered {answer.status}: {answer.body[:500]!r}")

    def start(self) -> None:
        asking: list[tuple[str, Callable[[str], Awaitable[None]]]] = [
            ("start", self._start), ("key", self._start_keyed), ("post", self._post), ("pay", self._pay), ("send", self._send)
        ]  # fmt: skip
        for number, (name, one) in enumerate(asking * 2):
            self._asked.append(asyncio.create_task(self._repeat(one, f"{name}-{number}")))
        self._served = [asyncio.create_task(each) for each in (self._worker.run(), self._poll(1), self._poll(2), self._drain())]

    async def _repeat(self, one: Callable[[str], Awaitable[None]], name: str) -> None:
        count = 0
        while self._asking:
            count += 1
            await one(f"{name}-{count}")
            await asyncio.sleep(self._rng.uniform(0, PAUSE * 2))

    def trouble(self) -> None:
        """Raises what any part has failed with."""
        for task in (*self._asked, *self._served):
            if task.done() and not task.cancelled():
                task.result()

    def stop_asking(self) -> None:
        self._asking = False

    async def asked(self) -> None:
        """Returns when nobody waits for an answer any more; a server must be running, or be started meanwhile."""
        await asyncio.gather(*self._asked)

    async def taken(self) -> None:
        """Returns when the queue is empty: every message has been taken and acknowledged."""
        url = await self._queue(self._incoming)
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        while True:
            found = await self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
            if not any(int(found["Attributes"][name]) for name in names):
                return
            await asyncio.sleep(0.1)  # another process's state

    async def stop(self) -> None:
        self._asking = self._working = False
        self._worker.stop()
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*self._asked, *self._served)
        finally:
            for task in (*self._asked, *self._served):
                task.cancel()
            await asyncio.gather(*self._asked, *self._served, return_exceptions=True)
            await self._http.close()

    # ---- asking

    async def _ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any | None:
        """The answer, or None: not known whether it was done. Text is given as text."""
        ledger = self._ledger
        ledger.under_way += 1
        try:
            answer = await self._http.request(method, path, b"" if body is None else json.encode(body), kind, 10.0)
        except Unreachable:
            return None
        finally:
            ledger.under_way -= 1
        if answer.status >= 300:
            ledger.refusals[answer.status] += 1
            if answer.status < 500 and answer.status != 429:
                raise RuntimeError(f"{method} {path} was answered {answer.status}: {answer.body[:500]!r}")
            return None
        try:
            return json.decode(answer.body) if "json" in answer.content_type else answer.body.decode()
        except (DecodeError, UnicodeDecodeError):
            raise RuntimeError(f"{method} {path} was answered 200 with {answer.body[:200]!r}") from None

    async def _until(self, method: str, path: str, body: Any, kind: str = "application/json") -> Any:
        """Asks again until there is an answer."""
        while True:
            answer = await self._ask(method, path, body, kind)
            if answer is not None:
                return answer
            self._ledger.repeats += 1
            await asyncio.sleep(self._rng.uniform(0.01, 0.1))  # the pace of a client that tries again

    async def _start(self, name: str) -> None:
        """Without a key: what was not answered is not asked for again."""
        answer = await self._ask("POST", f"/api/workflow/{PLAIN}?correlationId={quote(name)}", {"n": 1})
        if answer is None:
            self._ledger.asked.add(name)
            await asyncio.sleep(0.05)  # the server is probably away
        else:
            self._ledger.started[name] = str(answer)

    async def _start_keyed(self, name: str) -> None:
        body = {"name": ORDER, "version": 1, "correlationId": name, "input": {"n": 2},
                "idempotencyKey": name, "idempotencyStrategy": "RETURN_EXISTING"}  # fmt: skip
        self._ledger.keyed[name] = str(await self._until("POST", "/api/workflow", body))

    def _event(self, kind: str, name: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"specversion": "1.0", "type": kind, "source": SOURCE, "id": name, "data": {"id": name, "n": 3, **data}}

    async def _posted(self, event: dict[str, Any]) -> list[str]:
        """Posts one event until it is acknowledged, and now and then once more. Gives the runs of its effects."""
        answer = await self._until("POST", "/v1/events", event)
        runs = [effect.get("run", "") for effect in answer["effects"]]
        if self._rng.random() < 0.3:
            self._ledger.repeats += 1
            again = await self._until("POST", "/v1/events", event)
            if again["outcome"] != "duplicate" or [effect.get("run", "") for effect in again["effects"]] != runs:
                raise RuntimeError(f"event {event['id']} was answered {answer}, and its repeat {again}")
        return runs

    async def _post(self, name: str) -> None:
        if self._rng.random() < 0.2:
            batch = [self._event("crash:start", f"{name}-{each}", {}) for each in range(10)]
            answer = await self._until("POST", "/v1/events", batch, "application/cloudevents-batch+json")
            for each in answer["events"]:
                self._ledger.events[each["id"]] = [effect["run"] for effect in each["effects"]]
        else:
            self._ledger.events[name] = await self._posted(self._event("crash:start", name, {}))

    async def _pay(self, name: str) -> None:
        """A run that waits, by one event, and its end, by another."""
        runs = self._ledger.events[name] = await self._posted(self._event("crash:wait", name, {}))
        if len(runs) != 1:
            raise RuntimeError(f"event {name} started {len(runs)} runs")
        paid = f"{name}-paid"
        await self._posted(self._event("crash:paid", paid, {"run": runs[0], "token": paid}))
        self._ledger.paid[paid] = runs[0]

    async def _send(self, name: str) -> None:
        """A message through the queue."""
        url = await self._queue(self._incoming)
        await self._sqs.send_message(QueueUrl=url, MessageBody=json.encode({"id": name, "n": 4}).decode())
        self._ledger.sent.add(name)
        await asyncio.sleep(self._rng.uniform(0, 0.1))

    async def _queue(self, name: str) -> str:
        return str((await self._sqs.create_queue(QueueName=name))["QueueUrl"])

    # ---- working

    async def _own(self, item: Item) -> Any:
        await asyncio.sleep(self._rng.uniform(0, 0.005))  # the work itself
        return {"n": item.input["n"]}

    async def _poll(self, number: int) -> None:
        """A worker as the world's clients have it: polls, and updates task by task."""
        count = 0
        while self._working:
            items = await self._ask("GET", f"/api/tasks/poll/batch/{POLLED}?workerid=w{number}&count=10&timeout=200")
            if items is None:
                await asyncio.sleep(0.05)  # the server is probably away
                continue
            for item in items:
                count += 1
                await self._update(item, f"w{number}-{count}")

    async def _update(self, item: dict[str, Any], token: str) -> None:
        task, run = item["taskId"], item["workflowInstanceId"]
        body = {"workflowInstanceId": run, "taskId": task, "status": "COMPLETED", "outputData": {"token": token}}
        self._ledger.tried.setdefault(task, set()).add(token)
        for _ in range(2):  # such clients try a few times; then the lease runs out
            answer = await self._ask("POST", "/api/tasks", body)
            if answer is not None:
                self._ledger.told.setdefault(task, []).append(Told(run, token, time.time_ns() // 1_000_000))
                return
            await asyncio.sleep(self._rng.uniform(0, 0.1))

    async def _drain(self) -> None:
        """Notes what leaves, by run."""
        url = await self._queue(self._out)
        while self._working:
            await self._received(url, 1)

    async def _received(self, url: str, wait: int) -> int:
        answer = await self._sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, MessageAttributeNames=["All"]
        )
        messages = answer.get("Messages", [])
        for message in messages:
            run = json.decode(message["Body"])["workflowInstanceId"]
            name = message["MessageAttributes"]["pelton-id"]["StringValue"]
            self._ledger.left.setdefault(run, Counter())[name] += 1
            await self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(messages)

    async def drained(self) -> None:
        """Everything that has left is noted. After `stop`."""
        url = await self._queue(self._out)
        while await self._received(url, 0):
            pass
