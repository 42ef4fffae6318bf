"""Approximate nearest neighbour search in this process: the engine of vectord on numpy arrays.

    import numpy, vectord

    index = vectord.Index(384)
    index.add(None, numpy.random.rand(10_000, 384).astype(numpy.float32))
    ids, distances = index.search(numpy.random.rand(384).astype(numpy.float32), k=10)

The work is done by libvectord.so, which is looked for when the first index is made (see `library_path`).
"""

from ._errors import (
    Cancelled,
    DataLoss,
    DiskFull,
    Error,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    LibraryNotFound,
    NotFound,
    OutOfMemory,
    OutOfRange,
    TooLarge,
    Unimplemented,
)
from ._index import Index, Stats
from ._library import library_path, library_version
from ._version import __version__ as __version__

__all__ = [
    "Cancelled",
    "DataLoss",
    "DiskFull",
    "Error",
    "FailedPrecondition",
    "Index",
    "Internal",
    "InvalidArgument",
    "LibraryNotFound",
    "NotFound",
    "OutOfMemory",
    "OutOfRange",
    "Stats",
    "TooLarge",
    "Unimplemented",
    "library_path",
    "library_version",
]
