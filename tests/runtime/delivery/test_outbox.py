"""What leaves, leaves in order per lane, at least once, and a bad sink or message stops itself only."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.runtime.wire import Wire
from tests.runtime.world import World

from pelton.connectors.port import Outgoing, Permanent, Temporary
from pelton.connectors.registry import Connectors
from pelton.errors import Code, PeltonError
from pelton.runtime.delivery.outbox import Outbox
from pelton.runtime.services import Backoff
from pelton.store.group import Group
from pelton.store.rows import DeadLetter, Delivery
from pelton.testing.clock import settle


class Post(World):
    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.outbox = self.new()

    def new(self, share: int = 1_000) -> Outbox:
        return Outbox(
            self.store, self.committer, self.clock, Connectors([self.wire]), backoff=Backoff(100, 1_000, random.Random(1)),
            send_seconds=0.5, share=share,
        )  # fmt: skip

    def send(self, lane: str, name: str, sink: str = "wire:a", outbox: Outbox | None = None) -> None:
        row = Delivery(0, "default", lane, name, sink, name.encode(), "text/plain", {}, self.clock.now())
        group = Group(0, deliveries=[row])

        def done(result: object) -> None:
            for number in getattr(result, "numbers", []):
                row.number = number
                (outbox or self.outbox).committed([row])

        self.committer.commit(group, done)


@pytest.fixture
async def post() -> Post:
    post = Post()
    await post.outbox.start()
    return post


async def test_messages_leave_and_are_forgotten_after_the_commit(post: Post) -> None:
    post.send("1", "x")
    post.send("2", "y")
    await settle(100)
    assert sorted(post.wire.got["a"]) == ["x", "y"]
    assert not post.store.delivery_rows
    assert post.outbox.stats()["kept"] == 0
    assert post.outbox.stats()["sent"] == 2


async def test_one_lane_waits_for_its_first_message_and_the_others_do_not(post: Post) -> None:
    post.wire.fail = lambda message, times: Temporary("not now") if message.id == "bad" and times < 3 else None
    post.send("1", "bad")
    post.send("1", "after")
    post.send("2", "other")
    await settle(100)
    assert post.wire.got["a"] == ["other"]
    assert [row.tries for row in post.store.delivery_rows.values()] == [1, 0]
    assert post.outbox.health()["wire:a"]["waiting"] == 2
    await post.clock.advance(5_000)
    assert post.wire.got["a"] == ["other", "bad", "after"]


async def test_what_will_never_be_accepted_is_a_dead_letter_at_once_and_can_be_sent_again(post: Post) -> None:
    post.wire.fail = lambda message, times: Permanent("no such thing") if message.id == "bad" and times < 1 else None
    post.send("1", "bad")
    post.send("1", "after")
    await settle(200)
    assert post.wire.got["a"] == ["after"]
    (number, letter), *rest = post.store.dead_rows.items()
    assert not rest
    assert (letter.direction, letter.reason, letter.tries, letter.address) == ("out", "no such thing", 1, "wire:a")
    with pytest.raises(PeltonError, match="no dead letter"):
        await post.outbox.redeliver("other", number)
    await post.outbox.redeliver("default", number)
    await settle(200)
    assert post.wire.got["a"] == ["after", "bad"]
    assert not post.store.dead_rows
    assert not post.store.delivery_rows


async def test_tries_are_bounded_and_then_the_lane_goes_on(post: Post) -> None:
    post.wire.fail = lambda message, times: Temporary("down") if message.id == "bad" else None
    post.send("1", "bad")
    post.send("1", "after")
    await post.clock.advance(60_000)
    assert post.wire.tries["bad"] == 10
    assert post.wire.got["a"] == ["after"]
    assert [letter.reason for letter in post.store.dead_rows.values()] == ["given up after 10 attempts: down"]


async def test_an_address_that_leads_nowhere_is_said(post: Post) -> None:
    post.send("1", "x", sink="carrier-pigeon:home")
    await settle(100)
    assert "unknown scheme" in next(iter(post.store.dead_rows.values())).reason
    assert post.outbox.check("wire:a") is None
    assert "unknown scheme" in (post.outbox.check("carrier-pigeon:home") or "")


async def test_a_sink_that_hangs_or_breaks_stops_itself_only(post: Post) -> None:
    post.wire.hang.add("slow")
    for number in range(100):
        post.send(str(number), f"s{number}", sink="wire:slow")
        post.send(str(number), f"b{number}", sink="wire:broken")
        post.send(str(number), f"f{number}", sink="wire:fast")
    await settle(300)
    assert len(post.wire.got["fast"]) == 100
    assert post.wire.most["slow"] <= 4
    assert not post.outbox.health()["wire:broken"]["healthy"]
    await post.outbox.stop(0.01)


async def test_memory_is_bounded_per_sink_and_order_holds_across_the_gap(post: Post) -> None:
    outbox = post.new(share=10)
    await outbox.start()
    post.wire.fail = lambda message, times: Temporary("down") if post.clock.now() < 1_000_500 else None
    for number in range(300):
        post.send(str(number % 3), f"{number:03}", outbox=outbox)
    post.send("1", "z", sink="wire:other", outbox=outbox)
    await settle(300)
    assert outbox.stats()["kept"] <= 11
    assert len(post.store.delivery_rows) >= 300
    await post.clock.advance(5_000)
    await settle(2_000)
    for lane in range(3):
        assert [name for name in post.wire.got["a"] if int(name) % 3 == lane] == [f"{n:03}" for n in range(lane, 300, 3)]
    assert not post.store.delivery_rows


async def test_what_is_committed_while_the_start_reads_comes_after_what_was_there(post: Post) -> None:
    for number in range(5):
        row = Delivery(number + 1, "default", "1", str(number), "wire:a", b"", "", {}, 0)
        post.store.delivery_rows[number + 1] = row
    post.store.number = 5
    post.store.read_turns = 60
    outbox = post.new()
    starting = asyncio.get_running_loop().create_task(outbox.start())
    await settle(5)
    post.send("1", "new", outbox=outbox)
    await starting
    await settle(300)
    assert post.wire.got["a"] == ["0", "1", "2", "3", "4", "new"]


async def test_a_restart_sends_again_what_was_not_noted_and_nothing_else(post: Post) -> None:
    post.send("1", "x")
    await settle(100)
    post.committer.down = True
    post.store.delivery_rows[9] = Delivery(9, "default", "1", "y", "wire:a", b"", "", {}, 0)
    post.outbox.committed(list(post.store.delivery_rows.values()))
    await settle(100)
    await post.outbox.stop(0.01)
    post.committer.down = False
    again = post.new()
    await again.start()
    await settle(100)
    assert post.wire.got["a"] == ["x", "y", "y"]
    assert not post.store.delivery_rows


async def test_a_write_that_fails_is_repeated_until_the_message_is_noted(post: Post) -> None:
    post.wire.fail = lambda message, times: Permanent("no") if message.id == "bad" else None
    post.send("1", "bad")
    post.send("2", "good")
    await settle(4)
    post.committer.down = True
    await post.clock.advance(500)
    post.committer.down = False
    await post.clock.advance(20_000)
    assert not post.store.delivery_rows
    assert len(post.store.dead_rows) <= 1
    assert post.wire.got["a"].count("good") <= 1


async def test_local_sinks_get_deliveries_and_may_refuse(post: Post) -> None:
    taken: list[str] = []

    async def take(delivery: Delivery) -> None:
        if delivery.id == "never":
            raise PeltonError(Code.TOO_LARGE, "the body is too large")
        if delivery.id == "later" and post.clock.now() < 1_000_100:
            raise PeltonError(Code.BUSY, "not now")
        taken.append(delivery.id)

    post.outbox.add_local("inside", take)
    with pytest.raises(ValueError, match="is already taken"):
        post.outbox.add_local("inside", take)
    assert post.outbox.check("inside:x") is None
    assert post.outbox.check("inside:") is not None
    for lane, name in enumerate(("never", "later", "now")):
        post.send(str(lane), name, sink="inside:x")
    await settle(100)
    assert taken == ["now"]
    assert [letter.reason for letter in post.store.dead_rows.values()] == ["the body is too large"]
    await post.clock.advance(2_000)
    assert taken == ["now", "later"]


async def test_a_message_that_came_in_cannot_be_sent(post: Post) -> None:
    post.store.dead_rows[7] = DeadLetter(7, "default", "in", "wire:a", "x", b"", {}, "bad", 5, 0)
    with pytest.raises(PeltonError, match="cannot be sent"):
        await post.outbox.redeliver("default", 7)


@examples(40)
@given(
    messages=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y"])), max_size=60),
    failures=st.lists(st.sampled_from(["ok", "ok", "later", "never", "raise", "short"]), max_size=80),
    share=st.integers(2, 8),
    read=st.sampled_from([1, 60]),
    pace=st.integers(1, 60),
)
def test_order_per_lane_holds_whatever_fails(
    messages: Sequence[tuple[str, str]], failures: list[str], share: int, read: int, pace: int
) -> None:
    async def run() -> None:
        post = Post()
        post.store.read_turns = read
        outbox = post.new(share=share)
        await outbox.start()
        fates = iter(failures)

        def fate(message: Outgoing, times: int) -> Exception | None:
            word = next(fates, "ok")
            if word == "raise":
                raise RuntimeError("a bug in the connector")
            return {"later": Temporary("later"), "never": Permanent("never"), "short": Wire.SHORT}.get(word)

        post.wire.fail = fate
        for number, (lane, sink) in enumerate(messages):
            post.send(lane, f"{number:03}{lane}", sink=f"wire:{sink}", outbox=outbox)
            await settle(number % pace)
        for _ in range(40):
            await post.clock.advance(2_000)
        assert not post.store.delivery_rows
        dead = {letter.id for letter in post.store.dead_rows.values()}
        for sink in ("x", "y"):
            for lane in "abc":
                expected = [f"{n:03}{lane}" for n, place in enumerate(messages) if place == (lane, sink)]
                firsts = list(dict.fromkeys(name for name in post.wire.got[sink] if name.endswith(lane)))
                assert [name for name in firsts if name not in dead] == [name for name in expected if name not in dead]
                assert firsts == sorted(firsts)
        assert outbox.stats()["kept"] == 0
        await outbox.stop(0)

    asyncio.run(run())
