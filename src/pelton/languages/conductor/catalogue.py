"""Labels of what is defined: tags of workflows, tasks, schedules and secrets, kept beside them."""

from __future__ import annotations

import msgspec

from pelton.errors import Code, PeltonError
from pelton.languages.conductor import decode
from pelton.languages.conductor.model import LANGUAGE, CamelForm
from pelton.runtime.api import Engine
from pelton.runtime.caller import Caller

KIND = "tags"
MOST_TAGS = 100
MAX_TEXT = 1_000


class Tag(CamelForm):
    key: str = ""
    value: str = ""
    type: str = "METADATA"


async def tags_of(engine: Engine, caller: Caller, what: str, name: str) -> list[Tag]:
    row = await engine.definition(caller, KIND, f"{what}/{name}")
    return decode.decode_list(row.body, Tag) if row is not None and row.language == LANGUAGE else []


async def set_tags(engine: Engine, caller: Caller, what: str, name: str, tags: list[Tag]) -> None:
    """Replaces them. Raises PeltonError "invalid"."""
    if len(tags) > MOST_TAGS:
        raise PeltonError(Code.INVALID, f"there are {len(tags)} tags; the limit is {MOST_TAGS}")
    for tag in tags:
        if not tag.key.strip() or len(tag.key) > MAX_TEXT or len(tag.value) > MAX_TEXT:
            raise PeltonError(Code.INVALID, f"a tag has a key, and at most {MAX_TEXT} characters in key and value", "key")
    await engine.define(caller, KIND, LANGUAGE, f"{what}/{name}", 1, msgspec.json.encode(tags))


async def add_tags(engine: Engine, caller: Caller, what: str, name: str, tags: list[Tag]) -> None:
    known = {(tag.type, tag.key, tag.value): tag for tag in await tags_of(engine, caller, what, name)}
    known.update({(tag.type, tag.key, tag.value): tag for tag in tags})
    await set_tags(engine, caller, what, name, list(known.values()))


async def remove_tags(engine: Engine, caller: Caller, what: str, name: str, tags: list[Tag]) -> None:
    gone = {(tag.key, tag.value) for tag in tags}
    left = [tag for tag in await tags_of(engine, caller, what, name) if (tag.key, tag.value) not in gone]
    await set_tags(engine, caller, what, name, left)


async def forget_tags(engine: Engine, caller: Caller, what: str, name: str) -> None:
    """With what they belong to."""
    row = await engine.definition(caller, KIND, f"{what}/{name}")
    if row is not None and row.language == LANGUAGE:
        try:
            await engine.undefine(caller, KIND, f"{what}/{name}", 1)
        except PeltonError as error:
            if error.code is not Code.NOT_FOUND:
                raise
