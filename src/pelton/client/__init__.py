"""Pelton for Python programs: `Client` and `AsyncClient` for the /v1 API, `Worker` for performing work.

Used by programs, by the command line and by tests. Imports `pelton.models` only, so it loads quickly.
"""

from pelton.client.client import AsyncClient, Client
from pelton.client.errors import ClientError, RequestRefused, Unreachable
from pelton.client.worker import Fail, Item, Later, Stop, Worker

__all__ = ["AsyncClient", "Client", "ClientError", "Fail", "Item", "Later", "RequestRefused", "Stop", "Unreachable", "Worker"]
