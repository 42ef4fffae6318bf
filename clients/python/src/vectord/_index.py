"""The index: `Index`, over the flat facade of the C library (include/vectord/flat.h).

Searching for one query is where the cost of a call counts, so it takes a short way: the query is copied to a place that
the library knows already (a prepared search), one function with one argument is called, and the results are copied out.
Prepared searches lie in stacks by their settings; taking one is a list's pop, which is atomic, so threads never share
one.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from ctypes import c_int64, c_uint64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Optional, Union, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import FLOAT32, OBJECT, Id, IdList, Ids, id_list, ordered_ids, rows, split_texts
from ._errors import CANCELLED, FAILED_PRECONDITION, InvalidArgument, raise_status
from ._library import ERROR_BYTES, PROGRESS, Library, library
from ._signals import CaughtSignals

if TYPE_CHECKING:
    from typing_extensions import Self

IdArray = Union[NDArray[np.int64], NDArray[np.object_]]
Progress = Callable[[int, int], Optional[bool]]

_NDARRAY = np.ndarray
_UINT32_MAX = 2**32 - 1
_EF_MAX = 4096  # VD_EF_SEARCH_MAX
# Stacks of prepared searches, one for each combination of settings; whoever uses more of them starts anew.
_STACKS_MAX = 64
# A longer answer takes so long that preparing does not count, and its places take memory.
_STACKED_K_MAX = 4096
# Room for the ids of a prepared search, before the library has to make a block of its own.
_BYTES_PER_ID = 40

_METRICS = {1: "cosine", 2: "euclidean"}


@dataclass(frozen=True)
class Stats:
    """Figures of an index at one moment."""

    items: int
    """How many items it holds."""
    memory_bytes: int
    """What the index holds in memory, in bytes, without metadata."""
    encoding: str
    """What is walked with now: "f32", "sq8", "sq4", "f16" or "bf16"."""
    levels: int
    """Levels of the graph."""
    ef_effective: int
    """Most candidates that a search without an ef of its own holds."""
    calibrated_at: int
    """Items at the last calibration; 0: never."""
    calibrated_recall: float
    """What the last calibration measured at the index's recall target, a fraction."""
    calibrated_gamma: float
    """How far searches look: on to (1 + gamma)^2 of the k-th distance."""
    optimized: int
    """Items that have been through `optimize`."""
    deleted_unswept: int
    """Places of deleted items that wait to be used again."""
    distances: int
    """Distances computed since the index was made, by writes and searches."""


def _natural(value: Any, name: str, least: int = 0, most: int = _UINT32_MAX) -> int:
    """An int from `least` to `most`."""
    try:
        number = value.__index__()
    except (AttributeError, TypeError):
        raise InvalidArgument(f"{name} must be an int (got {value!r})") from None
    if isinstance(value, bool) or not least <= number <= most:
        raise InvalidArgument(f"{name} must be an int from {least} to {most} (got {value!r})")
    return int(number)


def _fraction(value: Any, name: str) -> float:
    """A float above 0 and at most 1."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(f"{name} must be a float (got {value!r})") from None
    if not 0.0 < number <= 1.0:
        raise InvalidArgument(f"{name} must be above 0 and at most 1 (got {value!r})")
    return number


def _name(value: Any, name: str) -> bytes:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidArgument(f"{name} must be a str (got {value!r})")
    return value.encode("utf-8", "replace")


def _path(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> bytes:
    try:
        encoded = os.fsencode(path)
    except TypeError:
        raise InvalidArgument(f"path must be a str or a path (got {path!r})") from None
    if not encoded or b"\0" in encoded:
        raise InvalidArgument(f"path must be a path (got {path!r})")
    return encoded


def _settings(k: Any, ef: Any, recall: Any, exact: Any) -> tuple[int, int, float, int]:
    """What the library takes: 0 stands for what is not given."""
    if ef is not None and recall is not None:
        raise InvalidArgument("ef and recall: only one of them can be given")
    return (
        _natural(k, "k", 1),
        0 if ef is None else _natural(ef, "ef", 1, _EF_MAX),
        0.0 if recall is None else _fraction(recall, "recall"),
        1 if exact else 0,
    )


def _allowed(filter: Ids | None) -> IdList | None:
    """The ids of a search's filter."""
    if filter is None:
        return None
    try:
        return id_list(filter)
    except InvalidArgument as error:
        raise InvalidArgument(str(error).replace("ids", "filter", 1)) from None


class _Call:
    """A prepared search of one query and its places. `numbers` is None when ids are texts."""

    __slots__ = (
        "_free",
        "block",
        "bytes",
        "distances",
        "ends",
        "error",
        "numbers",
        "prepared",
        "query",
        "release",
        "room",
    )

    def __init__(self, lib: Library, handle: int, dimension: int, texts: bool, settings: tuple[int, int, float, int]):
        k = settings[0]
        prepared = c_void_p()
        self.prepared = c_void_p()
        self._free = lib.prepared_free
        self.release = lib.release
        self.query: NDArray[np.float32] = np.empty(dimension, FLOAT32)
        self.distances: NDArray[np.float64] = np.empty(k, np.float64)
        self.error = ctypes.create_string_buffer(ERROR_BYTES)
        self.numbers: NDArray[np.int64] | None = None
        if texts:
            self.room = min(k, 1000) * _BYTES_PER_ID
            self.bytes: Any = (ctypes.c_char * self.room)()  # a slice of it is a copy, as bytes
            self.ends: NDArray[np.uint64] = np.empty(k, np.uint64)
            self.block = c_void_p()
            places = [ctypes.addressof(self.bytes), self.room, self.ends.ctypes.data, ctypes.addressof(self.block)]
            prepare = lib.prepare_text
        else:
            self.numbers = np.empty(k, np.int64)
            places = [self.numbers.ctypes.data]
            prepare = lib.prepare
        status = prepare(
            handle,
            self.query.ctypes.data,
            *settings,
            *places,
            self.distances.ctypes.data,
            None,
            ctypes.addressof(self.error),
            ctypes.byref(prepared),
        )
        if status:
            raise_status(status, self.error.value.decode())
        self.prepared = prepared

    def __del__(self) -> None:
        self._free(self.prepared)

    def texts(self) -> NDArray[np.object_]:
        ends = self.ends
        size = ends.item(-1)
        data = self.bytes[:size] if size <= self.room else _take_block(self.release, self.block, size)
        ids: list[Any] = data.decode().split("\0")
        count = len(ends)
        # An id has a NUL inside, or some are missing (at the end, for one query): seldom.
        if len(ids) != count + 1 or not ids[-2]:
            ids = split_texts(data, ends)
        return np.fromiter(ids, OBJECT, count)  # a tenth quicker than np.array, which looks into each


def _take_block(release: Any, block: c_void_p, size: int) -> bytes:
    """The bytes of a block that the library made for us, which goes back to it."""
    try:
        return ctypes.string_at(block.value, size) if block.value else b""
    finally:
        release(block)
        block.value = None


class Index:
    """An approximate nearest neighbour index in this process.

    Ids are row numbers, ints (0 to 2^63-1) or strs. An int is short for its decimal text: 7 and "7" are one item.
    Searches answer with int64 ids while every id was given as a row number or an int, and with strs from the first str
    on.

    Any thread may call any method at any time, `add` beside `search` too. The interpreter's lock is released while the
    library works.
    """

    __slots__ = (
        "__weakref__",
        "_auto_calibrate",
        "_constants",
        "_handle",
        "_library",
        "_run",
        "_shape",
        "_stacks",
        "_texts",
    )

    def __init__(
        self,
        dimension: int,
        distance: str = "cosine",
        m: int = 16,
        ef_construction: int = 200,
        encoding: str = "auto",
        *,
        keep_vectors: bool = True,
        recall: float = 0.95,
        ef_search: int = 20,
        seed: int = 0,
        auto_calibrate: bool = True,
    ) -> None:
        """Makes an empty index.

        dimension        values per vector, 1 to 16384
        distance         "cosine" (1 - cosine of the angle) or "euclidean"
        m                links per item, 2 to 128: more finds more and takes more memory
        ef_construction  how widely links are chosen, 8 to 2000: more finds more and builds slower
        encoding         what is walked with: "auto", "f32", "sq8", "sq4", "f16" or "bf16"
        keep_vectors     False: codes only, a third to a quarter of the memory; `get` and distances are then those of
                         the codes
        recall           share of the true nearest that a search aims to find, above 0 and at most 1; has no effect
                         until the index is calibrated
        ef_search        least number of candidates that a search holds, 1 to 4096
        seed             of the levels that items are put on
        auto_calibrate   `calibrate` when it is due, at the end of `add` and `optimize`. False: until you call it,
                         searches without an ef hold 100 candidates, whatever recall they ask for

        Raises InvalidArgument, OutOfMemory, LibraryNotFound.
        """
        lib = library()
        handle = c_void_p()
        error = ctypes.create_string_buffer(ERROR_BYTES)
        status = lib.new(
            _natural(dimension, "dimension", 1),
            _name(distance, "distance"),
            _natural(m, "m", 1),
            _natural(ef_construction, "ef_construction", 1),
            _natural(ef_search, "ef_search", 1),
            _fraction(recall, "recall"),
            _name(encoding, "encoding"),
            1 if keep_vectors else 0,
            _natural(seed, "seed", 0, 2**64 - 1),
            ctypes.byref(handle),
            error,
        )
        if status:
            raise_status(status, error.value.decode())
        self._adopt(lib, handle, auto_calibrate)

    def _adopt(self, lib: Library, handle: c_void_p, auto_calibrate: bool) -> None:
        assert handle.value is not None
        self._library = lib
        self._handle: int = handle.value
        self._run: Callable[[c_void_p], int] = lib.run
        self._shape: tuple[int] = (lib.dimension(handle),)
        self._texts: bool = not lib.ids_are_numbers(handle)
        self._stacks: dict[Any, list[_Call]] = {}
        self._auto_calibrate = auto_calibrate
        # What never changes, asked for while no write can be going on: later the library would wait for it.
        self._constants = self._figures_by_name()

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            self._handle = 0
            self._stacks.clear()
            self._library.free(handle)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Index cannot be pickled or copied: use save and Index.load")

    # ---- writing ----

    @overload
    def add(self, ids: None, vectors: ArrayLike, threads: int = 0) -> range: ...
    @overload
    def add(self, ids: Ids, vectors: ArrayLike, threads: int = 0) -> None: ...
    def add(self, ids: Ids | None, vectors: ArrayLike, threads: int = 0) -> range | None:
        """Adds items, all or none of them; an id that is there already gets its new vector.

        ids      None: row numbers, upwards from the first one above all ids so far (0 in a new index); else n ints, n
                 strs or an array of them; one id for one vector. Of several rows with one id the last one counts.
        vectors  (n, dimension), or (dimension,) for one; float32, or what can be converted; finite, and with cosine not
                 all zero. Must not be changed by another thread during the call
        threads  at most so many work on it; 0: one per CPU. The index is the same for every number

        Returns the row numbers given when ids is None. Raises InvalidArgument (the text names the row), OutOfMemory
        (also when it is the calibration at the end that has no memory: the rows are in then), OutOfRange.
        """
        lib = self._library
        array = rows(vectors, self._shape[0], "vectors")
        count = 1 if array.ndim == 1 else array.shape[0]
        error = ctypes.create_string_buffer(ERROR_BYTES)
        workers = _natural(threads, "threads")
        numbered: range | None = None
        if ids is None:
            first = c_int64(0)
            status = lib.add(self._handle, array.ctypes.data, count, None, workers, first, error)
            numbered = range(first.value, first.value + count)
        else:
            given = ordered_ids(ids)
            if given.count != count:
                raise InvalidArgument(f"ids: {given.count} ids for {count} vectors")
            if given.numbers is not None:
                numbers = given.numbers.ctypes.data
                # An empty list of ids has no numbers to point to, and is not "number them yourself".
                status = lib.add(self._handle, array.ctypes.data, count, numbers, workers, None, error) if count else 0
            else:
                assert given.ends is not None
                status = lib.add_text(
                    self._handle, array.ctypes.data, count, given.text, given.ends.ctypes.data, workers, error
                )
                if not status and count:
                    self._texts_from_now()
        if status:
            raise_status(status, error.value.decode())
        if self._auto_calibrate and lib.calibration_due(self._handle):
            self.calibrate(threads)
        return numbered

    def delete(self, ids: Ids, threads: int = 0) -> int:
        """Removes one id or several; those that are not there are skipped. Returns how many were there."""
        lib = self._library
        given = id_list(ids)
        deleted = c_uint64(0)
        error = ctypes.create_string_buffer(ERROR_BYTES)
        workers = _natural(threads, "threads")
        if given.numbers is not None:
            status = lib.delete(self._handle, given.numbers.ctypes.data, given.count, workers, deleted, error)
        else:
            assert given.ends is not None
            status = lib.delete_text(
                self._handle, given.text, given.ends.ctypes.data, given.count, workers, deleted, error
            )
        if status:
            raise_status(status, error.value.decode())
        return deleted.value

    def optimize(self, progress: Progress | None = None, threads: int = 0) -> bool:
        """Links every item once more, now that all are there: 10 % less work per search at recall 0.95 and a
        third less at 0.99 on 100,000 sentence embeddings.

        progress  called now and then with (items done, items in all); False from it ends the call, an exception from it
                  ends the call and is raised, and so does Ctrl-C (whatever a signal handler raises, in the main
                  thread). A later call goes on from there.
        threads   at most so many work on it; 0: one per CPU

        Searches and writes may go on. Returns True when it is done, False when it was ended. Raises OutOfMemory.
        """
        lib = self._library
        error = ctypes.create_string_buffer(ERROR_BYTES)
        workers = _natural(threads, "threads")
        ended: list[bool] = []
        with CaughtSignals() as signals:
            raised = signals.raised

            def report(_: Any, done: int, total: int) -> int:
                if raised:
                    return 0
                try:
                    if progress is not None and progress(done, total) is False:
                        ended.append(True)
                        return 0
                except BaseException as exception:  # ctypes would print it and go on
                    raised.append(exception)
                return 0 if raised else 1

            status = lib.optimize(self._handle, workers, PROGRESS(report), None, error)
        if raised:
            raise raised[0]
        if status == CANCELLED and ended:
            return False
        if status:
            raise_status(status, error.value.decode())
        if self._auto_calibrate and lib.calibration_due(self._handle):
            self.calibrate(threads)
        return True

    def calibrate(self, threads: int = 0) -> None:
        """Measures on a sample of the index's own vectors how far searches must look to reach its recall.

        Happens by itself when it is due unless `auto_calibrate` is False. Searches and writes may go on. Raises
        OutOfMemory.
        """
        error = ctypes.create_string_buffer(ERROR_BYTES)
        status = self._library.calibrate(self._handle, _natural(threads, "threads"), error)
        if status:
            raise_status(status, error.value.decode())

    # ---- reading ----

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        ef: int | None = None,
        recall: float | None = None,
        threads: int = 1,
        *,
        exact: bool = False,
        filter: Ids | None = None,
    ) -> tuple[IdArray, NDArray[np.float64]]:
        """Finds the k nearest items of one query or several.

        queries  (dimension,) or (n, dimension); float32, or what can be converted
        k        how many, 1 or more; beyond a few thousand every item is measured and time grows with the square of k
        ef       candidates held while searching, 1 to 4096; more finds more and takes longer. None: as far as recall
                 needs
        recall   share of the true nearest to aim for, above 0 and at most 1; None: the index's own. Not together with
                 ef. Has no effect until the index is calibrated
        threads  at most so many work on several queries; 0: one per CPU. The answers are the same for every number
        exact    measure every item
        filter   ids: only these items may be found. Those that are not there are skipped; of as many as are, each query
                 finds min(k, so many). Looking up an id takes a fraction of a microsecond, in every call anew

        Returns (ids, distances), nearest first, of shape (k,) or (n, k): int64 ids, or an object array of strs (see the
        class), and float64 distances. Where there are fewer than k items, the rest is id -1 or None at distance inf.
        Raises InvalidArgument (the text names the query), OutOfMemory.
        """
        if (
            queries.__class__ is not _NDARRAY
            or queries.dtype is not FLOAT32
            or queries.shape != self._shape
            or threads != 1
            or filter is not None
        ):
            queries = rows(queries, self._shape[0], "queries")
            workers = _natural(threads, "threads")
            if queries.ndim == 2 or filter is not None:
                ids, distances = self._search_many(
                    queries.reshape(-1, self._shape[0]), _settings(k, ef, recall, exact), workers, _allowed(filter)
                )
                return (ids, distances) if queries.ndim == 2 else (ids[0], distances[0])
        if ef is None and recall is None and not exact and k.__class__ is int:
            key: Any = k
        else:
            key = (k, ef, recall, bool(exact))
        while True:
            try:
                stack = self._stacks[key]
                call = stack.pop()
            except TypeError:  # an array of one number cannot be a key
                key = _settings(k, ef, recall, exact)
                continue
            except (KeyError, IndexError):
                settings = _settings(k, ef, recall, exact)
                # First the stack, then what is put on it: when the first str comes in between, the stack is one of the
                # old ones.
                stack = self._stack(key, settings[0])
                call = _Call(self._library, self._handle, self._shape[0], self._texts, settings)
            call.query[...] = queries
            status = self._run(call.prepared)
            if status:
                text = call.error.value.decode()
                if self._is_about_texts(status, call.numbers is None):
                    continue
                stack.append(call)
                raise_status(status, text)
            numbers = call.numbers
            ids = call.texts() if numbers is None else numbers.copy()
            distances = call.distances.copy()
            stack.append(call)
            return ids, distances

    def _stack(self, key: Any, k: int) -> list[_Call]:
        if k > _STACKED_K_MAX:
            return []
        stacks = self._stacks
        if len(stacks) >= _STACKS_MAX:
            self._stacks = stacks = {}
        return stacks.setdefault(key, [])

    def _texts_from_now(self) -> None:
        """Searches answer with strs from now on: a str was added."""
        if not self._texts:
            self._texts = True
            self._stacks = {}

    def _is_about_texts(self, status: int, texts: bool) -> bool:
        """Whether a search for numbers met the first str, which another thread is adding: then it is done again."""
        if status == FAILED_PRECONDITION and not texts:
            self._texts_from_now()
            return True
        return False

    def _search_many(
        self,
        queries: NDArray[np.float32],
        settings: tuple[int, int, float, int],
        threads: int,
        allowed: IdList | None,
    ) -> tuple[IdArray, NDArray[np.float64]]:
        lib = self._library
        search, search_text, among = lib.search, lib.search_text, []
        if allowed is not None:
            search, search_text = lib.search_filtered, lib.search_filtered_text
            numbered = None if allowed.numbers is None else allowed.numbers.ctypes.data
            among = [numbered, allowed.text, None if allowed.ends is None else allowed.ends.ctypes.data, allowed.count]
        count, k = queries.shape[0], settings[0]
        error = ctypes.create_string_buffer(ERROR_BYTES)
        while True:
            texts = self._texts
            try:
                distances: NDArray[np.float64] = np.empty((count, k), np.float64)
                numbers: NDArray[np.int64] = np.empty((count, k), np.int64)
            except ValueError:
                raise InvalidArgument(f"k: {count} queries of {k} hits are more than memory can hold") from None
            # Ends of texts take the place of numbers: both have 8 bytes.
            ends, block = numbers.view(np.uint64), c_void_p()
            if texts:
                places = [None, 0, ends.ctypes.data, ctypes.addressof(block)]
            else:
                places = [numbers.ctypes.data]
            status = (search_text if texts else search)(
                self._handle,
                *among,
                queries.ctypes.data,
                count,
                *settings,
                threads,
                *places,
                distances.ctypes.data,
                None,
                error,
            )
            if status:
                if self._is_about_texts(status, texts):
                    continue
                raise_status(status, error.value.decode())
            if not texts:
                return numbers, distances
            flat = ends.reshape(-1)
            data = _take_block(lib.release, block, flat.item(-1) if count else 0)
            return np.array(split_texts(data, flat), OBJECT).reshape(count, k), distances

    def ids(self) -> IdArray:
        """The ids of all items: int64, ascending, or strs in the order of their bytes, as searches answer.

        They are those of one moment. Looks at every item and waits for a write that is going on. Raises OutOfMemory.
        """
        lib = self._library
        block, ends, count = c_void_p(), c_void_p(), c_uint64(0)
        error = ctypes.create_string_buffer(ERROR_BYTES)
        while not self._texts:
            status = lib.list(self._handle, ctypes.byref(block), ctypes.byref(count), error)
            if not status:
                numbers = np.frombuffer(_take_block(lib.release, block, 8 * count.value), np.int64)
                return np.sort(numbers)
            if not self._is_about_texts(status, False):
                raise_status(status, error.value.decode())
        status = lib.list_text(self._handle, ctypes.byref(block), ctypes.byref(ends), ctypes.byref(count), error)
        if status:
            raise_status(status, error.value.decode())
        places = np.frombuffer(_take_block(lib.release, ends, 8 * count.value), np.uint64)
        data = _take_block(lib.release, block, int(places[-1]) if count.value else 0)
        return np.fromiter(split_texts(data, places), OBJECT, count.value)

    def get(self, ids: Ids) -> NDArray[np.float32]:
        """The vector of one id, (dimension,), or of several, (n, dimension), float32, as it was added.

        Raises NotFound.
        """
        given = ordered_ids(ids)
        vectors: NDArray[np.float32] = np.empty((given.count, self._shape[0]), FLOAT32)
        error = ctypes.create_string_buffer(ERROR_BYTES)
        status = self._look_up(given, vectors.ctypes.data, None, error)
        if status:
            raise_status(status, error.value.decode())
        return vectors[0] if given.single else vectors

    def _look_up(self, ids: IdList, vectors: int | None, found: Any, error: Any) -> int:
        lib = self._library
        if ids.numbers is not None:
            return int(lib.get(self._handle, ids.numbers.ctypes.data, ids.count, vectors, found, error))
        assert ids.ends is not None
        return int(lib.get_text(self._handle, ids.text, ids.ends.ctypes.data, ids.count, vectors, found, error))

    def metadata(self, id: Id) -> Any:
        """The metadata of an item of a file that the service wrote, as json.loads makes it; None when it has none.

        Items keep their metadata when they are replaced and when the index is saved. Raises NotFound.
        """
        lib = self._library
        given = id_list(str(id) if isinstance(id, (int, np.integer)) and not isinstance(id, bool) else id)
        if not given.single:
            raise InvalidArgument("id must be one int or one str")
        block = c_void_p()
        error = ctypes.create_string_buffer(ERROR_BYTES)
        status = lib.metadata(self._handle, given.text, len(given.text), ctypes.byref(block), error)
        if status:
            raise_status(status, error.value.decode())
        if block.value is None:
            return None
        try:
            return json.loads(ctypes.string_at(block.value))
        finally:
            lib.release(block)

    def __contains__(self, id: object) -> bool:
        if isinstance(id, bool) or not isinstance(id, (int, str, np.integer)):
            return False
        try:
            given = id_list(id if isinstance(id, str) else int(id))
        except InvalidArgument:  # an int that is too great, a str that is not Unicode
            return False
        found = ctypes.c_uint8(0)
        self._look_up(given, None, ctypes.addressof(found), None)
        return bool(found.value)

    def __len__(self) -> int:
        return int(self._library.count(self._handle))

    def __bool__(self) -> bool:
        """True, also when it is empty: `if index` asks whether there is one."""
        return True

    def __repr__(self) -> str:
        ids = "strs" if self._texts else "ints"
        return (
            f"<vectord.Index of {len(self)} items, dimension={self.dimension}, distance={self.distance!r}, "
            f"encoding={self.encoding!r}, ids: {ids}>"
        )

    # ---- figures ----

    def _figures(self) -> NDArray[np.float64]:
        values: NDArray[np.float64] = np.zeros(len(_FIGURES), np.float64)
        self._library.stats(self._handle, values.ctypes.data, len(_FIGURES))
        return values

    def _figures_by_name(self) -> dict[str, float]:
        return dict(zip(_FIGURES, self._figures().tolist()))

    def _encoding_name(self, number: float) -> str:
        name: bytes = self._library.encoding_name(int(number))
        return name.decode()

    @property
    def stats(self) -> Stats:
        """Figures of this moment. Waits for a write that is going on."""
        figures = self._figures_by_name()
        whole = (
            "items",
            "memory_bytes",
            "levels",
            "ef_effective",
            "calibrated_at",
            "optimized",
            "deleted_unswept",
            "distances",
        )
        return Stats(
            encoding=self._encoding_name(figures["encoding"]),
            calibrated_recall=figures["calibrated_recall"],
            calibrated_gamma=figures["calibrated_gamma"],
            **{name: int(figures[name]) for name in whole},
        )

    @property
    def memory_bytes(self) -> int:
        """What the index holds in memory, in bytes, without metadata. Waits for a write that is going on."""
        return int(self._figures_by_name()["memory_bytes"])

    @property
    def dimension(self) -> int:
        """Values per vector."""
        return self._shape[0]

    @property
    def distance(self) -> str:
        """ "cosine" or "euclidean"."""
        return _METRICS[int(self._constants["option_metric"])]

    @property
    def encoding(self) -> str:
        """The encoding that was asked for; `stats.encoding` is the one in use."""
        return self._encoding_name(self._constants["option_encoding"])

    @property
    def m(self) -> int:
        """Links per item."""
        return int(self._constants["option_m"])

    @property
    def ef_construction(self) -> int:
        """How widely links are chosen."""
        return int(self._constants["option_ef_construction"])

    @property
    def ef_search(self) -> int:
        """Least number of candidates that a search holds."""
        return int(self._constants["option_ef_search"])

    @property
    def recall(self) -> float:
        """Share of the true nearest that searches aim to find."""
        return self._constants["option_recall_target"]

    @property
    def keep_vectors(self) -> bool:
        """False: codes only."""
        return bool(self._constants["option_keep_vectors"])

    # ---- files ----

    def save(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes], name: str | None = None) -> None:
        """Writes the index to a file that `Index.load` and the service read, with metadata.

        name  of the index, inside the file (1 to 200 bytes); None: the file's name without its ending

        At every moment the file is the old one or the whole new one; when this returns, the new one is on the disk.
        Raises InvalidArgument, NotFound (no such folder), DiskFull, Internal (another error of the system).
        """
        encoded = _path(path)
        if name is None:
            name = os.path.splitext(os.path.basename(os.fsdecode(encoded)))[0]
        error = ctypes.create_string_buffer(ERROR_BYTES)
        status = self._library.save(self._handle, encoded, _name(name, "name"), error)
        if status:
            raise_status(status, error.value.decode())

    @classmethod
    def load(
        cls,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        encoding: str = "auto",
        keep_vectors: bool = True,
        recall: float = 0.95,
        seed: int = 0,
        ids: str = "auto",
        threads: int = 0,
        auto_calibrate: bool = True,
    ) -> Self:
        """Reads a file of `save`, or a snapshot of the service, and builds the index anew.

        That takes as long as adding all items, cannot be ended with Ctrl-C, and undoes `optimize`, which is to be
        called again.

        encoding, keep_vectors, recall, seed, auto_calibrate  as for a new index: the file does not hold them. With
                 auto_calibrate False too, the index is calibrated once when it is loaded
        ids      "auto": ints when every id is the decimal text of one, else strs; "str": strs
        threads  at most so many work on it; 0: one per CPU

        Raises NotFound (no such file), DataLoss, Unimplemented, Internal, InvalidArgument, OutOfMemory.
        """
        lib = library()
        if ids not in ("auto", "str"):
            raise InvalidArgument(f'ids must be "auto" or "str" (got {ids!r})')
        handle = c_void_p()
        error = ctypes.create_string_buffer(ERROR_BYTES)
        status = lib.load(
            _path(path),
            _fraction(recall, "recall"),
            _name(encoding, "encoding"),
            1 if keep_vectors else 0,
            _natural(seed, "seed", 0, 2**64 - 1),
            1 if ids == "auto" else 0,
            _natural(threads, "threads"),
            ctypes.byref(handle),
            error,
        )
        if status:
            raise_status(status, error.value.decode())
        index = cls.__new__(cls)
        index._adopt(lib, handle, auto_calibrate)
        return index


# The order of vd_flat_stats.
_FIGURES = (
    "items",
    "deleted_unswept",
    "memory_bytes",
    "levels",
    "ef_effective",
    "calibrated_at",
    "calibrated_recall",
    "calibrated_gamma",
    "optimized",
    "encoding",
    "distances",
    "option_metric",
    "option_m",
    "option_ef_construction",
    "option_ef_search",
    "option_recall_target",
    "option_encoding",
    "option_keep_vectors",
)
