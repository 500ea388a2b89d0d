"""KAFKA_PUBLISH: sends one message to a topic, over the server's own Kafka connection."""

from __future__ import annotations

from typing import Any

from pelton.kernel.expressions.base import JSON, ExpressionError, Read

SCHEME = "kafka"
REQUEST = "kafka_request"
NOTHING: frozenset[Read] = frozenset()


def request_of(context: Any) -> dict[str, JSON]:
    """Raises ExpressionError where a part is missing."""
    values = context.step.input if isinstance(context.step.input, dict) else {}
    given = values.get(REQUEST, values)
    if not isinstance(given, dict) or not given:
        raise ExpressionError(f"Missing Kafka request. Task input MUST have a '{REQUEST}' key with KafkaTask.Input as value.")
    for name, what in (("bootStrapServers", "boot strap servers"), ("topic", "Kafka topic"), ("value", "Kafka value")):
        if given.get(name) in (None, ""):
            raise ExpressionError(f"Missing {what} in Kafka request")
    return given


class KafkaTopic:
    """The sink. The addresses of the request's brokers are not used: where a server may connect to is its keeper's to say."""

    __slots__ = ("_schemes",)
    reads = NOTHING

    def __init__(self, schemes: frozenset[str]) -> None:
        self._schemes = schemes

    def evaluate(self, context: Any) -> str:
        topic = request_of(context)["topic"]
        if SCHEME not in self._schemes:
            raise ExpressionError(f"nothing can be sent to {SCHEME}:{topic}: no Kafka connection is configured on this server")
        return f"{SCHEME}:{topic}"


class KafkaMessage:
    """What is sent: the value."""

    __slots__ = ()
    reads = NOTHING

    def evaluate(self, context: Any) -> JSON:
        return request_of(context)["value"]
