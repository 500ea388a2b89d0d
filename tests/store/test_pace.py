"""How much of the writer's time the removal of old data takes."""

from __future__ import annotations

from pelton.store.sqlite.pace import FAR, LEAST, MOST, USUAL, Pace


class Steps:
    """Steps with so much time between them, each of which lasts for as long as it may."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pace = Pace(lambda: self.now)

    def step(self, between: float, kind: str = "runs", more: bool = True) -> float:
        self.now += between
        began = self.now
        self.pace.begin()
        while not self.pace.over():
            self.now += 0.0001
        took = self.now - began
        self.pace.end(kind, more)
        return took


def test_a_step_takes_a_quarter_of_the_time_at_first() -> None:
    steps = Steps()
    took = [steps.step(0.015, more=False) for _ in range(100)]
    assert abs(sum(took) / (100 * 0.015 + sum(took)) - 0.25) < 0.01


def test_it_takes_up_to_half_when_more_comes_than_goes() -> None:
    steps = Steps()
    for _ in range(FAR):
        steps.step(0.015)
    took = [steps.step(0.015) for _ in range(100)]
    assert abs(sum(took) / (100 * 0.015 + sum(took)) - 0.5) < 0.01


def test_a_step_is_never_so_long_that_a_commit_waits_noticeably() -> None:
    steps = Steps()
    assert abs(steps.step(3_600.0) - USUAL) < 0.001
    for _ in range(2 * FAR):
        steps.step(3_600.0)
    assert abs(steps.step(3_600.0) - MOST) < 0.001


def test_a_step_does_something_even_right_after_another() -> None:
    assert abs(Steps().step(0.0) - LEAST) < 0.001


def test_what_has_caught_up_goes_gently_again_and_what_has_not_does_not() -> None:
    steps = Steps()
    for _ in range(FAR):
        steps.step(1.0, "runs")
        steps.step(1.0, "events", more=False)
    assert abs(steps.step(1.0, "events", more=False) - MOST) < 0.001
    steps.step(1.0, "runs", more=False)
    assert abs(steps.step(1.0) - USUAL) < 0.001
