"""The states of a delivery, and the reasons for each change; docs/states.md is generated from this.

The outbox has no column for them. A delivery is WAITING while its row is in the store and it is not in flight, SENDING while a
connector has it; once it is DELIVERED its row is gone, and once it is DEAD a dead letter has replaced it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class DeliveryState(StrEnum):
    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead letter"


DELIVERY_CHANGES: Mapping[DeliveryState, Mapping[DeliveryState, str]] = {
    DeliveryState.WAITING: {DeliveryState.SENDING: "first of its lane, and due"},
    DeliveryState.SENDING: {
        DeliveryState.WAITING: "temporary failure or restart; due again after a back-off",
        DeliveryState.DELIVERED: "the connector accepted it",
        DeliveryState.DEAD: "permanent failure, or no attempts left",
    },
    DeliveryState.DELIVERED: {},
    DeliveryState.DEAD: {DeliveryState.WAITING: "an operator redelivers it"},
}
