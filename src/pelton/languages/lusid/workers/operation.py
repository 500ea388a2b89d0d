"""What workers do: the built-in operation behind `RunWorker` actions and `$run`.

`Sleep` is a durable delay, `Fail` fails, `HealthCheck` and `Http` call out through the guarded HTTP port, and `Queue`
passes the work to workers that poll that queue (for example with `pelton.Worker`), which report it. Every other kind
belongs to products that are not available here: it fails to start, with an error that says so.

An operation may be repeated if the server dies between the call and its record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from pelton.kernel.expressions.base import in_words
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import Failure, StepStatus
from pelton.languages.lusid.definitions.actions import FAILED_TO_START
from pelton.languages.lusid.definitions.field_types import fitted
from pelton.languages.lusid.times import parse_moment
from pelton.languages.lusid.workers.configurations import SLEEP
from pelton.net.outgoing import HttpPort
from pelton.runtime.api import Engine, WorkItem
from pelton.runtime.caller import server_in
from pelton.runtime.ids import lineage
from pelton.runtime.operations.http import HttpCall, NoReply, request
from pelton.runtime.operations.sleep import end_of_sleep, sleep_until

MOST_SLEEP = 30 * 24 * 3600  # seconds
HTTP_SECONDS = 30.0
MOST_ROWS = 10_000


def failed_to_start(reason: str) -> Report:
    return Report(
        status=int(StepStatus.FAILED_FOR_GOOD), reason=reason, failure=Failure(FAILED_TO_START, "technical", reason, None, False)
    )


def failed(reason: str, output: Any = None) -> Report:
    return Report(
        status=int(StepStatus.FAILED_FOR_GOOD),
        reason=reason,
        output=output,
        failure=Failure("failed to complete", "technical", reason, None, False),
    )


def completed(rows: list[dict[str, Any]]) -> Report:
    return Report(status=int(StepStatus.COMPLETED), output={"results": rows})


def operation(engine: Engine, port: HttpPort) -> Callable[[WorkItem], Awaitable[Report]]:
    async def perform(item: WorkItem) -> Report:
        asked = item.input
        identity = asked["worker"]
        name = f"{identity['scope']}/{identity['code']}"
        at = parse_moment(asked["asAt"]) if asked.get("asAt") else 0
        row = await engine.definition(server_in(item.run.ns), "worker", name, at=at or 0)
        if row is None:
            return failed_to_start(f"there is no worker {name!r}" + (f" as at {asked['asAt']}" if at else ""))
        value = msgspec.json.decode(row.body)["value"]
        configuration = value["workerConfiguration"]
        kind = configuration.get("type")
        parameters = asked.get("parameters") or {}
        if kind == "Sleep":
            return _sleep(engine, item, parameters)
        if kind == "Fail":
            return failed(f"worker {name!r} is one that always fails")
        if kind == "HealthCheck":
            return await _check(port, configuration)
        if kind == "Http":
            return await _call(
                port, configuration, parameters, asked, lineage(engine.codec, item.run.hops + 1, item.run.passes_on)
            )
        if kind == "Queue":
            return Report(
                status=int(StepStatus.COMPLETED),
                output={"queue": configuration["queue"], "input": passed_on(asked)},
            )
        return failed_to_start(f"workers of type {kind!r} belong to a service that is not connected to this server")

    return perform


def passed_on(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker elsewhere gets."""
    found = {"parameters": asked.get("parameters") or {}, "worker": asked["worker"]}
    return {**found, "origin": asked["origin"]} if "origin" in asked else found


def _sleep(engine: Engine, item: WorkItem, parameters: Mapping[str, Any]) -> Report:
    until = end_of_sleep(item)
    if until is None:
        given = parameters.get(SLEEP)
        with contextlib.suppress(ValueError):  # what is no number is reported below
            given = 1 if given is None else fitted("Decimal", given)
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MOST_SLEEP:
            return failed_to_start(f"{SLEEP} must be a number of seconds from 0 to {MOST_SLEEP}, not {in_words(given)}")
        until = engine.now() + int(given * 1000)
    return sleep_until(until, engine.now()) or completed([])


async def _check(port: HttpPort, configuration: Mapping[str, Any]) -> Report:
    url = configuration["url"]
    reply = await request(port, _http_call("GET", url, {}, b""))
    if isinstance(reply, NoReply):
        return failed(f"GET {url} failed: {reply.reason}")
    return completed([{"HttpStatusCode": str(reply.status)}])


async def _call(
    port: HttpPort,
    configuration: Mapping[str, Any],
    parameters: Mapping[str, Any],
    asked: Mapping[str, Any],
    past: Mapping[str, str],
) -> Report:
    """`past`: headers that, put on an event that the call causes, let a circle be seen.

    Parameters go out as JSON; what comes back are result rows: a list of objects, an object with `results`, or one object."""
    url, method = configuration["url"], configuration.get("method") or "POST"
    body = b"" if method in ("GET", "HEAD") else msgspec.json.encode({"parameters": parameters, "worker": asked["worker"]})
    headers = {"content-type": "application/json", "accept": "application/json", **(configuration.get("headers") or {})}
    headers |= past
    reply = await request(port, _http_call(method, url, headers, body))
    if isinstance(reply, NoReply):
        return failed(f"{method} {url} failed: {reply.reason}")
    if not 200 <= reply.status < 300:
        return failed(f"{method} {url} answered {reply.status} {reply.reason}".strip())
    try:
        value = msgspec.json.decode(reply.body) if reply.body else []
    except (msgspec.DecodeError, RecursionError):
        return failed(f"{method} {url} answered with something that is no JSON")
    rows = value.get("results", [value] if value else []) if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return failed(f"{method} {url} answered with something other than result rows: a list of objects is expected")
    if len(rows) > MOST_ROWS:
        return failed(f"{method} {url} answered with {len(rows)} rows; at most {MOST_ROWS} are taken")
    return completed(rows)


def _http_call(method: str, url: str, headers: Mapping[str, str], body: bytes) -> HttpCall:
    return HttpCall(method, url, headers, body, connect_timeout=HTTP_SECONDS, read_timeout=HTTP_SECONDS)
