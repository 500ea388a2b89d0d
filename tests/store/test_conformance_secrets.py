"""What every store must do for secrets: sealed rows by namespace and name, which nothing but their own writes touches."""

from __future__ import annotations

from typing import Any

from tests.store.conftest import Factory
from tests.store.rows import lost, put

from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.retention import KINDS, Sweep
from pelton.store.rows import SecretRow


def secret(name: str = "token", ns: str = "a", sealed: bytes = b"\x01sealed", **more: Any) -> SecretRow:
    return SecretRow(ns, name, sealed, 5, more.pop("set_by", "ann"), more.pop("key", "k1"), **more)


async def test_a_secret_is_there_as_it_was_set_last(store_factory: Factory) -> None:
    store = await store_factory()
    assert await store.secret_named("a", "token") is None
    await put(store, Group(1, secrets=[secret()]))
    assert await store.secret_named("a", "token") == secret()
    assert await store.secret_named("b", "token") is None
    await store.close()
    again = await store_factory()
    await put(again, Group(2, secrets=[secret(sealed=b"", key="", source="env:TOKEN")]))
    assert await again.secret_named("a", "token") == secret(sealed=b"", key="", source="env:TOKEN")
    await put(again, Group(3, secrets_gone=[("a", "token")]))
    assert await again.secret_named("a", "token") is None


async def test_one_that_is_gone_cannot_be_removed_and_its_group_changes_nothing(store: Store) -> None:
    group = Group(1, secrets_gone=[("a", "token")], secrets=[secret("other")])
    assert await lost(store, group) == "secret token of a"
    assert await store.secret_named("a", "other") is None


async def test_of_changes_in_one_batch_the_last_counts(store: Store) -> None:
    done = await store.commit([
        Group(1, secrets=[secret(sealed=b"1")]),
        Group(2, secrets_gone=[("a", "token")]),
        Group(3, secrets_gone=[("a", "token")]),
        Group(4, secrets=[secret(sealed=b"2")]),
    ])  # fmt: skip
    assert [each.ok for each in done] == [True, True, False, True]
    assert await store.secret_named("a", "token") == secret(sealed=b"2")


async def test_they_are_listed_by_namespace_and_name_in_pages(store: Store) -> None:
    rows = [secret(name, ns) for ns in ("a", "b", "c") for name in ("x", "y", "z")]
    await put(store, Group(1, secrets=list(reversed(rows))))
    assert await store.secrets(("", ""), 100) == rows
    assert await store.secrets(("a", "y"), 3) == rows[2:5]
    assert await store.secrets(("c", "z"), 3) == []
    assert await store.secrets(("", ""), 100, "b") == rows[3:6]
    assert await store.secrets(("", "x"), 1, "b") == rows[4:5]
    assert await store.secrets(("", "z"), 10, "b") == []


async def test_retention_leaves_them(store: Store) -> None:
    await put(store, Group(1, secrets=[secret()]))
    for kind in KINDS:
        await store.sweep(Sweep(kind, now=2**52, before=2**52, below=2**62, rows=0, limit=100))
    assert await store.secret_named("a", "token") == secret()
