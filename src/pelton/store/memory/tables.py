"""The tables of the memory store: their keys, their rows, and the orders in which they are read.

Data that callers could modify is stored packed, and unpacked for each reader, so that no caller holds a row of the store itself.
"""

from __future__ import annotations

from typing import NamedTuple

from pelton.kernel.model.reads import place_number
from pelton.kernel.model.state import Bit, OpenStep
from pelton.store.group import Lookup
from pelton.store.memory.table import Entry, Journal, Table
from pelton.store.rows import PauseRow, SecretRow


class RunRow(NamedTuple):
    """`listed`: whether it appears in lists of runs; a placeholder does not."""

    ns: str
    process: str
    listed: bool
    live: bool
    rev: int
    created: int
    head: bytes
    ended: int = 0
    root: int = 0
    status: int = 0


class OpenRow(NamedTuple):
    """`step` is never changed and has no parts; `parts`: its input, output and waits. `home`: namespace and
    process of its run."""

    step: OpenStep
    parts: tuple[bytes, bytes, bytes]
    home: tuple[str, str]
    quota: str = ""  # the limit that it was last handed out under


class StepRow(NamedTuple):
    slot: str
    scope: int
    it: int
    body: bytes
    place: int = -1


class ThreadRow(NamedTuple):
    """`above`: the number of its parent as long as it has not ended."""

    body: bytes
    above: int | None


class RecordRow(NamedTuple):
    """`born`: since when the run's first value was valid. `body` None: the document has been removed."""

    ns: str
    process: str
    listed: bool
    born: int
    since: int
    number: int
    live: bool
    body: bytes | None


class PastRow(NamedTuple):
    until: int
    number: int
    live: bool
    body: bytes


class AttributeRow(NamedTuple):
    ns: str
    process: str
    listed: bool


class TimerValue(NamedTuple):
    epoch: int
    due: int


class HeldBody(NamedTuple):
    ns: str
    run: int
    name: str
    key: str
    posted: int
    expires: int
    body: bytes


class StickyBody(NamedTuple):
    ns: str
    name: str
    key: str
    expires: int
    got: int
    body: bytes


class KeptBody(NamedTuple):
    """`taken`, `n`: when and by which step, beside what was written at first."""

    ns: str
    run: int
    name: str
    ident: str
    body: bytes
    taken: int
    n: int


class NameRow(NamedTuple):
    live: bool
    unique: bool


class EventBody(NamedTuple):
    """`outcome`: decisions, effects and state, which may change later. `state`: by its number."""

    ns: str
    type: str
    body: bytes
    outcome: bytes
    state: int = 0


class KnownEvent(NamedTuple):
    """What is left of an event that has been removed."""

    key: int
    hash: bytes
    state: str


class DeliveryBody(NamedTuple):
    tries: int
    due: int
    error: str
    body: bytes


class DeadBody(NamedTuple):
    ns: str
    body: bytes


class PendingBody(NamedTuple):
    run: int
    due: int
    parked: bool
    body: bytes


class DefinitionBody(NamedTuple):
    ns: str
    kind: str
    name: str
    version: int
    since: int
    until: int
    hash: bytes
    body: bytes


class ResultBody(NamedTuple):
    at: int
    outcome: str
    detail: str


class NodeBody(NamedTuple):
    epoch: int
    seen: int
    settled: int
    batch: int


class ClaimBody(NamedTuple):
    node: int
    epoch: int
    at: int


class ReplyBody(NamedTuple):
    body: bytes
    expires: int


class Tables:
    def __init__(self, journal: Journal) -> None:
        self.runs: Table[int, RunRow] = Table(
            journal,
            process=lambda key, row: (row.ns, row.process, key) if row.listed else None,
            all=lambda key, row: (row.ns, key) if row.listed else None,
            ended=lambda key, row: (row.ended, key) if row.ended else None,
            live=lambda key, row: (row.ns, row.process, key) if row.live else None,
        )
        self.open: Table[tuple[int, int], OpenRow] = Table(
            journal,
            ordered=True,
            slot=lambda key, row: (key[0], row.step.slot, key[1]) if key[1] >= 0 else None,
            place=lambda key, row: (key[0], row.step.slot, row.step.it, row.step.scope, key[1]) if key[1] >= 0 else None,
            position=_placed,
            thread=lambda key, row: (key[0], row.step.thread, key[1]),
            standing=_standing,
            stranded=_stranded,
            node=lambda key, row: (*row.home, row.step.slot, *key),
            work=_ready,
            lease=_leased,
            quota=lambda key, row: (row.quota, *key) if row.quota and row.step.lease else None,
        )
        self.paced: Table[tuple[str, int, int, int, int], bool] = Table(journal, ordered=True)
        self.steps: Table[tuple[int, int], StepRow] = Table(
            journal,
            ordered=True,
            slot=lambda key, row: (key[0], row.slot, key[1]),
            place=lambda key, row: (key[0], row.slot, row.it, row.scope, key[1]),
            position=lambda key, row: (key[0], row.place, key[1]) if row.place >= 0 else None,
        )
        self.threads: Table[tuple[int, int], ThreadRow] = Table(journal, ordered=True, above=_below)
        self.variables: Table[tuple[int, int, str], bytes] = Table(journal, ordered=True)
        self.fragments: Table[tuple[int, int, str], bytes] = Table(journal, ordered=True)
        self.attempts: Table[tuple[int, int, int], bytes] = Table(journal, ordered=True)
        self.checkpoints: Table[tuple[int, int, int], bytes] = Table(journal, ordered=True)
        self.records: Table[int, RecordRow] = Table(
            journal,
            process=lambda key, row: (row.ns, row.process, key) if row.listed else None,
            all=lambda key, row: (row.ns, key) if row.listed else None,
        )
        self.past: Table[tuple[int, int], PastRow] = Table(journal, ordered=True)
        self.attributes: Table[tuple[int, str, str], AttributeRow] = Table(
            journal,
            ordered=True,
            process=lambda key, row: (row.ns, row.process, key[1], key[2], key[0]) if row.listed else None,
            all=lambda key, row: (row.ns, key[1], key[2], key[0]) if row.listed else None,
        )
        self.timers: Table[tuple[int, int, str], TimerValue] = Table(journal, ordered=True, due=lambda key, row: (row.due, *key))
        self.rendezvous: Table[tuple[str, str, str], int] = Table(journal)
        self.waits: Table[tuple[str, str, str, int, int], int] = Table(
            journal, since=lambda key, opened: (*key[:3], opened, *key[3:]), step=lambda key, opened: key[3:]
        )
        self._hold(journal)
        self.names: Table[tuple[str, str, str, str, int], NameRow] = Table(
            journal, ordered=True, run=lambda key, row: (key[4], *key[:4])
        )
        self.events = _events(journal)
        self.event_ids: Table[tuple[str, str, str], int] = Table(journal)
        self.known_events: Table[tuple[str, str, str], KnownEvent] = Table(journal, age=lambda key, row: (row.key,))
        self.deliveries: Table[int, DeliveryBody] = Table(journal, number=lambda key, row: (key,))
        self.dead: Table[int, DeadBody] = Table(journal, ns=lambda key, row: (row.ns, key))
        self.pending: Table[int, PendingBody] = Table(
            journal, due=lambda key, row: None if row.parked else (row.due, key), run=lambda key, row: (row.run, key)
        )
        self.definitions: Table[int, DefinitionBody] = Table(
            journal,
            time=lambda key, row: (row.ns, row.kind, row.name, row.version, row.since),
            live=lambda key, row: None if row.until else (row.ns, row.kind, row.name, row.version),
            bound=lambda key, row: (row.ns, row.hash, key) if row.kind == "bound" else None,
        )
        self.counters: Table[str, int] = Table(journal)
        self._share(journal)
        self.changes: Table[tuple[str, int], tuple[int, int]] = Table(journal, ordered=True)
        self.results: Table[tuple[int, int, int], ResultBody] = Table(journal, ordered=True, at=lambda key, row: (row.at,))
        self.bookmarks: Table[tuple[str, str, str], bytes] = Table(journal, ordered=True)
        self.replies: Table[tuple[str, str], ReplyBody] = Table(journal, expires=lambda key, row: (row.expires, *key))
        self.tallies: Table[tuple[str, str, str, str], int | float] = Table(journal, ordered=True)
        self.descendants: Table[tuple[str, int], tuple[int, int]] = Table(journal, since=lambda key, row: (row[1], *key))
        self.source_uses: Table[tuple[str, str], int] = Table(journal, age=lambda key, at: (at, *key))
        self.logs: Table[tuple[int, int, int], tuple[int, str]] = Table(journal, ordered=True, age=lambda key, row: (key[2],))

    def _hold(self, journal: Journal) -> None:
        """What is there for steps to take, and what has been taken and stays."""
        self.held: Table[int, HeldBody] = Table(
            journal,
            key=lambda key, row: (row.ns, row.name, row.key, row.posted, key) if not row.run else None,
            run=lambda key, row: (row.run, row.posted, key) if row.run else None,
            ns=lambda key, row: (row.ns, row.posted, key),
            expires=lambda key, row: (row.expires, key) if row.expires else None,
        )
        self.kept: Table[int, KeptBody] = Table(
            journal,
            run=lambda key, row: (row.run, key),
            ident=lambda key, row: (row.run, row.name, row.ident) if row.ident else None,
            name=lambda key, row: (row.ns, row.name, key),
            free=lambda key, row: None if row.taken else (row.ns, row.name, key),
            taken=lambda key, row: (row.ns, row.name, key) if row.taken else None,
        )

        self.sticky: Table[int, StickyBody] = Table(
            journal,
            key=lambda key, row: (row.ns, row.name, row.key),
            free=lambda key, row: None if row.got else (row.ns, row.name, row.key),
            got=lambda key, row: (row.ns, row.name, row.key) if row.got else None,
            expires=lambda key, row: (row.expires, key) if row.expires else None,
        )
        self.copies: Table[tuple[int, int], bytes] = Table(journal, ordered=True)

    def _share(self, journal: Journal) -> None:
        """What servers that share the store agree on."""
        self.defined: Table[str, int] = Table(journal)
        self.nodes: Table[int, NodeBody] = Table(journal, number=lambda key, row: (key,))
        self.outcomes: Table[tuple[int, int, int], bool] = Table(journal, ordered=True)
        self.claims: Table[tuple[str, str], ClaimBody] = Table(journal, ordered=True)
        self.lookups: Table[Lookup, int] = Table(journal)
        self.secrets: Table[tuple[str, str], SecretRow] = Table(journal, ordered=True)
        self.pauses: Table[tuple[str, str], PauseRow] = Table(journal)

    def live_definition(self, ns: str, kind: str, name: str, version: int) -> int:
        """Its id; 0 when there is none."""
        return next(self.definitions.under("live", ns, kind, name, version), 0)


def _placed(key: tuple[int, int], row: OpenRow) -> Entry | None:
    step = row.step
    return (key[0], place_number(step.thread, step.position), key[1]) if key[1] >= 0 and step.position >= 0 else None


def _events(journal: Journal) -> Table[int, EventBody]:
    return Table(
        journal,
        age=lambda key, row: (key,),
        ns=lambda key, row: (row.ns, key),
        type=lambda key, row: (row.ns, row.type, key),
        state=lambda key, row: (row.ns, row.state, key),
        type_state=lambda key, row: (row.ns, row.type, row.state, key),
    )


def _standing(key: tuple[int, int], row: OpenRow) -> Entry | None:
    return (key[0], row.step.slot, row.step.thread, key[1]) if key[1] > 0 else None


def _stranded(key: tuple[int, int], row: OpenRow) -> Entry | None:
    return key if key[1] < 0 and row.step.bits & Bit.STRANDED else None


def _below(key: tuple[int, int], row: ThreadRow) -> Entry | None:
    return None if row.above is None else (key[0], row.above, key[1])


def _ready(key: tuple[int, int], row: OpenRow) -> Entry | None:
    step = row.step
    return (step.queue, -step.priority, step.due, *key) if step.queue and not step.lease else None


def _leased(key: tuple[int, int], row: OpenRow) -> Entry | None:
    step = row.step
    if not step.queue or not step.lease:
        return None
    return (min(step.lease, step.started + step.limit) if step.limit > 0 else step.lease, *key)
