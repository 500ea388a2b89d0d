"""Outgoing HTTP as languages see it: one port, which refuses addresses that tasks must not reach."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol


class Reply(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...
    @property
    def body(self) -> bytes: ...


class HttpPort(Protocol):
    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] = ...,
        body: bytes = ...,
        *,
        connect_timeout: float = ...,
        read_timeout: float = ...,
        max_response: int = ...,
        patient: bool = ...,
    ) -> Awaitable[Reply]: ...
