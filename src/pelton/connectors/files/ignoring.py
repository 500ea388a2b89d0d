"""Names that are left out of a watched directory: above all the temporary names under which programs write a file before they
give it its own. A pattern is a glob, for files and directories alike, in which case does not matter:

* without "/" it is for the name itself, wherever it is: `*.part`;
* with "/" it is for the whole path below the directory, part by part: `archive/*.csv`; `**` stands for any number of parts;
* with "!" before it, it takes back what an earlier pattern left out.

The last pattern that fits decides. In a directory that is left out nothing is looked at, so nothing in it can be taken back.

Pure. Cost: one regular expression a run of like patterns, so one or two a name; no pattern takes longer than the product of its
length and the name's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from itertools import groupby

MOST_PATTERNS = 100
MOST_LENGTH = 200  # characters of a pattern

TEMPORARY: tuple[str, ...] = (
    ".*",  # rsync, lftp, proftpd, pure-ftpd, KDE and GNOME, vim's swap files, NFS
    "~*",  # Office's locks, Syncthing
    "*~",  # what editors keep of the file before
    "#*#",  # Emacs
    "*.sw[a-z]",  # vim, where it is told to put no dot first
    "*.kate-swp",
    "*___jb_tmp___",  # JetBrains
    "*___jb_old___",
    "*.tmp",
    "*.temp",
    "*.part",  # Firefox, curl, KDE, Nextcloud
    "*.partial",  # rclone, older browsers of Microsoft
    "*.filepart",  # WinSCP
    "*.crdownload",  # Chrome, Edge
    "*.download",  # Safari
    "*.opdownload",  # Opera
    "*.aria2",
    "*.ytdl",
    "*.!ut",  # BitTorrent clients
    "*.!qb",
    "*.incomplete",
    "*.uploading",
    "*.inprogress",
)
"""Left out unless the server's settings take them back. Only names that hardly anything finished has."""


class Ignored:
    """Which names are left out. `patterns`: as `problem` lets pass, after those of `TEMPORARY`."""

    __slots__ = ("_rules",)

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._rules: list[tuple[bool, Callable[[str, str], bool]]] = []  # each with whether it leaves out; the last asked first
        for (takes_back, whole), like in groupby((*TEMPORARY, *patterns), lambda each: (each[0] == "!", "/" in each)):
            globs = [each.removeprefix("!") for each in like]
            self._rules.append((not takes_back, _paths(globs) if whole else _names(globs)))
        self._rules.reverse()

    def __call__(self, path: str, name: str) -> bool:
        """Whether this one is left out; `path`: with all that it is in, which is asked for before. `name`: its end."""
        for leaves_out, fits in self._rules:
            if fits(path, name):
                return leaves_out
        return False

    def within(self, path: str) -> bool:
        """Whether it, or a directory that it is in, is left out."""
        at = 0
        while True:
            end = path.find("/", at)
            if end < 0:
                return self(path, path[at:])
            if self(path[:end], path[at:end]):
                return True
            at = end + 1


def problem(pattern: str) -> str | None:
    """Why this cannot be a pattern, if so."""
    glob = pattern.removeprefix("!")
    if len(pattern) > MOST_LENGTH or not glob or not pattern.isprintable():
        return f"a pattern has 1 to {MOST_LENGTH} printable characters"
    if glob.startswith("/") or glob.endswith("/") or not {"", ".", ".."}.isdisjoint(glob.split("/")):
        return "a pattern is for paths below the directory: it has no / at its start or end, and no empty, . or .. part"
    return None


def _names(globs: list[str]) -> Callable[[str, str], bool]:
    fits = _expression(globs)
    return lambda path, name: fits(name) is not None


def _paths(globs: list[str]) -> Callable[[str, str], bool]:
    patterns = [[None if part == "**" else _expression([part]) for part in glob.split("/")] for glob in globs]
    return lambda path, name: any(_fits(pattern, path.split("/")) for pattern in patterns)


def _expression(globs: list[str]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(map(translate, globs)), re.IGNORECASE).match


def _fits(pattern: list[Callable[[str], re.Match[str] | None] | None], parts: list[str]) -> bool:
    """Part by part; `**` (None) begins with no part, and takes one more whenever what follows it does not fit. Only the last one
    that was met has to: what an earlier one could take besides, it can take too."""
    place = at = 0
    star = resume = -1
    while at < len(parts):
        part = pattern[place] if place < len(pattern) else _nothing
        if part is None:
            star, resume = place, at
            place += 1
        elif part(parts[at]) is not None:
            place += 1
            at += 1
        elif star >= 0:
            resume += 1
            place, at = star + 1, resume
        else:
            return False
    return all(each is None for each in pattern[place:])


def _nothing(name: str) -> None:
    """Fits no name: what comes after a pattern's end."""
