"""Pelton for Python programs: `Client` and `AsyncClient` for the native API, `Worker` for doing work."""

from pelton.client.client import AsyncClient, Client
from pelton.client.errors import ClientError, Refused, Unreachable
from pelton.client.worker import Fail, Item, Later, Worker

__all__ = ["AsyncClient", "Client", "ClientError", "Fail", "Item", "Later", "Refused", "Unreachable", "Worker"]
