"""What callers give, as the arrays that the library takes; and ids back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._errors import InvalidArgument

Id = Union[int, str]
# One id or several: ints, strs, or an array of either.
Ids = Union[Id, Iterable[Id], NDArray[Any]]

OBJECT = np.dtype(object)
FLOAT32 = np.dtype(np.float32)
INT64_MAX = 2**63 - 1


def rows(value: ArrayLike, dimension: int, name: str) -> NDArray[np.float32]:
    """float32, C order, aligned: (dimension,) or (n, dimension). Copies only what is not like that already."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InvalidArgument(f"{name}: a masked array with values missing; fill them: .filled(0)")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{name}: cannot be made an array: {error}") from None
    if array.dtype.kind not in "fiu":
        raise InvalidArgument(
            f"{name}: dtype {array.dtype} is none of real numbers; convert it with .astype(numpy.float32)"
        )
    if array.ndim not in (1, 2) or array.shape[-1] != dimension:
        raise InvalidArgument(f"{name}: shape {array.shape} must be ({dimension},) or (n, {dimension})")
    if array.dtype == FLOAT32:
        return np.require(array, FLOAT32, ("C", "A"))
    try:
        with np.errstate(over="raise"):
            return np.require(array, FLOAT32, ("C", "A"))
    except FloatingPointError:
        raise InvalidArgument(f"{name}: a value lies beyond what float32 holds (about 3.4e38)") from None


class IdList:
    """Ids as numbers (int64), or as one block of UTF-8 with the end of each."""

    __slots__ = ("count", "ends", "numbers", "single", "text")

    def __init__(
        self,
        count: int,
        single: bool,
        numbers: NDArray[np.int64] | None = None,
        text: bytes = b"",
        ends: NDArray[np.uint64] | None = None,
    ) -> None:
        self.count = count
        self.single = single
        self.numbers = numbers
        self.text = text
        self.ends = ends


def _numbers(values: Any, single: bool) -> IdList:
    try:
        numbers = np.array(values, dtype=np.int64)
    except OverflowError:
        raise InvalidArgument(f"ids: an int is beyond 0..{INT64_MAX}; give it as a str") from None
    return IdList(len(numbers), single, numbers=numbers)


def _texts(values: list[str], single: bool) -> IdList:
    try:
        text = "".join(values).encode()
        parts: Iterable[Any] = values
        if len(text) != sum(map(len, values)):
            parts = [value.encode() for value in values]
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"ids: an id is not valid Unicode: {error.reason} ({error.object[error.start]!r})"
        ) from None
    ends: NDArray[np.uint64] = np.cumsum(np.fromiter(map(len, parts), np.uint64, len(values)), dtype=np.uint64)
    return IdList(len(values), single, text=text, ends=ends)


def _of_array(array: NDArray[Any]) -> IdList:
    if array.ndim == 0:
        return id_list(array.item())
    if array.ndim != 1:
        raise InvalidArgument(f"ids: shape {array.shape} must be (n,)")
    if array.dtype.kind in "iu":
        if array.dtype == np.uint64 and array.size and int(array.max()) > INT64_MAX:
            raise InvalidArgument(f"ids: {int(array.max())} is beyond 0..{INT64_MAX}; give it as a str")
        return IdList(len(array), False, numbers=np.require(array, np.int64, ("C", "A")))
    if array.dtype.kind in "OUT" or array.size == 0:
        return _of_list(array.tolist())
    raise InvalidArgument(f"ids: dtype {array.dtype} is neither of ints nor of strs")


def _of_list(values: list[Any]) -> IdList:
    kinds = set(map(type, values))
    if all(issubclass(kind, str) for kind in kinds) and values:
        return _texts(values, False)
    if all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds):
        return _numbers(values, False)
    for place, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, (int, str, np.integer)):
            raise InvalidArgument(f"ids[{place}] is of type {type(value).__name__}; it must be an int or a str")
    raise InvalidArgument("ids: ints and strs in one list; make them all strs")


def ordered_ids(ids: Ids) -> IdList:
    """The same where ids belong to rows."""
    if isinstance(ids, (set, frozenset)):
        raise InvalidArgument("ids: a set has no order; give a list")
    return id_list(ids)


def id_list(ids: Ids) -> IdList:
    """Reads what a caller gave as one id or several."""
    if isinstance(ids, str):
        return _texts([ids], True)
    if isinstance(ids, (int, np.integer)) and not isinstance(ids, bool):
        return _numbers([ids], True)
    if isinstance(ids, np.ndarray):
        return _of_array(ids)
    if isinstance(ids, range):
        return _numbers(ids, False)
    if isinstance(ids, (bytes, bytearray, memoryview)):
        raise InvalidArgument("ids: bytes are no ids; decode them: ids.decode()")
    if hasattr(ids, "__array__"):  # a column of a table
        return _of_array(np.asarray(ids))
    if isinstance(ids, Iterable):
        return _of_list(list(ids))
    raise InvalidArgument(f"ids: {type(ids).__name__} is neither an int, a str nor a list of one of them")


def split_texts(data: bytes, ends: NDArray[np.uint64]) -> list[str | None]:
    """The ids of a block in which each has a NUL behind it; None where one is empty, which stands for no result.

    Splitting is three times as fast as cutting at the ends, and wrong only where an id has a NUL inside.
    """
    ids: list[str | None] = data.decode().split("\0")  # type: ignore[assignment]
    if len(ids) == len(ends) + 1:
        ids.pop()
    else:
        places = ends.tolist()
        ids = [data[start : end - 1].decode() for start, end in zip([0, *places], places)]
    return [value or None for value in ids] if "" in ids else ids
