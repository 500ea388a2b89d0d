"""Keys and public ids.

A key is a 63-bit integer that increases with time: 42 bits of epoch milliseconds, 8 of the node, 13 of a counter. Public ids are
computed from keys and need no index: a UUID text whose first half is the key and whose second half is a keyed hash of it, so that
the id of another run cannot be guessed. A text without the right hash is not an id of this server, and parses as None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from hmac import compare_digest

NODE_BITS = 8
COUNTER_BITS = 13
NODES = 1 << NODE_BITS
COUNTER_END = 1 << COUNTER_BITS
KEY_END = 1 << 63

HOPS = "ce-peltonhops"  # headers, and attributes of messages
ANCESTOR = "ce-peltonancestor"
MOST_HOPS = 1_000  # far above the limit that applies


def first_key(now: int) -> int:
    """The smallest key that may be made at that time (epoch milliseconds); 0 for 0."""
    return now << (NODE_BITS + COUNTER_BITS)


class KeyClock:
    """Generates keys, each higher than the last, whatever the clock does. One per process.

    A millisecond holds 8,192 keys; further ones are borrowed from the next.
    """

    __slots__ = ("_counter", "_last", "_node", "_now")

    def __init__(self, now: Callable[[], int], node: int = 0) -> None:
        if not 0 <= node < 1 << NODE_BITS:
            raise ValueError(f"node {node} is not between 0 and {(1 << NODE_BITS) - 1}")
        self._now = now
        self._node = node << COUNTER_BITS
        self._last = 0
        self._counter = 0

    def take(self, node: int) -> None:
        """From now on the keys are those of this node."""
        self._node = node << COUNTER_BITS

    @staticmethod
    def maker(key: int) -> int:
        """The node that made a key."""
        return key >> COUNTER_BITS & NODES - 1

    def __call__(self) -> int:
        now = self._now()
        if now > self._last:
            self._last = now
            self._counter = 0
        else:
            self._counter += 1
            if self._counter == COUNTER_END:
                self._last += 1
                self._counter = 0
        return self._last << (NODE_BITS + COUNTER_BITS) | self._node | self._counter


class Instants:
    """Generates instants in microseconds, each later than the last, whatever the clock does; values are valid from them.

    `last`: the latest one generated. `now()` is in milliseconds."""

    __slots__ = ("_now", "last")

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.last = 0

    def next(self, floor: int = 0) -> int:
        self.last = max(self._now() * 1000, self.last + 1, floor)
        return self.last

    def past(self) -> int:
        """An instant that is earlier than every future one."""
        self.last = max(self._now() * 1000 - 1, self.last)
        return self.last


class IdCodec:
    """Turns keys into public ids and back. `secret`: at least 16 bytes, the same for ever and on every node."""

    __slots__ = ("_event_hash", "_run_hash")

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError(f"the secret has {len(secret)} bytes; give at least 16")
        self._run_hash = blake2b(key=secret[:64], digest_size=8, person=b"run")
        self._event_hash = blake2b(key=secret[:64], digest_size=8, person=b"event")

    def run_id(self, key: int) -> str:
        return _text(self._run_hash, key)

    def step_id(self, key: int, n: int) -> str:
        return f"{_text(self._run_hash, key)}-{n}"

    def event_id(self, key: int) -> str:
        return _text(self._event_hash, key)

    def message_id(self, key: int, n: int, attempt: int) -> str:
        """The id of the message that attempt `attempt` of step n publishes; the same in every repeat."""
        return f"{_text(self._run_hash, key)}-{n}-{attempt}"

    def ancestor_id(self, ancestor: int) -> str:
        """The id of an ancestor, as in Run: of an event, or of a run."""
        return self.event_id(ancestor) if ancestor > 0 else self.run_id(-ancestor)

    def parse_ancestor_id(self, text: str) -> int | None:
        event = self.parse_event_id(text)
        if event is not None:
            return event
        run = self.parse_run_id(text)
        return None if run is None else -run

    def parse_run_id(self, text: str) -> int | None:
        return _key(self._run_hash, text)

    def parse_event_id(self, text: str) -> int | None:
        return _key(self._event_hash, text)

    def parse_step_id(self, text: str) -> tuple[int, int] | None:
        """(run key, n), or None if it is not a step id of this server."""
        number = text[37:]
        if len(text) < 38 or text[36] != "-" or len(number) > 18 or not (number.isascii() and number.isdigit()):
            return None
        if number != str(int(number)):  # one step, one id: "007" is not another name of 7
            return None
        key = _key(self._run_hash, text[:36])
        return None if key is None else (key, int(number))

    def is_message_id(self, text: str) -> bool:
        """Whether this server generated the message id; no one else can."""
        step, _, attempt = text.rpartition("-")
        return attempt.isascii() and attempt.isdigit() and len(attempt) <= 18 and self.parse_step_id(step) is not None


def lineage(codec: IdCodec, hops: int, ancestor: int) -> dict[str, str]:
    """Headers by which a message says what led to it, for the case that it comes back: a circle through another system could not
    be seen without them."""
    found = {HOPS: str(hops)} if hops else {}
    if ancestor:
        found[ANCESTOR] = codec.ancestor_id(ancestor)
    return found


def lineage_of(codec: IdCodec, headers: Mapping[str, str]) -> tuple[int, int]:
    """Hops and ancestor of a message that this server has sent; what is unreadable counts as nothing."""
    hops = headers.get(HOPS, "")
    ancestor = codec.parse_ancestor_id(headers.get(ANCESTOR, ""))
    return (min(int(hops), MOST_HOPS) if hops.isascii() and hops.isdigit() and len(hops) < 10 else 0, ancestor or 0)


def _text(base: blake2b, key: int) -> str:
    raw = key.to_bytes(8, "big")
    keyed = base.copy()
    keyed.update(raw)
    pairs = (raw + keyed.digest()).hex("-", 2)  # eight groups of four digits; a UUID has no dash between three of them
    return pairs[:4] + pairs[5:29] + pairs[30:34] + pairs[35:]


def _key(base: blake2b, text: str) -> int | None:
    if len(text) != 36 or not text.isascii():
        return None
    digits = text.replace("-", "")
    if len(digits) != 32:
        return None
    try:
        key = int(digits[:16], 16)
    except ValueError:
        return None
    if not 0 <= key < KEY_END:
        return None
    return key if compare_digest(_text(base, key), text.lower()) else None
