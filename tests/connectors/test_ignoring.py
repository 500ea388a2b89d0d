"""Names that are left out of watched directories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.connectors.files.ignoring import MOST_LENGTH, TEMPORARY, Ignored, problem

USUAL = Ignored()


@pytest.mark.parametrize(
    "name",
    [".a", "a.tmp", "A.TMP", "a.part", "a.crdownload", "~a", ".a.swp", "a.swp", ".", "a.swx", "a~", "#a#", "a.partial",
     "a.download",
     "a.incomplete", "a.temp", "a.aria2", "a.filepart", "~$a.docx", "a.!qB", ".a.csv.X3f9Q1", "a\n.tmp",
     "sub/.git/config", "a.tmp/b"],
)  # fmt: skip
def test_temporary_names(name: str) -> None:
    assert USUAL.within(name)


@pytest.mark.parametrize(
    "name", ["a.csv", "part", "tmp", "a.tmp.csv", "a~b", "#a", "a#", "film.swf1", "a.par", "download", "a.bak", "a.lock"]
)
def test_names_of_finished_files(name: str) -> None:
    assert not USUAL.within(name)


@given(st.text(alphabet="ab-_ 1", min_size=1).map(lambda text: text + ".csv"))
def test_other_names_are_not(name: str) -> None:
    assert not USUAL.within(name)


@pytest.mark.parametrize(
    ("patterns", "left_out", "kept"),
    [
        (["*.lock"], ["a.lock", "sub/A.Lock", "x.lock/a"], ["lock", "a.lock2"]),
        (["archive/*.csv"], ["archive/a.csv"], ["archive/2026/a.csv", "sub/archive/a.csv", "a.csv"]),
        (["**/archive"], ["archive", "sub/archive/a", "a/b/archive"], ["archives", "a/archive2"]),
        (["archive/**"], ["archive/a", "archive/b/c"], ["archives/a", "b/archive2/a"]),
        (["a/**/z"], ["a/z", "a/b/z", "a/b/c/z", "a/z/b/z"], ["a/b", "z", "b/a/z"]),
        (["**/a/**/b"], ["a/b", "x/a/b", "x/a/y/a/z/b", "a/b/c"], ["a", "b/a"]),
        (["!*.tmp"], ["a.part"], ["a.tmp", "sub/a.tmp"]),
        (["!.*", ".git"], [".git", "sub/.git/a"], [".env", ".gitignore"]),
        (["*.csv", "!prices*.csv", "prices-old*.csv"], ["a.csv", "prices-old1.csv"], ["prices.csv"]),
        (["!*"], [], [".a", "a.tmp", "~"]),
        (["!keep/.env"], [".env", "other/.env"], ["keep/.env"]),
        (["[!a]*.log"], ["b.log"], ["a.log"]),
        (["[ab"], ["[ab"], ["a", "b"]),
    ],
)  # fmt: skip
def test_patterns(patterns: list[str], left_out: list[str], kept: list[str]) -> None:
    ignored = Ignored(patterns)
    assert [name for name in left_out if not ignored.within(name)] == []
    assert [name for name in kept if ignored.within(name)] == []


def test_nothing_is_taken_back_out_of_a_directory_that_is_left_out() -> None:
    assert Ignored(["raw", "!raw/a"]).within("raw/a")


def test_a_pattern_of_stars_ends_in_time() -> None:
    name = "a" * 250
    assert not Ignored(["*a" * 90 + "b", "*[a]" * 50 + "b", "/".join(["**", "a*"] * 30) + "/b", "**/" * 60 + "b"]).within(
        "/".join([name] * 16)
    )


@pytest.mark.parametrize("pattern", TEMPORARY)
def test_what_is_left_out_by_default_could_be_given_as_well(pattern: str) -> None:
    assert problem(pattern) is None


@pytest.mark.parametrize("pattern", ["", "!", "/a", "a/", "a//b", "../a", "a/.", "a\nb", "a\0", "a" * (MOST_LENGTH + 1)])
def test_what_is_no_pattern(pattern: str) -> None:
    assert problem(pattern) is not None
