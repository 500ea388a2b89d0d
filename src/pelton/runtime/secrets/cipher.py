"""Encryption of secrets at rest: AES-256 in GCM, by the library `cryptography`.

The namespace and name of a secret are part of what is authenticated, so that a sealed value cannot be put under another name.
"""

from __future__ import annotations

import base64
import binascii
import os
from hashlib import blake2b

from msgspec import msgpack

KEY_BYTES = 32
NONCE_BYTES = 12
FORMAT = b"\x01"  # of a sealed value: this, the nonce, what is encrypted with its tag
KEY_HELP = "a key is 32 random bytes in Base64, as `openssl rand -base64 32` prints them"


class SecretUnreadable(Exception):
    """The sealed value was not made with this key for this secret, or it was changed."""


class BadKey(ValueError):
    """The text is no key; the message has nothing of it."""


class Cipher:
    """`name`: tells keys apart, and says nothing of the key."""

    __slots__ = ("_key", "name")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise BadKey(f"the key has {len(key)} bytes: {KEY_HELP}")
        self._key = key
        self.name = blake2b(key=key, digest_size=8, person=b"pelton-secrets").hexdigest()

    def __repr__(self) -> str:
        return f"Cipher({self.name})"

    def seal(self, ns: str, name: str, value: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 90 ms, for those who have secrets

        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + nonce + AESGCM(self._key).encrypt(nonce, value.encode(), _about(ns, name))

    def unseal(self, ns: str, name: str, sealed: bytes) -> str:
        """Raises SecretUnreadable."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        if sealed[:1] != FORMAT:
            raise SecretUnreadable
        nonce, rest = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return AESGCM(self._key).decrypt(nonce, rest, _about(ns, name)).decode()
        except (InvalidTag, ValueError):
            raise SecretUnreadable from None


def _about(ns: str, name: str) -> bytes:
    return msgpack.encode((ns, name))


def cipher_from(text: str) -> Cipher:
    """From a key as it is written. Raises BadKey."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise BadKey(f"the key is not Base64: {KEY_HELP}") from None
    return Cipher(key)
