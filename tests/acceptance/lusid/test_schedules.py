"""Handlers that act at times. Times of day have minutes, so the clocks of the servers are ahead: the first has some minutes for
the preparations, the next starts just before all is due at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.acceptance.lusid.world import HANDLERS, World, creates, fields_of, merged, serving, updates
from tests.acceptance.official import unique

CALENDARS = "/workflow/api/calendars"
PREPARING = timedelta(minutes=5)
JUST_BEFORE = timedelta(seconds=1)


def until(moment: datetime) -> float:
    """Seconds from now."""
    return (moment - datetime.now(UTC)).total_seconds()


def pattern(at: datetime, *calendars: str, adjustment: str = "None") -> dict[str, Any]:
    return {
        "context": {"timeZone": "UTC", "holidayCalendars": [{"scope": "acme", "code": code} for code in calendars]},
        "recurrencePattern": {
            "timeConstraints": {
                "startDate": f"{at - timedelta(days=1):%Y-%m-%d}",
                "timesOfDay": [{"type": "Specified", "hours": at.hour, "minutes": at.minute}],
            },
            "dateRegularity": {"type": "Day", "frequency": 1},
            "businessDayAdjustment": adjustment,
        },
    }


def scheduled(world: World, definition: Any, given: Any, activity: Any, **more: Any) -> dict[str, Any]:
    base = world.handler_of(definition, "Unused", activity, scheduleMatchingPattern=given, **more)
    return merged(base, eventMatchingPattern=...)


def shifted(days: int, hours: int) -> dict[str, Any]:
    return {
        "dateAdjustment": {"deltaDays": days, "businessDayAdjustment": "None"},
        "timeAdjustment": {"setTo": {"type": "Specified", "hours": hours, "minutes": 30}},
    }


def test_what_is_due_happens_once_and_what_is_not_does_not(tmp_path: Path) -> None:
    at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=10)
    with serving(tmp_path, ahead=until(at - PREPARING)) as world:
        today = f"{at:%Y-%m-%d}"
        definition = world.definition()
        world.ask("PUT", f"{CALENDARS}/acme/closed", {"dates": [today], "weekends": []})
        world.ask("PUT", f"{CALENDARS}/acme/opened", {"dates": [today], "weekends": []})
        assert world.ask("GET", f"{CALENDARS}/acme/closed")["dates"] == [today]

        def handler(path: str, given: Any, **more: Any) -> dict[str, Any]:
            activity = creates({"path": path}, scheduleDependentTaskFields={"due": shifted(-1, 9)})
            return scheduled(world, definition, given, activity, **more)

        open_ = world.task(definition, path="old", rows=1)
        plain = handler("plain", pattern(at))
        name = world.made(plain)
        assert world.ask("GET", f"{HANDLERS}/{name}")["scheduleMatchingPattern"] == plain["scheduleMatchingPattern"]
        world.made(handler("inactive", pattern(at), status="Inactive"))
        stopped, gone, woken = (handler(path, pattern(at)) for path in ("stopped", "gone", "woken"))
        world.put(world.made(stopped), merged(stopped, status="Inactive"))
        world.ask("DELETE", f"{HANDLERS}/{world.made(gone)}")
        late = world.made(merged(woken, status="Inactive"))
        world.put(late, woken)
        world.made(handler("closed", pattern(at, "closed", adjustment="Following")))
        world.made(handler("opened", pattern(at, "opened", adjustment="Following")))
        world.ask("PUT", f"{CALENDARS}/acme/opened", {"dates": [], "weekends": []})
        world.made(handler("tomorrow", pattern(at + timedelta(minutes=5))))
        moved = handler("moved", pattern(at + timedelta(minutes=5)))
        world.put(world.made(moved), merged(moved, scheduleMatchingPattern=pattern(at)))
        world.made(scheduled(world, definition, pattern(at), updates("finish", "fields['path'] eq 'old'")))
        forged = world.post("lusid.schedule", {"handler": name, "scheduledTime": f"{at:%Y-%m-%dT%H:%M:%SZ}", "holidays": {}})
        assert forged["state"] in ("unmatched", "failed")
        assert [fields_of(task)["path"] for task in world.tasks(definition)] == ["old"]

    with serving(tmp_path, ahead=until(at - JUST_BEFORE)) as world:  # another process: what is due is kept
        wanted = ["moved", "opened", "plain", "woken"]
        world.wait(lambda: len(world.tasks(definition)) > len(wanted), "what is due happens")
        world.wait(lambda: world.get(open_)["state"] == "Closed", "the open task is told")
        made = {fields_of(task)["path"]: task for task in world.tasks(definition)}
        assert sorted(made) == [*wanted[:1], "old", *wanted[1:]]
        assert len(world.tasks(definition)) == len(wanted) + 1
        for path in wanted:
            assert fields_of(made[path])["due"] == f"{at - timedelta(days=1):%Y-%m-%d}T09:30:00.0000000+00:00"
            assert made[path]["version"]["userIdCreated"] == "robot"
        events = world.ask("GET", "/v1/events", type="lusid.schedule", limit=100)["events"]
        due = [each for each in events if each["source"] == "pelton"]
        assert len(due) == 5
        assert min(each["received"] for each in due) >= at.timestamp() * 1_000  # by the server's clock

    with serving(tmp_path, ahead=until(at)) as world:  # once, also after another start
        assert len(world.tasks(definition)) == 5


def test_schedules_that_cannot_be_are_refused(world: World) -> None:
    at = datetime.now(UTC)
    definition = world.definition()
    good = pattern(at)
    recurrence = good["recurrencePattern"]
    bad: list[tuple[Any, str]] = [
        (merged(good, context={"timeZone": "Mars/Base", "holidayCalendars": []}), "timeZone"),
        (pattern(at, unique("absent")), "holidayCalendars"),
        (merged(good, recurrencePattern=merged(recurrence, businessDayAdjustment="Sideways")), "businessDayAdjustment"),
        (merged(good, recurrencePattern=merged(recurrence, dateRegularity={"type": "Hour", "frequency": 1})), "dateRegularity"),
        (merged(good, recurrencePattern=merged(recurrence, dateRegularity={"type": "Day", "frequency": 0})), "frequency"),
        (
            merged(good, recurrencePattern=merged(recurrence, timeConstraints={"startDate": "soon", "timesOfDay": []})),
            "startDate",
        ),
        (merged(good, recurrencePattern=...), "recurrencePattern"),
        ("daily", "scheduleMatchingPattern"),
    ]
    for given, word in bad:
        sent = scheduled(world, definition, given, creates())
        said = world.refused("POST", HANDLERS, sent)
        assert word in str(said["errors"]), said
        world.refused("GET", f"{HANDLERS}/acme/{sent['id']['code']}", status=404)
    shifts = {"path": shifted(0, 9)}
    said = world.refused("POST", HANDLERS, scheduled(world, definition, good, creates(scheduleDependentTaskFields=shifts)))
    assert "DateTime" in str(said["errors"])
    said = world.refused(
        "POST", HANDLERS, world.handler_of(definition, "A", creates(scheduleDependentTaskFields={"due": shifted(0, 9)}))
    )
    assert "scheduleMatchingPattern" in str(said["errors"])
    said = world.refused(
        "POST", HANDLERS, scheduled(world, definition, good, creates(), runAsUserId={"mapFrom": "header.userId"})
    )
    assert "runAsUserId.mapFrom" in said["errors"]
