"""Derived outputs (of joins and scopes) for views: assembled from stored steps, which are read in batches."""

from __future__ import annotations

import asyncio
from typing import Any

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.draft import Draft
from pelton.kernel.machine.tokens.outputs import output_of
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Codec, Missing
from pelton.kernel.model.state import OpenStep, Run, Step
from pelton.runtime.cache.pages import read_paged
from pelton.runtime.cache.reads import Answers, CachedReads
from pelton.runtime.cache.runs import RunEntry
from pelton.runtime.definitions.fragments import FragmentCache
from pelton.store.port import Store

ROUNDS = 200


async def derived_output(
    store: Store, codec: Codec, fragments: FragmentCache, process: Process, head: Run, step: OpenStep | Step, now: int
) -> Any:
    """Assembles a step's output. Raises PeltonError "too large" if it takes too many reads."""
    entry = RunEntry(head.key)
    entry.head, entry.process = head, process
    answers = Answers()
    reader = CachedReads.of_one(codec)
    for _ in range(ROUNDS):
        try:
            return output_of(Draft(process, reader.of(entry, answers), head, now), step)
        except Missing as missing:
            keys = list(missing.keys)
        for key, answer in zip(keys, await read_paged(store, head, keys), strict=True):
            known = fragments.answer(process, key, answer)
            if not entry.learn(key, known):
                answers.keep(head.key, head.rev, key, known)
        await asyncio.sleep(0)  # reads do not wait: without this a long loop would hold everybody up
    raise PeltonError(Code.TOO_LARGE, f"the output of step {step.n} is assembled from too many other steps")
