"""The memory of what reports were answered with: what it keeps, of whom, and for how long."""

from __future__ import annotations

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import StepStatus
from pelton.runtime.api import ReportResult
from pelton.runtime.work.replies import HandOut, Replies

DONE = int(StepStatus.COMPLETED)
ITEM, OTHER = HandOut(9, 1, 1, 50), HandOut(9, 2, 1, 50)


def result(code: str = "") -> ReportResult:
    return ReportResult(PeltonError(Code(code), code) if code else None, None)


def settle(
    replies: Replies, n: int, code: str = "", *, worker: str = "w", attempt: int = 0, give: HandOut | None = None
) -> object:
    reports, results = [(1, Report(n=n, attempt=attempt, status=DONE))], [result(code)]
    earlier, items = replies.settle(reports, results, worker)
    if give is not None:
        items.append(give)
    return earlier, results[0].error and results[0].error.code, results[0].repeated


def test_a_repeat_has_the_first_outcome_and_what_was_handed_out() -> None:
    replies = Replies()
    assert settle(replies, 1, give=ITEM) == ([], None, False)
    assert settle(replies, 1, "step ended", give=OTHER) == ([ITEM], None, True)
    assert settle(replies, 1, "ended") == ([OTHER], None, True)


def test_a_report_that_came_too_late_is_remembered_with_its_error() -> None:
    replies = Replies()
    assert settle(replies, 1, "step ended", give=ITEM) == ([], "step ended", False)
    assert settle(replies, 1, "ended") == ([ITEM], "step ended", True)


def test_what_is_accepted_is_no_repeat_whatever_is_remembered() -> None:
    replies = Replies()
    settle(replies, 1, give=ITEM)
    assert settle(replies, 1) == ([], None, False)


def test_another_worker_attempt_or_step_is_not_a_repeat() -> None:
    replies = Replies()
    settle(replies, 1, give=ITEM)
    assert settle(replies, 2, "step ended") == ([], "step ended", False)
    assert settle(replies, 1, "step ended", attempt=1) == ([], "step ended", False)
    assert settle(replies, 1, "step ended", worker="x") == ([], "step ended", False)
    assert settle(replies, 1, "step ended") == ([ITEM], None, True)


def test_reports_that_may_be_made_again_are_not_remembered() -> None:
    replies = Replies()
    replies.settle([(1, Report(n=1, status=None)), (1, Report(slot="a", status=DONE))], [result(), result()], "w")
    settle(replies, 2, "busy")
    assert len(replies) == 0
    assert not replies.know_any([(1, Report(n=1)), (1, Report(n=2))], "w")


def test_the_oldest_go_when_there_are_too_many() -> None:
    replies = Replies(10)
    for n in range(1, 101):
        settle(replies, n)
        assert len(replies) <= 10
    assert replies.know_any([(1, Report(n=1, attempt=0)), (1, Report(n=100, attempt=0))], "w")
    assert not replies.know_any([(1, Report(n=90, attempt=0))], "w")
