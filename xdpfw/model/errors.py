# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as values. `status` is the HTTP status (RFC 9110) that the REST API answers with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in an input: `pointer` is a JSON pointer or `line N`."""

    pointer: str
    detail: str


class XdpfwError(Exception):
    """Base of every error that a caller may meet. `detail` is for people: what is wrong and how to mend it."""

    status = 500
    title = "Internal error"

    def __init__(self, detail: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)


class Unreadable(XdpfwError):
    status, title = 400, "Unreadable request"


class NotAuthenticated(XdpfwError):
    status, title = 401, "Not authenticated"


class NotAllowed(XdpfwError):
    status, title = 403, "Not allowed"


class NotFound(XdpfwError):
    status, title = 404, "Not found"


class Conflict(XdpfwError):
    """Something else stands in the way; forcing does not help."""

    status, title = 409, "Conflict"


class Guarded(XdpfwError):
    """A guard refused; `?force=true` would do it all the same, and the detail says what that would mean."""

    status, title = 409, "Refused by a guard"


class StaleMatch(XdpfwError):
    status, title = 412, "The resource has changed"


class TooLarge(XdpfwError):
    status, title = 413, "Too large"


class InvalidInput(XdpfwError):
    status, title = 422, "Invalid input"


class Unavailable(XdpfwError):
    """Busy, or the kernel or the store cannot serve now; trying again may help."""

    status, title = 503, "Unavailable"


class KernelError(Unavailable):
    title = "The kernel refused"


class StoreError(Unavailable):
    title = "The store cannot be written"


class MapFull(XdpfwError):
    """A table of the packet path is full. The detail names it, its size and the setting that raises it."""

    status, title = 507, "A map is full"


@contextmanager
def told_as(kind: type[XdpfwError]) -> Iterator[None]:
    """What the system refuses about a file, as an error of this kind; as NotAllowed where another user may."""
    try:
        yield
    except PermissionError as error:
        raise NotAllowed(f"{error.filename}: {error.strerror}; be root") from None
    except OSError as error:
        raise kind(f"{error.filename}: {error.strerror}") from None
