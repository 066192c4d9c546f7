# SPDX-License-Identifier: Apache-2.0
"""Exit codes and the one exception that ends a verb.

The codes are part of the contract with scripts: they change for no reason but a new major version.
"""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
UNREACHABLE = 5
NOT_ALLOWED = 6
DIFFERENT = 10
INTERRUPTED = 130

# 412: somebody else's change came first, which to a caller is a conflict like any other.
_BY_STATUS = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT, 412: CONFLICT, 422: USAGE}
_BY_STATUS |= {429: UNREACHABLE, 502: UNREACHABLE, 503: UNREACHABLE, 504: UNREACHABLE}


def code_of_status(status: int) -> int:
    """The exit code that tells of an HTTP status."""
    return _BY_STATUS.get(status, FAILED)


class Failure(Exception):
    """Ends the verb. `message` says what is wrong, `notes` (indented below it) what to do and where."""

    def __init__(self, code: int, message: str, *notes: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.notes = list(notes)


class Refused(Failure):
    """The daemon answered with an error. `faults` are (pointer, detail) pairs about the input; `guarded`: forcing
    would do it."""

    def __init__(
        self, status: int, detail: str, faults: list[tuple[str, str]], *notes: str, guarded: bool = False
    ) -> None:
        super().__init__(code_of_status(status), detail, *notes)
        self.status = status
        self.guarded = guarded
        self.faults = faults
