"""Messages become events once recorded, and a bad address, a bad message or a busy server hurts nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from tests.runtime.wire import Wire
from tests.runtime.world import World

from pelton.connectors.port import Absent, Incoming, Permanent, SourceEvent, Temporary
from pelton.connectors.registry import Connectors
from pelton.errors import Code, PeltonError
from pelton.runtime.delivery.sources import Sources, dead_letter, restored
from pelton.runtime.services import Backoff
from pelton.store.rows import BookmarkRow
from pelton.testing.clock import settle


class Desk(World):
    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.posted: list[tuple[str, str]] = []
        self.tried: Counter[str] = Counter()
        self.fail: Callable[[Incoming], Exception | None] = lambda message: None
        self.fail_batch: Callable[[Sequence[Incoming]], Exception | None] = lambda batch: None
        self.sources = Sources(
            self.committer, self.clock, Connectors([self.wire]), self.post, store=self.store, tries=3,
            backoff=Backoff(100, 1_000), permanent=Backoff(5_000, 5_000),
        )  # fmt: skip

    async def post(self, address: str, messages: Sequence[Incoming]) -> Sequence[Exception | None]:
        if (error := self.fail_batch(messages)) is not None:
            raise error
        outcomes = []
        for message in messages:
            self.tried[message.id] += 1
            outcomes.append(self.fail(message))
            if outcomes[-1] is None:
                self.posted.append((address, message.id))
        return outcomes

    async def bring(self, address: str, *names: str, deliveries: int = 1) -> None:
        batch = [Incoming(name, name.encode(), {}, name, deliveries) for name in names]
        self.wire.queues[address].put_nowait(batch)
        await settle()


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    await desk.sources.start()
    desk.sources.refresh({"wire:a", "wire:b"})
    await settle()
    return desk


async def test_a_message_is_acknowledged_after_it_is_recorded(desk: Desk) -> None:
    await desk.bring("a", "1", "2")
    await desk.bring("b", "3")
    assert desk.posted == [("wire:a", "1"), ("wire:a", "2"), ("wire:b", "3")]
    assert desk.wire.acknowledged == {"a": ["1", "2"], "b": ["3"]}
    assert desk.sources.stats()["recorded"] == 3


async def test_addresses_come_and_go_at_once(desk: Desk) -> None:
    desk.sources.refresh({"wire:b", "wire:c"})
    await settle()
    assert [line.address for line in desk.wire.lines if not line.closed] == ["b", "c"]
    await desk.bring("c", "1")
    assert desk.posted == [("wire:c", "1")]
    await desk.sources.stop()
    assert all(line.closed for line in desk.wire.lines)


async def test_a_poison_message_is_kept_as_a_dead_letter_after_its_tries_and_the_rest_goes_through(desk: Desk) -> None:
    desk.fail = lambda message: PeltonError(Code.INVALID, "not JSON") if message.id == "bad" else None
    for _ in range(3):
        await desk.bring("a", "bad", "good")
    assert desk.tried["bad"] == 3
    assert desk.wire.given_back["a"] == ["bad", "bad"]
    assert desk.wire.acknowledged["a"].count("bad") == 1
    assert desk.wire.acknowledged["a"].count("good") == 3
    (number, letter), *rest = desk.store.dead_rows.items()
    assert not rest
    assert (letter.direction, letter.address, letter.id, letter.reason, letter.tries) == ("in", "wire:a", "bad", "not JSON", 3)
    with pytest.raises(PeltonError, match="not JSON"):
        await desk.sources.redeliver("default", number)
    desk.fail = lambda message: None
    await desk.sources.redeliver("default", number)
    assert desk.posted[-1] == ("wire:a", "bad")
    assert not desk.store.dead_rows


async def test_the_system_counts_deliveries_over_a_restart(desk: Desk) -> None:
    desk.fail = lambda message: ValueError("broken")
    await desk.bring("a", "bad", deliveries=3)
    assert [letter.reason for letter in desk.store.dead_rows.values()] == ["broken"]


async def test_a_dead_letter_that_cannot_be_written_is_not_acknowledged(desk: Desk) -> None:
    desk.fail = lambda message: ValueError("broken")
    desk.committer.down = True
    await desk.bring("a", "bad", deliveries=3)
    assert desk.wire.acknowledged == {}
    assert desk.wire.given_back["a"] == ["bad"]


async def test_a_batch_that_fails_as_a_whole_is_posted_one_by_one(desk: Desk) -> None:
    desk.fail_batch = lambda batch: RuntimeError("a bug") if any(message.id == "bad" for message in batch) else None
    await desk.bring("a", "1", "bad", "2", deliveries=3)
    assert desk.wire.acknowledged["a"] == ["1", "2", "bad"]
    assert len(desk.store.dead_rows) == 1


@pytest.mark.parametrize("code", [Code.BUSY, Code.UNAVAILABLE, Code.STOPPING])
async def test_a_busy_server_gives_back_and_waits_and_gives_up_nothing(desk: Desk, code: Code) -> None:
    desk.fail = lambda message: PeltonError(code, "not now")
    await desk.bring("a", "1", deliveries=99)
    await desk.bring("a", "2")
    assert desk.wire.given_back["a"] == ["1"], "the second waits until the pause is over"
    assert desk.sources.health()["wire:a"].detail == "not now"
    assert desk.sources.health()["wire:b"].healthy
    desk.fail = lambda message: None
    await desk.clock.advance(1_000)
    assert desk.posted == [("wire:a", "2")]
    assert desk.sources.health()["wire:a"].healthy
    assert not desk.store.dead_rows


async def test_an_address_out_of_reach_backs_off_says_why_and_comes_back(desk: Desk) -> None:
    desk.wire.queues["a"].put_nowait(Temporary("no route"))
    desk.wire.queues["b"].put_nowait(Permanent("no such queue"))
    await settle()
    health = desk.sources.health()
    assert [health[name].detail for name in ("wire:a", "wire:b")] == ["no route", "no such queue"]
    desk.wire.queues["a"].put_nowait([Incoming("1", b"", {}, 1, 1)])
    desk.wire.queues["b"].put_nowait([Incoming("2", b"", {}, 2, 1)])
    await desk.clock.advance(200)
    assert desk.posted == [("wire:a", "1")]
    await desk.clock.advance(5_000)
    assert desk.posted == [("wire:a", "1"), ("wire:b", "2")]
    assert desk.sources.stats()["unhealthy"] == 0


async def test_an_address_that_cannot_be_is_said(desk: Desk) -> None:
    desk.sources.refresh({"wire:bad name", "pigeon:x", "wire:a"})
    await desk.bring("a", "1")
    health = desk.sources.health()
    assert "the name is bad" in health["wire:bad name"].detail
    assert "unknown scheme" in health["pigeon:x"].detail
    assert desk.posted == [("wire:a", "1")]


async def test_there_are_at_most_so_many_sources() -> None:
    desk = Desk()
    desk.sources = Sources(desk.committer, desk.clock, Connectors([desk.wire]), desk.post, most=2)
    await desk.sources.start()
    desk.sources.refresh({f"wire:{n}" for n in range(5)})
    await settle()
    assert desk.sources.stats()["sources"] == 2
    assert desk.sources.stats()["left_out"] == 3
    await desk.sources.stop()


async def test_an_empty_batch_says_that_an_address_is_well_again(desk: Desk) -> None:
    desk.wire.queues["a"].put_nowait(Temporary("no route"))
    await settle()
    assert not desk.sources.health()["wire:a"].healthy
    desk.wire.queues["a"].put_nowait([])
    await desk.clock.advance(200)
    assert desk.sources.health()["wire:a"].healthy
    assert desk.sources.health()["wire:a"].received == 0
    assert desk.posted == []


async def test_what_is_absent_is_looked_for_again_and_again_without_a_long_pause(desk: Desk) -> None:
    for _ in range(20):
        desk.wire.queues["a"].put_nowait(Absent("not mounted"))
        await desk.clock.advance(3_000)
    assert desk.sources.health()["wire:a"].detail == "not mounted"
    desk.wire.queues["a"].put_nowait([Incoming("1", b"", {}, 1, 1)])
    await desk.clock.advance(3_000)
    assert desk.posted == [("wire:a", "1")]


def test_an_event_that_its_source_made_comes_back_from_its_dead_letter() -> None:
    made = Incoming("1", b"", {}, "1", 1, SourceEvent("Came", "a", 5, {"n": 1}), ("a", b"1"))
    letter = dead_letter("default", "wire:a", made, "why", 3, 9)
    assert (letter.body, letter.headers) == (b'{"n":1}', {"event-type": "Came", "event-subject": "a", "event-time": "5"})
    assert restored(letter, makes_events=True) == made._replace(handle=None, deliveries=4, bookmark=None)
    plain = restored(letter, makes_events=False)  # headers of a stranger's message say nothing
    assert (plain.event, plain.body) == (None, b'{"n":1}')


async def test_only_a_source_that_makes_events_has_them_redelivered_as_such(desk: Desk) -> None:
    made = Incoming("1", b"", {}, "1", 1, SourceEvent("Came", "a", 5, {"n": 1}))
    seen: list[Incoming] = []
    desk.fail = seen.append
    for number, makes in enumerate((True, False), 1):
        desk.wire.makes_events = makes
        desk.store.dead_rows[number] = dead_letter("default", "wire:a", made, "why", 3, 9)
        await desk.sources.redeliver("default", number)
    assert [message.event for message in seen] == [made.event, None]
    assert not desk.store.dead_rows


async def test_the_bookmark_of_a_message_that_is_given_up_is_written_with_its_dead_letter(desk: Desk) -> None:
    desk.fail = lambda message: PeltonError(Code.INVALID, "no")
    desk.wire.queues["a"].put_nowait([Incoming("1", b"1", {}, "1", 3, bookmark=("partition 0", b"42"))])
    await settle()
    assert len(desk.store.dead_rows) == 1
    assert desk.store.bookmark_rows == [BookmarkRow("default", "wire:a", "partition 0", b"42")]
