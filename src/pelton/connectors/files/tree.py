"""What is in a directory: looking at it, and what was reported of each of its files. No asyncio here: `Tree` is used in a thread.

Names are paths below the directory with "/" between their parts. Not looked at: symbolic links (they may lead anywhere, and what
they lead to inside has its own name), names that are left out (`ignoring`), what is neither file nor directory, and names that
are not UTF-8 (nothing in JSON could say them). A directory that cannot be read makes its files unknown, never gone.

Cost: a whole look is one `lstat` an entry, about a second for 100,000 files.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pelton.connectors.files.ignoring import Ignored
from pelton.connectors.port import Absent, Permanent

MOST_FILES = 100_000
MOST_FOLDERS = 10_000

_MASK = 2**64 - 1
_SAME = struct.Struct("<QQq")
_BOOKMARK = struct.Struct("<16sQQqQ")


class Look(NamedTuple):
    """A file as it was seen; times in nanoseconds since 1970."""

    inode: int
    size: int
    modified: int
    changed: int  # of its name or mode too: tells two lives of one file apart, and is no change by itself

    @property
    def same(self) -> bytes:
        """What makes a file the one that was reported: while it stays, nothing is reported."""
        return _SAME.pack(self.inode, self.size, self.modified)


class FileBookmark(NamedTuple):
    """What was reported of a file last, as it is kept with the event. `home`: inode of the watched directory then."""

    file: bytes  # 16 bytes: the file's id
    inode: int
    size: int
    modified: int
    home: int

    def pack(self) -> bytes:
        return _BOOKMARK.pack(*self)


def unpack(row: bytes) -> FileBookmark:
    """Raises struct.error."""
    return FileBookmark(*_BOOKMARK.unpack(row))


def unchanged(row: bytes | None, look: Look | None) -> bool:
    """Whether there is nothing to report. `row`: a packed bookmark; None = nothing was reported, or that it is gone."""
    if row is None or look is None:
        return row is None and look is None
    return row[16:40] == look.same


class Found:
    """What a look found. `files`: those seen that are not as they were reported, and those that are gone (None)."""

    __slots__ = ("count", "files", "folders", "gone", "unreadable", "unspoken")

    def __init__(self) -> None:
        self.files: dict[str, Look | None] = {}
        self.folders: dict[str, int] = {}  # with their inodes
        self.gone: list[str] = []  # names at which there is no directory, of those that were asked for
        self.count = 0  # files seen, changed or not
        self.unreadable: list[str] = []
        self.unspoken: list[str] = []  # names that are not UTF-8, at most a few


class Tree:
    def __init__(
        self, root: str, most_files: int = MOST_FILES, most_folders: int = MOST_FOLDERS, ignored: Ignored | None = None
    ) -> None:
        self.given = root
        self.root = os.path.realpath(root)
        self._start = self.root.rstrip(os.sep) + os.sep
        self.identity = self._identity()
        self._most_files = most_files
        self._most_folders = most_folders
        self._ignored = ignored or Ignored()

    @property
    def home(self) -> int:
        return self.identity[1]

    def _identity(self) -> tuple[int, int]:
        """Raises Absent."""
        try:
            found = Path(self.root).stat()
        except OSError as error:
            raise Absent(f"the directory {self.given} is not there: {error.strerror}; create or mount it again") from None
        if not stat.S_ISDIR(found.st_mode):
            raise Absent(f"{self.given} is not a directory any more; put the directory back")
        return found.st_dev, found.st_ino & _MASK

    def check(self) -> None:
        """Raises Absent when the directory is not there, or is another one than at first."""
        if self._identity() != self.identity or os.path.realpath(self.given) != self.root:
            raise Absent(f"another directory has taken the place of {self.given}; it is looked at anew")

    def name(self, path: str) -> str:
        """Of a path below the directory; "" for the directory itself and for what is elsewhere."""
        return path[len(self._start) :].replace(os.sep, "/") if path.startswith(self._start) else ""

    def path(self, name: str) -> str:
        return self._start + name.replace("/", os.sep) if name else self.root

    # ---- looking

    def all(self, bookmarks: Mapping[str, bytes]) -> Found:
        """Raises Absent; Permanent when there is too much."""
        found = Found()
        self._folders([""], bookmarks, found)
        if not found.count and bookmarks and not any(unpack(row).home == self.home for row in bookmarks.values()):
            raise Absent(
                f"the directory {self.given} is empty, and is another than the one that {len(bookmarks)} known files were in; "
                "mount it again, or put a file into it to say that it is the right one"
            )
        self.check()
        return found

    def some(self, names: Iterable[str], bookmarks: Mapping[str, bytes], folders: Mapping[str, int]) -> Found:
        """Looks at these names; at directories with all that is in them. `folders`: those known so far."""
        found = Found()
        fresh: list[str] = []
        safe: dict[str, bool] = {"": True}
        for name in names:
            parent = name.rpartition("/")[0]
            if parent not in safe:
                safe[parent] = os.path.realpath(self.path(parent)) == self.path(parent)
            look = self._look(name) if safe[parent] else None
            if look == "unknown":
                continue
            if look == "folder":
                fresh.append(name)
                if name in bookmarks:
                    found.files[name] = None  # there was a file of this name
            else:
                found.files[name] = look
                if name in folders:
                    found.gone.append(name)
        lost = tuple(f"{name}/" for name in found.gone)
        if lost:
            found.files.update((name, None) for name in bookmarks if name.startswith(lost))
        self._folders(_outermost(fresh), bookmarks, found)
        self.check()
        return found

    def _look(self, name: str) -> Look | Literal["folder", "unknown"] | None:
        """None: there is no file and no directory of this name."""
        try:
            found = os.lstat(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            return "unknown"
        if stat.S_ISREG(found.st_mode):
            return look_of(found)
        return "folder" if stat.S_ISDIR(found.st_mode) else None

    def _folders(self, names: list[str], bookmarks: Mapping[str, bytes], found: Found) -> None:
        if not names:
            return
        seen: set[str] = set()
        stack = list(names)
        while stack:
            folder = stack.pop()
            try:
                inode = os.lstat(self.path(folder)).st_ino & _MASK
                inside = self._folder(folder, bookmarks, found, seen)
            except (FileNotFoundError, NotADirectoryError):
                if not folder:
                    raise Absent(f"the directory {self.given} is not there; create or mount it again") from None
                continue
            except OSError as error:
                if not folder:
                    raise Absent(f"the directory {self.given} cannot be read: {error.strerror}; check its permissions") from None
                found.unreadable.append(folder)
                continue
            found.folders[folder] = inode
            stack += inside
            if len(found.folders) + len(stack) > self._most_folders:
                raise Permanent(
                    f"there are more than {self._most_folders} directories in {self.given}: watch directories further inside"
                )
        below = tuple(f"{name}/" if name else "" for name in names)
        unknown = tuple(f"{name}/" for name in found.unreadable)
        for name in bookmarks:
            if name not in seen and name.startswith(below) and not (unknown and name.startswith(unknown)):
                found.files[name] = None

    def _folder(self, folder: str, bookmarks: Mapping[str, bytes], found: Found, seen: set[str]) -> list[str]:
        """The directories in it. Raises OSError; then what was found of it so far is true all the same."""
        inside: list[str] = []
        start = f"{folder}/" if folder else ""
        with os.scandir(self.path(folder)) as entries:
            for entry in entries:
                name = start + entry.name
                if self._ignored(name, entry.name):
                    continue
                if not spoken(entry.name):
                    if len(found.unspoken) < 3:
                        found.unspoken.append(start + ascii(entry.name))
                    continue
                if entry.is_dir(follow_symlinks=False):
                    inside.append(name)
                elif entry.is_file(follow_symlinks=False):
                    try:
                        look = look_of(entry.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue
                    seen.add(name)
                    found.count += 1
                    if not unchanged(bookmarks.get(name), look):
                        found.files[name] = look
                    if found.count > self._most_files:
                        raise self.too_many()
        return inside

    def too_many(self) -> Permanent:
        return Permanent(
            f"there are more than {self._most_files} files in {self.given}: take some away, or watch directories further inside"
        )


def look_of(found: os.stat_result) -> Look:
    return Look(found.st_ino & _MASK, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def spoken(name: str) -> bool:
    """Whether the name is UTF-8, and so can be said."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _outermost(names: list[str]) -> list[str]:
    """Without those that are inside another."""
    kept: list[str] = []
    for name in sorted(set(names)):
        if not kept or not name.startswith(f"{kept[-1]}/"):
            kept.append(name)
    return kept
