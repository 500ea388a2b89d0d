"""Logs as key-value events on standard error: JSON for machines, text on a terminal. Never a body, a key or a token.

Messages that other libraries log through the standard library are formatted in the same way.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from pelton.server.config import Config

_QUIET = ("asyncio", "botocore", "aiobotocore", "httpx", "httpcore")


def configure(config: Config) -> None:
    """Call once per process, before anything is logged."""
    level = getattr(logging, config.log_level.upper())
    as_json = config.log_format == "json" or (config.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: Any
    if as_json:
        from msgspec import json  # noqa: PLC0415 - the quick encoder, and only here

        encode = json.Encoder(enc_hook=str).encode
        render = structlog.processors.JSONRenderer(serializer=lambda event, **_: encode(event).decode())
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    final: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        final.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*final, render]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
