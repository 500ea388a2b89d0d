"""How many files this process may have open, and how many of them may be connections."""

from __future__ import annotations

import sys

RESERVE = 256  # for the data, scripts, queues and outgoing requests
UNLIMITED = 1_000_000


def raise_limit() -> int:
    """Raises the soft limit of open files to the hard one, as far as the system lets it. Returns the limit."""
    if sys.platform == "win32":
        return UNLIMITED
    import resource  # noqa: PLC0415 - exists on POSIX only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some systems have a lower limit that they do not tell
            return soft
        soft = hard
    return UNLIMITED if soft == resource.RLIM_INFINITY else min(soft, UNLIMITED)


def connections(limit: int) -> int:
    """How many connections there may be with that many files."""
    return max(limit - RESERVE, limit // 2)
