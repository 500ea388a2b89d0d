"""Messages as HTTP POSTs. An address is an http or https URL; nothing can be received from one.

Messages of one key go one after the other, and a key whose message failed for now waits; different keys go side by side. When
the host cannot be reached, or asks for a pause (429, 503), nothing new is sent to it in this call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from pelton.connectors.health import HealthBook, epoch_milliseconds
from pelton.connectors.port import Health, NoSubscription, Outgoing, Permanent, Temporary
from pelton.net.http import GuardedHttp, HttpReply

EXCERPT_BYTES = 4_096  # of a reply: enough to quote why it was refused
QUOTED_CHARACTERS = 200
HELD_BACK = "not sent: an earlier message of the same key has to go first"
PAUSE = frozenset({429, 503})
TEMPORARY = frozenset({408, 425, 429})  # by their definition worth a repeat, though 4xx; as are all of 5xx


class WebhookConnector:
    """`port` carries the address rules and is closed by whoever made it. `side_by_side`: keys of one call at a time."""

    scheme: str = "webhook"

    def __init__(
        self,
        port: GuardedHttp,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 15.0,
        side_by_side: int = 8,
        clock: Callable[[], int] = epoch_milliseconds,
    ) -> None:
        self._port = port
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._side_by_side = side_by_side
        self._health = HealthBook(clock)

    def check(self, address: str) -> str | None:
        return self._port.check(address)

    def health(self) -> Mapping[str, Health]:
        return self._health.view()

    def subscribe(self, address: str) -> NoSubscription:
        return NoSubscription("nothing can be received from a webhook address: let the sender POST to Pelton instead")

    async def close(self) -> None: ...

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        outcomes: list[Exception | None] = [None] * len(messages)
        lanes: dict[str, list[int]] = {}
        for place, message in enumerate(messages):
            lanes.setdefault(message.key, []).append(place)
        waiting = list(reversed(lanes.values()))
        pauses: list[Temporary] = []  # why the host should be left alone, as soon as one of the workers learns it

        async def carry() -> None:
            while waiting:
                stuck: Temporary | None = None
                for place in waiting.pop():
                    if pauses or stuck is not None:
                        outcomes[place] = pauses[0] if pauses else Temporary(HELD_BACK)
                        continue
                    outcome, pause = await self._post(address, messages[place])
                    outcomes[place] = outcome
                    if isinstance(outcome, Temporary):
                        stuck = outcome
                        pauses.extend([outcome] if pause else [])

        await asyncio.gather(*(carry() for _ in range(min(self._side_by_side, len(lanes)))))
        return outcomes

    async def _post(self, address: str, message: Outgoing) -> tuple[Exception | None, bool]:
        """The outcome, and whether the whole host should be left alone for now."""
        headers = {
            **{name: value for name, value in message.headers.items() if name.lower() not in _SET_HERE},
            "Content-Type": message.content_type or "application/octet-stream",
            "Idempotency-Key": message.id,
            "webhook-id": message.id,
        }
        try:
            reply = await self._port.request(
                "POST",
                address,
                headers,
                message.body,
                connect_timeout=self._connect_timeout,
                read_timeout=self._read_timeout,
                max_response=EXCERPT_BYTES,
                status_only=True,
            )
        except Temporary as trouble:
            self._health.bad(address, str(trouble))
            return trouble, True
        except Permanent as refused:
            self._health.bad(address, str(refused))
            return refused, False
        except Exception as error:
            unexpected = Temporary(f"the webhook could not be sent: {type(error).__name__} {error}")
            self._health.bad(address, str(unexpected))
            return unexpected, False
        outcome = _judge(reply)
        if outcome is None or isinstance(outcome, Permanent):  # it answers: a refused message is no fault of the address
            self._health.good(address)
        else:
            self._health.bad(address, str(outcome))
        return outcome, reply.status in PAUSE


_SET_HERE = frozenset({"content-type", "idempotency-key", "webhook-id"})


def _judge(reply: HttpReply) -> Exception | None:
    if 200 <= reply.status < 300:
        return None
    said = " ".join(reply.body.decode("utf-8", "replace").split())
    quoted = "".join(character for character in said if character.isprintable())[:QUOTED_CHARACTERS]
    text = f"the receiver answered {reply.status} {reply.reason}".rstrip() + (f": {quoted}" if quoted else "")
    if reply.status >= 500 or reply.status in TEMPORARY:
        after = reply.header("Retry-After")
        return Temporary(f"{text} (Retry-After: {after[:40]})" if after else text)
    if 300 <= reply.status < 400:
        return Permanent(f"{text}: redirects are not followed, so give the address that it leads to")
    return Permanent(text)
