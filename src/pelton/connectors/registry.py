"""All connectors of a server, by scheme. The runtime's one way from an address text (`sqs:orders`) to the system behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from pelton.connectors.port import Connector, Health

MAX_ADDRESS = 2_048  # characters, scheme included: the usual bound of a URL, the longest address there is


class AddressError(ValueError):
    """The address names no place that a connector of this server knows. The text is shown to people."""


class Connectors:
    def __init__(self, connectors: Iterable[Connector] = ()) -> None:
        """Raises ValueError when two connectors claim one scheme."""
        self._by_scheme: dict[str, Connector] = {}
        for connector in connectors:
            self.add(connector)

    def add(self, connector: Connector) -> None:
        scheme = connector.scheme
        if not scheme or ":" in scheme:
            raise ValueError(f"a connector's scheme must be a word without a colon, not {scheme!r}")
        if scheme in self._by_scheme:
            raise ValueError(f"two connectors have the scheme {scheme!r}: leave one of them out")
        self._by_scheme[scheme] = connector

    @property
    def schemes(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_scheme))

    def split(self, text: str) -> tuple[str, str]:
        """`scheme:address` at the first colon, as written; looks at no connector. Raises AddressError."""
        if len(text) > MAX_ADDRESS:
            raise AddressError(f"the address has {len(text)} characters, the limit is {MAX_ADDRESS}: shorten it")
        scheme, colon, address = text.partition(":")
        if not colon:
            raise AddressError(f"the address {text!r} has no colon: write it as scheme:name, with {self._choices()}")
        if not scheme or not address:
            part = "scheme before" if not scheme else "name after"
            raise AddressError(f"the address {text!r} has no {part} its colon: write it as scheme:name, with {self._choices()}")
        return scheme, address

    def parse(self, text: str) -> tuple[str, str]:
        """(scheme, address) of an address that a connector here accepts. Raises AddressError; no I/O."""
        scheme, address = self.split(text)
        connector = self._by_scheme.get(scheme)
        if connector is None:
            raise AddressError(f"the address {text!r} has the unknown scheme {scheme!r}: use {self._choices()}")
        reason = connector.check(address)
        if reason is not None:
            raise AddressError(f"the address {text!r} is refused: {reason}")
        return scheme, address

    def get(self, scheme: str) -> Connector | None:
        return self._by_scheme.get(scheme)

    def find(self, text: str) -> tuple[Connector, str]:
        """The connector and the address within it. Raises AddressError as `parse` does."""
        scheme, address = self.parse(text)
        return self._by_scheme[scheme], address

    def health(self) -> Mapping[str, Health]:
        """By full address text (`sqs:orders`), of all connectors."""
        return {
            f"{scheme}:{address}": health
            for scheme, connector in self._by_scheme.items()
            for address, health in connector.health().items()
        }

    async def close(self) -> None:
        """Closes all at once, each whatever the others do; a failure is raised after every one has been tried."""
        outcomes = await asyncio.gather(*(c.close() for c in self._by_scheme.values()), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise BaseExceptionGroup("connectors that did not close cleanly", failures)

    def _choices(self) -> str:
        return "one of " + ", ".join(self.schemes) if self._by_scheme else "a scheme (this server has no connectors)"
