"""What can go wrong, by the statuses of include/vectord/status.h."""

from __future__ import annotations

from typing import NoReturn


class Error(Exception):
    """Base of all errors of this package. `status` is the name of the status, as the service reports it too."""

    status: str = "UNKNOWN"


class InvalidArgument(Error, ValueError):
    """An argument is not what it must be; the text names it, and the row and element where there are several."""

    status = "INVALID_ARGUMENT"


class NotFound(Error, LookupError):
    """No item has this id, or there is no such file."""

    status = "NOT_FOUND"


class OutOfMemory(Error, MemoryError):
    """There is no memory for it. The index is as it was before the call."""

    status = "OUT_OF_MEMORY"


class Cancelled(Error):
    """The call was ended before it was done."""

    status = "CANCELLED"


class FailedPrecondition(Error):
    """Not with this index, or not in its present state."""

    status = "FAILED_PRECONDITION"


class OutOfRange(Error, ValueError):
    """A number lies beyond what can be counted."""

    status = "OUT_OF_RANGE"


class Unimplemented(Error, NotImplementedError):
    """The file was written by a newer version."""

    status = "UNIMPLEMENTED"


class Internal(Error):
    """An error of the operating system (its text is in the message), or a fault of the engine."""

    status = "INTERNAL"


class DataLoss(Error):
    """A file is damaged; the text says what is wrong with it, and where."""

    status = "DATA_LOSS"


class TooLarge(Error):
    """More than a file can hold."""

    status = "TOO_LARGE"


class DiskFull(Error):
    """There is no room on the disk. The old file is still there."""

    status = "DISK_FULL"


class LibraryNotFound(Error, ImportError):
    """libvectord.so cannot be loaded; the text says where it was looked for and how to get it."""

    status = "UNAVAILABLE"


FAILED_PRECONDITION = 9
CANCELLED = 1

_BY_STATUS: dict[int, type[Error]] = {
    CANCELLED: Cancelled,
    3: InvalidArgument,
    5: NotFound,
    FAILED_PRECONDITION: FailedPrecondition,
    11: OutOfRange,
    12: Unimplemented,
    13: Internal,
    15: DataLoss,
    32: TooLarge,
    33: OutOfMemory,
    34: DiskFull,
}


def raise_status(status: int, text: str) -> NoReturn:
    """Raises the error of a status other than 0."""
    raise _BY_STATUS.get(status, Error)(text or f"status {status}")
