"""Cron expressions: what they are about, in zones, around changes of the clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pelton.kernel.schedules.cron import CronInvalid, parse_cron

BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str, zone: ZoneInfo | None = None) -> int:
    found = datetime.fromisoformat(text)
    return int(found.replace(tzinfo=found.tzinfo or zone or UTC).timestamp() * 1000)


def following(expression: str, start: str, count: int, zone: ZoneInfo | None = None) -> list[str]:
    cron, at, found = parse_cron(expression), ms(start, zone), list[str]()
    for _ in range(count):
        later = cron.next_after(at, zone or UTC)
        if later is None:
            return found
        assert later > at
        at = later
        shown = datetime.fromtimestamp(at / 1000, zone or UTC)
        found.append(shown.isoformat() if zone else shown.replace(tzinfo=None).isoformat())
    return found


CASES = [
    ("* * * * * ?", "2026-01-01T00:00:00", ["2026-01-01T00:00:01", "2026-01-01T00:00:02"]),
    ("0 0 * * * ?", "2026-01-01T22:30:00", ["2026-01-01T23:00:00", "2026-01-02T00:00:00"]),
    ("0 */15 9-10 * * MON-FRI", "2026-01-02T10:40:00", ["2026-01-02T10:45:00", "2026-01-05T09:00:00"]),
    ("30 5/20 * * * *", "2026-01-01T00:05:30", ["2026-01-01T00:25:30", "2026-01-01T00:45:30", "2026-01-01T01:05:30"]),
    ("0 0 12 29 2 ?", "2026-01-01T00:00:00", ["2028-02-29T12:00:00", "2032-02-29T12:00:00"]),
    ("0 0 0 29 2 ?", "2096-03-01T00:00:00", ["2104-02-29T00:00:00"]),
    ("0 0 0 30 2 ?", "2026-01-01T00:00:00", []),
    ("0 0 0 L * ?", "2026-01-31T00:00:00", ["2026-02-28T00:00:00", "2026-03-31T00:00:00"]),
    ("0 0 0 L-2 * ?", "2026-01-01T00:00:00", ["2026-01-29T00:00:00", "2026-02-26T00:00:00"]),
    ("0 0 0 LW * ?", "2026-01-01T00:00:00", ["2026-01-30T00:00:00", "2026-02-27T00:00:00"]),
    ("0 0 0 1W * ?", "2026-01-02T00:00:00", ["2026-02-02T00:00:00", "2026-03-02T00:00:00"]),
    ("0 0 0 15W * ?", "2026-02-01T00:00:00", ["2026-02-16T00:00:00", "2026-03-16T00:00:00"]),
    ("0 0 0 ? * 5L", "2026-01-01T00:00:00", ["2026-01-30T00:00:00", "2026-02-27T00:00:00"]),
    ("0 0 0 ? * MON#2", "2026-01-01T00:00:00", ["2026-01-12T00:00:00", "2026-02-09T00:00:00"]),
    ("0 0 0 ? * 7", "2026-01-01T00:00:00", ["2026-01-04T00:00:00"]),
    ("0 0 0 ? * FRI-SUN", "2026-01-01T00:00:00", ["2026-01-02T00:00:00", "2026-01-03T00:00:00", "2026-01-04T00:00:00"]),
    ("0 0 0 13 * FRI", "2026-01-01T00:00:00", ["2026-02-13T00:00:00", "2026-03-13T00:00:00"]),
    ("0 0 0 1 JAN,JUL *", "2026-01-01T00:00:00", ["2026-07-01T00:00:00", "2027-01-01T00:00:00"]),
    ("@daily", "2026-01-01T00:00:00", ["2026-01-02T00:00:00"]),
    ("@hourly", "2026-01-01T00:00:00", ["2026-01-01T01:00:00"]),
    ("0 59 * 31 12 ?", "2026-12-31T23:59:00", ["2027-12-31T00:59:00"]),
    ("0 0 * 1 1 ?", "2026-01-01T23:30:00", ["2027-01-01T00:00:00", "2027-01-01T01:00:00"]),
]


@pytest.mark.parametrize(("expression", "start", "expected"), CASES)
def test_what_an_expression_is_about(expression: str, start: str, expected: list[str]) -> None:
    assert following(expression, start, max(len(expected), 1)) == expected


def test_around_changes_of_the_clock() -> None:
    spring = "2026-03-28T12:00:00"
    assert following("0 30 2 * * ?", spring, 2, BERLIN) == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    autumn = "2026-10-24T12:00:00"
    assert following("0 30 2 * * ?", autumn, 2, BERLIN) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    hourly = following("0 0 * * * ?", "2026-10-25T00:30:00", 4, BERLIN)
    assert hourly == [f"2026-10-25T{time}" for time in ("01:00:00+02:00", "02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00")]
    assert following("0 0 * * * ?", "2026-03-29T00:30:00", 3, BERLIN) == [
        f"2026-03-29T{time}" for time in ("01:00:00+01:00", "03:00:00+02:00", "04:00:00+02:00")
    ]


BAD = (
    *("", "* * * * *", "60 * * * * *", "* * * * * 8", "a * * * * *", "* * * 0 * *", "5-1 * * * * *", "*/0 * * * * *"),
    *("* * * * FOO *", "* * * L-31 * *", "* * * * * MON#6", "* * * W * *", "1,, * * * * *", "* * * * * * 2026", "x" * 501),
)


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_expression(bad: str) -> None:
    with pytest.raises(CronInvalid):
        parse_cron(bad)


def test_against_looking_at_every_minute() -> None:
    chance = random.Random(5)
    minutes = {"*": range(60), "*/7": range(0, 60, 7), "3": [3], "10-20": range(10, 21), "5,50": [5, 50]}
    hours = {"*": range(24), "*/5": range(0, 24, 5), "0": [0], "22-23": [22, 23], "2": [2]}
    weeks = {"*": range(7), "MON": [0], "SAT,SUN": [5, 6], "1-5": range(5)}
    days = {"*": range(1, 32), "1": [1], "*/3": range(1, 32, 3)}
    for _ in range(60):
        minute, hour, week, day = (chance.choice(list(each)) for each in (minutes, hours, weeks, days))
        at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(60 * 24 * 40))
        found = parse_cron(f"0 {minute} {hour} {day} * {week}").next_after(int(at.timestamp() * 1000), UTC)
        look = at + timedelta(minutes=1)
        while not (
            (look.minute in minutes[minute] and look.hour in hours[hour])
            and (look.weekday() in weeks[week] and look.day in days[day])
        ):
            look += timedelta(minutes=1)
        assert found == int(look.timestamp() * 1000)
