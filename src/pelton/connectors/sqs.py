"""Amazon SQS, and every server that speaks its protocol. An address is the exact name of a queue; `.fifo` names are FIFO queues.

Invariants:
* A message is deleted only by `acknowledge`. Whatever else happens to it (a crash, a cancelled poll, a stopped server), it
  comes again: at once when it was given back, else when its visibility timeout has passed.
* Messages of one key never overtake one another between two calls of SQS: once one of them failed for now, the later ones
  wait with it. Within one call (at most ten) SQS itself decides, entry by entry.
* One message's fault is not its neighbours': a call that SQS refuses as a whole is repeated message by message.
* The runtime owns retries, so the client makes exactly one attempt per call.

Faults of the configuration (no credentials, no access) are Temporary: the messages are good and leave once it is repaired.

Cost: two HTTP clients, one for long polls and one for the rest, so that idle polls never hold up a send. A subscription holds
at most `receives` x 10 messages that the runtime has not pulled yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from pelton.connectors.health import HealthBook, epoch_milliseconds
from pelton.connectors.port import OWN_ID, Health, Incoming, Outgoing, Permanent, Temporary

MAX_ENTRIES = 10  # SQS: entries of one batch call
MAX_BATCH_BYTES = 262_144  # SQS: bodies and attributes of one batch call together, and so of one message
MAX_ATTRIBUTES = 10  # SQS: attributes of one message
MAX_QUEUES = 10_000  # queue URLs remembered
CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0  # on top of the long poll's wait
CLOSED = "the SQS connector is closed: the server is stopping"
GIVE_BACK_SECONDS = 5.0  # what closing spends at most on giving messages back

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.fifo)?", re.ASCII)
_ATTRIBUTE_NAME = re.compile(r"(?!aws\.|amazon\.)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII | re.IGNORECASE)
_GROUP = re.compile(r"[!-~]{1,128}", re.ASCII)
_NOT_TEXT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what SQS does not carry

_MISSING = frozenset({"QueueDoesNotExist", "NonExistentQueue"})  # services differ in the code
_EXISTS = frozenset({"QueueAlreadyExists", "QueueNameExists"})
_ACCESS = frozenset(
    {
        "AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "ExpiredTokenException",
        "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity",
        "MissingAuthenticationToken", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException",
    }
)  # fmt: skip
_REFUSED = frozenset(
    {
        "BatchRequestTooLong", "InvalidAddress", "InvalidAttributeName", "InvalidAttributeValue", "InvalidMessageContents",
        "InvalidParameterValue", "InvalidParameterCombination", "MissingParameter", "UnsupportedOperation", "ValidationError",
    }
)  # fmt: skip


class _Entry(NamedTuple):
    place: int  # where the message stands in what `send` was given
    key: str
    fields: dict[str, Any]
    size: int  # bytes, as SQS counts them


class Credentials(NamedTuple):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


class SqsConnector:
    """`endpoint` defaults to AWS_ENDPOINT_URL_SQS or AWS_ENDPOINT_URL, else the real service; `region` to AWS_REGION or
    AWS_DEFAULT_REGION; without `credentials` they come from where AWS tools look for them. Nothing is connected before the first
    use.

    `create_missing`: whether a queue that does not exist is created. `wait_seconds` (1 to 20): the long poll.
    `visibility_seconds` (1 to 43,200): how long a received message is kept from other receivers; the time in which it must
    be acknowledged. `receives`: long polls at once per subscription."""

    scheme: str = "sqs"

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        credentials: Credentials | None = None,
        create_missing: bool = True,
        wait_seconds: int = 20,
        visibility_seconds: int = 60,
        receives: int = 2,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        clock: Callable[[], int] = epoch_milliseconds,
    ) -> None:
        for name, value, low, high in (
            ("wait_seconds", wait_seconds, 1, 20),
            ("visibility_seconds", visibility_seconds, 1, 43_200),
            ("receives", receives, 1, 16),
            ("max_batch_bytes", max_batch_bytes, 1_024, 1_048_576),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}: it must be between {low} and {high}")
        self.endpoint: Final = endpoint
        self.region: Final = region
        self._credentials: Final = credentials
        self.create_missing: Final = create_missing
        self.wait_seconds: Final = wait_seconds
        self.visibility_seconds: Final = visibility_seconds
        self.receives: Final = receives
        self.max_batch_bytes: Final = max_batch_bytes
        self._health = HealthBook(clock)
        self._urls: OrderedDict[str, str] = OrderedDict()
        self._session = get_session()  # kept: it holds the service's description, which takes tens of milliseconds to read
        self._clients: dict[bool, Any] = {}
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._subscriptions: WeakSet[SqsSubscription] = WeakSet()
        self._closed = False

    def check(self, address: str) -> str | None:
        if _NAME.fullmatch(address) and len(address) <= 80:
            return None
        return (
            f"{address[:100]!r} cannot be the name of an SQS queue: use 1 to 80 of A-Z, a-z, 0-9, _ and -, "
            "with .fifo at the end of a FIFO queue's name (the name, not the URL)"
        )

    def health(self) -> Mapping[str, Health]:
        return self._health.view()

    def subscribe(self, address: str) -> SqsSubscription:
        subscription = SqsSubscription(self, address)
        self._subscriptions.add(subscription)
        return subscription

    async def close(self) -> None:
        """Closes the subscriptions (messages not yet pulled are given back), then the connections."""
        await asyncio.gather(*(subscription.close() for subscription in list(self._subscriptions)))
        self._closed = True
        async with self._opening:
            self._clients.clear()
            await self._stack.aclose()

    # sending

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        outcomes: list[Exception | None] = [None] * len(messages)
        if (reason := self.check(address)) is not None:
            return [Permanent(reason) for _ in messages]
        entries: list[_Entry] = []
        for place, message in enumerate(messages):
            try:
                entries.append(_entry(place, message, address.endswith(".fifo"), self.max_batch_bytes))
            except Permanent as refused:
                outcomes[place] = refused
        down: Exception | None = None  # once a whole call failed for now, the rest would only wait for the same time-out
        waiting: set[str] = set()  # keys of which a message failed for now
        pending = entries
        while pending:
            batch, pending = _cut(pending, waiting, down, outcomes, self.max_batch_bytes)
            if not batch:
                continue
            down = await self._send_batch(address, batch, outcomes)
            waiting.update(entry.key for entry in batch if isinstance(outcomes[entry.place], Temporary))
        return outcomes

    async def _send_batch(self, queue: str, batch: Sequence[_Entry], outcomes: list[Exception | None]) -> Exception | None:
        """Writes the outcomes of one call. Returns what stands in the way of all further calls, if anything does."""
        fields = [{"Id": str(number), **entry.fields} for number, entry in enumerate(batch)]
        try:
            reply = await self.call(queue, "send_message_batch", Entries=fields)
        except Permanent as refused:
            if len(batch) == 1:
                outcomes[batch[0].place] = refused
                return None
            return await self._send_singly(queue, batch, outcomes)
        except Temporary as trouble:
            for entry in batch:
                outcomes[entry.place] = trouble
            return trouble
        sent = {str(good["Id"]) for good in reply.get("Successful", ())}
        failed = {str(bad["Id"]): bad for bad in reply.get("Failed", ())}
        for number, entry in enumerate(batch):
            if (bad := failed.get(str(number))) is not None:
                outcomes[entry.place] = _entry_failure(queue, bad)
            elif str(number) not in sent:
                outcomes[entry.place] = Temporary(f"SQS queue {queue!r}: the answer has no outcome for the message")
        return None

    async def _send_singly(self, queue: str, batch: Sequence[_Entry], outcomes: list[Exception | None]) -> Exception | None:
        down: Exception | None = None
        waiting: set[str] = set()
        for entry in batch:
            if down is not None or entry.key in waiting:
                outcomes[entry.place] = _held_back(down)
                continue
            down = await self._send_batch(queue, [entry], outcomes)
            if isinstance(outcomes[entry.place], Temporary):
                waiting.add(entry.key)
        return down

    # calling

    async def call(self, queue: str, operation: str, *, polling: bool = False, **arguments: Any) -> Mapping[str, Any]:
        """One operation on a queue, whose URL is looked up again (and the queue made anew, if that is allowed) when it turns out
        to be gone. Raises Temporary and Permanent only."""
        try:
            client = await self._client(polling)
            reply: Mapping[str, Any] | None = None
            if (url := self._urls.get(queue)) is not None:
                try:
                    reply = await getattr(client, operation)(QueueUrl=url, **arguments)
                except ClientError as error:
                    if _code(error) not in _MISSING:
                        raise
                    if self._urls.get(queue) == url:
                        del self._urls[queue]
            if reply is None:
                url = self._urls.get(queue) or await self._find(queue)
                reply = await getattr(client, operation)(QueueUrl=url, **arguments)
        except Exception as error:
            explained = _explain(queue, error, self.endpoint)
            self._health.bad(queue, str(explained))
            raise explained from error
        self._health.good(queue)
        return reply or {}

    async def _find(self, queue: str) -> str:
        client = await self._client(polling=False)
        try:
            answer = await client.get_queue_url(QueueName=queue)
        except ClientError as error:
            if _code(error) not in _MISSING or not self.create_missing:
                raise
            attributes = {"FifoQueue": "true"} if queue.endswith(".fifo") else {}
            try:
                answer = await client.create_queue(QueueName=queue, Attributes=attributes)
            except ClientError as refused:
                if _code(refused) not in _EXISTS:
                    raise
                answer = await client.get_queue_url(QueueName=queue)  # someone else made it just now
        url = str(answer["QueueUrl"])
        self._urls[queue] = url
        while len(self._urls) > MAX_QUEUES:
            self._urls.popitem(last=False)
        return url

    def knows(self, queue: str) -> bool:
        """Whether the queue was there when last used: the others have nothing to delete from."""
        return queue in self._urls

    async def _client(self, polling: bool) -> Any:
        if self._closed:
            raise Temporary(CLOSED)
        client = self._clients.get(polling)
        if client is not None:
            return client
        async with self._opening:
            if self._closed:  # while this waited: a client made now would never be closed
                raise Temporary(CLOSED)
            if polling not in self._clients:
                config = AioConfig(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS + (self.wait_seconds if polling else 0),
                    retries={"total_max_attempts": 1},
                    max_pool_connections=1_000 if polling else 50,  # a poll holds its connection while it waits
                )
                keys = self._credentials
                opened = self._session.create_client(
                    "sqs",
                    region_name=self.region or os.environ.get("AWS_REGION") or None,
                    endpoint_url=self.endpoint,
                    aws_access_key_id=keys.access_key_id if keys is not None else None,
                    aws_secret_access_key=keys.secret_access_key if keys is not None else None,
                    aws_session_token=keys.session_token if keys is not None else None,
                    config=config,
                )
                self._clients[polling] = await self._stack.enter_async_context(opened)
            return self._clients[polling]


class SqsSubscription:
    """An open flow from one queue. `batches` is pulled: while no one pulls, no new poll starts, and a batch that has waited
    for half of its visibility timeout is dropped, because it could come again before its effects are committed."""

    def __init__(self, connector: SqsConnector, queue: str) -> None:
        self._connector = connector
        self._queue = queue
        self._polls: list[asyncio.Task[tuple[float, list[Incoming]]]] = []
        self._closing = asyncio.Event()

    async def batches(self) -> AsyncIterator[Sequence[Incoming]]:
        if (reason := self._connector.check(self._queue)) is not None:
            raise Permanent(reason)
        loop = asyncio.get_running_loop()
        while not self._closing.is_set():
            while len(self._polls) < self._connector.receives:
                self._polls.append(loop.create_task(self._poll()))
            await asyncio.wait(list(self._polls), return_when=asyncio.FIRST_COMPLETED)
            for poll in [poll for poll in self._polls if poll.done()]:
                if self._closing.is_set():  # `close` has taken the polls over, with what they received
                    return
                self._polls.remove(poll)
                received, messages = poll.result()
                if messages and loop.time() - received < self._connector.visibility_seconds / 2:
                    yield messages

    async def acknowledge(self, messages: Sequence[Incoming]) -> None:
        await self._change("delete_message_batch", messages, {})

    async def give_back(self, messages: Sequence[Incoming]) -> None:
        await self._change("change_message_visibility_batch", messages, {"VisibilityTimeout": 0})

    async def close(self) -> None:
        """Ends `batches` at once, whoever is waiting in it, and gives back what was received and not yielded."""
        self._closing.set()
        polls, self._polls = self._polls, []
        for poll in polls:
            poll.cancel()
        outcomes = await asyncio.gather(*polls, return_exceptions=True)
        left = [message for outcome in outcomes if not isinstance(outcome, BaseException) for message in outcome[1]]
        try:
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                await self.give_back(left)
        except TimeoutError:
            return  # they come again by themselves

    async def _poll(self) -> tuple[float, list[Incoming]]:
        reply = await self._connector.call(
            self._queue,
            "receive_message",
            polling=True,
            MaxNumberOfMessages=MAX_ENTRIES,
            WaitTimeSeconds=self._connector.wait_seconds,
            VisibilityTimeout=self._connector.visibility_seconds,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        return asyncio.get_running_loop().time(), [_incoming(message) for message in reply.get("Messages", ())]

    async def _change(self, operation: str, messages: Sequence[Incoming], more: Mapping[str, Any]) -> None:
        await asyncio.gather(*(self._change_some(operation, some, more) for some in _tens(messages)))

    async def _change_some(self, operation: str, messages: Sequence[Incoming], more: Mapping[str, Any]) -> None:
        if not self._connector.knows(self._queue):
            return
        entries = [{"Id": str(number), "ReceiptHandle": message.handle, **more} for number, message in enumerate(messages)]
        try:
            await self._connector.call(self._queue, operation, Entries=entries)
        except (Temporary, Permanent):
            return  # `call` has noted it in the health; the messages come again and are known


def _tens(messages: Sequence[Incoming]) -> Iterable[Sequence[Incoming]]:
    return (messages[start : start + MAX_ENTRIES] for start in range(0, len(messages), MAX_ENTRIES))


def _entry(place: int, message: Outgoing, fifo: bool, limit: int) -> _Entry:
    """What SQS is given for a message. Raises Permanent when it cannot carry it."""
    try:
        text = message.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Permanent(
            f"message {message.id}: the body is not UTF-8 at byte {error.start}, and SQS carries text only: encode it (base64)"
        ) from None
    if not text:
        raise Permanent(f"message {message.id}: the body is empty, and SQS takes at least one character")
    if (bad := _NOT_TEXT.search(text)) is not None:
        raise Permanent(
            f"message {message.id}: the body has the character U+{ord(bad[0]):04X} at position {bad.start()}, "
            "which SQS does not carry: escape or encode it"
        )
    attributes = _attributes(message)
    size = len(message.body) + sum(len(name.encode()) + 6 + len(value.encode()) for name, value in attributes.items())
    if size > limit:
        raise Permanent(
            f"message {message.id} has {size} bytes with its attributes, the limit of SQS is {limit} bytes: "
            "send a reference to the data instead"
        )
    fields: dict[str, Any] = {
        "MessageBody": text,
        "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    }
    if fifo:
        fields["MessageGroupId"] = _token(message.key or "-")
        fields["MessageDeduplicationId"] = _token(message.id)
    return _Entry(place, message.key, fields, size)


def _attributes(message: Outgoing) -> dict[str, str]:
    """`pelton-id`, then the headers in their order, then the content type, as far as SQS takes them: headers are there for
    tracing and never a reason to refuse a message, so what is too many, empty or oddly named stays out."""
    attributes: dict[str, str] = {}
    for name, value in ((OWN_ID, message.id), *message.headers.items(), ("content-type", message.content_type)):
        good = value and not _NOT_TEXT.search(value) and len(name) <= 256 and _ATTRIBUTE_NAME.fullmatch(name)
        if good and name not in attributes and len(attributes) < MAX_ATTRIBUTES:
            attributes[name] = value
    return attributes


def _token(text: str) -> str:
    """A group or deduplication id: at most 128 visible ASCII characters, so anything else is replaced by its digest."""
    return text if _GROUP.fullmatch(text) else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _cut(
    entries: list[_Entry], waiting: set[str], down: Exception | None, outcomes: list[Exception | None], limit: int
) -> tuple[list[_Entry], list[_Entry]]:
    """The next call's entries and the rest; those that must wait get their outcome instead."""
    batch: list[_Entry] = []
    size = 0
    for position, entry in enumerate(entries):
        if down is not None or entry.key in waiting:
            outcomes[entry.place] = _held_back(down)
            continue
        if len(batch) == MAX_ENTRIES or size + entry.size > limit:
            return batch, entries[position:]
        batch.append(entry)
        size += entry.size
    return batch, []


def _held_back(down: Exception | None) -> Exception:
    return down if down is not None else Temporary("not sent: an earlier message of the same key has to go first")


def _incoming(message: Mapping[str, Any]) -> Incoming:
    headers: dict[str, str] = {}
    for name, attribute in message.get("MessageAttributes", {}).items():
        if "StringValue" in attribute:  # binary attributes are not headers
            headers[name] = attribute["StringValue"]
    count = str(message.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
    sent = str(message.get("Attributes", {}).get("SentTimestamp", "0"))
    return Incoming(
        id=message["MessageId"],
        body=message.get("Body", "").encode("utf-8", "surrogatepass"),
        headers=headers,
        handle=message["ReceiptHandle"],
        deliveries=max(1, int(count)) if count.isdecimal() else 1,
        sent=int(sent) if sent.isdecimal() else 0,
    )


def _code(error: ClientError) -> str:
    """Some services put a prefix before the codes: `AWS.SimpleQueueService.NonExistentQueue`."""
    return str(error.response.get("Error", {}).get("Code", "")).removeprefix("AWS.SimpleQueueService.")


def _entry_failure(queue: str, bad: Mapping[str, Any]) -> Exception:
    code, text = str(bad.get("Code", "")), str(bad.get("Message", ""))
    where = f"SQS queue {queue!r} refused the message: {code} {text}".rstrip()
    throttled = "Throttl" in code or code in {"OverLimit", "KMS.Throttling"} or code in _ACCESS
    return Permanent(where) if bad.get("SenderFault") and not throttled else Temporary(where)


def _explain(queue: str, error: Exception, endpoint: str | None) -> Temporary | Permanent:
    """Any error of a call, in words with a remedy."""
    where = f"SQS queue {queue!r}"
    if isinstance(error, (Temporary, Permanent)):
        return error
    if isinstance(error, NoRegionError):
        return Temporary(f"{where}: no AWS region is configured: set AWS_REGION (for example eu-central-1)")
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        return Temporary(
            f"{where}: no usable AWS credentials ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give the machine a role"
        )
    if isinstance(error, ClientError):
        code = _code(error)
        text = f"{code} {error.response.get('Error', {}).get('Message', '')}".strip()
        if code in _MISSING:
            return Temporary(f"{where} does not exist: create it, or allow Pelton to create missing queues ({text})")
        if code in _ACCESS:
            return Temporary(f"{where}: access was refused: check the credentials and the queue's policy ({text})")
        if code in _REFUSED:
            return Permanent(f"{where} refused the call: {text}")
        return Temporary(f"{where}: {text}")
    if isinstance(error, ValueError):  # what the client says of an endpoint that is no URL
        return Temporary(f"{where}: the configured endpoint {endpoint!r} cannot be used: {error}")
    if isinstance(error, (BotoCoreError, OSError)):
        return Temporary(f"{where} could not be reached: {error}")
    return Temporary(f"{where}: the call failed: {type(error).__name__} {error}")
