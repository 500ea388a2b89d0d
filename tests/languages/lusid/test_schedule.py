"""Schedules against an oracle that goes through all days one by one, and by cases that people know from calendars."""

from __future__ import annotations

import copy
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.patience import at_most

from pelton.errors import Code
from pelton.kernel.schedules.calendars import Calendar, is_business_day, union
from pelton.kernel.schedules.calendars import adjusted as adjusted_by
from pelton.kernel.schedules.instants import instant
from pelton.languages.lusid.schedules.calendars import (
    ADJUSTMENTS,
    WEEKDAYS,
    AdjustmentName,
    adjustment_of,
    calendar_body,
    parse_calendar,
)
from pelton.languages.lusid.schedules.conversion import ScheduleError
from pelton.languages.lusid.schedules.schedule import (
    CutTime,
    Pattern,
    dependent_fields,
    parse_dependent,
    parse_pattern,
    restored,
)
from pelton.languages.lusid.times import print_milliseconds
from pelton.transport.zones import known_zones

DAY = timedelta(days=1)
ZONES = ["Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC", "America/Sao_Paulo"]
LONDON = ZoneInfo("Europe/London")


def adjusted(day: date, how: AdjustmentName, calendar: Calendar) -> date | None:
    return adjusted_by(day, adjustment_of(how), calendar)


def none(scope: str, code: str) -> Calendar | None:
    return None


def only(calendar: Calendar) -> Callable[[str, str], Calendar | None]:
    return lambda scope, code: calendar if (scope, code) == ("s", "c") else None


def at(hours: int, minutes: int = 0) -> dict[str, Any]:
    return {"type": "Specified", "hours": hours, "minutes": minutes}


def request(
    rule: dict[str, Any],
    *times: dict[str, Any],
    start: str = "2026-01-01",
    end: str | None = None,
    zone: str = "Europe/London",
    how: str = "None",
    calendars: Any = None,
) -> dict[str, Any]:
    return {
        "context": {"timeZone": zone, "holidayCalendars": calendars},
        "recurrencePattern": {
            "timeConstraints": {"startDate": start, "endDate": end, "timesOfDay": list(times) or [at(9)]},
            "dateRegularity": rule,
            "businessDayAdjustment": how,
        },
    }


def pattern(rule: dict[str, Any], *times: dict[str, Any], **more: Any) -> Pattern:
    return parse_pattern(request(rule, *times, **more))


def occurrences(pattern: Pattern, count: int, after: int | None = None, calendar: Calendar | None = None) -> list[str]:
    """The next ones, as local times."""
    found: list[str] = []
    last = -(1 << 60) if after is None else after
    while len(found) < count:
        due = pattern.next_after(last, only(calendar) if calendar is not None else none)
        if due is None:
            break
        assert due > last
        last = due
        found.append(datetime.fromtimestamp(due / 1000, ZoneInfo(pattern.zone)).strftime("%Y-%m-%d %H:%M"))
    return found


def days(pattern: Pattern, count: int, **more: Any) -> list[str]:
    return [text[:10] for text in occurrences(pattern, count, **more)]


# ---- rules


def test_every_other_day_counts_from_the_start() -> None:
    every = pattern({"type": "Day", "frequency": 2}, start="2026-02-26")
    assert days(every, 3) == ["2026-02-26", "2026-02-28", "2026-03-02"]
    later = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp() * 1000)
    first = date.fromisoformat(days(every, 1, after=later)[0])
    assert (first - date(2026, 2, 26)).days % 2 == 0


def test_weeks_begin_on_monday_and_the_first_is_that_of_the_start() -> None:
    # 2026-01-01 is a Thursday: its week has a Friday left; the Monday of that week was before the start
    every = pattern({"type": "Week", "frequency": 2, "daysOfWeek": ["Friday", "Monday"]})
    assert days(every, 4) == ["2026-01-02", "2026-01-12", "2026-01-16", "2026-01-26"]


def test_days_that_a_month_does_not_have_are_left_out() -> None:
    every = pattern({"type": "SpecificMonth", "frequency": 1, "daysOfMonth": [31, 30]})
    assert days(every, 6) == ["2026-01-30", "2026-01-31", "2026-03-30", "2026-03-31", "2026-04-30", "2026-05-30"]
    quarterly = pattern({"type": "SpecificMonth", "frequency": 3, "daysOfMonth": [1]}, start="2026-02-15")
    assert days(quarterly, 3) == ["2026-05-01", "2026-08-01", "2026-11-01"]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("First", ["2026-01-01", "2026-01-05", "2026-02-02", "2026-02-05"]),
        ("Second", ["2026-01-08", "2026-01-12", "2026-02-09", "2026-02-12"]),
        ("Fourth", ["2026-01-22", "2026-01-26", "2026-02-23", "2026-02-26"]),
        ("Last", ["2026-01-26", "2026-01-29", "2026-02-23", "2026-02-26"]),
    ],
)
def test_days_by_their_place_in_the_month(index: str, expected: list[str]) -> None:
    rule = {"type": "RelativeMonth", "frequency": 1, "daysOfWeek": ["Monday", "Thursday"], "index": index}
    assert days(pattern(rule), 4) == expected


def test_the_last_day_of_a_month_is_the_last_of_its_last_weekdays() -> None:
    rule = {"type": "RelativeMonth", "frequency": 1, "daysOfWeek": list(WEEKDAYS), "index": "Last"}
    found = days(pattern(rule, start="2024-02-01"), 7)
    assert found == [f"2024-02-{day}" for day in range(23, 30)]


def test_leap_days_come_in_leap_years_only() -> None:
    yearly = pattern({"type": "Year", "dates": [{"month": 2, "day": 29}]}, start="2095-01-01")
    assert days(yearly, 2) == ["2096-02-29", "2104-02-29"]
    monthly = pattern({"type": "SpecificMonth", "frequency": 12, "daysOfMonth": [29]}, start="2097-02-01")
    assert days(monthly, 2) == ["2104-02-29", "2108-02-29"]


def test_several_dates_of_a_year_come_in_their_order() -> None:
    dates = [{"month": 12, "day": 25}, {"month": 1, "day": 1}, {"month": 12, "day": 25}]
    assert days(pattern({"type": "Year", "dates": dates}, start="2026-01-02"), 3) == ["2026-12-25", "2027-01-01", "2027-12-25"]


def test_the_end_date_is_the_last_day() -> None:
    every = pattern({"type": "Day", "frequency": 1}, at(0), at(23, 59), end="2026-01-02")
    assert occurrences(every, 9) == ["2026-01-01 00:00", "2026-01-01 23:59", "2026-01-02 00:00", "2026-01-02 23:59"]


def test_nothing_happens_outside_start_and_end_after_adjusting_either() -> None:
    # 2026-01-03 is a Saturday
    back = pattern({"type": "Day", "frequency": 1}, start="2026-01-03", end="2026-01-06", how="Previous")
    assert days(back, 9) == ["2026-01-05", "2026-01-06"]
    on = pattern({"type": "Day", "frequency": 1}, start="2026-01-02", end="2026-01-04", how="Following")
    assert days(on, 9) == ["2026-01-02"]


def test_dates_before_the_start_are_not_moved_into_it() -> None:
    saturdays = pattern({"type": "Week", "frequency": 1, "daysOfWeek": ["Saturday"]}, start="2026-01-04", how="Following")
    assert days(saturdays, 2) == ["2026-01-12", "2026-01-19"]


# ---- days without business


def test_dates_that_are_moved_to_one_day_are_one_occurrence() -> None:
    every = pattern({"type": "Day", "frequency": 1}, start="2026-01-02", how="Following")
    assert days(every, 4) == ["2026-01-02", "2026-01-05", "2026-01-06", "2026-01-07"]


@pytest.mark.parametrize(
    ("how", "day", "expected"),
    [
        ("None", "2026-05-31", "2026-05-31"),  # a Sunday at a month's end
        ("Following", "2026-05-31", "2026-06-01"),
        ("Previous", "2026-05-31", "2026-05-29"),
        ("ModifiedFollowing", "2026-05-31", "2026-05-29"),
        ("ModifiedPrevious", "2026-05-31", "2026-05-29"),
        ("HalfMonthModifiedFollowing", "2026-05-31", "2026-05-29"),
        ("Nearest", "2026-05-31", "2026-06-01"),
        ("Nearest", "2026-05-30", "2026-05-29"),
        ("ModifiedPrevious", "2026-02-01", "2026-02-02"),  # a Sunday at a month's beginning
        ("Previous", "2026-02-01", "2026-01-30"),
        ("HalfMonthModifiedFollowing", "2026-02-15", "2026-02-13"),  # a Sunday in the middle
        ("ModifiedFollowing", "2026-02-15", "2026-02-16"),
        ("HalfMonthModifiedFollowing", "2026-02-14", "2026-02-13"),
        ("HalfMonthModifiedFollowing", "2026-08-16", "2026-08-17"),
    ],
)
def test_adjustments(how: AdjustmentName, day: str, expected: str) -> None:
    found = adjusted(date.fromisoformat(day), how, Calendar())
    assert found == date.fromisoformat(expected)


def test_of_two_equally_near_days_the_later_one_is_taken() -> None:
    holiday = Calendar(frozenset({date(2026, 1, 7)}))
    assert adjusted(date(2026, 1, 7), "Nearest", holiday) == date(2026, 1, 8)


def test_holidays_and_other_weekends() -> None:
    calendar = parse_calendar({"dates": ["2026-01-05"], "weekends": ["Friday", "Saturday"]})
    rule = {"type": "Week", "frequency": 1, "daysOfWeek": ["Friday", "Monday"]}
    every = pattern(rule, how="Following", calendars=[{"scope": "s", "code": "c"}])
    assert days(every, 4, calendar=calendar) == ["2026-01-04", "2026-01-06", "2026-01-11", "2026-01-12"]


def test_a_date_of_an_earlier_period_may_still_be_to_come() -> None:
    closed = Calendar(frozenset(date(2026, 1, day) for day in range(12, 28)))
    rule = {"type": "Week", "frequency": 3, "daysOfWeek": ["Saturday"]}
    every = pattern(rule, how="Following", start="2026-01-10", calendars=[{"scope": "s", "code": "c"}])
    almost = int(datetime(2026, 1, 28, 8, tzinfo=UTC).timestamp() * 1000)
    assert days(every, 2, after=almost, calendar=closed) == ["2026-01-28", "2026-02-02"]


def test_several_calendars_are_their_union() -> None:
    both = union([Calendar(frozenset({date(2026, 1, 5)}), frozenset()), Calendar(frozenset({date(2026, 1, 6)}), frozenset({2}))])
    assert [day for day in range(1, 13) if not is_business_day(date(2026, 1, day), both)] == [5, 6, 7]
    assert union([]) == Calendar()


def test_a_calendar_that_is_not_there_is_named() -> None:
    every = pattern({"type": "Day", "frequency": 1}, calendars=[{"scope": "s", "code": "c"}, {"scope": "s", "code": "d"}])
    with pytest.raises(ScheduleError, match="s/d") as caught:
        every.next_after(0, only(Calendar()))
    assert caught.value.path == "scheduleMatchingPattern.context.holidayCalendars[1]"
    assert every.calendars == [("s", "c"), ("s", "d")]


def test_where_there_is_no_business_at_all_nothing_happens_and_that_quickly() -> None:
    first = date(2026, 1, 1)
    never = Calendar(frozenset(first + n * DAY for n in range(2000)), frozenset())
    for how in ADJUSTMENTS[1:]:
        every = pattern({"type": "Day", "frequency": 1}, how=how, calendars=[{"scope": "s", "code": "c"}])
        with at_most(0.5):
            assert every.next_after(0, only(never)) is None


def test_calendars_are_checked_and_come_back() -> None:
    whole = {"dates": ["2026-12-25", "2026-01-01"], "weekends": ["Sunday", "Saturday"]}
    stored = calendar_body(parse_calendar(whole))
    assert stored == {"dates": ["2026-01-01", "2026-12-25"], "weekends": ["Saturday", "Sunday"]}
    assert calendar_body(parse_calendar(stored)) == stored
    assert parse_calendar({"weekends": []}).weekends == frozenset()
    assert parse_calendar({"dates": None, "weekends": None}) == Calendar()
    for bad, path in (
        ({"dates": ["25.12.2026"]}, "c.dates[0]"),
        ({"dates": "2026-12-25"}, "c.dates"),
        ({"weekends": ["Sun"]}, "c.weekends[0]"),
        ({"weekends": list(WEEKDAYS)}, "c.weekends"),
        ({"dates": ["2026-01-01"] * 20_001}, "c.dates"),
        ([], "c"),
    ):
        with pytest.raises(ScheduleError) as caught:
            parse_calendar(bad, "c")
        assert caught.value.path == path
        assert len(caught.value.message) < 400


@given(
    st.dates(date(2023, 12, 1), date(2025, 3, 1)),
    st.sampled_from(ADJUSTMENTS),
    st.frozensets(st.dates(date(2023, 12, 1), date(2025, 3, 1)), max_size=60),
    st.frozensets(st.integers(0, 6), max_size=4),
)
def test_moved_dates_stay_in_order_and_land_on_business_days(
    day: date, how: AdjustmentName, holidays: frozenset[date], weekends: frozenset[int]
) -> None:
    calendar = Calendar(holidays, weekends)
    here, next_one = adjusted(day, how, calendar), adjusted(day + DAY, how, calendar)
    if here is not None and next_one is not None:
        assert here <= next_one
    if here is not None and how != "None":
        assert is_business_day(here, calendar)


# ---- clocks that are changed


@pytest.mark.parametrize(
    ("zone", "day", "clock", "expected"),
    [
        ("Europe/London", date(2026, 3, 29), time(1, 30), "2026-03-29T01:00:00.0000000+00:00"),  # 01:00 to 02:00 is left out
        ("Europe/London", date(2026, 3, 29), time(0, 59), "2026-03-29T00:59:00.0000000+00:00"),
        ("Europe/London", date(2026, 3, 29), time(2, 0), "2026-03-29T01:00:00.0000000+00:00"),
        ("Europe/London", date(2026, 10, 25), time(1, 30), "2026-10-25T00:30:00.0000000+00:00"),  # comes twice: the first
        ("Europe/London", date(2026, 10, 25), time(2, 0), "2026-10-25T02:00:00.0000000+00:00"),
        ("America/New_York", date(2026, 3, 8), time(2, 30), "2026-03-08T07:00:00.0000000+00:00"),
        ("America/New_York", date(2026, 11, 1), time(1, 30), "2026-11-01T05:30:00.0000000+00:00"),
        ("Australia/Lord_Howe", date(2026, 10, 4), time(2, 15), "2026-10-03T15:30:00.0000000+00:00"),  # by half an hour
        ("Australia/Lord_Howe", date(2026, 4, 5), time(1, 45), "2026-04-04T14:45:00.0000000+00:00"),
        ("Pacific/Apia", date(2011, 12, 30), time(9, 0), "2011-12-30T10:00:00.0000000+00:00"),  # a day that was left out
    ],
)
def test_local_times(zone: str, day: date, clock: time, expected: str) -> None:
    assert print_milliseconds(instant(day, clock, ZoneInfo(zone))) == expected


@examples(60)
@given(st.sampled_from(ZONES), st.dates(date(2010, 1, 1), date(2030, 12, 31)), st.integers(0, 95))
@example("Europe/London", date(2026, 3, 29), 5)
@example("Australia/Lord_Howe", date(2026, 10, 4), 9)
@example("Australia/Lord_Howe", date(2026, 4, 5), 7)
@example("Pacific/Apia", date(2011, 12, 30), 50)
def test_a_local_time_is_the_first_instant_at_which_the_clock_shows_it_or_more(zone: str, day: date, quarter: int) -> None:
    wanted = datetime.combine(day, time(quarter // 4, quarter % 4 * 15))
    place = ZoneInfo(zone)
    candidate = wanted.replace(tzinfo=UTC) - timedelta(hours=30)
    while candidate.astimezone(place).replace(tzinfo=None) < wanted:
        candidate += timedelta(minutes=15)
    assert instant(day, wanted.time(), place) == candidate.timestamp() * 1000


def test_a_daily_time_in_the_gap_and_twice_in_a_day() -> None:
    every = pattern({"type": "Day", "frequency": 1}, at(1, 30), at(1, 45), start="2026-03-28", end="2026-03-30")
    assert occurrences(every, 9) == [
        "2026-03-28 01:30", "2026-03-28 01:45", "2026-03-29 02:00", "2026-03-30 01:30", "2026-03-30 01:45",
    ]  # fmt: skip
    autumn = pattern({"type": "Day", "frequency": 1}, at(1, 30), start="2026-10-24", end="2026-10-26")
    assert len(occurrences(autumn, 9)) == 3


def test_a_cut_label_has_a_zone_of_its_own() -> None:
    labels = {"Tokyo": CutTime(9, 0, 0, "Asia/Tokyo"), "Honolulu": CutTime(23, 0, 30, "Pacific/Honolulu"), "Here": CutTime(12, 0)}
    times = [
        {"type": "CutLabelReference", "code": "Tokyo"},
        {"type": "CutLabel", "code": "Honolulu"},
        {"type": "CutLabel", "code": "Here"},
    ]
    made = parse_pattern(request({"type": "Day", "frequency": 1}, *times, zone="UTC", end="2026-01-02"), cut_labels=labels)
    assert occurrences(made, 9) == [
        "2026-01-01 00:00", "2026-01-01 12:00", "2026-01-02 00:00", "2026-01-02 09:00", "2026-01-02 12:00", "2026-01-03 09:00",
    ]  # fmt: skip
    assert made.wire()["recurrencePattern"]["timeConstraints"]["timesOfDay"] == [
        {"type": "CutLabel", "code": "Tokyo"}, {"type": "CutLabel", "code": "Honolulu"}, {"type": "CutLabel", "code": "Here"},
    ]  # fmt: skip
    assert restored(made.stored()) == made


# ---- against the oracle

DAYS_OF_WEEK = st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=3)
FREQUENCY = st.integers(1, 5)
YEAR_DATES = st.lists(
    st.sampled_from([(2, 29), (2, 28), (12, 31), (1, 1), (6, 15), (3, 1)]).map(lambda each: {"month": each[0], "day": each[1]}),
    min_size=1,
    max_size=3,
)
RULES = st.one_of(
    st.fixed_dictionaries({"type": st.just("Day"), "frequency": FREQUENCY}),
    st.fixed_dictionaries({"type": st.just("Week"), "frequency": FREQUENCY, "daysOfWeek": DAYS_OF_WEEK}),
    st.fixed_dictionaries(
        {
            "type": st.just("SpecificMonth"),
            "frequency": FREQUENCY,
            "daysOfMonth": st.lists(st.sampled_from([1, 2, 15, 16, 28, 29, 30, 31]), min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("RelativeMonth"),
            "frequency": FREQUENCY,
            "daysOfWeek": DAYS_OF_WEEK,
            "index": st.sampled_from(["First", "Second", "Third", "Fourth", "Last"]),
        }
    ),
    st.fixed_dictionaries({"type": st.just("Year"), "dates": YEAR_DATES}),
)
TIMES = st.lists(st.tuples(st.integers(0, 23), st.sampled_from([0, 15, 30, 59])), min_size=1, max_size=3)
BLOCKS = st.tuples(st.dates(date(2024, 1, 1), date(2025, 3, 1)), st.integers(1, 12))
HOLIDAYS = st.lists(BLOCKS, max_size=8).map(
    lambda blocks: frozenset(day + n * DAY for day, length in blocks for n in range(length))
)
WEEKENDS = st.sampled_from([frozenset({5, 6}), frozenset({4, 5}), frozenset({6}), frozenset[int]()])


def happens(rule: dict[str, Any], start: date, day: date) -> bool:
    """Whether the rule has that day, said in another way than the module does it."""
    months = (day.year - start.year) * 12 + day.month - start.month
    match rule["type"]:
        case "Day":
            return not (day - start).days % int(rule["frequency"])
        case "Week":
            week = start
            while week.weekday() != 0:
                week -= DAY
            weeks = (day - week).days // 7
            return not weeks % int(rule["frequency"]) and WEEKDAYS[day.weekday()] in rule["daysOfWeek"]
        case "SpecificMonth":
            return not months % int(rule["frequency"]) and day.day in rule["daysOfMonth"]
        case "RelativeMonth":
            if months % rule["frequency"] or WEEKDAYS[day.weekday()] not in rule["daysOfWeek"]:
                return False
            if rule["index"] == "Last":
                return day.day + 7 > monthrange(day.year, day.month)[1]
            return ["First", "Second", "Third", "Fourth"].index(rule["index"]) == (day.day - 1) // 7
        case _:
            return {"month": day.month, "day": day.day} in rule["dates"]


def all_of(rule: dict[str, Any], times: list[tuple[int, int]], zones: list[str], start: date, end: date, move: Any) -> list[int]:
    found = set()
    day = start
    while day <= end:
        moved = move(day) if happens(rule, start, day) else None
        if moved is not None and start <= moved <= end:
            found |= {instant(moved, time(*clock), ZoneInfo(zone)) for clock, zone in zip(times, zones, strict=True)}
        day += DAY
    return sorted(found)


@examples(150)
@given(
    rule=RULES,
    times=TIMES,
    zone=st.sampled_from(ZONES),
    labels=st.lists(st.sampled_from(["", "Pacific/Kiritimati", "Pacific/Honolulu"]), min_size=3, max_size=3),
    start=st.dates(date(2024, 1, 1), date(2024, 4, 30)),
    length=st.integers(0, 320),
    how=st.sampled_from(ADJUSTMENTS),
    holidays=HOLIDAYS,
    weekends=WEEKENDS,
    data=st.data(),
)
def test_occurrences_are_those_of_a_search_day_by_day(
    rule: dict[str, Any],
    times: list[tuple[int, int]],
    zone: str,
    labels: list[str],
    start: date,
    length: int,
    how: AdjustmentName,
    holidays: frozenset[date],
    weekends: frozenset[int],
    data: st.DataObject,
) -> None:
    calendar = Calendar(holidays, weekends)
    end = start + length * DAY
    cuts = {f"L{n}": CutTime(*clock, 0, labels[n]) for n, clock in enumerate(times)}
    clock_times = [{"type": "CutLabel", "code": code} for code in cuts]
    body = request(
        rule,
        *clock_times,
        start=start.isoformat(),
        end=end.isoformat(),
        zone=zone,
        how=how,
        calendars=[{"scope": "s", "code": "c"}],
    )
    made = parse_pattern(body, cut_labels=cuts)
    zones = [labels[n] or zone for n in range(len(times))]
    expected = all_of(rule, times, zones, start, end, lambda day: adjusted(day, how, calendar))
    found: list[int] = []
    due = made.next_after(-(1 << 50), only(calendar))
    while due is not None and len(found) <= len(expected):
        found.append(due)
        due = made.next_after(due, only(calendar))
    assert found == expected
    for _ in range(5):  # the search may begin anywhere
        after = data.draw(st.sampled_from(expected or [0])) + data.draw(st.sampled_from([-86_400_000, -1, 0, 1, 3_600_000]))
        assert made.next_after(after, only(calendar)) == next((each for each in expected if each > after), None)


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "SpecificMonth", "frequency": 12, "daysOfMonth": [30, 31]},  # February only
        {"type": "SpecificMonth", "frequency": 48, "daysOfMonth": [29]},  # February of years that never leap
        {"type": "SpecificMonth", "frequency": 9999, "daysOfMonth": [31]},
        {"type": "Week", "frequency": 9999, "daysOfWeek": ["Monday"]},
        {"type": "Day", "frequency": 9999},
    ],
)
def test_rare_and_impossible_rules_are_told_quickly(rule: dict[str, Any]) -> None:
    made = pattern(rule, start="2025-02-01")
    with at_most(0.5):
        found = occurrences(made, 3, after=int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000))
    if rule["type"] == "SpecificMonth" and rule["frequency"] < 9999:
        assert found == []
    else:
        assert found
    for extreme in (-(1 << 62), 1 << 62, 253_402_300_799_999, 253_402_300_800_000):
        made.next_after(extreme, none)
    assert made.next_after(1 << 62, none) is None


def test_a_day_with_every_minute_of_it_is_cheap_to_search() -> None:
    made = pattern({"type": "Day", "frequency": 1}, *(at(n // 60, n % 60) for n in range(1440)))
    noon = int(datetime(2033, 7, 1, 11, 0, tzinfo=UTC).timestamp() * 1000)
    with at_most(0.25):
        assert made.next_after(noon, none) == noon + 60_000


# ---- what is refused


def broken(change: Callable[[dict[str, Any]], Any]) -> ScheduleError:
    body = request({"type": "Day", "frequency": 1}, at(9), {"type": "CutLabel", "code": "known"})
    change(body)
    with pytest.raises(ScheduleError) as caught:
        parse_pattern(body, cut_labels={"known": CutTime(17, 0)})
    error = caught.value
    assert error.code is Code.INVALID
    assert error.path in error.message
    assert error.remedy in error.message
    assert error.problems[0].path == error.path
    return error


def parsed(body: Any) -> Pattern | ScheduleError:
    try:
        return parse_pattern(body)
    except ScheduleError as error:
        return error


def rule_of(**rule: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda body: body["recurrencePattern"].update(dateRegularity=rule)


def constraints(**members: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda body: body["recurrencePattern"]["timeConstraints"].update(members)


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        (lambda body: body.pop("context"), "context", None),
        (lambda body: body.update(context=None), "context", None),
        (lambda body: body.update(context=[]), "context", []),
        (lambda body: body["context"].update(timeZone="Europe/Lodnon"), "context.timeZone", "Europe/Lodnon"),
        (lambda body: body["context"].update(timeZone="../../etc/passwd"), "context.timeZone", "../../etc/passwd"),
        (lambda body: body["context"].update(timeZone=""), "context.timeZone", ""),
        (lambda body: body["context"].update(timeZone="localtime"), "context.timeZone", "localtime"),
        (lambda body: body["context"].update(holidayCalendars=[{"scope": "s"}]), "context.holidayCalendars[0].code", None),
        (
            lambda body: body["context"].update(holidayCalendars=[{"scope": "a b", "code": "c"}]),
            "context.holidayCalendars[0].scope",
            "a b",
        ),
        (lambda body: body.pop("recurrencePattern"), "recurrencePattern", None),
        (constraints(startDate="2026-02-30"), "recurrencePattern.timeConstraints.startDate", "2026-02-30"),
        (constraints(startDate="2026-02-03T00:00:00Z"), "recurrencePattern.timeConstraints.startDate", "2026-02-03T00:00:00Z"),
        (constraints(startDate="1066-10-14"), "recurrencePattern.timeConstraints.startDate", "1066-10-14"),
        (constraints(endDate="2025-12-31"), "recurrencePattern.timeConstraints.endDate", "2025-12-31"),
        (constraints(timesOfDay=[]), "recurrencePattern.timeConstraints.timesOfDay", []),
        (constraints(timesOfDay=None), "recurrencePattern.timeConstraints.timesOfDay", None),
        (constraints(timesOfDay=[at(24)]), "recurrencePattern.timeConstraints.timesOfDay[0].hours", 24),
        (constraints(timesOfDay=[at(9, 60)]), "recurrencePattern.timeConstraints.timesOfDay[0].minutes", 60),
        (constraints(timesOfDay=[at(9), at(True)]), "recurrencePattern.timeConstraints.timesOfDay[1].hours", True),
        (
            constraints(timesOfDay=[{"type": "CutLabelReference", "code": "unknown"}]),
            "recurrencePattern.timeConstraints.timesOfDay[0].code",
            "unknown",
        ),
        (constraints(timesOfDay=[{"type": "Sunset"}]), "recurrencePattern.timeConstraints.timesOfDay[0].type", "Sunset"),
        (constraints(timesOfDay=[{"hours": 1, "minutes": 2}]), "recurrencePattern.timeConstraints.timesOfDay[0].type", None),
        (rule_of(type="Day", frequency=0), "recurrencePattern.dateRegularity.frequency", 0),
        (rule_of(type="Day", frequency=-1), "recurrencePattern.dateRegularity.frequency", -1),
        (rule_of(type="Day", frequency=1.0), "recurrencePattern.dateRegularity.frequency", 1.0),
        (rule_of(type="Day", frequency="1"), "recurrencePattern.dateRegularity.frequency", "1"),
        (rule_of(type="Day", frequency=10**30), "recurrencePattern.dateRegularity.frequency", 10**30),
        (rule_of(type="Hour", frequency=1), "recurrencePattern.dateRegularity.type", "Hour"),
        (rule_of(type="Week", frequency=1), "recurrencePattern.dateRegularity.daysOfWeek", None),
        (rule_of(type="Week", frequency=1, daysOfWeek=[]), "recurrencePattern.dateRegularity.daysOfWeek", []),
        (rule_of(type="Week", frequency=1, daysOfWeek=["Mon"]), "recurrencePattern.dateRegularity.daysOfWeek[0]", "Mon"),
        (rule_of(type="SpecificMonth", frequency=1, daysOfMonth=[1, 32]), "recurrencePattern.dateRegularity.daysOfMonth[1]", 32),
        (
            rule_of(type="RelativeMonth", frequency=1, daysOfWeek=["Monday"], index="Fifth"),
            "recurrencePattern.dateRegularity.index",
            "Fifth",
        ),
        (rule_of(type="Year", dates=[{"month": 13, "day": 1}]), "recurrencePattern.dateRegularity.dates[0].month", 13),
        (rule_of(type="Year", dates=[{"month": 4, "day": 31}]), "recurrencePattern.dateRegularity.dates[0].day", 31),
        (
            lambda body: body["recurrencePattern"].update(businessDayAdjustment="Modified"),
            "recurrencePattern.businessDayAdjustment",
            "Modified",
        ),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[dict[str, Any]], Any], path: str, value: Any) -> None:
    error = broken(change)
    assert error.path == "scheduleMatchingPattern." + path
    assert error.value == value
    assert type(error.value) is type(value)


@pytest.mark.parametrize("value", [None, [], "x", 1, {}])
def test_what_is_no_pattern_is_refused(value: Any) -> None:
    with pytest.raises(ScheduleError):
        parse_pattern(value)


@given(st.data())
def test_a_pattern_with_any_one_part_replaced_is_parsed_or_refused_with_a_path(data: st.DataObject) -> None:
    body: Any = request({"type": "Week", "frequency": 1, "daysOfWeek": ["Monday"]}, calendars=[{"scope": "s", "code": "c"}])
    place: Any = body
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    place[key] = data.draw(
        st.recursive(scalar, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2))
    )
    made = parsed(body)
    if isinstance(made, ScheduleError):
        assert made.path.startswith("scheduleMatchingPattern")
        return
    assert restored(made.stored()) == made
    made.next_after(0, only(Calendar()) if made.calendars in ([], [("s", "c")]) else lambda scope, code: Calendar())


def test_what_was_sent_is_what_is_shown_without_nulls() -> None:
    body = request({"type": "Year", "dates": [{"month": 2, "day": 29}]}, at(0, 0), how="Nearest")
    expected = copy.deepcopy(body)
    del expected["context"]["holidayCalendars"]
    del expected["recurrencePattern"]["timeConstraints"]["endDate"]
    body["recurrencePattern"]["unheardOf"] = 1
    assert parse_pattern(body).wire() == expected
    body["context"]["holidayCalendars"] = []
    assert parse_pattern(body).wire()["context"] == {"timeZone": "Europe/London", "holidayCalendars": []}


def test_all_zones_that_we_accept_can_be_used() -> None:
    assert len(known_zones()) > 400
    for name in sorted(known_zones()):
        pattern({"type": "Day", "frequency": 1}, zone=name).next_after(0, none)


# ---- fields that depend on the scheduled time


def shift(days: int, how: str = "None", hours: int = 17, minutes: int = 30) -> dict[str, Any]:
    return {
        "dateAdjustment": {"deltaDays": days, "businessDayAdjustment": how},
        "timeAdjustment": {"setTo": at(hours, minutes)},
    }


def test_fields_are_derived_from_the_local_date_of_the_scheduled_time() -> None:
    made = pattern({"type": "Day", "frequency": 1}, at(0, 30), zone="Europe/London", start="2026-06-01")
    due = made.next_after(0, none)
    assert due is not None
    assert print_milliseconds(due) == "2026-05-31T23:30:00.0000000+00:00"
    fields = parse_dependent(
        {"same": shift(0), "before": shift(-1, "Previous"), "winter": shift(200), "gap": shift(300, hours=1, minutes=30)}
    )
    assert dependent_fields(fields, due, made, none) == {
        "same": "2026-06-01T16:30:00.0000000+00:00",
        "before": "2026-05-29T16:30:00.0000000+00:00",  # the day before is a Sunday
        "winter": "2026-12-18T17:30:00.0000000+00:00",
        "gap": "2027-03-28T01:00:00.0000000+00:00",
    }
    assert dependent_fields({}, due, made, none) == {}


def test_fields_know_holidays() -> None:
    made = pattern({"type": "Day", "frequency": 1}, zone="UTC", calendars=[{"scope": "s", "code": "c"}])
    new_year = Calendar(frozenset({date(2026, 1, 1), date(2026, 1, 2)}))
    due = made.next_after(0, only(new_year))
    assert due is not None
    found = dependent_fields(parse_dependent({"f": shift(0, "Following")}), due, made, only(new_year))
    assert found == {"f": "2026-01-05T17:30:00.0000000+00:00"}
    with pytest.raises(ScheduleError, match="there is no such calendar"):
        dependent_fields(parse_dependent({"f": shift(0)}), due, made, none)


def test_fields_that_cannot_be_derived_are_named() -> None:
    made = pattern({"type": "Day", "frequency": 1}, calendars=[{"scope": "s", "code": "c"}])
    never = Calendar(frozenset(date(2026, 1, 1) + n * DAY for n in range(-100, 100)))
    with pytest.raises(ScheduleError) as caught:
        dependent_fields(parse_dependent({"f": shift(3, "Nearest")}), 1_767_250_800_000, made, only(never))
    assert caught.value.path == "scheduleDependentTaskFields.f.dateAdjustment.deltaDays"
    assert caught.value.value == 3


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda each: each.pop("dateAdjustment"), "dateAdjustment"),
        (lambda each: each.pop("timeAdjustment"), "timeAdjustment"),
        (lambda each: each["dateAdjustment"].update(deltaDays=1.5), "dateAdjustment.deltaDays"),
        (lambda each: each["dateAdjustment"].update(deltaDays=10**9), "dateAdjustment.deltaDays"),
        (lambda each: each["dateAdjustment"].update(businessDayAdjustment=None), "dateAdjustment.businessDayAdjustment"),
        (lambda each: each["timeAdjustment"].update(setTo={"type": "CutLabel", "code": "x"}), "timeAdjustment.setTo.type"),
        (lambda each: each["timeAdjustment"]["setTo"].update(hours=-1), "timeAdjustment.setTo.hours"),
    ],
)
def test_dependent_fields_are_checked(change: Callable[[dict[str, Any]], Any], path: str) -> None:
    each = shift(0)
    change(each)
    with pytest.raises(ScheduleError) as caught:
        parse_dependent({"field": each})
    assert caught.value.path == f"scheduleDependentTaskFields.field.{path}"


def test_dependent_fields_may_be_absent_but_not_anything() -> None:
    assert parse_dependent(None) == {}
    wrong: list[Any] = [[], "x", {"f": None}, {"f": 1}, {f"f{n}": shift(0) for n in range(1001)}]
    for bad in wrong:
        with pytest.raises(ScheduleError):
            parse_dependent(bad)
