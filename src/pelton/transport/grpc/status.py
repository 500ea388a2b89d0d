"""Errors as gRPC has them: the name of the status of each code.

ABORTED tells a client to read again and then to decide again, FAILED_PRECONDITION not to repeat the call until the state has
changed, UNAVAILABLE to repeat it as it is.
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
