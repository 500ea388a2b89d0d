"""The names under which the engine and the store know this language's objects."""

from __future__ import annotations

LANGUAGE = "lusid"
WORKER_RUN = "lusid.worker-run"
"""The process that a worker's run without a task follows."""
LONE = "worker run"
"""The one member of that process's body: the seconds that the run may take, 0 = the default."""
