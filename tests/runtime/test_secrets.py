"""Secrets as they are kept: sealed for one name, encrypted anew whatever interrupts it, and the same for every server at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import Failure
from pelton.runtime.caller import SERVER, Caller
from pelton.runtime.engine import LocalEngine
from pelton.runtime.secrets.cipher import KEY_BYTES, BadKey, Cipher, SecretUnreadable, cipher_from
from pelton.runtime.secrets.redaction import redacted_report, withheld_of
from pelton.runtime.secrets.sources import MOST_BYTES
from pelton.runtime.secrets.vault import MOST_SECRETS, PAGE, Rotation, Vault, rotate
from pelton.store.group import Committed, Group
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store, StoreFailed
from pelton.store.rows import SecretRow
from pelton.store.sqlite.store import SqliteStore


def cipher() -> Cipher:
    return Cipher(os.urandom(KEY_BYTES))


def test_a_sealed_value_is_of_its_key_and_name_and_of_no_other() -> None:
    one, other = cipher(), cipher()
    sealed = one.seal("a", "token", "välue")
    assert one.unseal("a", "token", sealed) == "välue"
    assert sealed != one.seal("a", "token", "välue")
    damaged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for key, ns, name, text in (
        (other, "a", "token", sealed), (one, "b", "token", sealed), (one, "a", "tok", sealed), (one, "a", "token", damaged),
        (one, "a", "token", b""), (one, "a", "token", sealed[:5]), (one, "a", "token", b"\x02" + sealed[1:]),
    ):  # fmt: skip
        with pytest.raises(SecretUnreadable):
            key.unseal(ns, name, text)
    assert one.name != other.name


@pytest.mark.parametrize("text", ["", "short", "not base64 !", "é" * 44, "QUJD"])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadKey) as refused:
        cipher_from(text)
    assert not text or text not in str(refused.value)


class Interrupted(MemoryStore):
    """Fails at one of the coming commits."""

    left = -1

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        self.left -= 1
        if self.left == 0:
            raise StoreFailed("the power is gone")
        return await super().commit(groups)


async def fill(store: Store, key: Cipher, count: int) -> None:
    rows = [
        SecretRow("ab"[n % 2], f"s{n}", key.seal("ab"[n % 2], f"s{n}", f"value {n}"), 7, "ann", key.name) for n in range(count)
    ]
    await store.commit([Group(1, secrets=[*rows, SecretRow("a", "outside", b"", 7, source="env:X")])])


async def test_a_rotation_that_is_interrupted_goes_on_and_loses_nothing() -> None:
    store, old, new = Interrupted(), cipher(), cipher()
    await store.open()
    count = 2 * PAGE + 3
    await fill(store, old, count)
    store.left = 2
    with pytest.raises(StoreFailed):
        await rotate(store, [old], new)
    keys = {row.key for row in await store.secrets(("", ""), 1_000)}
    assert keys == {old.name, new.name, ""}
    done = await rotate(store, [old], new)
    assert done == Rotation(count - done.already, done.already)
    assert 0 < done.already < count
    for row in await store.secrets(("", ""), 1_000):
        assert row.source or new.unseal(row.ns, row.name, row.sealed) == f"value {row.name[1:]}"
        assert (row.set_at, row.set_by) == (7, "" if row.source else "ann")
    await store.close()


async def test_a_rotation_without_the_right_key_changes_nothing(tmp_path: Path) -> None:
    store, old, new = SqliteStore(tmp_path / "s.db"), cipher(), cipher()
    await store.open()
    await fill(store, old, PAGE)
    late = SecretRow("z", "late", cipher().seal("z", "late", "x"), 7, "", "unknown")
    await store.commit([Group(2, secrets=[late])])
    before = await store.secrets(("", ""), 1_000)
    with pytest.raises(PeltonError, match="'late' of the namespace z"):
        await rotate(store, [old], new)
    assert await store.secrets(("", ""), 1_000) == before
    await store.close()


async def test_two_engines_on_one_store_have_a_change_at_once_and_a_namespace_only_its_own() -> None:
    store, key = MemoryStore(), cipher()
    await store.open()
    one, other = (LocalEngine(store, vault=Vault(store, key)) for _ in range(2))
    await one.open()
    row = await one.set_secret(Caller(user="ann"), "token", value="first")
    assert (row.ns, row.set_by) == ("default", "ann")
    assert await other.vault.value("default", "token") == "first"
    await one.set_secret(SERVER, "token", value="second")
    assert await other.vault.value("default", "token") == "second"
    await one.set_secret(Caller("acme"), "token", value="theirs")
    assert [each.name for each in await one.secrets(Caller("acme"))] == ["token"]
    assert await other.vault.value("default", "token") == "second"
    await one.remove_secret(SERVER, "token")
    with pytest.raises(PeltonError, match="'token' is not set in the namespace default"):
        await other.vault.value("default", "token")
    assert await other.vault.value("acme", "token") == "theirs"
    await one.close(1.0)
    await store.close()


async def test_what_is_set_is_bounded() -> None:
    store = MemoryStore()
    await store.open()
    engine = LocalEngine(store, vault=Vault(store, cipher()))
    await engine.open()
    for name, given, code in (
        ("x", {"value": "v" * (MOST_BYTES + 1)}, Code.TOO_LARGE), ("x", {}, Code.INVALID), ("x y", {"value": "v"}, Code.INVALID),
        ("x", {"value": "v", "source": "env:A"}, Code.INVALID), ("x" * 101, {"value": "v"}, Code.INVALID),
        ("x", {"value": "\ud800"}, Code.INVALID), ("x", {"source": "env:" + "A" * 1_000}, Code.INVALID),
    ):  # fmt: skip
        with pytest.raises(PeltonError) as refused:
            await engine.set_secret(SERVER, name, **given)
        assert refused.value.code is code
        assert "vvv" not in str(refused.value) + repr(refused.value.value)
    await store.commit([Group(1, secrets=[SecretRow("default", f"s{n}", b"", 1, source="env:A") for n in range(MOST_SECRETS)])])
    with pytest.raises(PeltonError) as refused:
        await engine.set_secret(SERVER, "one_more", value="v")
    assert refused.value.code is Code.TOO_LARGE
    assert (await engine.set_secret(SERVER, "s1", value="v")).key
    without = Vault(store)
    with pytest.raises(PeltonError, match="no key"):
        await without.set(engine.committer, "default", "s1", value="v")
    with pytest.raises(PeltonError, match="'s1' cannot be read: this server has no key"):
        await without.value("default", "s1")
    await engine.close(1.0)
    await store.close()


def test_values_are_taken_out_of_what_an_operation_reports() -> None:
    hide = withheld_of(["open sesame", '{"user": "ann", "deep": [{"password": "of-the-file"}]}', "abc"])
    output: Any = {"open sesame": ["say open sesame", {"p": "of-the-file", "n": 1}, "abc"]}
    report = Report(output=output, reason="of-the-file!", failure=Failure(message="open sesame", content=["of-the-file"]))
    hidden = redacted_report(report, hide)
    assert hidden.output == {"***": ["say ***", {"p": "***", "n": 1}, "abc"]}
    assert hidden.reason == "***!"
    assert hidden.failure == Failure(message="***", content=["***"])
    assert redacted_report(report, ()) is report
