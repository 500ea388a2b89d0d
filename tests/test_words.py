"""One concept, one word: names that were given up do not come back. docs/glossary.md has the words; this has those not to use.

Names are what a program is written in: classes, functions, arguments, attributes, modules. Text in quotes is not looked at: what
is stored or seen by users keeps its name.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator

import pytest
from tests.source import PACKAGE, ROOT, report

# The word that was given up, as a whole name or as a part of one in snake or camel case; and what to write instead.
REFUSED = {
    "agenda": "`worklist` in a draft, `DueQueue` for what is due",
    "begun": "`started`",
    "building": "`GroupBuilder`",
    "face": "`annotations` of a node, `ApiContext` of routes, API",
    "facts": "`reads` for what is read, `Announcement` for what is announced",
    "finding": "`search`",
    "inbox": "`pending signals`",
    "meeting": "`correlation`, or `rendezvous` for the stored row",
    "meetings": "`correlation`",
    "mirror": "`ReadyWindow`",
    "sequel": "`follow_up`",
    "stub": "`placeholder`",
    "stubs": "`placeholders`",
    "told": "a verb that says what is done: `describe`, `report`, `note`",
    "turn": "`Draft` in the kernel, `UnitOfWork` in the runtime",
    "who": "`caller`, `user`, `worker`",
}

# Whole names only: as a part of a longer name, or in lower case, they are other words.
REFUSED_NAMES = {
    "Book": "`RecordChange`",
    "BookDelta": "`RecordChange`",
    "close_book": "`settle_record`",
    "Notices": "`EventFeed`",
    "Place": "`CorrelationPoint`",
    "Met": "`Correlated`",
    "meet": "`correlate`",
    "wait_key": "`correlation`, of a wait",
    "post_keyed": "`correlate`",
    "Needs": "`ReadLoader`",
    "Translator": "`EffectRows`",
    "Broken": "`FailureEscaped`",
    "Emptied": "`ScopeEmptied`",
    "Parked": "`ThreadParked`",
    "Late": "a name that says what is late",
    "Gathered": "`IngestOutcomes`",
    "Ordered": "`ArrivalOrder`",
    "Job": "`CommitRequest`, `FanOut`, `Execution`",
    "carry_on": "`resume`",
    "go_on": "`continue_after_fuel`, `resume`",
    "hurry_up": "`run_now`",
}

# (file below src/pelton, name): what it is there.
ALLOWED: dict[tuple[str, str], str] = {
    ("store/sqlite/encode.py", "RUN_TURN"): "the number of a statement, which has that name in the store",
}


def parts(name: str) -> list[str]:
    """The words of a name, in lower case: `RunTurn`, `run_turn` and `RUN_TURN` are run and turn."""
    return [each.lower() for each in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def instead_of(name: str) -> str | None:
    if name in REFUSED_NAMES:
        return REFUSED_NAMES[name]
    return next((REFUSED[each] for each in parts(name) if each in REFUSED), None)


def names(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def complaints(source: str, where: str) -> list[str]:
    found: dict[str, str] = {}
    for line, name in names(source):
        if (wanted := instead_of(name)) is not None and (where, name) not in ALLOWED:
            found.setdefault(name, f"{where}:{line}: {name}; write {wanted}")
    return list(found.values())


def test_no_word_that_was_given_up_comes_back() -> None:
    found: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        found += complaints(path.read_text(encoding="utf-8"), where)
        if (wanted := instead_of(path.stem)) is not None and (where, path.stem) not in ALLOWED:
            found.append(f"{where}: {path.stem}; write {wanted}")
    report(found)


def test_every_exception_is_needed() -> None:
    report(
        [
            f"{where} has no {name}"
            for where, name in ALLOWED
            if not (PACKAGE / where).exists()
            or name not in {each for _, each in names((PACKAGE / where).read_text(encoding="utf-8"))} | {(PACKAGE / where).stem}
        ]
    )


def test_every_word_of_the_glossary_is_in_the_code() -> None:
    """Each row of its tables names a place in the code; tests/test_docs_names.py sees that it is there. No word stands twice."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.partition("## Words that were")[0].splitlines() if line.startswith("| ")]
    terms = [row for row in rows if row[0].strip() != "Word"]
    assert len(terms) > 60
    report([f"{row[0].strip()} names no place in the code" for row in terms if ".py" not in row[2]])
    words = [row[0].strip() for row in terms]
    assert sorted(set(words)) == sorted(words)
    report([f"{word} is a word that was given up" for word in words if any(each in REFUSED for each in parts(word))])


@pytest.mark.parametrize(
    "source", ["class Turn: ...", "stub = 1", "def close_book(): ...", "x.inbox.append(1)", "class RunFace: ...", "Met()"]
)
def test_a_word_that_was_given_up_is_found(source: str) -> None:
    assert len(complaints(source, "m.py")) == 1


def test_other_words_are_left_alone() -> None:
    assert complaints("returned = turning(surface, 'inbox')  # a turn\nhandbook: bookmark = place", "m.py") == []
