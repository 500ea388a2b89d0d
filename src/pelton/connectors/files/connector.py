"""Directories as sources: files that come, change and go, as the events FileCreated, FileUpdated and FileDeleted.

Invariants:
* What was reported of a file is its bookmark, written in the commit of the event: after any end each change is reported once.
* A file is reported once it has been unchanged for the settle time, and nothing was noticed of it meanwhile either.
* A directory that is not there, or that cannot be read, says nothing about its files.

The event's id is made from the name and from what was seen, so a repeat is known as one. Everything that waits does so by the
name of a file, of which there are at most `MOST_FILES`; what the engine does not take yet stays here, and is looked at no more.

Cost: a notice is one `lstat`; every minute the whole directory is looked at, in case a notice was lost. Memory: about 300 bytes
a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TypeVar
from uuid import UUID

import structlog

from pelton.connectors.files.ignoring import Ignored
from pelton.connectors.files.notices import FileNotices
from pelton.connectors.files.tree import MOST_FILES, MOST_FOLDERS, FileBookmark, Found, Look, Tree, unchanged, unpack
from pelton.connectors.health import HealthBook, epoch_milliseconds
from pelton.connectors.port import Bookmark, Health, Incoming, NoSubscription, Outgoing, Permanent, SourceEvent, Temporary

BATCH = 100  # events posted at once
LOOKED_AT = 1_000  # names looked at in one go, so that their events can leave meanwhile
TICK = 2.0  # seconds after which it is seen that the directory is gone
WHOLE = 60.0  # seconds between two looks at everything, for notices that were lost
WHOLE_DEAF = 5.0  # the same where the system gives no notices
SHARE = 20  # times as long as a look at everything took, nothing is looked at afterwards
SLICE = 5_000  # files seen that are gone through before others have their turn
NEVER = float("inf")
SUBJECT = 1_024  # characters of an event's subject

T = TypeVar("T")
_log = structlog.get_logger("pelton.files")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FilesConnector:
    """`folders`: directory by address, as `/prefix`. `settle`: milliseconds. `user`: of the events, "" = none.
    `ignore`: patterns of names that are left out, besides the temporary ones."""

    scheme: str = "files"
    makes_events: bool = True

    def __init__(
        self,
        folders: Mapping[str, str],
        settle: int = 500,
        clock: Callable[[], int] = epoch_milliseconds,
        most_files: int = MOST_FILES,
        most_folders: int = MOST_FOLDERS,
        *,
        user: str = "",
        ignore: Sequence[str] = (),
    ) -> None:
        self._folders = dict(folders)
        self._user = user
        self._ignored = Ignored(ignore)
        self._bounds = most_files, most_folders
        self._settle = settle / 1000
        self._clock = clock
        self._health = HealthBook(clock)

    def check(self, address: str) -> str | None:
        if address in self._folders:
            return None
        return f"no directory is watched as {address!r}: start the server with --watch DIR={address}"

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        return [Permanent("nothing can be sent to a watched directory: write a file into it")] * len(messages)

    def subscribe(self, address: str) -> FileSubscription | NoSubscription:
        if (reason := self.check(address)) is not None:
            return NoSubscription(reason)
        return FileSubscription(
            address,
            self._folders[address],
            self._settle,
            self._clock,
            self._health,
            *self._bounds,
            user=self._user,
            ignored=self._ignored,
        )

    def health(self) -> Mapping[str, Health]:
        return self._health.view()

    async def close(self) -> None: ...


class Waiting:
    """A file about which something was noticed: how it looked, and when that will have lasted long enough."""

    __slots__ = ("due", "look")

    def __init__(self, look: Look | None, due: float) -> None:
        self.look = look
        self.due = due


class FileSubscription:
    def __init__(
        self,
        address: str,
        folder: str,
        settle: float,
        clock: Callable[[], int],
        health: HealthBook,
        most_files: int = MOST_FILES,
        most_folders: int = MOST_FOLDERS,
        *,
        user: str = "",
        ignored: Ignored | None = None,
    ) -> None:
        self._address = address
        self._user = user
        self._ignored = ignored or Ignored()
        self._folder = folder
        self._settle = settle
        self._clock = clock
        self._health = health
        self._most_files = most_files
        self._most_folders = most_folders
        self._bookmarks: dict[str, bytes] = {}
        self._waiting: dict[str, Waiting] = {}
        self._ready: deque[tuple[str, Look | None]] = deque()
        self._folders: dict[str, int] = {}  # with their inodes
        self._noticed: set[str] = set()
        self._whole = 0.0  # when everything is looked at next
        self._notices: list[FileNotices] = []  # the newest is the last; older ones go when it is live
        self._watched: dict[str, int] = {}  # the directories that it is of
        self._fresh: list[str] = []  # of them, those that were not watched before
        self._live = 0.0  # since when; 0 = it is not yet
        self._deaf = 0.0  # until when it is not tried again
        self._deafness = 0  # how often it broke
        self._wake = asyncio.Event()
        self._unspoken: list[str] = []
        self._tree: Tree

    # ---- what the runtime calls

    def resume(self, bookmarks: Sequence[Bookmark]) -> None:
        """Nothing is said of what is left out by now, also not that it is gone; its bookmarks stay in the store, for later."""
        self._bookmarks.update((name, state) for name, state in bookmarks if not self._ignored.within(name))

    async def batches(self) -> AsyncIterator[Sequence[Incoming]]:
        try:
            self._tree = await beside(lambda: Tree(self._folder, self._most_files, self._most_folders, self._ignored))
            while True:
                await self._look()
                self._health.good(self._address)
                if not self._ready and not self._waiting:
                    yield []
                while self._ready:
                    yield [self._report(*self._ready.popleft()) for _ in range(min(BATCH, len(self._ready)))]
                await self._rest()
        except (Temporary, Permanent) as trouble:
            self._health.bad(self._address, str(trouble))
            raise

    async def acknowledge(self, messages: Sequence[Incoming]) -> None:
        """That it was reported is in the store already."""

    async def give_back(self, messages: Sequence[Incoming]) -> None:
        for message in messages:
            name, before = message.handle
            if before is None:
                self._bookmarks.pop(name, None)
            else:
                self._bookmarks[name] = before
            self._noticed.add(name)
        self._wake.set()

    async def close(self) -> None:
        self._stop_notices()

    # ---- notices

    def _heard(self, paths: set[str]) -> None:
        for path in paths:
            name = self._tree.name(path)
            if name and not self._ignored.within(name):
                self._noticed.add(name)
        if len(self._noticed) > self._most_files:
            self._noticed.clear()
            self._whole = 0.0
        self._wake.set()

    def _listen(self) -> None:
        """Notices of the directories that there are now. The old ones go on until the new ones are there."""
        starting = self._notices and not self._live
        if self._watched == self._folders or starting or now() < self._deaf:
            return
        self._fresh = [name for name, inode in self._folders.items() if self._watched.get(name) != inode]
        self._watched = dict(self._folders)
        self._live = 0.0
        paths = [self._tree.path(name) for name in self._folders]
        fresh = FileNotices(asyncio.get_running_loop(), paths, self._heard, self._hears, self._broke)
        self._notices.append(fresh)
        fresh.start()

    def _hears(self) -> None:
        """From here on nothing is missed in these directories; what happened in the new ones before is looked for now."""
        for old in self._notices[:-1]:
            old.stop()
        del self._notices[:-1]
        self._live = now()
        if "" in self._fresh:
            self._whole = 0.0
        else:
            self._noticed.update(self._fresh)
        self._wake.set()

    def _broke(self, why: str) -> None:
        """Perhaps a directory went in this moment, perhaps the system has no notices: then it is asked again ever more seldom."""
        self._deafness = 0 if self._live and now() - self._live > WHOLE else min(self._deafness + 1, 8)
        pause = min(WHOLE, WHOLE_DEAF / 10 * 2**self._deafness)
        _log.warning("no notices of files for now: the directory is looked at instead", source=self._address, error=why)
        self._stop_notices()
        self._deaf = now() + pause
        self._whole = min(self._whole, now() + min(pause, WHOLE_DEAF))
        self._wake.set()

    def _stop_notices(self) -> None:
        for each in self._notices:
            each.stop()
        self._notices.clear()
        self._watched = {}

    # ---- looking

    async def _rest(self) -> None:
        """Until something was noticed, or is due."""
        if not self._noticed:
            first = next(iter(self._waiting.values()), None)
            until = min(self._whole, now() + TICK, first.due if first is not None else NEVER)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(until - now(), 0.0)):
                    await self._wake.wait()
        self._wake.clear()

    async def _look(self) -> None:
        began = now()
        if began >= self._whole:
            self._noticed.clear()
            self._whole = NEVER
            found = await beside(lambda: self._tree.all(self._bookmarks))
            self._folders = found.folders
            pause = WHOLE if self._notices else WHOLE_DEAF
            self._whole = min(self._whole, now() + max(pause, SHARE * (now() - began)))
            self._warn(found)
            await self._take(found, set(), set())
        else:
            noticed, self._noticed = self._noticed, set()
            due = [name for name in self._due(began) if name not in noticed]
            found = await beside(lambda: self._tree.some([*sorted(noticed), *due], self._bookmarks, self._folders))
            gone = tuple(f"{name}/" for name in found.gone)
            if gone:
                self._folders = {name: inode for name, inode in self._folders.items() if not f"{name}/".startswith(gone)}
            self._folders.update(found.folders)
            await self._take(found, noticed, set(due))
        if len(self._folders) > self._most_folders:
            self._whole = 0.0  # which says so, if it is true
        self._listen()

    def _due(self, moment: float) -> list[str]:
        """In the order in which they began to wait."""
        found: list[str] = []
        for name, waiting in self._waiting.items():
            if waiting.due > moment or len(found) == LOOKED_AT:
                break
            found.append(name)
        return found

    async def _take(self, found: Found, noticed: set[str], due: set[str]) -> None:
        """What was seen either has lasted, and is ready to be reported, or has to last from now on."""
        for place, (name, look) in enumerate(found.files.items()):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            waiting = self._waiting.get(name)
            if unchanged(self._bookmarks.get(name), look):
                self._waiting.pop(name, None)
            elif waiting is None or not alike(waiting.look, look) or name in noticed:
                self._wait_for(name, look, self._settle)
            elif name in due:
                del self._waiting[name]
                self._ready.append((name, look))
        for name in due - found.files.keys():  # it could not be looked at, or is a directory now
            waiting = self._waiting.pop(name, None)
            if waiting is not None and name not in found.folders:
                self._wait_for(name, waiting.look, max(self._settle, TICK))

    def _wait_for(self, name: str, look: Look | None, seconds: float) -> None:
        """`_waiting` is in the order of being due: nearly all wait equally long, so whoever comes last is due last."""
        self._waiting.pop(name, None)
        if len(self._waiting) >= self._most_files or (len(self._bookmarks) >= self._most_files and name not in self._bookmarks):
            raise self._tree.too_many()
        self._waiting[name] = Waiting(look, now() + seconds)

    def _warn(self, found: Found) -> None:
        if found.unspoken and found.unspoken != self._unspoken:
            _log.warning("names that are not UTF-8 are left out", source=self._address, names=found.unspoken)
        if found.unreadable:
            _log.warning("directories cannot be read", source=self._address, names=found.unreadable[:3])
        self._unspoken = found.unspoken

    # ---- reporting

    def _report(self, name: str, look: Look | None) -> Incoming:
        """The event's message. From here on the change counts as reported, unless the message is given back."""
        before = self._bookmarks.get(name)
        path = f"{self._address.rstrip('/')}/{name}"
        kind, ident, reached = self._event(path, before, look)
        body = {
            "filePath": path,
            "fileName": path.rpartition("/")[2],
            "size": reached.size,
            "fileId": guid(reached.file),
            "modified": iso(reached.modified),
        }
        state = b"" if look is None else reached.pack()
        if look is None:
            self._bookmarks.pop(name, None)
        else:
            self._bookmarks[name] = state
        event = SourceEvent(kind, path if len(path) <= SUBJECT else "", self._clock(), body, self._user)
        return Incoming(ident, b"", {}, (name, before), 1, event, (name, state))

    def _event(self, path: str, before: bytes | None, look: Look | None) -> tuple[str, str, FileBookmark]:
        """Type and id of the event, and what it reports. A file keeps its id for as long as there is a file of its name."""
        known = unpack(before) if before is not None else None
        if look is None:
            assert known is not None, "what was never reported is not reported to be gone"
            return "FileDeleted", guid(digest("FileDeleted", path, known)), known
        kind = "FileCreated" if known is None else "FileUpdated"
        ident = digest(kind, path, look)
        file = known.file if known is not None else ident
        return kind, guid(ident), FileBookmark(file, look.inode, look.size, look.modified, self._tree.home)


def digest(kind: str, path: str, seen: tuple[object, ...]) -> bytes:
    return blake2b(repr((kind, path, *seen)).encode(), digest_size=16).digest()


def guid(digest: bytes) -> str:
    return str(UUID(bytes=digest, version=5))  # the kind that is made from a name


def alike(one: Look | None, other: Look | None) -> bool:
    return one is other if one is None or other is None else one.same == other.same


def iso(nanoseconds: int) -> str | None:
    """None for a time beyond what a calendar has."""
    try:
        moment = _EPOCH + timedelta(microseconds=nanoseconds // 1_000)
    except OverflowError:
        return None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def now() -> float:
    return time.monotonic()


async def beside(work: Callable[[], T]) -> T:
    """In a thread that no one waits for at the end: a network's file system may hang for as long as it likes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as found:
            error = found
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name="files", daemon=True).start()
    return await future
