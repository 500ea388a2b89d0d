"""All connectors of a server, by scheme and connection: the runtime's one way from an address to the system behind it.

An address is `scheme:name`, on the scheme's connection without a name, or `scheme://CONNECTION/name`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from pelton.connectors.port import Connector, Health

MAX_ADDRESS = 2_048  # characters, scheme included: the usual bound of a URL, the longest address there is


class AddressError(ValueError):
    """The address names no place that a connector of this server knows. The text is shown to people."""


class Connectors:
    def __init__(self, connectors: Iterable[Connector] = ()) -> None:
        """Of connections without a name. Raises ValueError when two connectors claim one scheme."""
        self._by_scheme: dict[str, dict[str, Connector]] = {}
        for connector in connectors:
            self.add(connector)

    def add(self, connector: Connector, connection: str = "") -> None:
        scheme = connector.scheme
        if not scheme or ":" in scheme:
            raise ValueError(f"a connector's scheme must be a word without a colon, not {scheme!r}")
        known = self._by_scheme.setdefault(scheme, {})
        if connection in known:
            what = f"have the connection {connection!r} of {scheme!r}" if connection else f"have the scheme {scheme!r}"
            raise ValueError(f"two connectors {what}: leave one of them out")
        known[connection] = connector

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
        """(scheme, rest) of an address that a connector here accepts. Raises AddressError; no I/O."""
        self.find(text)
        return self.split(text)

    def get(self, scheme: str) -> Connector | None:
        """One of the scheme's connectors: they differ in their connections only."""
        return next(iter(self._by_scheme.get(scheme, {}).values()), None)

    def find(self, text: str) -> tuple[Connector, str]:
        """The connector and the address within it. Raises AddressError; no I/O."""
        scheme, address = self.split(text)
        known = self._by_scheme.get(scheme)
        if known is None:
            raise AddressError(f"the address {text!r} has the unknown scheme {scheme!r}: use {self._choices()}")
        name = ""
        if address.startswith("//"):
            name, _, address = address[2:].partition("/")
            if not name or not address:
                raise AddressError(f"the address {text!r} is not complete: write it as {scheme}://CONNECTION/name")
        connector = known.get(name)
        if connector is None:
            raise AddressError(f"the address {text!r} {self._no_connection(scheme, name)}")
        reason = connector.check(address)
        if reason is not None:
            raise AddressError(f"the address {text!r} is refused: {reason}")
        return connector, address

    def _no_connection(self, scheme: str, name: str) -> str:
        names = sorted(each for each in self._by_scheme[scheme] if each)
        which = f"names the connection {name!r}, which is not there" if name else "names no connection"
        if names:
            return f"{which}: write {scheme}://CONNECTION/name with one of {', '.join(names)}, or configure it with --connection"
        return f"{which}: write {scheme}:name, or configure the connection with --connection {name}={scheme}://..."

    def health(self) -> Mapping[str, Health]:
        """By full address text (`sqs:orders`, `sqs://backup/orders`), of all connectors."""
        return {
            f"{scheme}://{name}/{address}" if name else f"{scheme}:{address}": health
            for scheme, known in self._by_scheme.items()
            for name, connector in known.items()
            for address, health in connector.health().items()
        }

    async def close(self) -> None:
        """Closes all at once, each whatever the others do; a failure is raised after every one has been tried."""
        connectors = [connector for known in self._by_scheme.values() for connector in known.values()]
        outcomes = await asyncio.gather(*(c.close() for c in connectors), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise BaseExceptionGroup("connectors that did not close cleanly", failures)

    def _choices(self) -> str:
        return "one of " + ", ".join(self.schemes) if self._by_scheme else "a scheme (this server has no connectors)"
