"""Errors over gRPC: the status name of each code.

ABORTED asks a client to read again and decide again, FAILED_PRECONDITION not to retry until the state has changed, and
UNAVAILABLE to retry the same call.
"""

from __future__ import annotations

from pelton.errors import CATEGORY, Category, Code

_BY_CATEGORY = {
    Category.ABSENT: "NOT_FOUND",
    Category.CONFLICT: "FAILED_PRECONDITION",
    Category.INVALID: "INVALID_ARGUMENT",
    Category.BUSY: "UNAVAILABLE",
    Category.DENIED: "PERMISSION_DENIED",
    Category.FAULT: "INTERNAL",
}
_BY_CODE = {Code.EXISTS: "ALREADY_EXISTS", Code.CONFLICT: "ABORTED", Code.UNAUTHENTICATED: "UNAUTHENTICATED"}

GRPC_STATUS: dict[Code, str] = {code: _BY_CODE.get(code, _BY_CATEGORY[category]) for code, category in CATEGORY.items()}
