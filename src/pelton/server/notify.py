"""What a service manager is told, by the protocol of systemd's sd_notify: that the server is ready, that it still turns, that it
stops. One datagram each to the socket that the environment names; without one nothing is told.

Telling never fails and never waits: a manager that does not listen is no reason to serve worse. The variables are taken out of
the environment, so that no process that the server starts speaks in its name.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import MutableMapping

import structlog

SOCKET, PERIOD, OWNER = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
LEAST = 0.01  # seconds between two signs of life

_log = structlog.get_logger("pelton.server")


class ServiceManager:
    """`address`: of its socket, "" = there is none. `period`: seconds within which it wants a sign of life; 0 = it wants none."""

    def __init__(self, address: str = "", period: float = 0.0) -> None:
        self.address = address
        self.period = period

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """As the environment says it; afterwards that says it no more."""
        address, period, owner = (environment.pop(name, "") for name in (SOCKET, PERIOD, OWNER))
        if not address:
            return cls()
        if address[0] not in "/@" or len(address) < 2:
            _log.warning("the service manager's socket cannot be used: it is neither a path nor abstract", socket=address)
            return cls()
        watched = period.isdecimal() and owner in {"", str(os.getpid())}
        return cls(address, int(period) / 1_000_000 if watched else 0.0)

    def ready(self, status: str) -> None:
        self._tell("READY=1", status)

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", status)

    async def beat(self) -> None:
        """A sign of life twice a period, for as long as the event loop turns."""
        while self.address and self.period:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(max(self.period / 2, LEAST))

    def _tell(self, what: str, status: str = "") -> None:
        if not self.address:
            return
        lines = [what, f"STATUS={status}"] if status else [what]
        where = f"\0{self.address[1:]}" if self.address[0] == "@" else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), where)
        except (OSError, ValueError) as error:
            _log.warning("the service manager could not be told", what=what, error=str(error))
