"""Workers over plain HTTP."""

from __future__ import annotations

from typing import Any

from tests.languages.lusid.api import SLEEPER, WORKERS, Api, changed, named, update_of

ONE = f"{WORKERS}/acme/sleeper"
CONFIGURATION = "workerConfiguration"


async def test_configurations_are_echoed_exactly(api: Api) -> None:
    given = {"type": "LuminesceView", "name": "v", "extra": {"deep": [1, None, {"x": None}]}, "other": 1.5}
    made = await api.made(WORKERS, {**SLEEPER, CONFIGURATION: {**given, "nothing": None}, "description": None})
    assert made[CONFIGURATION] == given
    assert (await api.ok("GET", ONE))[CONFIGURATION] == given
    assert "description" not in made
    for key in ("version", "parameters", "resultFields", "links", "id"):
        assert made[key] is not None


async def test_what_a_client_wraps_is_unwrapped(api: Api) -> None:
    await api.made(WORKERS, SLEEPER)
    wrapped = {
        "actual_instance": {"type": "SchedulerJob", "job_id": {"scope": "s", "code": "c"}},
        "one_of_schemas": ["SchedulerJob"],
    }
    done = await api.ok("PUT", ONE, update_of(SLEEPER, workerConfiguration=wrapped))
    assert done[CONFIGURATION] == {"type": "SchedulerJob", "jobId": {"scope": "s", "code": "c"}}


WRONG: list[tuple[str, Any, str]] = [
    ("displayName", "", "displayName"),
    ("displayName", "x" * 513, "displayName"),
    ("description", "x" * 1025, "description"),
    (CONFIGURATION, ..., CONFIGURATION),
    (CONFIGURATION, None, CONFIGURATION),
    (CONFIGURATION, "Sleep", CONFIGURATION),
    (CONFIGURATION, {}, "workerConfiguration.type"),
    (CONFIGURATION, {"type": "Library"}, "workerConfiguration.type"),
    (CONFIGURATION, {"type": 5}, "workerConfiguration.type"),
    (CONFIGURATION, {"type": ["Sleep"]}, "workerConfiguration.type"),
    (CONFIGURATION, {"type": "HealthCheck"}, "workerConfiguration.url"),
    (CONFIGURATION, {"type": "HealthCheck", "url": "ftp://x"}, "workerConfiguration.url"),
    (CONFIGURATION, {"type": "HealthCheck", "url": "http://["}, "workerConfiguration.url"),
    (CONFIGURATION, {"type": "HealthCheck", "url": "http://x/" + "y" * 2048}, "workerConfiguration.url"),
    (CONFIGURATION, {"type": "LuminesceView", "name": ""}, "workerConfiguration.name"),
    (CONFIGURATION, {"type": "SchedulerJob"}, "workerConfiguration.jobId"),
    (CONFIGURATION, {"type": "SchedulerJob", "jobId": {"scope": "s"}}, "workerConfiguration.jobId.code"),
    (CONFIGURATION, {"type": "HorizonIntegration"}, "workerConfiguration.integrationInstanceId"),
    (CONFIGURATION, {"actual_instance": None}, CONFIGURATION),
    (CONFIGURATION, {"actual_instance": {"type": "Nothing"}}, "workerConfiguration.type"),
]


async def test_what_is_wrong_is_refused_with_its_field(api: Api) -> None:
    for path, value, field in WRONG:
        found = await api.refused(400, "POST", WORKERS, changed(SLEEPER, path, value))
        assert list(found["errors"]) == [field], (value, found)
    assert (await api.ok("GET", WORKERS))["values"] == []
    await api.refused(404, "PUT", ONE, update_of(SLEEPER))
    await api.refused(404, "DELETE", ONE)


async def test_begun_again_after_a_deletion(api: Api) -> None:
    first = await api.made(WORKERS, SLEEPER)
    second = await api.ok("PUT", ONE, update_of(SLEEPER))
    assert second["version"]["asAtVersionNumber"] == 2
    gone = await api.ok("DELETE", ONE)
    again = await api.made(WORKERS, SLEEPER)
    assert again["version"]["asAtVersionNumber"] == 1
    assert again["version"]["asAtCreated"] > gone["asAt"] > second["version"]["asAtModified"]
    await api.refused(404, "GET", ONE, asAt=gone["asAt"])
    assert await api.ok("GET", ONE, asAt=first["version"]["asAtModified"]) == first
    await api.made(WORKERS, named(SLEEPER, "second"))
    listed = await api.ok("GET", WORKERS, asAt=second["version"]["asAtModified"])
    assert listed["values"] == [second]
