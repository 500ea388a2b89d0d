"""The vault: setting, listing and removing secrets, and their values.

Nothing is remembered: a value is read from the store whenever it is needed, so that every server on the store has a change at
once. Cost: one read by key and one decryption per secret of a work item that names one.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import NamedTuple

from pelton.errors import Code, PeltonError
from pelton.runtime.secrets.cipher import Cipher, SecretUnreadable
from pelton.runtime.secrets.sources import MOST_BYTES, SecretSources
from pelton.runtime.services import CommitPort, log
from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.rows import SecretRow

MOST_SECRETS = 1_000  # of a namespace
PAGE = 100  # rows that a rotation writes at a time
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}", re.ASCII)
NO_KEY = "this server has no key for secrets"
KEY_REMEDY = "start it with --secrets-key-file FILE, or with PELTON_SECRETS_KEY in its environment"


async def _nobody(ns: str, name: str) -> None:
    """Follows no changes."""


class Rotation(NamedTuple):
    """`sealed`: secrets that were encrypted anew. `already`: those that the new key had sealed before."""

    sealed: int
    already: int


class Vault:
    """`cipher` None: only secrets that have a source can be set and read."""

    def __init__(self, store: Store, cipher: Cipher | None = None, sources: SecretSources | None = None) -> None:
        self._store = store
        self._cipher = cipher
        self._sources = sources or SecretSources(os.environ)
        self.changed: Callable[[str, str], Awaitable[None]] = _nobody  # called with namespace and name after each change here

    # ---- values

    async def values(self, ns: str, names: Iterable[str]) -> dict[str, str]:
        return {name: await self.value(ns, name) for name in names}

    async def value(self, ns: str, name: str) -> str:
        """Raises PeltonError "not found" or "invalid", whose text names the secret."""
        row = await self._store.secret_named(ns, name)
        if row is None:
            raise PeltonError(
                Code.NOT_FOUND,
                f"the secret {name!r} is not set in the namespace {ns}; set it with `pelton secrets set {name}`, then try again",
            )
        if row.source:
            try:
                return self._sources.read(row.source)
            except PeltonError as error:
                raise PeltonError(error.code, f"the secret {name!r} cannot be read: {error.message}") from None
        if self._cipher is None:
            raise PeltonError(Code.INVALID, f"the secret {name!r} cannot be read: {NO_KEY}; {KEY_REMEDY}")
        try:
            return self._cipher.unseal(ns, name, row.sealed)
        except SecretUnreadable:
            reason = "it was encrypted with another key" if row.key != self._cipher.name else "its stored value is damaged"
            raise PeltonError(Code.INVALID, f"the secret {name!r} cannot be read: {reason}; set it anew") from None

    # ---- setting

    async def set(
        self, committer: CommitPort, ns: str, name: str, *, value: str = "", source: str = "", by: str = ""
    ) -> SecretRow:
        """One of `value` and `source`. Raises PeltonError "invalid"; its text has no value."""
        if not NAME.fullmatch(name):
            raise PeltonError(
                Code.INVALID, "a secret's name has letters, digits, _ and -, begins with a letter or _, and has "
                "at most 100 characters", "name", value=name[:100], remedy="choose another name",
            )  # fmt: skip
        if bool(value) == bool(source):
            raise PeltonError(Code.INVALID, "a secret has a value or a source", "value", remedy="give one of the two")
        if source:
            self._sources.check(source)
            row = SecretRow(ns, name, b"", self._store.now(), by, source=source)
        else:
            row = self._sealed(ns, name, value, by)
        if (
            await self._store.secret_named(ns, name) is None
            and len(await self._store.secrets(("", ""), MOST_SECRETS, ns)) >= MOST_SECRETS
        ):
            raise PeltonError(
                Code.TOO_LARGE, f"the namespace has {MOST_SECRETS} secrets already", "name", remedy="remove those that are unused"
            )
        await committer.write(lambda group: group.secrets.append(row))
        await self.changed(ns, name)
        log.info("a secret is set", ns=ns, secret=name, by=by, source=source)
        return row

    def _sealed(self, ns: str, name: str, value: str, by: str) -> SecretRow:
        if self._cipher is None:
            raise PeltonError(Code.INVALID, NO_KEY, remedy=KEY_REMEDY)
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise PeltonError(Code.INVALID, "the value is not text", "value", remedy="encode it, as in Base64") from None
        if size > MOST_BYTES:
            raise PeltonError(
                Code.TOO_LARGE, f"a value has at most {MOST_BYTES} bytes", "value", remedy="use a file as its source"
            )
        return SecretRow(ns, name, self._cipher.seal(ns, name, value), self._store.now(), by, self._cipher.name)

    async def remove(self, committer: CommitPort, ns: str, name: str, by: str = "") -> SecretRow:
        """Returns what was there. Raises PeltonError "not found"."""
        row = await self._store.secret_named(ns, name)
        done = await committer.write(lambda group: group.secrets_gone.append((ns, name))) if row is not None else None
        if row is None or done is None or not done.ok:
            raise PeltonError(Code.NOT_FOUND, "no such secret", "name", value=name[:100], remedy="/v1/secrets lists them")
        await self.changed(ns, name)
        log.info("a secret is removed", ns=ns, secret=name, by=by)
        return row

    async def list(self, ns: str, after: str = "", limit: int = 100) -> list[SecretRow]:
        return await self._store.secrets(("", after), limit, ns)


async def rotate(store: Store, old: Iterable[Cipher], new: Cipher) -> Rotation:
    """Encrypts every secret of every namespace anew, a page in one commit. One that is interrupted goes on when it is called
    again, since what the new key has sealed already is left as it is. Everything is looked at before anything is written. Raises
    PeltonError "invalid", with what none of the keys has sealed."""
    ciphers = {cipher.name: cipher for cipher in (*old, new)}
    async for rows in _pages(store):
        for row in rows:
            _unsealed(ciphers, row)
    sealed = already = 0
    async for rows in _pages(store):
        changed = [row for row in rows if row.sealed and row.key != new.name]
        already += sum(bool(row.sealed) for row in rows) - len(changed)
        anew = [
            SecretRow(row.ns, row.name, new.seal(row.ns, row.name, _unsealed(ciphers, row)), row.set_at, row.set_by, new.name)
            for row in changed
        ]
        if anew:
            [done] = await store.commit([Group(1, secrets=anew)])
            if not done.ok:
                raise PeltonError(Code.CONFLICT, f"the secrets were changed by another ({done.lost}); call it again")
        sealed += len(anew)
    return Rotation(sealed, already)


async def _pages(store: Store) -> AsyncIterator[list[SecretRow]]:
    after = ("", "")
    while rows := await store.secrets(after, PAGE):
        yield rows
        after = rows[-1].ns, rows[-1].name


def _unsealed(ciphers: dict[str, Cipher], row: SecretRow) -> str:
    if not row.sealed:
        return ""
    cipher = ciphers.get(row.key)
    try:
        if cipher is None:
            raise SecretUnreadable
        return cipher.unseal(row.ns, row.name, row.sealed)
    except SecretUnreadable:
        raise PeltonError(
            Code.INVALID,
            f"the secret {row.name!r} of the namespace {row.ns} was encrypted with neither key, so nothing was changed; "
            "give the key that it was set with, or set it anew",
        ) from None
