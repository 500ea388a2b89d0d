"""The process of a worker's run that no task requested: the work, done here or on the queue that the operation names."""

from __future__ import annotations

import msgspec

from pelton.kernel.model.process import Choice, Edge, Limit, Limits, Process, Work
from pelton.languages.lusid.definitions.actions import DEFAULT_TIMEOUT, QUEUE, Computed, handing_on
from pelton.languages.lusid.names import LANGUAGE, LONE, WORKER_RUN

_START = b'{"%s"' % LONE.encode()


def is_lone_run(body: bytes) -> bool:
    return body.startswith(_START)


def lone_process(body: bytes, definition: int) -> Process:
    """Its input is what the operation gets."""
    seconds = msgspec.json.decode(body)[LONE]
    branch, queue, handed_on = handing_on("work")
    limits = Limits(
        total=Limit((seconds or DEFAULT_TIMEOUT) * 1000, "fail", message="the worker did not end within {limit} seconds")
    )
    return Process(
        name=WORKER_RUN,
        version=1,
        entry="work",
        nodes={
            "work": Work(
                name="work", queue=QUEUE, input=Computed(lambda scene: scene.input), limits=limits, next=(Edge("choose"),)
            ),
            "choose": Choice(name="choose", trace=False, select=branch, cases={"elsewhere": "elsewhere"}, default=""),
            "elsewhere": Work(name="elsewhere", queue=queue, input=handed_on, limits=limits),
        },
        language=LANGUAGE,
        definition=definition,
    ).finish()
