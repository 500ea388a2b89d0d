"""Workers' configurations: the supported kinds, their required members, and their inputs and outputs.

A configuration is stored and returned unchanged, because deployment tools compare what they read with what they sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pelton.errors import PeltonError
from pelton.languages.lusid import decode
from pelton.languages.lusid.checks import Checks
from pelton.languages.lusid.forms import ResourceId, UpdateWorker
from pelton.transport.validation import describe

CONFIGURATION = "workerConfiguration"
SLEEP = "SleepTimeSeconds"  # the parameter of a Sleep worker; its name is not published
MAX_URL, MAX_VIEW = 2048, 512
KINDS = (
    "Sleep",
    "Fail",
    "HealthCheck",
    "LuminesceView",
    "SchedulerJob",
    "HorizonIntegration",
    "GroupReconciliation",
    "InstantiateRec",
    "LusidEntityDataQualityCheck",
    "PortfolioHoldingDataQualityCheck",
    "PortfolioTransactionDataQualityCheck",
    "StructuredResultDataQualityCheck",
)
# Kinds of this server's own. Clients of the published API know none of them, and are shown a `Library` worker.
OWN_KINDS = ("Http", "Queue")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
MAX_QUEUE = 200
_SNAKE = re.compile(r"_([a-z0-9])")


W = TypeVar("W", bound=UpdateWorker)


def read_worker(value: Any, form: type[W]) -> W:
    """A worker's form, its configuration checked. Raises PeltonError "invalid"."""
    if isinstance(value, dict):
        value = {**value, CONFIGURATION: unwrapped(value.get(CONFIGURATION))}
    worker = decode.convert(value, form)
    check_configuration(worker.worker_configuration)
    return worker


def unwrapped(given: Any) -> Any:
    """What a client's wrapper holds: `{"actual_instance": {...}, "one_of_schemas": [...]}`, with inner names in snake_case."""
    if isinstance(given, dict) and "actual_instance" in given:
        inner = given["actual_instance"]
        return present({_camel(key): each for key, each in inner.items()}) if isinstance(inner, dict) else None
    return present(given)


def present(given: Any) -> Any:
    """A configuration without members that are null."""
    return {key: each for key, each in given.items() if each is not None} if isinstance(given, dict) else given


def _camel(name: str) -> str:
    return _SNAKE.sub(lambda found: found[1].upper(), name)


def check_configuration(given: Any) -> None:
    """Raises LusidError."""
    problems = Checks()
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(given, dict):
        problems.add(CONFIGURATION, f"must be an object, not {describe(given)}", given)
    elif kind not in (*KINDS, *OWN_KINDS):
        found = (
            f"must be one of {', '.join(KINDS)}, not {describe(kind)}"
            if kind is not None
            else f"is required: one of {', '.join(KINDS)}"
        )
        problems.add(f"{CONFIGURATION}.type", found, kind)
    else:
        _check_kind(problems, kind, given)
    problems.raise_any()


def _check_kind(problems: Checks, kind: str, given: Mapping[str, Any]) -> None:
    if kind == "HealthCheck":
        _check_url(problems, given.get("url"))
    elif kind == "Http":
        _check_http(problems, given)
    elif kind == "Queue":
        queue = given.get("queue")
        if not isinstance(queue, str) or not 0 < len(queue) <= MAX_QUEUE or queue.startswith("@"):
            expected = f"must be a text of 1 to {MAX_QUEUE} characters that does not begin with @"
            problems.add(f"{CONFIGURATION}.queue", f"{expected}, not {describe(queue)}", queue)
    elif kind == "LuminesceView":
        name = given.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_VIEW:
            problems.add(f"{CONFIGURATION}.name", f"must be a text of 1 to {MAX_VIEW} characters, not {describe(name)}", name)
    elif kind == "HorizonIntegration":
        instance = given.get("integrationInstanceId")
        if not isinstance(instance, str) or not instance:
            problems.add(
                f"{CONFIGURATION}.integrationInstanceId",
                f"must be a text that is not empty, not {describe(instance)}",
                instance,
            )
    elif kind == "SchedulerJob":
        try:
            decode.convert(given.get("jobId"), ResourceId)
        except PeltonError as error:
            problems.include(f"{CONFIGURATION}.jobId", error.problems)


def _check_url(problems: Checks, url: Any) -> None:
    if not isinstance(url, str) or len(url) > MAX_URL or not _is_url(url):
        expected = f"must be an http or https URL of at most {MAX_URL} characters"
        problems.add(f"{CONFIGURATION}.url", f"{expected}, not {describe(url)}", url)


def _check_http(problems: Checks, given: Mapping[str, Any]) -> None:
    method, headers = given.get("method", "POST"), given.get("headers", {})
    _check_url(problems, given.get("url"))
    if method not in METHODS:
        problems.add(f"{CONFIGURATION}.method", f"must be one of {', '.join(METHODS)}, not {describe(method)}", method)
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        problems.add(f"{CONFIGURATION}.headers", "must be an object of texts")


def known_to_clients(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as the published API can have it."""
    return {"type": "Library"} if configuration["type"] in OWN_KINDS else dict(configuration)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def parameters_of(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run of the worker takes."""
    if configuration["type"] == "Sleep":
        return [
            {
                "type": "Decimal",
                "name": SLEEP,
                "displayName": "Sleep time",
                "description": "Seconds until the worker completes",
                "required": False,
                "defaultValue": "1",
            }
        ]
    return []


def result_fields_of(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The columns of a run's results, where they are known."""
    if configuration["type"] == "HealthCheck":
        return [{"name": "HttpStatusCode", "type": "String", "displayName": "HTTP status code"}]
    return []
