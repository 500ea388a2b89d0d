"""Random processes with threads, random histories: the invariants hold, and every run can still end."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, event, given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.liveness import drive_to_the_end
from tests.kernel.random_graphs import Spec
from tests.kernel.random_threads import program, ways
from tests.kernel.thread_actions import act_on_threads, fuel, histories, story_world

phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
quiet = [HealthCheck.data_too_large, HealthCheck.filter_too_much]


@examples(300, *quiet, phases=phases)
@given(program, ways, histories, st.sampled_from([False, False, False, True]))
def test_whatever_threads_do_the_invariants_hold_and_the_run_can_end(
    blocks: Spec, way: Any, history: list[tuple[int, int]], both: bool
) -> None:
    with fuel(way[3]):
        world, run = story_world(blocks, way, both)
        for kind, pick in history:
            act_on_threads(world, run, kind, pick)
        drive_to_the_end(world)
    event(world.status(run).name)
